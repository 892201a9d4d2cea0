//! The firewalls that come with macOS and Windows. They go by program and not by port.

use std::path::Path;

use super::{Firewall, Passes};

/// macOS: what `socketfilterfw --getglobalstate` says, and `--getappblocked` of this program. `None` if it is off.
#[cfg(any(target_os = "macos", test))]
pub(in crate::doctor) fn macos(state: &str, blocked: Option<&str>, program: &Path) -> Option<Firewall> {
    const TOOL: &str = "/usr/libexec/ApplicationFirewall/socketfilterfw";
    if !state.contains("State = 1") && !state.contains("State = 2") {
        return None;
    }
    let passes = match blocked {
        // "State = 2" keeps out all but a few services of the system, whatever is listed.
        _ if state.contains("State = 2") => Passes::No,
        Some(blocked) if blocked.contains("permitted") => Passes::Yes,
        Some(blocked) if blocked.contains("blocked") && !blocked.contains("not") => Passes::No,
        _ => Passes::Unclear,
    };
    let program = program.display();
    let open = format!("sudo {TOOL} --add '{program}' --unblockapp '{program}'");
    Some(Firewall {
        name: "the macOS firewall",
        port: passes,
        mdns: passes,
        open_port: open.clone(),
        open_mdns: open,
        look: format!("{TOOL} --listapps"),
    })
}

/// Windows: what `netsh advfirewall show currentprofile` says. `None` if it is off.
///
/// The rules are many and go by program, network and group; whether one of them lets us in is not guessed at. Windows
/// asks a person when a program listens for the first time.
#[cfg(any(windows, test))]
pub(in crate::doctor) fn windows(profile: &str, program: &Path) -> Option<Firewall> {
    // Every language of Windows says ON and OFF in its own words; of the settings the first is the state.
    if profile.lines().any(|line| line.split_whitespace().last() == Some("OFF") && line.starts_with("State")) {
        return None;
    }
    let open = format!(
        "netsh advfirewall firewall add rule name=qrdrop dir=in action=allow program=\"{}\"",
        program.display()
    );
    Some(Firewall {
        name: "Windows Defender Firewall",
        port: Passes::Unclear,
        mdns: Passes::Unclear,
        open_port: open.clone(),
        open_mdns: open,
        look: "netsh advfirewall firewall show rule name=qrdrop".to_owned(),
    })
}
