//! What a command that stores what others send is held to: its folder, its state, and the little else that it needs.

use std::path::PathBuf;

use super::args::{Chat, Cli, Command, Common, Hosting, Receive};
use crate::confine::{Errands, Limits, Needs, Unheld, mount_point};
use crate::names::inert;
use crate::store::StateDir;

/// How far this process is held.
pub(super) struct Confined {
    /// What stays possible beside that.
    pub(super) errands: Errands,
    /// For whoever wants to know every detail: to what, or why not.
    pub(super) note: Option<String>,
}

/// What a command will do, as far as it is known from its arguments.
struct Plan {
    needs: Needs,
    /// Whether something lies outside of that: files that the person named, a command to run.
    has_errands: bool,
}

/// Holds this process to what its command needs. To be called before any other thread is there.
pub(super) fn confine(cli: &Cli) -> Confined {
    let free = |note| Confined { errands: Errands::here(), note };
    let Some(Plan { needs, has_errands }) = plan(cli) else { return free(None) };
    let errands = match has_errands.then(Errands::outside).transpose() {
        Ok(errands) => errands.unwrap_or_default(),
        Err(error) => return free(Some(not_held(&Unheld::Refused(error.to_string())))),
    };
    let kept: Vec<String> = needs.keeps.iter().map(|path| format!("`{}`", path.display())).collect();
    match Limits::of(needs, mount_point).enforce() {
        Ok(()) => {
            let note = inert(&format!("held to {} by the kernel (Landlock)", kept.join(", ")));
            Confined { errands, note: Some(note) }
        }
        Err(why) => free(Some(not_held(&why))),
    }
}

fn not_held(why: &Unheld) -> String {
    inert(&format!("not held to the folder by the kernel (Landlock): {why}"))
}

/// `None` for a command that stores nothing, and where the folder is not there: that is told when it is opened.
fn plan(cli: &Cli) -> Option<Plan> {
    let (folder, talks, hosting) = match &cli.command {
        Command::Receive(receive) => (&receive.folder, receive.chat, &receive.hosting),
        Command::Chat(chat) => (&chat.folder, true, &chat.hosting),
        _ => return None,
    };
    let mut keeps = vec![folder.canonicalize().ok()?];
    keeps.extend(state(&cli.common));
    if talks {
        // Where the host of a room keeps what passes through it for pages.
        keeps.extend(std::env::temp_dir().canonicalize());
    }
    let reads = match &cli.command {
        Command::Receive(Receive { from: Some(from), .. }) => from.strip_prefix('@').map(PathBuf::from),
        _ => None,
    };
    let named = match &cli.command {
        Command::Receive(receive) => receive.on_stored.is_some(),
        Command::Chat(Chat { history, .. }) => history.is_some(),
        _ => false,
    };
    let Hosting { log, invite_file, qr_png, .. } = hosting;
    let has_errands = named || log.is_some() || invite_file.is_some() || qr_png.is_some();
    Some(Plan { needs: Needs { keeps, reads: reads.into_iter().collect(), reads_anything: talks }, has_errands })
}

/// The state folder, which is made for that: nothing is allowed at a place that is not there. Without one, nothing can be
/// remembered, which is told when there is something to remember.
fn state(common: &Common) -> Option<PathBuf> {
    StateDir::open(common.state_dir.as_deref()).ok()?.path().canonicalize().ok()
}
