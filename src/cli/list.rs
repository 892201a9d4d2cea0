//! `qrdrop list`: the receivers nearby, as they are found.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::args::{Common, List};
use super::doctor::POINTER;
use super::{Done, Ended, failed, interruptions, network, open_devices, unusable};
use crate::events::{Event, ExitCode, Failure, Reporter};
use crate::net::discovery::{Browser, Change, Found, Kind};
use crate::session::Known;
use crate::ui::Ui;

/// Listens for as long as asked; each receiver is told once for each address it has first.
pub(super) async fn run(list: List, common: &Common, ui: &Arc<Ui>) -> Ended {
    let known = open_devices(common, false)?.known().map_err(|error| unusable(&error))?;
    let started = Browser::start(common.interface.as_deref());
    let mut browser = started.map_err(|error| network(ExitCode::Nobody, &error))?;
    let mut interrupted = interruptions(ui);
    let deadline = Instant::now() + list.wait;
    let mut told = Vec::new();
    loop {
        let change = tokio::select! {
            change = timeout_at(deadline, browser.next()) => change,
            _ = interrupted.wait_for(|interrupted| *interrupted) => break,
        };
        match change {
            Ok(Change::Found(found)) if found.kind == Kind::Inbox => tell(&found, &known, common.json, ui, &mut told),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    browser.shutdown().await;
    if told.is_empty() {
        return Err(failed(nobody(list.wait)));
    }
    Ok(Done::well("the time is over"))
}

fn tell(found: &Found, known: &Known, json: bool, ui: &Ui, told: &mut Vec<(String, std::net::SocketAddr)>) {
    let address = found.addresses[0];
    let key = (found.fullname.clone(), address);
    if told.contains(&key) {
        return;
    }
    told.push(key);
    let device = known.marked(&found.id);
    let name = device.map_or(&found.name, |device| &device.name).clone();
    let (id, trusted) = (found.id.clone(), device.is_some());
    if !json {
        let mark = if trusted { "  trusted" } else { "" };
        ui.write_stdout(&format!("{name}  {address}  {id}{mark}"));
    }
    if let (false, Err(impostor)) = (trusted, known.stranger(&name, &id)) {
        ui.say(&impostor.to_string());
    }
    ui.tell(Event::Receiver { name, address, id, trusted });
}

/// Nobody was heard.
pub(super) fn nobody(wait: std::time::Duration) -> Failure {
    Failure::new(
        ExitCode::Nobody,
        format!("no receiver was found within {}", humantime::format_duration(wait)),
        format!(
            "start `qrdrop receive` on the other device, in the same network; its code and its link work in any case, and \
             {POINTER}"
        ),
    )
}
