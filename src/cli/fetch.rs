//! `qrdrop receive --from`: takes what an outbox has, instead of hosting.

use std::sync::Arc;

use tokio::sync::watch;

use super::args::{Common, Receive};
use super::chat::{Means, beside};
use super::{
    Ended, Ways, interruptions, made, network, open_devices, open_folder, open_state, shown_name, target,
    unless_interrupted, unusable,
};
use crate::events::ExitCode;
use crate::net::addresses::candidates;
use crate::net::discovery::Kind;
use crate::session::Fetcher;
use crate::transfer::Outlet;
use crate::ui::Ui;

/// Fetches everything from the outbox that `from` names.
pub(super) async fn run(receive: &Receive, from: &str, common: &Common, ui: &Arc<Ui>, ways: &Ways) -> Ended {
    let interrupted = interruptions(ui);
    let folder = open_folder(&receive.folder, ui)?;
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
        lanes: receive.lanes,
        retry: receive.retry,
        source,
        reporter: Arc::clone(&ways.incoming),
        met: watch::Sender::default(),
    };
    let means = match receive.chat {
        true => {
            let expose = receive.hosting.expose;
            let means = Means::new(common, ui, ways, &receive.folder, expose, interrupted.clone())?;
            Some(means.known_by(&fetcher.identity))
        }
        false => None,
    };
    let (met, target) = (fetcher.met.subscribe(), &outbox.target);
    let fetching = {
        let interrupted = interrupted.clone();
        async move { fetcher.fetch(target, interrupted).await }
    };
    let done = beside(means, &*ways.incoming, target, met, fetching, "everything is here").await?;
    if done.code == ExitCode::Ok {
        unless_interrupted(ui.text_is_dealt_with(), interrupted).await;
    }
    Ok(done)
}
