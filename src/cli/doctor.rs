//! `qrdrop doctor`: why others can't find or reach this device.

use std::sync::Arc;

use super::args::{Common, Doctor};
use super::{Done, Ended, interruptions, network};
use crate::doctor::Checkup;
use crate::events::{Event, ExitCode, Reporter};
use crate::net::listen::{DEFAULT_PORT, PortChoice};
use crate::ui::Ui;

/// What follows a failure to find or reach somebody.
pub(super) const POINTER: &str = "`qrdrop doctor` tells what is in the way";

/// Looks once, tells each finding, and sums up.
pub(super) async fn run(doctor: Doctor, common: &Common, ui: &Arc<Ui>) -> Ended {
    let mut interrupted = interruptions(ui);
    let port = doctor.port.map_or(PortChoice::Preferred(DEFAULT_PORT), PortChoice::Exactly);
    let checkup = Checkup { port, only: common.interface.clone() };
    let diagnosis = tokio::select! {
        diagnosis = checkup.examine() => diagnosis.map_err(|error| network(ExitCode::Local, &error))?,
        _ = interrupted.wait_for(|interrupted| *interrupted) => {
            return Ok(Done::with(ExitCode::Interrupted, "interrupted"));
        }
    };
    let (code, summary) = (diagnosis.code(), diagnosis.summary());
    diagnosis.0.into_iter().for_each(|finding| ui.tell(Event::Finding(finding)));
    if ui.has_terminal() {
        // Without one the end of the command says it.
        ui.say(&summary);
    }
    Ok(Done::with(code, &summary))
}
