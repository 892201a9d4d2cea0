//! What one end brings into a room.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::relaying::Relaying;
use super::share::Giver;
use crate::cli::args::Common;
use crate::cli::{Failed, Ways, made, network, open_devices, open_folder, open_state, shown_name};
use crate::events::{ExitCode, Reporter};
use crate::net::addresses::candidates;
use crate::pairing::Identity;
use crate::session::{Devices, Fetcher, Memory, RoomHost};
use crate::store::{Folder, History, IfExists};
use crate::ui::Ui;
use crate::wire::LANES_CAP;

/// How long the one who offers is looked for after a cut.
const TAKE_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);

/// What one end brings into a room.
pub(in crate::cli) struct Means {
    pub(super) ui: Arc<Ui>,
    /// Where everything that happens is told.
    pub(super) reporter: Arc<dyn Reporter>,
    /// The same for what others take from here.
    pub(super) outgoing: Arc<dyn Reporter>,
    /// The key that this end has in the room, with which it offers and takes.
    pub(super) identity: Identity,
    /// Those who are known by theirs. Nobody is remembered by the word of the room's host.
    pub(super) devices: Devices,
    pub(super) name: String,
    /// Where what is taken goes.
    pub(super) folder: Arc<Folder>,
    /// The address to dial from, if one was asked for.
    pub(super) source: Option<IpAddr>,
    /// Where others of the room reach this end, if the way to the room does not tell.
    pub(super) address: Option<IpAddr>,
    /// Whether what is offered is also for those from outside private ranges.
    pub(super) expose: bool,
    pub(super) memory: Memory,
    pub(super) history: Option<History>,
    /// The room itself, where it is hosted here.
    pub(super) room: Option<Arc<RoomHost>>,
    /// What is done there for pages.
    pub(super) relaying: Option<Relaying>,
    pub(super) interrupted: watch::Receiver<bool>,
}

impl Means {
    /// Those of a device that is known to nobody yet; what it takes goes into `folder`.
    pub(in crate::cli) fn new(
        common: &Common,
        ui: &Arc<Ui>,
        ways: &Ways,
        folder: &Path,
        expose: bool,
        interrupted: watch::Receiver<bool>,
    ) -> Result<Means, Failed> {
        let devices = open_devices(common, false)?;
        let mut source = None;
        if let Some(only) = common.interface.as_deref() {
            let found = candidates(Some(only)).map_err(|error| network(ExitCode::Local, &error))?;
            source = found.first().map(|candidate| candidate.ip);
        }
        Ok(Means {
            ui: Arc::clone(ui),
            reporter: Arc::clone(&ways.incoming),
            outgoing: Arc::clone(&ways.outgoing),
            identity: made(devices.identity(None, &[]))?,
            devices,
            name: shown_name(common),
            folder: open_folder(folder, ui)?,
            source,
            address: None,
            expose,
            memory: open_state(common)?,
            history: None,
            room: None,
            relaying: None,
            interrupted,
        })
    }

    /// The same under the key that the host of the room knows.
    pub(in crate::cli) fn known_by(self, identity: &Identity) -> Means {
        Means { identity: identity.clone(), ..self }
    }

    /// To offer with.
    pub(super) fn giver(&self) -> Giver {
        let Means { identity, devices, name, expose, memory, outgoing, .. } = self;
        let (identity, devices) = (identity.clone(), devices.clone());
        let (name, memory) = (name.clone(), memory.clone());
        Giver { identity, devices, name, expose: *expose, memory, reporter: Arc::clone(outgoing) }
    }

    /// To take with.
    pub(super) fn fetcher(&self) -> Fetcher {
        Fetcher {
            identity: self.identity.clone(),
            devices: self.devices.clone(),
            name: self.name.clone(),
            folder: Arc::clone(&self.folder),
            if_exists: IfExists::Rename,
            max_size: None,
            outlet: None,
            lanes: LANES_CAP,
            retry: TAKE_AGAIN,
            source: self.source,
            reporter: Arc::clone(&self.reporter),
            met: watch::Sender::default(),
        }
    }
}
