//! `qrdrop send`: what is offered, to whom, and how it came out.

use std::sync::Arc;

use super::args::{Common, Send};
use super::{Done, Ended, disk, failed, interruptions, network, open_state, shown_name, target};
use crate::events::{ExitCode, Failure, Reporter};
use crate::names::inert;
use crate::net::addresses::candidates;
use crate::pairing::Identity;
use crate::session::{ClassicSender, Sender};
use crate::store::{LeftOut, SourceKind, Walk, WalkOptions, walk};
use crate::ui::Ui;

/// Sends to one receiver.
pub(super) async fn run(send: Send, common: &Common, ui: &Arc<Ui>) -> Ended {
    let interrupted = interruptions(ui);
    open_state(common)?;
    let (paths, options) = (send.paths.clone(), WalkOptions { follow_links: send.follow_links });
    let walked = tokio::task::spawn_blocking(move || walk(&paths, &options)).await;
    let walked =
        walked.map_err(|_| failed(Failure::new(ExitCode::Internal, "the sources could not be listed", "report it")))?;
    let walked = walked.map_err(|error| disk(&error))?;
    for unreadable in &walked.unreadable {
        ui.say(&format!("can't be read, left out: {} ({})", shown(unreadable), unreadable.reason));
    }
    let source = match common.interface.as_deref() {
        None => None,
        Some(only) => {
            let found = candidates(Some(only)).map_err(|error| network(ExitCode::Local, &error))?;
            found.first().map(|candidate| candidate.ip)
        }
    };
    let receiver = match (&send.to, &send.scan) {
        (Some(to), _) => target::named(to, common.interface.as_deref()).await?,
        (None, Some(picture)) => target::pictured(picture).await?,
        (None, None) if !ui.has_terminal() => {
            return Err(failed(Failure::new(
                ExitCode::Nobody,
                "there is no terminal to choose a receiver at",
                "name it with `--to`, or show a picture of its code with `--scan`",
            )));
        }
        (None, None) => match target::chosen(ui, common.interface.as_deref()).await? {
            Some(receiver) => receiver,
            None => return Err(failed(Failure::new(ExitCode::Nobody, "no receiver was chosen", ""))),
        },
    };
    let reporter: Arc<dyn Reporter> = ui.clone();
    if send.classic {
        return classic(walked, &receiver, source, reporter).await;
    }
    let identity = Identity::fresh(&[]);
    let identity =
        identity.map_err(|error| failed(Failure::new(ExitCode::Internal, error.to_string(), "report it")))?;
    let Walk { entries, left_out, unreadable } = walked;
    let left_out = left_out.iter().chain(&unreadable);
    let sender = Sender {
        identity,
        name: shown_name(common),
        left_out: left_out.map(|left| (shown(left), left.reason.clone())).collect(),
        entries: Arc::new(entries),
        source,
        reporter,
    };
    sender.send(&receiver.target, interrupted).await?;
    if let Some(first) = unreadable.first() {
        let message = format!("{} could not be read, first `{}`: {}", unreadable.len(), shown(first), first.reason);
        return Err(failed(Failure::new(ExitCode::Local, message, "everything else was sent; check its permissions")));
    }
    Ok(Done::well("everything is sent"))
}

fn shown(left: &LeftOut) -> String {
    inert(&left.path.to_string_lossy())
}

/// The tutorial's protocol has room for one file.
async fn classic(
    mut walked: Walk,
    receiver: &target::Receiver,
    source: Option<std::net::IpAddr>,
    reporter: Arc<dyn Reporter>,
) -> Ended {
    if receiver.classic == Some(false) {
        return Err(failed(Failure::new(
            ExitCode::Refused,
            "that receiver does not take the tutorial's protocol",
            "send without `--classic`",
        )));
    }
    let one_file = matches!(walked.entries.as_slice(), [entry] if entry.kind == SourceKind::File);
    let Some(entry) = walked.entries.pop().filter(|_| one_file) else {
        return Err(failed(Failure::new(
            ExitCode::Usage,
            "the tutorial's protocol carries one file at a time",
            "send one file, or pack the folder first",
        )));
    };
    ClassicSender { entry, source, reporter }.send(&receiver.addresses()).await?;
    Ok(Done::well("everything is sent"))
}
