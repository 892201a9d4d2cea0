//! `qrdrop devices`: the devices that are remembered.

use std::sync::Arc;

use super::args::{Action, Common, Devices};
use super::{Done, Ended, open_devices, unusable};
use crate::events::{Event, Reporter};
use crate::session::Device;
use crate::ui::Ui;

/// Lists, renames or forgets; each device that this is about is told.
pub(super) fn run(devices: Devices, common: &Common, ui: &Arc<Ui>) -> Ended {
    let list = open_devices(common, false)?;
    let done = match devices.action.unwrap_or(Action::List) {
        Action::List => list.known().map(|known| {
            known.devices().iter().for_each(|device| tell(device, common.json, ui));
            match known.devices().len() {
                0 => "no device is remembered: `--remember` on both sides of a transfer does it".to_owned(),
                1 => "1 device is remembered".to_owned(),
                count => format!("{count} devices are remembered"),
            }
        }),
        Action::Rename { old, new } => list.rename(&old, &new).map(|device| {
            tell(&device, common.json, ui);
            format!("it is `{}` from now on", device.name)
        }),
        Action::Forget { name } => list.forget(&name).map(|device| {
            tell(&device, common.json, ui);
            format!("`{}` is forgotten", device.name)
        }),
    };
    let reason = done.map_err(|error| unusable(&error))?;
    if ui.has_terminal() {
        // Without one the end of the command says it.
        ui.say(&reason);
    }
    Ok(Done::well(&reason))
}

fn tell(device: &Device, json: bool, ui: &Ui) {
    let Device { name, key, since, last_seen } = device.clone();
    let id = key.mark();
    if !json {
        let day = |time: &str| time.split('T').next().unwrap_or_default().to_owned();
        let last = last_seen.as_deref().map_or_else(String::new, |time| format!(", last seen {}", day(time)));
        ui.write_stdout(&format!("{name}  {id}  since {}{last}", day(&since)));
    }
    ui.tell(Event::Device { name, id, since, last_seen });
}
