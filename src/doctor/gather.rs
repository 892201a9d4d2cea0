//! Looking at the system, everything at once.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Checkup;
use super::command::ask;
use super::facts::{Dialled, Facts, Heard, Others, Port};
use super::firewall::{self, Firewall, Packet, Protocol};
use super::system::{self, Around, Flags};
use crate::net::addresses::{Candidate, Network, source_towards};
use crate::net::dial::dial;
use crate::net::discovery::{MDNS_PORT, answerers, hears_itself, port_is_shared, worth_advertising};
use crate::net::listen::{Bound, PortChoice, bind};
use crate::net::{Load, NetError};

/// An advertisement comes back within milliseconds; on a busy machine within some hundred.
const ECHO_WAIT: Duration = Duration::from_millis(1_500);

/// Answers are delayed by 120 ms at most (RFC 6762, section 6), and a telephone that dozes needs a moment more.
const ANSWER_WAIT: Duration = Duration::from_millis(1_000);

/// Between two addresses of one machine nothing takes as long.
const DIAL_WAIT: Duration = Duration::from_millis(1_000);

/// Interfaces that are listened on at once: more than a machine has that are worth it, and each needs two threads.
const ECHOES_MAX: usize = 8;

/// Looks at everything. Takes as long as the slowest look.
pub(super) async fn gather(checkup: &Checkup) -> Result<Facts, NetError> {
    let only = checkup.only.as_deref();
    let network = Network::observe()?;
    let candidates = network.candidates(only)?;
    let ips: Vec<IpAddr> = candidates.iter().map(|candidate| candidate.ip).collect();
    let (port, bound) = take_port(checkup.port, only.map(|_| ips.as_slice()));
    let chosen = network.interfaces.iter().find(|interface| interface.ip == candidates[0].ip);
    let neighbour = chosen.and_then(|interface| interface.neighbour());
    let packet = Packet {
        interface: candidates[0].interface.clone(),
        // On a network of one's own nobody else could send it.
        from: neighbour.unwrap_or(candidates[0].ip),
        to: candidates[0].ip,
        protocol: Protocol::Tcp,
        port: port.number(),
    };
    let (dialled, firewall, heard, others) =
        tokio::join!(dial_all(bound, &ips), find_firewall(&packet), echo_all(&candidates), find_others(&candidates[0]));
    Ok(Facts {
        way_to_neighbour: neighbour.and_then(|ip| source_towards(SocketAddr::new(ip, packet.port))),
        links: links(),
        around: around(),
        network,
        candidates,
        port,
        dialled,
        firewall,
        heard,
        others,
    })
}

/// Takes the port as a hosting command does.
fn take_port(choice: PortChoice, only: Option<&[IpAddr]>) -> (Port, Option<Bound>) {
    let (PortChoice::Preferred(wanted) | PortChoice::Exactly(wanted)) = choice;
    let bound = bind(choice, only);
    let got = bound.as_ref().map(Bound::port).map_err(ToString::to_string);
    let elsewhere = wanted != 0 && got.as_ref().ok() != Some(&wanted);
    let holder = elsewhere.then(|| holder(&["tcp", "tcp6"], wanted)).flatten();
    (Port { wanted, got, holder }, bound.ok())
}

/// Connects to the port at each own address, from each other one. Nobody needs to accept: the system does that.
async fn dial_all(bound: Option<Bound>, ips: &[IpAddr]) -> Vec<Dialled> {
    let Some(listener) = bound.and_then(|bound| bound.listen().ok()) else { return Vec::new() };
    let mut dials = JoinSet::new();
    for &to in ips {
        let others = ips.iter().copied().filter(|from| *from != to && from.is_ipv4() == to.is_ipv4());
        let mut sources: Vec<Option<IpAddr>> = others.map(Some).collect();
        if sources.is_empty() {
            sources.push(None);
        }
        for from in sources {
            let address = SocketAddr::new(to, listener.port());
            dials.spawn(async move {
                let answered =
                    timeout(DIAL_WAIT, dial(address, from, Load::Talk)).await.is_ok_and(|dialled| dialled.is_ok());
                Dialled { to, from, answered }
            });
        }
    }
    let mut all = dials.join_all().await;
    all.sort_by_key(|dialled| (dialled.to, dialled.from));
    all
}

/// Advertises on each interface and listens for it.
async fn echo_all(candidates: &[Candidate]) -> Vec<(String, Heard)> {
    let taken = (!port_is_shared()).then(|| Heard::PortTaken(holder(&["udp", "udp6"], MDNS_PORT)));
    let mut by_interface: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    for candidate in worth_advertising(candidates) {
        by_interface.entry(candidate.interface.clone()).or_default().push(candidate.clone());
    }
    let mut echoes = JoinSet::new();
    for (interface, candidates) in by_interface.into_iter().take(ECHOES_MAX) {
        let taken = taken.clone();
        echoes.spawn(async move {
            let heard = match taken {
                Some(taken) => taken,
                None => match hears_itself(&candidates, ECHO_WAIT).await {
                    Ok(true) => Heard::Back,
                    Ok(false) => Heard::Nothing,
                    Err(error) => Heard::Failed(error.to_string()),
                },
            };
            (interface, heard)
        });
    }
    let mut all = echoes.join_all().await;
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// Asks the network of the chosen address who is there.
async fn find_others(chosen: &Candidate) -> Others {
    let IpAddr::V4(ip) = chosen.ip else { return Others::default() };
    let answering = answerers(ip, ANSWER_WAIT).await.ok().map(|found| found.len());
    let routers = system::routers(&file("/proc/net/route"));
    let known = system::neighbours(&file("/proc/net/arp"), &chosen.interface, &routers).len();
    Others { known, answering }
}

/// The packet filter that decides: the program that manages one comes before the rules that it made.
async fn find_firewall(packet: &Packet) -> Option<Firewall> {
    if cfg!(target_os = "linux") { linux_firewall(packet).await } else { other_firewall().await }
}

async fn linux_firewall(packet: &Packet) -> Option<Firewall> {
    if firewall::ufw_is_enabled(&file("/etc/ufw/ufw.conf")) {
        let status = ask("ufw", &["status", "verbose"]).await.filter(|said| said.well);
        return firewall::ufw(status.as_ref().map(|said| said.text.as_str()), packet);
    }
    let of_interface = format!("--get-zone-of-interface={}", packet.interface);
    let of_interface = [of_interface.as_str()];
    let (state, zone) = tokio::join!(ask("firewall-cmd", &["--state"]), ask("firewall-cmd", &of_interface));
    if state.is_some_and(|said| said.well) {
        // An interface of no zone is in the default one, which is listed if none is named.
        let of_zone = zone.filter(|said| said.well).map(|said| format!("--zone={}", said.text.trim()));
        let args: Vec<&str> = of_zone.as_deref().into_iter().chain(["--list-all"]).collect();
        let listed = ask("firewall-cmd", &args).await.filter(|said| said.well);
        return Some(firewall::firewalld(listed.as_ref().map(|said| said.text.as_str()), packet));
    }
    if let Some(said) = ask("nft", &["-j", "list", "ruleset"]).await {
        return firewall::nftables(said.well.then_some(said.text.as_str()), packet);
    }
    let said = ask(firewall::iptables_tool(packet), &["-S", "INPUT"]).await?;
    firewall::iptables(said.well.then_some(said.text.as_str()), packet)
}

#[cfg(target_os = "macos")]
async fn other_firewall() -> Option<Firewall> {
    const TOOL: &str = "/usr/libexec/ApplicationFirewall/socketfilterfw";
    let program = std::env::current_exe().ok()?;
    let state = ask(TOOL, &["--getglobalstate"]).await?;
    let blocked = ask(TOOL, &["--getappblocked", &program.to_string_lossy()]).await;
    firewall::macos(&state.text, blocked.as_ref().map(|said| said.text.as_str()), &program)
}

#[cfg(windows)]
async fn other_firewall() -> Option<Firewall> {
    let program = std::env::current_exe().ok()?;
    let profile = ask("netsh", &["advfirewall", "show", "currentprofile"]).await?;
    firewall::windows(&profile.text, &program)
}

#[cfg(not(any(target_os = "macos", windows)))]
async fn other_firewall() -> Option<Firewall> {
    None
}

/// Every interface, where the system tells in files.
fn links() -> BTreeMap<String, Flags> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    // What is plugged into a bridge has its address there.
    let entries = entries.filter(|entry| !entry.path().join("master").exists());
    let link = |entry: std::fs::DirEntry| {
        let part = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        Some((entry.file_name().into_string().ok()?, Flags::read(&part("flags"), &part("carrier"))?))
    };
    entries.filter_map(link).collect()
}

/// Whether there is another system around this one.
fn around() -> Option<Around> {
    if system::is_wsl(&file("/proc/sys/kernel/osrelease")) {
        return Some(Around::Wsl);
    }
    // What the managers of containers leave in them; systemd and podman also say it in the environment.
    let marked = [("/.dockerenv", "Docker"), ("/run/.containerenv", "Podman")];
    let marked = marked.into_iter().find(|(mark, _)| Path::new(mark).exists()).map(|(_, kind)| kind.to_owned());
    let told = || std::env::var("container").ok().filter(|kind| !kind.is_empty());
    marked.or_else(told).map(Around::Container)
}

/// The program that waits at `port`, by the tables of `/proc/net`. `None` if it can't be seen.
fn holder(tables: &[&str], port: u16) -> Option<String> {
    let inodes: Vec<u64> =
        tables.iter().flat_map(|table| system::sockets_at(&file(&format!("/proc/net/{table}")), port)).collect();
    if inodes.is_empty() {
        return None;
    }
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        // The descriptors of other users' processes can't be seen.
        let descriptors = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let holds = |target: std::path::PathBuf| sockets.iter().any(|socket| target.as_os_str() == socket.as_str());
        if descriptors.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(holds) {
            let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(format!("{} (process {})", name.trim(), process.file_name().to_string_lossy()));
        }
    }
    None
}

/// A file of the system as text; empty where there is none.
fn file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
