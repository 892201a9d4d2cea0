//! Whole sessions over real TLS on loopback, honest and hostile.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::recorder::Recorder;
use super::host::{Ended, Host};
use super::inbox::{Classic, Inbox, InboxRules};
use super::visit::{Errand, Target, Visit};
use super::{Devices, Fetcher, Level, Memory, Outbox, OutboxRules, Sender, Standing};
use crate::events::{ExitCode, Failure};
use crate::net::accept::{Arrival, accept};
use crate::net::gate::Gate;
use crate::net::listen::{PortChoice, bind};
use crate::pairing::{Identity, Invitation, LinkKind};
use crate::store::{Folder, IfExists, WalkOptions, walk};
use crate::transfer::Manner;
use crate::wire::{LANES_CAP, Role};

mod classic;
mod codes;
mod conns;
mod devices;
mod honest;
mod hostile_host;
mod hostile_receiver;
mod hostile_sender;
mod outbox;
mod recorder;
#[cfg(unix)]
mod resuming;
mod rooms;

/// Takes connections on a free port of loopback.
fn door() -> (SocketAddr, mpsc::Receiver<Arrival>, JoinHandle<()>) {
    let only = [[127, 0, 0, 1].into()];
    let listener = bind(PortChoice::Exactly(0), Some(&only)).unwrap().listen().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], listener.port()));
    let (sender, arrivals) = mpsc::channel(64);
    (address, arrivals, tokio::spawn(accept(listener, Gate::new(), false, sender, |_| {})))
}

fn rules() -> InboxRules {
    InboxRules {
        yes: Some(Level::Private),
        if_exists: IfExists::Rename,
        max_size: None,
        classic: Classic::Ask,
        outlet: None,
    }
}

fn host(role: Role, once: bool, reporter: &Arc<Recorder>) -> (Arc<Host>, mpsc::UnboundedReceiver<Ended>) {
    let identity = Identity::fresh(&[]).unwrap();
    Host::new(identity, strangers(), "host".to_owned(), role, None, once, reporter.clone())
}

/// A running inbox.
struct Open {
    inbox: Arc<Inbox>,
    address: SocketAddr,
    reporter: Arc<Recorder>,
    endings: mpsc::UnboundedReceiver<Ended>,
    folder: TempDir,
    serving: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn open(rules: InboxRules, reporter: &Arc<Recorder>) -> Open {
    open_for(false, rules, reporter)
}

fn open_for(once: bool, rules: InboxRules, reporter: &Arc<Recorder>) -> Open {
    open_as(host(Role::Inbox, once, reporter), rules, reporter)
}

fn open_as(host: (Arc<Host>, mpsc::UnboundedReceiver<Ended>), rules: InboxRules, reporter: &Arc<Recorder>) -> Open {
    let (folder, (host, endings)) = (tempfile::tempdir().unwrap(), host);
    let inbox = Inbox::new(host, Folder::open(folder.path()).unwrap(), rules, memory());
    let (address, mut arrivals, _) = door();
    let served = Arc::clone(&inbox);
    let serving = tokio::spawn(async move {
        while let Some(arrival) = arrivals.recv().await {
            let inbox = Arc::clone(&served);
            tokio::spawn(async move { inbox.serve(arrival).await });
        }
    });
    Open { inbox, address, reporter: Arc::clone(reporter), endings, folder, serving }
}

impl Open {
    fn invited(&self, kind: LinkKind) -> Target {
        invited(&self.inbox.host, kind, self.address)
    }

    /// A guest that has paired and said hello, and does what a test wants from there.
    async fn guest(&self) -> Visit {
        let reporter = Recorder::answering([]);
        let identity = Identity::fresh(&[]).unwrap();
        let target = self.invited(LinkKind::Qrdrop);
        visit(&target, &identity, Role::Sends, &reporter).await
    }

    /// Every name in the folder, partial ones too.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".qrdrop-partial")
            .collect();
        names.sort();
        names
    }

    async fn ended(&mut self) -> Result<(), ExitCode> {
        self.endings.recv().await.unwrap().result
    }

    /// A fresh good transfer still succeeds (security.md I5).
    async fn still_works(&mut self) {
        let sender = sending(&[("still.txt", b"works")], &Recorder::answering([]));
        sender.send(&self.invited(LinkKind::Qrdrop)).await.unwrap();
        while self.ended().await.is_err() {}
        assert_eq!(fs::read(self.folder.path().join("still.txt")).unwrap(), b"works");
        fs::remove_file(self.folder.path().join("still.txt")).unwrap();
    }
}

/// Pairs for the first time.
async fn visit(target: &Target, identity: &Identity, role: Role, reporter: &Arc<Recorder>) -> Visit {
    let (devices, retry) = (&strangers(), Duration::ZERO);
    let errand = Errand { identity, devices, name: "guest", role, source: None, reporter: &**reporter, retry };
    errand.visit(target, |_| None).await.unwrap()
}

/// A state folder of its own, which is made when something is remembered.
fn memory() -> Memory {
    let state = tempfile::tempdir().unwrap().path().to_owned();
    Memory::open(Some(state)).unwrap()
}

/// Nobody is remembered, nor to be.
fn strangers() -> Devices {
    let state = tempfile::tempdir().unwrap().path().to_owned();
    Devices::open(Some(state), false).unwrap()
}

fn invited(host: &Host, kind: LinkKind, address: SocketAddr) -> Target {
    Target::Invited(Invitation::parse(&host.link(kind, address).unwrap()).unwrap())
}

/// A sender with files of its own.
struct Sending {
    sender: Sender,
    folder: TempDir,
    leaving: watch::Sender<bool>,
}

fn sending(files: &[(&str, &[u8])], reporter: &Arc<Recorder>) -> Sending {
    let folder = tempfile::tempdir().unwrap();
    let mut paths: Vec<PathBuf> = Vec::new();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let top = folder.path().join(name.split('/').next().unwrap());
        if !paths.contains(&top) {
            paths.push(top);
        }
    }
    let entries = walk(&paths, &WalkOptions { follow_links: false }).unwrap().entries;
    let sender = Sender {
        identity: Identity::fresh(&[]).unwrap(),
        devices: strangers(),
        name: "sender".to_owned(),
        entries: Arc::new(entries),
        text: None,
        piped: None,
        left_out: Vec::new(),
        manner: Manner::default(),
        lanes: LANES_CAP,
        retry: Duration::ZERO,
        memory: memory(),
        source: None,
        reporter: reporter.clone(),
        met: watch::Sender::default(),
    };
    Sending { sender, folder, leaving: watch::Sender::new(false) }
}

impl Sending {
    async fn send(&self, target: &Target) -> Result<(), Failure> {
        self.sender.send(target, None, self.leaving.subscribe()).await.map_err(|(_, failure)| failure)
    }

    async fn fails(&self, target: &Target) -> Failure {
        self.send(target).await.expect_err("it must fail")
    }
}

impl super::conn::Channel for tokio::io::DuplexStream {
    type Transport = Self;

    fn transport(&mut self) -> &mut Self {
        self
    }
}
