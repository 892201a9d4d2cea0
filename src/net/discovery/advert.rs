//! Saying that we are here.

use std::net::IpAddr;
use std::time::Duration;

use mdns_sd::{DaemonEvent, IfKind, RRType, Receiver, ServiceDaemon, ServiceInfo};
use tokio::time::{Instant, timeout_at};

use super::super::NetError;
use super::super::addresses::{Candidate, Reason};
use super::{ID_MAX, Kind, SERVICE_TYPE, SHOWN_NAME_MAX, TXT_VERSION, cut, daemon, end, instance_of};

/// Probing for the name takes 0.75 s and the announcement follows at once. Whoever has not announced by then on any
/// interface will not be found.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(4);

/// How often the daemon looks for new addresses, as often as [`Watch`](super::super::watch::Watch) does: only on those
/// it knows can it announce.
const LOOK_EVERY_SECONDS: u32 = 2;

/// What an advertisement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertInfo {
    /// The name shown to others; cut to fit.
    pub name: String,
    /// The key mark, by which a person recognises the key.
    pub id: String,
    /// The TCP port.
    pub port: u16,
    /// Our addresses; those of bridges and tunnels are left out where there are others.
    pub candidates: Vec<Candidate>,
    /// Whether the tutorial's protocol is spoken here.
    pub classic: bool,
    /// What is hosted.
    pub kind: Kind,
    /// Whether there is a room beside it.
    pub room: bool,
}

/// What becomes of an advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdvertEvent {
    /// It is out.
    Announced,
    /// Another device has the name; this is ours now.
    Renamed(String),
    /// It is out nowhere: no interface speaks multicast, or something holds it back.
    Unheard,
    /// The library reports an error.
    Failed(String),
}

/// A running advertisement. [`Advert::shutdown`] withdraws it; dropping it does so too, without waiting.
pub struct Advert {
    daemon: ServiceDaemon,
    monitor: Receiver<DaemonEvent>,
    info: AdvertInfo,
    /// The name that it has on the network.
    instance: String,
    enabled: Vec<String>,
    started: Instant,
    announced: bool,
}

impl Advert {
    /// Begins to advertise, on the interfaces of the candidates only. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`NetError::NoInterface`] without a candidate, [`NetError::DiscoveryPortTaken`], [`NetError::Discovery`].
    pub fn start(info: AdvertInfo) -> Result<Advert, NetError> {
        let instance = instance_of(&info.name).to_owned();
        let service = service(&info, &instance)?;
        let daemon = daemon()?;
        let monitor = daemon.monitor()?;
        daemon.set_ip_check_interval(LOOK_EVERY_SECONDS)?;
        daemon.disable_interface(IfKind::All)?;
        let mut advert =
            Advert { daemon, monitor, info, instance, enabled: Vec::new(), started: Instant::now(), announced: false };
        advert.enable_interfaces()?;
        advert.daemon.register(service)?;
        Ok(advert)
    }

    /// What programs that show instance names will show, where that is not the whole name.
    pub fn cut_name(&self) -> Option<&str> {
        let instance = instance_of(&self.info.name);
        (instance != self.info.name).then_some(instance)
    }

    /// Advertises other addresses from now on.
    ///
    /// # Errors
    /// As [`Advert::start`]; the former addresses stay advertised then.
    pub fn update(&mut self, candidates: Vec<Candidate>) -> Result<(), NetError> {
        let info = AdvertInfo { candidates, ..self.info.clone() };
        let service = service(&info, &self.instance)?;
        self.info = info;
        self.enable_interfaces()?;
        self.daemon.register(service)?;
        Ok(())
    }

    /// Makes the name that the library chose a registration of its own. As a renamed one it would answer whoever asks for
    /// the former name, which is another device's, and nobody who asks for the new one (mdns-sd 0.21, for names with
    /// capital letters). The former registration is left without addresses and so says nothing; withdrawing it would
    /// withdraw the new name.
    fn take_name(&mut self, instance: String) -> Result<(), NetError> {
        let host = host_of(&self.info);
        let nothing: &[IpAddr] = &[];
        let former = std::mem::replace(&mut self.instance, instance);
        self.daemon.register(ServiceInfo::new(SERVICE_TYPE, &former, &host, nothing, self.info.port, None)?)?;
        self.daemon.register(service(&self.info, &self.instance)?)?;
        Ok(())
    }

    fn enable_interfaces(&mut self) -> Result<(), NetError> {
        let mut wanted: Vec<String> = worth_advertising(&self.info.candidates).map(|c| c.interface.clone()).collect();
        wanted.sort();
        wanted.dedup();
        let kinds = |names: &[String], without: &[String]| -> Vec<IfKind> {
            names.iter().filter(|name| !without.contains(name)).cloned().map(IfKind::Name).collect()
        };
        let (gone, new) = (kinds(&self.enabled, &wanted), kinds(&wanted, &self.enabled));
        if !gone.is_empty() {
            self.daemon.disable_interface(gone)?;
        }
        if !new.is_empty() {
            self.daemon.enable_interface(new)?;
        }
        self.enabled = wanted;
        Ok(())
    }

    /// Waits for what becomes of it. Cancelling loses nothing. Never returns once the daemon has ended.
    pub async fn event(&mut self) -> AdvertEvent {
        loop {
            let received = if self.announced {
                Ok(self.monitor.recv_async().await)
            } else {
                timeout_at(self.started + ANNOUNCED_WITHIN, self.monitor.recv_async()).await
            };
            match received {
                Err(_) => {
                    self.announced = true;
                    return AdvertEvent::Unheard;
                }
                Ok(Err(_)) => std::future::pending().await,
                Ok(Ok(DaemonEvent::Announce(..))) if !self.announced => {
                    self.announced = true;
                    return AdvertEvent::Announced;
                }
                Ok(Ok(DaemonEvent::NameChange(change))) if change.rr_type == RRType::SRV => {
                    let suffix = format!(".{SERVICE_TYPE}");
                    let instance = unescape(change.new_name.strip_suffix(&suffix).unwrap_or(&change.new_name));
                    // Each interface tells of it.
                    if instance == self.instance {
                        continue;
                    }
                    return match self.take_name(instance.clone()) {
                        Ok(()) => AdvertEvent::Renamed(instance),
                        Err(error) => AdvertEvent::Failed(error.to_string()),
                    };
                }
                // Of an address that the daemon learns of after `update` named it, it would say nothing by itself.
                Ok(Ok(DaemonEvent::IpAdd(_))) => {
                    let again =
                        service(&self.info, &self.instance).and_then(|again| Ok(self.daemon.register(again)?));
                    if let Err(error) = again {
                        return AdvertEvent::Failed(error.to_string());
                    }
                }
                Ok(Ok(DaemonEvent::Error(error))) => return AdvertEvent::Failed(error.to_string()),
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Withdraws the advertisement with a goodbye, and waits until it is out (1 s at most).
    pub async fn shutdown(self) {
        end(&self.daemon).await;
    }
}

impl Drop for Advert {
    fn drop(&mut self) {
        // The daemon outlives its handle; after `shutdown` this finds it gone.
        let _ = self.daemon.shutdown();
    }
}

/// The addresses that another device can use: bridges and tunnels only where there is nothing better.
pub fn worth_advertising(candidates: &[Candidate]) -> impl Iterator<Item = &Candidate> {
    let reaches_the_room = |c: &&Candidate| !matches!(c.reason, Reason::Bridge | Reason::Tunnel);
    let any = candidates.iter().any(|c| reaches_the_room(&c));
    candidates.iter().filter(move |c| !any || reaches_the_room(c))
}

pub(super) fn service(info: &AdvertInfo, instance: &str) -> Result<ServiceInfo, NetError> {
    let addresses: Vec<IpAddr> = worth_advertising(&info.candidates).map(|c| c.ip).collect();
    if addresses.is_empty() {
        return Err(NetError::NoInterface);
    }
    let properties = [
        ("v", TXT_VERSION.to_owned()),
        ("id", cut(&info.id, ID_MAX).to_owned()),
        ("n", cut(&info.name, SHOWN_NAME_MAX).to_owned()),
        ("c", u8::from(info.classic).to_string()),
        ("k", info.kind.to_string()),
        ("r", u8::from(info.room).to_string()),
    ];
    Ok(ServiceInfo::new(SERVICE_TYPE, instance, &host_of(info), addresses.as_slice(), info.port, &properties[..])?)
}

/// The host name, made from the key mark: the machine's own would tell more than the person chose to show.
fn host_of(info: &AdvertInfo) -> String {
    format!("qrdrop-{}.local.", cut(&info.id, ID_MAX))
}

/// Undoes what the library does to our own instance name; the names of others arrive as they are on the wire.
pub(super) fn unescape(escaped: &str) -> String {
    let mut chars = escaped.chars();
    std::iter::from_fn(|| match chars.next()? {
        '\\' => chars.next(),
        plain => Some(plain),
    })
    .collect()
}
