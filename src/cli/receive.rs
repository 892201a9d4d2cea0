//! `qrdrop receive`: opens the port, shows the invitation, and keeps both true until it leaves.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::args::{Common, Receive, Ttl};
use super::{Done, Ended, disk, failed, interruptions, network, open_state, shown_name};
use crate::events::{Board, Event, ExitCode, Failure, Reporter};
use crate::names::human_bytes;
use crate::net::accept::{self, Knock};
use crate::net::addresses::Candidate;
use crate::net::discovery::{Advert, AdvertEvent, AdvertInfo, Kind};
use crate::net::gate::Gate;
use crate::net::listen::{DEFAULT_PORT, PortChoice, bind};
use crate::net::watch::Watch;
use crate::pairing::{Identity, LinkKind};
use crate::session::{Classic, Ended as TransferEnded, Host, Inbox, InboxRules};
use crate::store::{Folder, write_secret_file};
use crate::ui::{HostKey, QrChoice, Ui, qr};
use crate::wire::Role;

/// A code on a screen is good for this long: long enough to find one's phone, short enough that a picture of it is
/// worth little.
const DRAWN_TTL: Duration = Duration::from_secs(10 * 60);

/// Arrivals that may wait for a session to begin.
const ARRIVALS: usize = 64;

/// Pixels for each module of `--qr-png`.
const MODULE_PX: u32 = 8;

/// Receives until it is told to leave, or has done what `--once` asks.
pub(super) async fn run(receive: Receive, common: &Common, ui: &Arc<Ui>) -> Ended {
    let interrupted = interruptions(ui);
    let folder = Folder::open(&receive.folder).map_err(|error| disk(&error))?;
    match folder.clean() {
        Ok(cleaned) if cleaned.files > 0 => {
            ui.say(&format!("removed {} of unfinished transfers from an earlier run", human_bytes(cleaned.bytes)));
        }
        Ok(_) => {}
        Err(error) => return Err(disk(&error)),
    }
    accept::raise_descriptor_limit();
    open_state(common)?;
    let watch = Watch::start(common.interface.as_deref()).map_err(|error| network(ExitCode::Local, &error))?;
    let found = watch.current().to_vec();
    let only: Option<Vec<IpAddr>> = common.interface.as_ref().map(|_| found.iter().map(|found| found.ip).collect());
    let choice = receive.port.map_or(PortChoice::Preferred(DEFAULT_PORT), PortChoice::Exactly);
    let bound = bind(choice, only.as_deref()).map_err(|error| network(ExitCode::Local, &error))?;
    let ips: Vec<IpAddr> = found.iter().map(|found| found.ip).collect();
    let identity = Identity::fresh(&ips);
    let identity =
        identity.map_err(|error| failed(Failure::new(ExitCode::Internal, error.to_string(), "report it")))?;
    let name = shown_name(common);
    let reporter: Arc<dyn Reporter> = ui.clone();
    let ttl = lifetime(&receive, ui);
    let (host, endings) = Host::new(identity, name.clone(), Role::Inbox, ttl, receive.once, reporter);
    let rules = InboxRules {
        yes: receive.yes.map(Into::into),
        if_exists: receive.if_exists.into(),
        max_size: receive.max_size,
        classic: receive.classic.into(),
    };
    let directory = folder.path().to_string_lossy().into_owned();
    let inbox = Inbox::new(Arc::clone(&host), folder, rules);
    let port = bound.port();
    let mut invitation = Invitation { receive: &receive, host: &host, ui, name, directory, port, chosen: 0, found };
    invitation.write_files()?;
    let listener = bound.listen().map_err(|error| network(ExitCode::Local, &error))?;
    let (arrivals, arrived) = mpsc::channel(ARRIVALS);
    let outsiders = Arc::clone(ui);
    let knock = move |knock| tell_knock(&outsiders, knock);
    let door = tokio::spawn(accept::accept(listener, Gate::new(), receive.expose, arrivals, knock));
    let advert = advertise(&invitation);
    invitation.announce(advert.is_some());
    let result = Attending { host: &host, inbox: &inbox, arrived, endings, watch, advert, interrupted }
        .run(&mut invitation)
        .await;
    door.abort();
    result
}

/// A code that hangs on a screen is renewed; a link in a file is good for the run.
fn lifetime(receive: &Receive, ui: &Ui) -> Option<Duration> {
    let drawn = match receive.qr.into() {
        QrChoice::Auto => ui.has_terminal(),
        QrChoice::Always => true,
        QrChoice::Never => false,
    };
    match receive.invite_ttl {
        Some(Ttl::For(ttl)) => Some(ttl),
        Some(Ttl::Run) => None,
        None => drawn.then_some(DRAWN_TTL),
    }
}

/// Said to a person who might wonder why somebody can't get in.
fn tell_knock(ui: &Ui, knock: Knock) {
    match knock {
        Knock::FromOutside(ip) => {
            ui.say(&format!("turned away {ip}: not from a private network (`--expose` lets it in)"))
        }
        Knock::OutOfDescriptors => ui.say("no descriptors left: new connections wait"),
        Knock::Silent(_) | Knock::Unintelligible(_) | Knock::Crowded(_) => {}
    }
}

fn advertise(invitation: &Invitation<'_>) -> Option<Advert> {
    if invitation.receive.hidden {
        return None;
    }
    let info = AdvertInfo {
        name: invitation.name.clone(),
        id: invitation.host.mark(),
        port: invitation.port,
        candidates: invitation.found.clone(),
        classic: Classic::from(invitation.receive.classic) != Classic::Off,
        kind: Kind::Inbox,
    };
    match Advert::start(info) {
        Ok(advert) => Some(advert),
        Err(error) => {
            invitation.ui.say(&format!("nobody will find this receiver by name: {error}; the code and the link work"));
            None
        }
    }
}

/// Everything that shows how to get here, kept in step with tokens and addresses.
struct Invitation<'a> {
    receive: &'a Receive,
    host: &'a Arc<Host>,
    ui: &'a Arc<Ui>,
    name: String,
    directory: String,
    port: u16,
    /// Which of `found` is in the code.
    chosen: usize,
    found: Vec<Candidate>,
}

impl Invitation<'_> {
    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.found[self.chosen].ip, self.port)
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let mut all: Vec<_> = self.found.iter().map(|found| SocketAddr::new(found.ip, self.port)).collect();
        all.rotate_left(self.chosen);
        all
    }

    /// The kind of link in the code.
    fn drawn(&self) -> LinkKind {
        if self.receive.no_web { LinkKind::Qrdrop } else { LinkKind::Http }
    }

    fn announce(&self, discoverable: bool) {
        self.ui.tell(Event::Listening {
            name: self.name.clone(),
            address: self.address(),
            addresses: self.addresses(),
            port: self.port,
            interface: self.found[self.chosen].interface.clone(),
            directory: Some(self.directory.clone()),
            discoverable,
        });
        self.show(discoverable);
    }

    fn show(&self, discoverable: bool) {
        let Some(link) = self.host.link(self.drawn(), self.address()) else { return self.ui.hide() };
        let candidate = &self.found[self.chosen];
        self.ui.show(Board {
            link: link.to_string(),
            address: self.address(),
            interface: candidate.interface.clone(),
            others: self.addresses().split_off(1),
            name: self.name.clone(),
            directory: Some(self.directory.clone()),
            discoverable,
            mark: self.host.mark(),
            warning: candidate.ip.is_loopback().then(|| "only this machine can reach this address".to_owned()),
        });
    }

    fn write_files(&self) -> Result<(), (Option<String>, Failure)> {
        let host = self.host;
        let link = |kind| host.link(kind, self.address());
        if let (Some(path), Some(http), Some(qrdrop)) =
            (&self.receive.invite_file, link(LinkKind::Http), link(LinkKind::Qrdrop))
        {
            let both = zeroize::Zeroizing::new(format!("{}\n{}\n", *http, *qrdrop));
            write_secret_file(path, both.as_bytes()).map_err(|error| disk(&error))?;
        }
        if let (Some(path), Some(link)) = (&self.receive.qr_png, link(self.drawn())) {
            write_png(path, &link)?;
        }
        Ok(())
    }

    /// After a change of token or address. A file that can't be written any more is said, not fatal.
    fn redraw(&self, discoverable: bool) {
        self.show(discoverable);
        if let Err((transfer, failure)) = self.write_files() {
            self.ui.tell(Event::Failed { transfer, failure });
        }
    }

    /// Other addresses than before. The chosen one stays if it is still there.
    fn moved(&mut self, found: Vec<Candidate>) {
        let before = self.found[self.chosen].ip;
        self.chosen = found.iter().position(|found| found.ip == before).unwrap_or(0);
        self.found = found;
    }
}

fn write_png(path: &Path, link: &str) -> Result<(), (Option<String>, Failure)> {
    let png = qr::png(link, MODULE_PX);
    let png = png.map_err(|error| failed(Failure::new(ExitCode::Internal, error.to_string(), "report it")))?;
    // The picture holds the secret as much as the link does.
    write_secret_file(path, &png).map_err(|error| disk(&error))
}

/// The command while it is open.
struct Attending<'a> {
    host: &'a Arc<Host>,
    inbox: &'a Arc<Inbox>,
    arrived: mpsc::Receiver<accept::Arrival>,
    endings: mpsc::UnboundedReceiver<TransferEnded>,
    watch: Watch,
    advert: Option<Advert>,
    interrupted: watch::Receiver<bool>,
}

/// Why it leaves.
enum Leaving {
    Done,
    Failed(ExitCode),
    NobodyCame,
    Asked,
}

impl Attending<'_> {
    async fn run(mut self, invitation: &mut Invitation<'_>) -> Ended {
        let mut left_failed = std::collections::HashMap::new();
        let leaving = self.attend(invitation, &mut left_failed).await;
        let under_way = self.host.under_way() > 0;
        invitation.ui.hide();
        self.host.leave().await;
        if let Some(advert) = self.advert.take() {
            advert.shutdown().await;
        }
        Ok(match leaving {
            Leaving::Done => Done::well("the transfer is finished"),
            Leaving::Failed(code) => Done::with(code, "pairing failed"),
            Leaving::NobodyCame => {
                let hint = "start again, or raise `--timeout`";
                return Err(failed(Failure::new(ExitCode::Nobody, "nobody came in time", hint)));
            }
            Leaving::Asked if under_way => {
                Done::with(ExitCode::Interrupted, "interrupted while something was under way")
            }
            Leaving::Asked => match left_failed.into_values().next() {
                Some(code) => Done::with(code, "left with a failed transfer"),
                None => Done::well("left"),
            },
        })
    }

    async fn attend(
        &mut self,
        invitation: &mut Invitation<'_>,
        left_failed: &mut std::collections::HashMap<IpAddr, ExitCode>,
    ) -> Leaving {
        let host = self.host;
        let mut keys = invitation.ui.keys();
        let deadline = invitation.receive.timeout.map(|timeout| Instant::now() + timeout);
        let (mut edition, mut somebody_came) = (host.edition(), false);
        loop {
            let renewal = host.next_renewal().map(Instant::from_std);
            let discoverable = self.advert.is_some();
            tokio::select! {
                Some(arrival) = self.arrived.recv() => {
                    let inbox = Arc::clone(self.inbox);
                    tokio::spawn(async move { inbox.serve(arrival).await });
                }
                Some(ended) = self.endings.recv() => {
                    somebody_came = true;
                    match ended.result {
                        Ok(()) => {
                            left_failed.remove(&ended.address);
                            if invitation.receive.once {
                                return Leaving::Done;
                            }
                        }
                        Err(code) if invitation.receive.once && ended.given_up => return Leaving::Failed(code),
                        Err(code) => drop(left_failed.insert(ended.address, code)),
                    }
                }
                Some(key) = keys.recv() => match key {
                    HostKey::NextAddress => {
                        invitation.chosen = (invitation.chosen + 1) % invitation.found.len();
                        invitation.redraw(discoverable);
                    }
                    HostKey::Renew => host.renew(),
                    HostKey::Quit | HostKey::Interrupt => return Leaving::Asked,
                },
                found = self.watch.changed() => {
                    let found = found.to_vec();
                    if let Some(advert) = &mut self.advert
                        && let Err(error) = advert.update(found.clone())
                    {
                        invitation.ui.say(&format!("the new address is not advertised: {error}"));
                    }
                    invitation.moved(found);
                    invitation.redraw(discoverable);
                }
                event = advert_event(&mut self.advert) => tell_advert(invitation, event),
                () = until(renewal) => {}
                () = host.changed() => {}
                () = until(deadline), if !somebody_came && self.host.under_way() == 0 => return Leaving::NobodyCame,
                _ = self.interrupted.wait_for(|interrupted| *interrupted) => return Leaving::Asked,
            }
            host.refresh();
            if host.edition() != edition {
                edition = host.edition();
                invitation.redraw(discoverable);
            }
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn advert_event(advert: &mut Option<Advert>) -> AdvertEvent {
    match advert {
        Some(advert) => advert.event().await,
        None => std::future::pending().await,
    }
}

fn tell_advert(invitation: &Invitation<'_>, event: AdvertEvent) {
    match event {
        AdvertEvent::Announced => {}
        AdvertEvent::Renamed(name) => {
            invitation.ui.say(&format!("another device has this name; others see `{name}`"));
        }
        AdvertEvent::Unheard => {
            invitation.ui.say(
                "no interface speaks multicast: nobody will find this receiver by name; the code and the link work",
            );
        }
        AdvertEvent::Failed(reason) => invitation.ui.say(&format!("mDNS: {reason}")),
    }
}
