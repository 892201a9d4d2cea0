//! `qrdrop receive --from`: takes what an outbox has, instead of hosting.

use std::sync::Arc;

use super::args::{Common, Receive};
use super::{
    Done, Ended, disk, interruptions, made, network, open_devices, open_state, shown_name, target, unless_interrupted,
    unusable,
};
use crate::events::{ExitCode, Reporter};
use crate::net::addresses::candidates;
use crate::net::discovery::Kind;
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
    let devices = open_devices(common, receive.hosting.remember)?;
    let known = devices.known().map_err(|error| unusable(&error))?;
    let only = common.interface.as_deref();
    let source = match only {
        None => None,
        Some(_) => {
            let found = candidates(only).map_err(|error| network(ExitCode::Local, &error))?;
            found.first().map(|candidate| candidate.ip)
        }
    };
    let outbox = target::named(from, Kind::Outbox, only, &known).await?;
    let fetcher = Fetcher {
        identity: made(devices.identity(None, &[]))?,
        devices,
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
