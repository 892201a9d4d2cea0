//! `qrdrop chat`: a room that others join, or a seat in one.

mod lines;
mod relaying;
mod share;
mod talk;

use std::sync::Arc;

use self::lines::lines;
use self::relaying::Relaying;
use self::talk::{Means, Talk};
use super::args::{Chat, Common};
use super::hosting::{Display, Door, Hosted, Left, Purpose};
use super::target::{self, Receiver};
use super::{Done, Ended, disk, failed, interruptions, made, network, open_devices, open_state, shown_name, unusable};
use crate::events::{ExitCode, Failure, Reporter};
use crate::net::addresses::candidates;
use crate::net::discovery::Kind;
use crate::session::{Devices, Over, RoomGuest, RoomHost, RoomMemory, Seat, Target};
use crate::store::{Folder, History};
use crate::ui::Ui;
use crate::web::{self, Web};
use crate::wire::Role;

/// Hosts a room, or joins one.
///
/// What comes in is told to `reporter`, what goes out to `outgoing`.
pub(super) async fn run(
    chat: Chat,
    common: &Common,
    ui: &Arc<Ui>,
    reporter: &Arc<dyn Reporter>,
    outgoing: Arc<dyn Reporter>,
) -> Ended {
    let interrupted = interruptions(ui);
    let folder = Folder::open(&chat.folder).map_err(|error| disk(&error))?;
    let history = chat.history.as_deref().map(History::open).transpose().map_err(|error| disk(&error))?;
    let memory = open_state(common)?;
    let devices = open_devices(common, chat.hosting.remember)?;
    let identity = made(devices.identity(None, &[]))?;
    let mut means = Means {
        ui: Arc::clone(ui),
        reporter: Arc::clone(reporter),
        outgoing,
        identity,
        devices: devices.clone().closed(),
        name: shown_name(common),
        folder,
        source: None,
        address: None,
        expose: chat.hosting.expose,
        memory,
        history,
        room: None,
        relaying: None,
        interrupted: interrupted.clone(),
    };
    if let Some(only) = common.interface.as_deref() {
        let found = candidates(Some(only)).map_err(|error| network(ExitCode::Local, &error))?;
        means.source = found.first().map(|candidate| candidate.ip);
    }
    match (&chat.to, &chat.scan) {
        (Some(to), _) => {
            let known = devices.known().map_err(|error| unusable(&error))?;
            let room = target::named(to, Kind::Room, common.interface.as_deref(), &known).await?;
            join(room, means, devices).await
        }
        (None, Some(picture)) => join(target::pictured(picture).await?, means, devices).await,
        (None, None) => host(&chat, common, means).await,
    }
}

async fn join(room: Receiver, mut means: Means, devices: Devices) -> Ended {
    // A process that was killed is followed by one with its key, which hears what it has missed.
    let remembered = match &room.target {
        Target::Invited(invitation) => means.memory.room(invitation.receiver()),
        _ => None,
    };
    if let Some(remembered) = &remembered {
        if let Some(kept) = &remembered.key {
            means.identity = made(devices.identity(Some(kept), &[]))?;
        }
        remembered.keep(&means.identity);
    }
    let guest = RoomGuest {
        identity: means.identity.clone(),
        devices,
        name: means.name.clone(),
        source: means.source,
        reporter: Arc::clone(&means.reporter),
    };
    let (typed, _) = lines(&means.ui);
    let (interrupted, (seat, legs)) = (means.interrupted.clone(), Seat::new());
    let mut talk = Talk::new(means);
    let (over, ()) = tokio::join!(guest.attend(&room.target, legs, interrupted), talk.run(seat, typed));
    let (busy, heard, lost) = (talk.is_busy(), talk.is_heard(), talk.failed());
    talk.close().await;
    remembered.into_iter().for_each(RoomMemory::forget);
    match (over, lost) {
        (Err(failure), _) if failure.code == ExitCode::Interrupted && !busy && heard => Ok(left(lost)),
        (Err(failure), _) => Err(failed(failure)),
        _ if busy => Ok(interrupted_while_busy()),
        (Ok(_), _) if !heard => Err(failed(Failure::new(
            ExitCode::Incomplete,
            "the room was closed before everything was heard there",
            "say it again when the room is open",
        ))),
        (Ok(Over::Closed), None) => Ok(Done::well("the room is closed")),
        (Ok(_), _) => Ok(left(lost)),
    }
}

async fn host(chat: &Chat, common: &Common, mut means: Means) -> Ended {
    let (hosting, ui) = (&chat.hosting, Arc::clone(&means.ui));
    let door = Door::open(hosting, common, &ui, &means.reporter, Role::Room, false, None)?;
    let room = RoomHost::new(Arc::clone(&door.host), hosting.yes.map(Into::into));
    means.identity = door.host.identity().clone();
    let relaying = Relaying::new(&room, &door.host, &means.memory)?;
    let share = web::Share::Room(Arc::clone(&room), Arc::clone(&relaying.relay));
    means.relaying = Some(relaying);
    means.room = Some(Arc::clone(&room));
    means.address = Some(door.address());
    let (typed, interrupted) = (lines(&ui).0, means.interrupted.clone());
    let (seat, legs) = Seat::new();
    let sitting = {
        let room = Arc::clone(&room);
        tokio::spawn(async move { room.sit(legs).await })
    };
    let mut talk = Talk::new(means);
    let display = Display {
        directory: None,
        offers: Some("a room: messages and files".to_owned()),
        advice: match hosting.no_web {
            false => "a phone: point its camera at the code. a computer: `qrdrop chat --to LINK`",
            true => "on another computer: `qrdrop chat --to LINK`",
        },
    };
    let web = Web::new(share, hosting.https);
    let purpose = Purpose { hosted: Hosted::Room(room), web, first_ends: false, single_keys: false, display };
    let attended = door.attend(purpose, interrupted, talk.run(seat, typed)).await?;
    sitting.abort();
    let (busy, lost) = (talk.is_busy() || attended.under_way, talk.failed().or(attended.failed));
    talk.close().await;
    match attended.left {
        _ if busy => Ok(interrupted_while_busy()),
        Left::NobodyCame => {
            Err(failed(Failure::new(ExitCode::Nobody, "nobody came in time", "start again, or raise `--timeout`")))
        }
        _ => Ok(left(lost)),
    }
}

fn interrupted_while_busy() -> Done {
    Done::with(ExitCode::Interrupted, "interrupted while something was under way")
}

fn left(lost: Option<ExitCode>) -> Done {
    match lost {
        Some(code) => Done::with(code, "left with a failed transfer"),
        None => Done::well("left"),
    }
}
