//! `qrdrop receive --from`: takes what an outbox has, instead of hosting.

use std::sync::Arc;

use super::args::{Common, Receive};
use super::{Done, Ended, disk, failed, interruptions, network, open_state, shown_name, target, unless_interrupted};
use crate::events::{ExitCode, Failure, Reporter};
use crate::net::addresses::candidates;
use crate::net::discovery::Kind;
use crate::pairing::Identity;
use crate::session::Fetcher;
use crate::store::Folder;
use crate::transfer::Outlet;
use crate::ui::Ui;

/// Fetches everything from the outbox that `from` names.
pub(super) async fn run(
    receive: &Receive,
    from: &str,
    common: &Common,
    ui: &Arc<Ui>,
    reporter: &Arc<dyn Reporter>,
) -> Ended {
    let interrupted = interruptions(ui);
    let folder = Folder::open(&receive.folder).map_err(|error| disk(&error))?;
    open_state(common)?;
    let only = common.interface.as_deref();
    let source = match only {
        None => None,
        Some(_) => {
            let found = candidates(only).map_err(|error| network(ExitCode::Local, &error))?;
            found.first().map(|candidate| candidate.ip)
        }
    };
    let outbox = target::named(from, Kind::Outbox, only).await?;
    let identity = Identity::fresh(&[]);
    let identity =
        identity.map_err(|error| failed(Failure::new(ExitCode::Internal, error.to_string(), "report it")))?;
    let fetcher = Fetcher {
        identity,
        name: shown_name(common),
        folder,
        if_exists: receive.if_exists.into(),
        max_size: receive.max_size,
        outlet: receive.stdout.then(|| Arc::new(Outlet::new(std::io::stdout()))),
        retry: receive.retry,
        source,
        reporter: Arc::clone(reporter),
    };
    fetcher.fetch(&outbox.target, interrupted.clone()).await?;
    unless_interrupted(ui.text_is_dealt_with(), interrupted).await;
    Ok(Done::well("everything is here"))
}
