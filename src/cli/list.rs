//! `qrdrop list`: the receivers nearby, as they are found.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::args::{Common, List};
use super::doctor::POINTER;
use super::{Done, Ended, failed, interruptions, network};
use crate::events::{Event, ExitCode, Failure, Reporter};
use crate::net::discovery::{Browser, Change, Found, Kind};
use crate::ui::Ui;

/// Listens for as long as asked; each receiver is told once for each address it has first.
pub(super) async fn run(list: List, common: &Common, ui: &Arc<Ui>) -> Ended {
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
            Ok(Change::Found(found)) if found.kind == Kind::Inbox => tell(&found, common.json, ui, &mut told),
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

fn tell(found: &Found, json: bool, ui: &Ui, told: &mut Vec<(String, std::net::SocketAddr)>) {
    let address = found.addresses[0];
    let key = (found.fullname.clone(), address);
    if told.contains(&key) {
        return;
    }
    told.push(key);
    let (name, id) = (found.name.clone(), found.id.clone());
    if !json {
        ui.write_stdout(&format!("{name}  {address}  {id}"));
    }
    ui.tell(Event::Receiver { name, address, id, trusted: false });
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
