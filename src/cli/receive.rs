//! `qrdrop receive`: a folder that others may send to.

use std::sync::Arc;
use std::time::SystemTime;

use super::args::{Common, Receive};
use super::chat::{Means, OwnSeat, Stay, interrupted_while_busy, left, left_by, talked};
use super::doctor::POINTER;
use super::hosting::{Display, Door, Hosted, Left, Purpose};
use super::{Done, Ended, Ways, disk, interruptions, open_folder, open_state, unless_interrupted};
use crate::events::{ExitCode, Failure};
use crate::names::human_bytes;
use crate::session::{Classic, Inbox, InboxRules, RoomHost, Waiting, waiting};
use crate::transfer::Outlet;
use crate::ui::Ui;
use crate::web::{Share, Web};
use crate::wire::Role;

/// Receives until it is told to leave, or has done what `--once` asks.
pub(super) async fn run(mut receive: Receive, common: &Common, ui: &Arc<Ui>, ways: &Ways) -> Ended {
    let interrupted = interruptions(ui);
    let folder = open_folder(&receive.folder, ui)?;
    let memory = open_state(common)?;
    waiting(&folder).iter().for_each(|waiting| tell_waiting(ui, waiting));
    let known = memory.inbox_key(&folder).map_err(|error| disk(&error))?;
    let outlet = receive.stdout.then(|| Arc::new(Outlet::new(std::io::stdout())));
    let once = receive.once || receive.stdout;
    // What phones, curl and the tutorial's senders bring is stored, or not taken.
    receive.hosting.no_web |= receive.stdout;
    let hosting = &receive.hosting;
    let known = known.as_ref().map(|key| key.as_slice());
    let door = Door::open(hosting, common, ui, &ways.incoming, Role::Inbox, once, known)?;
    let rules = InboxRules {
        yes: hosting.yes.map(Into::into),
        if_exists: receive.if_exists.into(),
        max_size: receive.max_size,
        classic: if receive.stdout { Classic::Off } else { receive.classic.into() },
        outlet: outlet.clone(),
    };
    let directory = match receive.stdout {
        false => folder.path().to_string_lossy().into_owned(),
        true => "standard output".to_owned(),
    };
    let inbox = Inbox::new(Arc::clone(&door.host), folder, rules, memory);
    let mut seat = match receive.chat {
        true => {
            let means = Means::new(common, ui, ways, &receive.folder, hosting.expose, interrupted.clone())?;
            let room = RoomHost::new(Arc::clone(&door.host), hosting.yes.map(Into::into));
            Some(OwnSeat::take(room, &door, means))
        }
        false => None,
    };
    let web = Web::new(Share::Inbox(Arc::clone(&inbox)), hosting.https);
    let display = Display {
        directory: Some(directory),
        offers: None,
        nearby: Some(if receive.chat { "qrdrop send FILE --chat" } else { "qrdrop send FILE" }),
        by_link: if receive.chat { "qrdrop send FILE --chat --to LINK" } else { "qrdrop send FILE --to LINK" },
    };
    let single_keys = seat.is_none();
    let errands = ways.errands.clone();
    let purpose = Purpose { hosted: Hosted::Inbox(inbox), web, first_ends: once, single_keys, display, errands };
    let attended = door.attend(purpose, interrupted.clone(), talked(&mut seat)).await?;
    let Stay { busy, lost, .. } = left_by(seat).await;
    if matches!(attended.left, Left::Done) {
        unless_interrupted(ui.text_is_dealt_with(), interrupted).await;
    }
    Ok(match attended.left {
        Left::Done if lost.is_none() => Done::well("the transfer is finished"),
        Left::GivenUp(code) if outlet.is_some_and(|outlet| outlet.has_begun()) => {
            Done::with(code, "what was written to standard output is not the whole file")
        }
        Left::GivenUp(code) => Done::with(code, "pairing failed"),
        Left::Asked | Left::Otherwise(()) if attended.under_way || busy => interrupted_while_busy(),
        Left::Asked | Left::Otherwise(()) | Left::Done => left(lost.or(attended.failed)),
        Left::NobodyCame => {
            let hint = format!("start again, or raise `--timeout`; {POINTER}");
            return Err((None, Failure::new(ExitCode::Nobody, "nobody came in time", hint)));
        }
    })
}

/// Says what a cut transfer has left, and how long it waits.
fn tell_waiting(ui: &Ui, waiting: &Waiting) {
    let here = match waiting.total {
        Some(total) => format!("{} of {}", human_bytes(waiting.bytes.min(total)), human_bytes(total)),
        None => human_bytes(waiting.bytes),
    };
    let days = waiting.until.duration_since(SystemTime::now()).map_or(0, |left| left.as_secs().div_ceil(24 * 60 * 60));
    let who = if waiting.peer.is_empty() { "a sender" } else { &waiting.peer };
    ui.say(&format!("{who} may go on with an unfinished transfer: {here} is here, for {days} more days"));
}
