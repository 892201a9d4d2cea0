//! What this end offers to a room: an outbox on a port of its own, whose link only the room gets.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::cli::send::left_out;
use crate::cli::{Failed, disk, failed, network};
use crate::events::{ExitCode, Failure, Reporter};
use crate::net::accept;
use crate::net::gate::Gate;
use crate::net::listen::{PortChoice, bind};
use crate::pairing::{Identity, LinkKind};
use crate::session::{Devices, Ended, Host, Memory, Outbox, OutboxRules};
use crate::store::{WalkOptions, walk};
use crate::transfer::Manner;
use crate::wire::{self, OfferLink, Role};

/// Arrivals that may wait for a session to begin.
const ARRIVALS: usize = 16;

/// Files that members of the room may take for as long as this lives.
pub(super) struct Share {
    host: Arc<Host>,
    outbox: Arc<Outbox>,
    endings: mpsc::UnboundedReceiver<Ended>,
    /// What the room is told.
    shared: wire::Shared,
    /// Only what others than this process take needs one.
    door: Option<JoinHandle<()>>,
}

/// Who offers.
#[derive(Clone)]
pub(super) struct Giver {
    /// Under the key that the room knows.
    pub(super) identity: Identity,
    pub(super) devices: Devices,
    pub(super) name: String,
    /// Also to those from outside private ranges.
    pub(super) expose: bool,
    pub(super) memory: Memory,
    pub(super) reporter: Arc<dyn Reporter>,
}

impl Share {
    /// Lists what `paths` hold and opens a port for it at `ip`.
    pub(super) async fn open(paths: Vec<PathBuf>, ip: IpAddr, giver: Giver) -> Result<Share, Failed> {
        let expose = giver.expose;
        let mut share = Share::within(paths, giver).await?;
        let bound = bind(PortChoice::Exactly(0), Some(&[ip])).map_err(|error| network(ExitCode::Local, &error))?;
        let address = SocketAddr::new(ip, bound.port());
        let link = share.host.link(LinkKind::Qrdrop, address).ok_or_else(|| internal("there is no link"))?;
        share.shared.link = OfferLink::new(&link);
        let listener = bound.listen().map_err(|error| network(ExitCode::Local, &error))?;
        let (arrivals, mut arrived) = mpsc::channel(ARRIVALS);
        let given = Arc::clone(&share.outbox);
        share.door = Some(tokio::spawn(async move {
            let accepting = accept::accept(listener, Gate::new(), expose, arrivals, |_| ());
            let serving = async {
                while let Some(arrival) = arrived.recv().await {
                    let outbox = Arc::clone(&given);
                    // A browser has nothing to look for here.
                    tokio::spawn(async move { drop(outbox.serve(arrival).await) });
                }
            };
            tokio::join!(accepting, serving);
        }));
        Ok(share)
    }

    /// Lists what `paths` hold, for takers within this process.
    pub(super) async fn within(paths: Vec<PathBuf>, giver: Giver) -> Result<Share, Failed> {
        let Giver { identity, devices, name, memory, reporter, .. } = giver;
        let named = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
        let walked = spawn_blocking(move || walk(&paths, &WalkOptions::default())).await;
        let walked = walked.map_err(|_| internal("the sources could not be listed"))?;
        let walked = walked.map_err(|error| disk(&error))?;
        let left_out = left_out(&walked);
        let (files, bytes) = (walked.entries.files(), walked.entries.bytes().unwrap_or(u64::MAX));
        let Some(first) = walked.entries.get(0) else {
            let message = format!("there is nothing in `{named}` that can be sent");
            return Err(failed(Failure::new(ExitCode::Local, message, "name a file or folder")));
        };
        let called = first.offered.split('/').next().unwrap_or_default().to_owned();
        let (host, endings) = Host::new(identity, devices, name, Role::Outbox, None, false, reporter);
        let rules = OutboxRules { yes: None, keep: true, manner: Manner::default() };
        let (memory, _) = memory.outbox(&walked.entries, None).map_err(|error| disk(&error))?;
        let outbox = Outbox::new(Arc::clone(&host), Arc::new(walked.entries), left_out, None, rules, memory);
        let shared = wire::Shared {
            name: called,
            files: u32::try_from(files).unwrap_or(u32::MAX),
            bytes,
            link: OfferLink::new(""),
        };
        Ok(Share { host, outbox, endings, shared, door: None })
    }

    /// What to tell the room.
    pub(super) fn shared(&self) -> &wire::Shared {
        &self.shared
    }

    /// What is given.
    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// How many are taking it now.
    pub(super) fn under_way(&self) -> usize {
        self.host.under_way()
    }

    /// How a taking ended, if one has.
    pub(super) fn ended(&mut self) -> Option<Ended> {
        self.endings.try_recv().ok()
    }

    /// Ends what is under way, and closes the port. Nobody can come back to it: the link goes with the room.
    pub(super) async fn close(self) {
        if let Some(door) = &self.door {
            door.abort();
        }
        self.host.leave().await;
        self.outbox.forget();
    }
}

fn internal(what: &str) -> Failed {
    failed(Failure::new(ExitCode::Internal, what, "report it"))
}
