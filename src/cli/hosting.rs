//! What the commands that host have in common: the port is opened, the invitation is shown and kept true, guests are
//! let in, until there is a reason to leave.

mod invitation;

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use self::invitation::{Invitation, advertise, show_curl, tell_advert};
use super::args::{Common, Hosting};
use super::values::Ttl;
use super::whereabouts::Doors;
use super::{Failed, made, network, open_devices, shown_name};
use crate::confine::Errands;
use crate::events::{ExitCode, Reporter};
use crate::net::accept::{self, Arrival, Knock};
use crate::net::discovery::{Advert, AdvertEvent, Kind};
use crate::net::listen::{Bound, DEFAULT_PORT, PortChoice, bind};
use crate::net::watch::Watch;
use crate::session::{Classic, Ended, Host, Inbox, Outbox, RoomHost};
use crate::ui::{HostKey, QrChoice, Ui};
use crate::web::Web;
use crate::wire::Role;

/// A code on a screen is good for this long: long enough to find one's phone, short enough that a picture of it is
/// worth little.
const DRAWN_TTL: Duration = Duration::from_secs(10 * 60);

/// Arrivals that may wait for a session to begin.
const ARRIVALS: usize = 64;

/// What others come for.
#[derive(Clone)]
pub(super) enum Hosted {
    /// They send.
    Inbox(Arc<Inbox>),
    /// They fetch.
    Outbox(Arc<Outbox>),
    /// They talk.
    Room(Arc<RoomHost>),
}

impl Hosted {
    /// Serves one connection, whatever it speaks, to its end.
    async fn serve(self, web: Option<Arc<Web>>, arrival: Arrival) {
        let visitor = match &self {
            Hosted::Inbox(inbox) => inbox.serve(arrival).await,
            Hosted::Outbox(outbox) => outbox.serve(arrival).await,
            Hosted::Room(room) => room.serve(arrival).await,
        };
        if let (Some(web), Some(visitor)) = (web, visitor) {
            web.serve(visitor).await;
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Hosted::Inbox(_) => Kind::Inbox,
            Hosted::Outbox(_) => Kind::Outbox,
            Hosted::Room(_) => Kind::Room,
        }
    }

    fn takes_classic(&self) -> bool {
        matches!(self, Hosted::Inbox(inbox) if inbox.classic() != Classic::Off)
    }
}

/// What a door is opened for.
pub(super) struct Purpose {
    pub(super) hosted: Hosted,
    /// The same for browsers; not served under `--no-web`.
    pub(super) web: Arc<Web>,
    /// Whether the first transfer that comes out well is the last.
    pub(super) first_ends: bool,
    /// Whether single keys mean something, because no lines are typed.
    pub(super) single_keys: bool,
    pub(super) display: Display,
    /// Who writes the files that show the invitation.
    pub(super) errands: Errands,
}

/// What the screen says of a hosting command beside what every one of them says.
pub(super) struct Display {
    /// Where files go, absolute.
    pub(super) directory: Option<String>,
    /// What there is to fetch, in a few words.
    pub(super) offers: Option<String>,
    /// The command for another computer that finds this one by itself, where there is such a one.
    pub(super) nearby: Option<&'static str>,
    /// The same for one that has only the link.
    pub(super) by_link: &'static str,
}

/// A port that is taken, and the host that will stand behind it. Nobody can connect yet.
pub(super) struct Door<'a> {
    hosting: &'a Hosting,
    ui: &'a Arc<Ui>,
    name: String,
    bound: Bound,
    /// The addresses it is open on, where `--interface` chose them.
    only: Option<Vec<IpAddr>>,
    watch: Watch,
    endings: mpsc::UnboundedReceiver<Ended>,
    /// What every session shares.
    pub(super) host: Arc<Host>,
}

/// Why a hosting command leaves.
pub(super) enum Left<T> {
    /// What it was there for is done.
    Done,
    /// A person found something wrong, and there is nothing more to wait for.
    GivenUp(ExitCode),
    /// `--timeout` is over.
    NobodyCame,
    /// The person or the system wants it to.
    Asked,
    /// Something else came first.
    Otherwise(T),
}

/// How it went.
pub(super) struct Attended<T> {
    /// Why it left.
    pub(super) left: Left<T>,
    /// Whether something was under way then.
    pub(super) under_way: bool,
    /// Whether a transfer came out well.
    pub(super) succeeded: bool,
    /// The code of a transfer that failed and was not made good from the same address.
    pub(super) failed: Option<ExitCode>,
}

impl<'a> Door<'a> {
    /// Takes the port. With `once` for a single transfer; with the key that it is `known` by to those who come back, if
    /// any do and this device has none that lasts.
    pub(super) fn open(
        hosting: &'a Hosting,
        common: &Common,
        ui: &'a Arc<Ui>,
        reporter: &Arc<dyn Reporter>,
        role: Role,
        once: bool,
        known: Option<&[u8]>,
    ) -> Result<Door<'a>, Failed> {
        accept::raise_descriptor_limit();
        let watch = Watch::start(common.interface.as_deref()).map_err(|error| network(ExitCode::Local, &error))?;
        let ips: Vec<IpAddr> = watch.current().iter().map(|found| found.ip).collect();
        let choice = hosting.port.map_or(PortChoice::Preferred(DEFAULT_PORT), PortChoice::Exactly);
        let only = common.interface.as_ref().map(|_| ips.clone());
        let bound = bind(choice, only.as_deref()).map_err(|error| network(ExitCode::Local, &error))?;
        let devices = open_devices(common, hosting.remember)?;
        let identity = made(devices.identity(known, &ips))?;
        let name = shown_name(common);
        let ttl = lifetime(hosting, ui);
        let (host, endings) = Host::new(identity, devices, name.clone(), role, ttl, once, Arc::clone(reporter));
        Ok(Door { hosting, ui, name, bound, only, watch, endings, host })
    }

    /// The address that the code will begin with.
    pub(super) fn address(&self) -> IpAddr {
        self.watch.current()[0].ip
    }

    /// Lets everybody in, until there is a reason to leave; `otherwise` is one.
    pub(super) async fn attend<T>(
        self,
        purpose: Purpose,
        interrupted: watch::Receiver<bool>,
        otherwise: impl Future<Output = T>,
    ) -> Result<Attended<T>, Failed> {
        let Door { hosting, ui, name, bound, only, watch, endings, host } = self;
        let Purpose { hosted, web, first_ends, single_keys, display, errands } = purpose;
        let (port, found) = (bound.port(), watch.current().to_vec());
        let mut invitation = Invitation { hosting, host: &host, ui, name, display, port, chosen: 0, found, errands };
        invitation.write_files()?;
        let (arrivals, arrived) = mpsc::channel(ARRIVALS);
        let outsiders = Arc::clone(ui);
        let knock = move |knock| tell_knock(&outsiders, knock);
        let doors = Doors::open(bound, only, hosting.expose, arrivals, knock);
        let doors = doors.map_err(|error| network(ExitCode::Local, &error))?;
        let advert = advertise(&invitation, &hosted);
        invitation.announce(advert.is_some());
        let web = (!hosting.no_web).then_some(web);
        let mut attending = Attending {
            hosted,
            web,
            arrived,
            endings,
            watch,
            doors,
            advert,
            interrupted,
            single_keys,
            outcomes: Outcomes { first_ends, succeeded: false, failed: HashMap::new() },
        };
        if hosting.curl {
            show_curl(attending.web.as_deref(), &invitation);
        }
        let left = attending.attend(&mut invitation, otherwise).await;
        let under_way = host.under_way() > 0;
        ui.hide();
        host.leave().await;
        // What came of a transfer may have been told just before.
        while let Ok(ended) = attending.endings.try_recv() {
            attending.outcomes.add::<()>(&ended);
        }
        if let Some(advert) = attending.advert.take() {
            advert.shutdown().await;
        }
        let Outcomes { succeeded, failed, .. } = attending.outcomes;
        Ok(Attended { left, under_way, succeeded, failed: failed.into_values().next() })
    }
}

/// Whether the code is drawn somewhere.
fn is_drawn(hosting: &Hosting, ui: &Ui) -> bool {
    match hosting.qr.into() {
        QrChoice::Auto => ui.has_terminal(),
        QrChoice::Always => true,
        QrChoice::Never => false,
    }
}

/// Whether anybody can see the invitation.
pub(super) fn is_seen(hosting: &Hosting, ui: &Ui) -> bool {
    ui.has_terminal() || is_drawn(hosting, ui) || hosting.invite_file.is_some() || hosting.qr_png.is_some()
}

/// A code that hangs on a screen is renewed; a link in a file is good for the run.
fn lifetime(hosting: &Hosting, ui: &Ui) -> Option<Duration> {
    match hosting.invite_ttl {
        Some(Ttl::For(ttl)) => Some(ttl),
        Some(Ttl::Run) => None,
        None => is_drawn(hosting, ui).then_some(DRAWN_TTL),
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

/// The command while it is open.
struct Attending {
    hosted: Hosted,
    web: Option<Arc<Web>>,
    arrived: mpsc::Receiver<Arrival>,
    endings: mpsc::UnboundedReceiver<Ended>,
    watch: Watch,
    doors: Doors,
    advert: Option<Advert>,
    interrupted: watch::Receiver<bool>,
    single_keys: bool,
    outcomes: Outcomes,
}

/// What has come of transfers so far.
struct Outcomes {
    first_ends: bool,
    succeeded: bool,
    /// By address, until something comes out well from there.
    failed: HashMap<IpAddr, ExitCode>,
}

impl Attending {
    async fn attend<T>(&mut self, invitation: &mut Invitation<'_>, otherwise: impl Future<Output = T>) -> Left<T> {
        let host = invitation.host;
        let mut keys = if self.single_keys { invitation.ui.keys() } else { mpsc::channel(1).1 };
        let deadline = invitation.hosting.timeout.map(|timeout| Instant::now() + timeout);
        let mut edition = host.edition();
        let mut otherwise = pin!(otherwise);
        let (room, mut done) = (host.room(), false);
        let mut emptied = pin!(async {
            if let Some(room) = &room {
                room.emptied().await;
            }
        });
        loop {
            let renewal = host.next_renewal().map(Instant::from_std);
            let discoverable = self.advert.is_some();
            tokio::select! {
                Some(arrival) = self.arrived.recv() => {
                    tokio::spawn(self.hosted.clone().serve(self.web.clone(), arrival));
                }
                Some(ended) = self.endings.recv() => {
                    match self.outcomes.add(&ended) {
                        // Who is still in the room may go on talking.
                        Some(Left::Done) if room.is_some() => done = true,
                        Some(left) => return left,
                        None => {}
                    }
                }
                Some(key) = keys.recv() => match key {
                    HostKey::NextAddress => {
                        invitation.chosen = (invitation.chosen + 1) % invitation.found.len();
                        invitation.redraw(discoverable);
                    }
                    HostKey::Renew => host.renew(),
                    HostKey::Curl => show_curl(self.web.as_deref(), invitation),
                    HostKey::Quit | HostKey::Interrupt => return Left::Asked,
                },
                found = self.watch.changed() => {
                    let found = found.to_vec();
                    if let Err(error) = self.doors.follow(&found) {
                        invitation.ui.say(&format!("the port is not open on the new address: {error}"));
                    }
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
                () = until(deadline), if !host.was_visited() => return Left::NobodyCame,
                () = &mut emptied, if done => return Left::Done,
                came = &mut otherwise => return Left::Otherwise(came),
                _ = self.interrupted.wait_for(|interrupted| *interrupted) => return Left::Asked,
            }
            host.refresh();
            if host.edition() != edition {
                edition = host.edition();
                invitation.redraw(discoverable);
            }
        }
    }
}

impl Outcomes {
    /// Whether the end of a transfer is the end of the command.
    fn add<T>(&mut self, ended: &Ended) -> Option<Left<T>> {
        match ended.result {
            Ok(()) => {
                self.succeeded = true;
                self.failed.remove(&ended.address);
                self.first_ends.then_some(Left::Done)
            }
            Err(code) if self.first_ends && ended.given_up => Some(Left::GivenUp(code)),
            Err(code) => {
                self.failed.insert(ended.address, code);
                None
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
