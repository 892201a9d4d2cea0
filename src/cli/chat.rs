//! `qrdrop chat`: a room that others join, or a seat in one.

pub(super) mod lines;
mod means;
mod relaying;
mod seats;
mod share;
mod talk;

use std::sync::Arc;

use self::relaying::Relaying;
use self::seats::{sit, unheard};
use super::args::{Chat, Common};
use super::hosting::{Display, Door, Hosted, Left, Purpose};
use super::target::{self, Receiver};
use super::{Done, Ended, Ways, disk, failed, interruptions, made, open_devices, unusable};
use crate::confine::Errands;
use crate::events::{ExitCode, Failure};
use crate::net::discovery::Kind;
use crate::session::{Devices, Over, RoomHost, RoomMemory, Target};
use crate::store::History;
use crate::ui::Ui;
use crate::web::{self, Web};
use crate::wire::Role;

pub(super) use self::means::Means;
pub(super) use self::seats::{OwnSeat, Stay, beside, left_by, talked};

/// Hosts a room, or joins one.
pub(super) async fn run(chat: Chat, common: &Common, ui: &Arc<Ui>, ways: &Ways) -> Ended {
    let interrupted = interruptions(ui);
    let devices = open_devices(common, chat.hosting.remember)?;
    let mut means = Means::new(common, ui, ways, &chat.folder, chat.hosting.expose, interrupted)?;
    let history = chat.history.clone().map(|path| ways.errands.run(move || History::open(&path)));
    means.history = history.transpose().map_err(|error| disk(&error))?;
    match (&chat.to, &chat.scan) {
        (Some(to), _) => {
            let known = devices.known().map_err(|error| unusable(&error))?;
            let room = target::named(to, Kind::Room, common.interface.as_deref(), &known).await?;
            join(room, means, devices).await
        }
        (None, Some(picture)) => join(target::pictured(picture).await?, means, devices).await,
        (None, None) => host(&chat, common, means, ways.errands.clone()).await,
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
    let (over, Stay { busy, heard, lost }) = sit(means, devices, &room.target, None).await;
    remembered.into_iter().for_each(RoomMemory::forget);
    match (over, lost) {
        (Err(failure), _) if failure.code == ExitCode::Interrupted && !busy && heard => Ok(left(lost)),
        (Err(failure), _) => Err(failed(failure)),
        _ if busy => Ok(interrupted_while_busy()),
        (Ok(_), _) if !heard => Err(failed(unheard())),
        (Ok(Over::Closed), None) => Ok(Done::well("the room is closed")),
        (Ok(_), _) => Ok(left(lost)),
    }
}

async fn host(chat: &Chat, common: &Common, mut means: Means, errands: Errands) -> Ended {
    let (hosting, ui, interrupted) = (&chat.hosting, Arc::clone(&means.ui), means.interrupted.clone());
    let door = Door::open(hosting, common, &ui, &means.reporter, Role::Room, false, None)?;
    let room = RoomHost::new(Arc::clone(&door.host), hosting.yes.map(Into::into));
    let relaying = Relaying::new(&room, &door.host, &means.memory)?;
    let share = web::Share::Room(Arc::clone(&room), Arc::clone(&relaying.relay));
    means.relaying = Some(relaying);
    let mut seat = OwnSeat::take(Arc::clone(&room), &door, means);
    let display = Display {
        directory: None,
        offers: Some("a room: messages and files".to_owned()),
        nearby: None,
        by_link: "qrdrop chat --to LINK",
    };
    let web = Web::new(share, hosting.https);
    let hosted = Hosted::Room(room);
    let purpose = Purpose { hosted, web, first_ends: false, single_keys: false, display, errands };
    let attended = door.attend(purpose, interrupted, seat.talk()).await?;
    let Stay { busy, lost, .. } = seat.leave().await;
    let lost = lost.or(attended.failed);
    match attended.left {
        _ if busy || attended.under_way => Ok(interrupted_while_busy()),
        Left::NobodyCame => {
            Err(failed(Failure::new(ExitCode::Nobody, "nobody came in time", "start again, or raise `--timeout`")))
        }
        _ => Ok(left(lost)),
    }
}

pub(super) fn interrupted_while_busy() -> Done {
    Done::with(ExitCode::Interrupted, "interrupted while something was under way")
}

pub(super) fn left(lost: Option<ExitCode>) -> Done {
    match lost {
        Some(code) => Done::with(code, "left with a failed transfer"),
        None => Done::well("left"),
    }
}
