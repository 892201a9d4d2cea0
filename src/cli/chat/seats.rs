//! The two kinds of seat that this end's person has: in the room that is hosted here, and in somebody else's.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::lines::lines;
use super::means::Means;
use super::talk::Talk;
use crate::cli::hosting::Door;
use crate::cli::{Done, Ended, Failed};
use crate::events::{Event, ExitCode, Failure, Reporter};
use crate::session::{Devices, Met, Over, RoomGuest, RoomHost, Seat, Target};

/// How a stay in a room went.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::cli) struct Stay {
    /// Whether a transfer was under way at its end.
    pub(in crate::cli) busy: bool,
    /// The code of a transfer that failed and was not made good.
    pub(in crate::cli) lost: Option<ExitCode>,
    /// Whether everything that was said here was heard.
    pub(super) heard: bool,
}

impl Stay {
    async fn over(talk: Talk) -> Stay {
        let stay = Stay { busy: talk.is_busy(), lost: talk.failed(), heard: talk.is_heard() };
        talk.close().await;
        stay
    }
}

/// The seat of this end's own person in the room that is hosted here.
pub(in crate::cli) struct OwnSeat {
    talk: Talk,
    /// Until it is sat on.
    free: Option<(Seat, mpsc::Receiver<String>)>,
    sitting: JoinHandle<Over>,
}

impl OwnSeat {
    /// Takes it, in the room behind that door.
    pub(in crate::cli) fn take(room: Arc<RoomHost>, door: &Door<'_>, means: Means) -> OwnSeat {
        let (typed, (seat, legs)) = (lines(&means.ui), Seat::new());
        let talk = Talk::new(Means {
            identity: door.host.identity().clone(),
            address: Some(door.address()),
            room: Some(Arc::clone(&room)),
            ..means
        });
        let sitting = tokio::spawn(async move { room.sit(legs).await });
        OwnSeat { talk, free: Some((seat, typed)), sitting }
    }

    /// Talks until the person leaves.
    pub(in crate::cli) async fn talk(&mut self) {
        if let Some((seat, typed)) = self.free.take() {
            self.talk.run(seat, typed).await;
        }
    }

    /// The room is over.
    pub(in crate::cli) async fn leave(self) -> Stay {
        self.sitting.abort();
        Stay::over(self.talk).await
    }
}

/// Until the person leaves the seat; for ever, where there is none.
pub(in crate::cli) async fn talked(seat: &mut Option<OwnSeat>) {
    match seat {
        Some(seat) => seat.talk().await,
        None => std::future::pending().await,
    }
}

/// The room is over, if there was one.
pub(in crate::cli) async fn left_by(seat: Option<OwnSeat>) -> Stay {
    match seat {
        Some(seat) => seat.leave().await,
        None => Stay::default(),
    }
}

/// Sits in the room at `target`, whose host may have been `met` already.
pub(super) async fn sit(
    means: Means,
    devices: Devices,
    target: &Target,
    met: Option<Met>,
) -> (Result<Over, Failure>, Stay) {
    let guest = RoomGuest {
        identity: means.identity.clone(),
        devices,
        name: means.name.clone(),
        source: means.source,
        reporter: Arc::clone(&means.reporter),
    };
    let (typed, interrupted, (seat, legs)) = (lines(&means.ui), means.interrupted.clone(), Seat::new());
    let mut talk = Talk::new(means);
    let (over, ()) = tokio::join!(guest.attend(target, met, legs, interrupted), talk.run(seat, typed));
    (over, Stay::over(talk).await)
}

/// What is wrong where somebody was still to hear something.
pub(super) fn unheard() -> Failure {
    Failure::new(
        ExitCode::Incomplete,
        "the room was closed before everything was heard there",
        "say it again when the room is open",
    )
}

/// Sees a transfer to its end; with `means` it talks in the room of whom that has `met`, meanwhile and until the person
/// leaves. How the transfer came out is told to `reporter`, and is the code; if it went well, the code is that of what went
/// wrong in the room, once there.
pub(in crate::cli) async fn beside(
    means: Option<Means>,
    reporter: &dyn Reporter,
    target: &Target,
    met: watch::Receiver<Option<Met>>,
    transfer: impl Future<Output = Result<(), Failed>>,
    well: &str,
) -> Ended {
    let transfer = Box::pin(transfer);
    let Some(means) = means else {
        transfer.await?;
        return Ok(Done::well(well));
    };
    let transferring = async {
        let Err((transfer, failure)) = transfer.await else { return Done::well(well) };
        let done = Done::with(failure.code, &failure.message);
        // The person goes on talking, and has to know.
        reporter.tell(Event::Failed { transfer, failure });
        done
    };
    let (done, talked) = tokio::join!(transferring, Box::pin(talk_there(means, target, met)));
    match (done.code, talked) {
        (ExitCode::Ok, Err(code)) => Ok(Done::with(code, "everything is there, and something failed in the room")),
        _ => Ok(done),
    }
}

async fn talk_there(means: Means, target: &Target, mut met: watch::Receiver<Option<Met>>) -> Result<(), ExitCode> {
    // Whom nobody meets has no room either.
    let Some(met) = met.wait_for(Option::is_some).await.ok().and_then(|met| *met) else { return Ok(()) };
    let reporter = Arc::clone(&means.reporter);
    let tell = |failure: Failure| reporter.tell(Event::Failed { transfer: None, failure });
    if let Err(error) = met.must_hold_room() {
        tell(error.failure());
        return Ok(());
    }
    let devices = means.devices.clone();
    let (over, stay) = sit(means, devices, target, Some(met)).await;
    match over {
        Err(failure) if failure.code == ExitCode::Interrupted => {}
        Err(failure) => tell(failure),
        Ok(_) if !stay.heard && !stay.busy => {
            tell(unheard());
            return Err(ExitCode::Incomplete);
        }
        Ok(_) => {}
    }
    match stay {
        Stay { busy: true, .. } => Err(ExitCode::Interrupted),
        Stay { lost: Some(code), .. } => Err(code),
        _ => Ok(()),
    }
}
