//! Telling who else is here.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use mdns_sd::{Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::super::NetError;
use super::super::addresses::candidates;
use super::{ID_MAX, Kind, LABEL_MAX, SERVICE_TYPE, SHOWN_NAME_MAX, cut, daemon, daemon_on, end, instance_of};
use crate::names;

/// Services remembered at once: a room has dozens at most, and anybody can invent thousands (security.md G04).
pub(super) const SERVICES_MAX: usize = 256;

/// Addresses taken from one service: more than a device has, few enough to dial them all.
pub(super) const ADDRESSES_MAX: usize = 16;

/// The first record of a service may carry its IPv6 addresses alone; IPv4 follows within 30 ms.
const WAIT_FOR_V4: Duration = Duration::from_millis(50);

/// How long [`search`] goes on listening after it has enough: a second device of the same name answers within 120 ms
/// (RFC 6762, section 6), and a person must learn of it.
const NAMESAKES: Duration = Duration::from_millis(300);

/// Somebody who says that it is here. None of this is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name to show, inert.
    pub name: String,
    /// The instance name, which is unique on the network (`Laptop (2)`), inert.
    pub instance: String,
    /// The key mark that it claims; empty if it says none.
    pub id: String,
    /// Where it listens: IPv4 first, IPv6 that needs a zone last; never empty.
    pub addresses: Vec<SocketAddr>,
    /// Whether it says that it takes the tutorial's protocol.
    pub classic: bool,
    /// What it hosts.
    pub kind: Kind,
    /// Whether it says that there is a room beside it.
    pub room: bool,
    /// The version of its record, 1 for ours.
    pub version: u32,
    /// What [`Change::Lost`] calls it by.
    pub fullname: String,
}

/// A change of who is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Came, or says something else than before.
    Found(Found),
    /// Left; by [`Found::fullname`].
    Lost(String),
}

/// A running search. Dropping it ends it.
pub struct Browser {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    known: Known,
}

impl Browser {
    /// Begins to search, on the interface that `only` names or on all.
    ///
    /// # Errors
    /// As [`candidates`] for `only`; [`NetError::DiscoveryPortTaken`], [`NetError::Discovery`].
    pub fn start(only: Option<&str>) -> Result<Browser, NetError> {
        let daemon = match only {
            None => daemon()?,
            Some(_) => daemon_on(candidates(only)?.into_iter().map(|c| c.interface))?,
        };
        let events = daemon.browse(SERVICE_TYPE)?;
        Ok(Browser { daemon, events, known: Known::default() })
    }

    /// The next change; never returns when nothing changes any more. Cancelling loses nothing.
    pub async fn next(&mut self) -> Change {
        loop {
            let now = Instant::now();
            if let Some(found) = self.known.ripe(now) {
                return Change::Found(found);
            }
            let event = match self.known.next_ripe() {
                None => self.events.recv_async().await,
                Some(at) => tokio::select! {
                    biased;
                    event = self.events.recv_async() => event,
                    () = sleep_until(at) => continue,
                },
            };
            match event {
                Ok(ServiceEvent::ServiceResolved(service)) => {
                    if let Some(found) = read(&service) {
                        self.known.heard(found, Instant::now());
                    }
                }
                Ok(ServiceEvent::ServiceRemoved(_, fullname)) => {
                    if self.known.left(&fullname) {
                        return Change::Lost(fullname);
                    }
                }
                Ok(_) => {}
                // The library ends a subscription whose reader was too slow: ask again.
                Err(_) => match self.daemon.browse(SERVICE_TYPE) {
                    Ok(events) => self.events = events,
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }

    /// Ends the search, and waits until it has ended (1 s at most).
    pub async fn shutdown(self) {
        end(&self.daemon).await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The daemon outlives its handle; after `shutdown` this finds it gone.
        let _ = self.daemon.shutdown();
    }
}

/// Everybody here who is `meant`.
///
/// Returns soon after those are `enough`, or else with what there is after `wait`.
///
/// # Errors
/// As [`Browser::start`].
pub async fn search(
    meant: impl Fn(&Found) -> bool,
    enough: impl Fn(&[Found]) -> bool,
    wait: Duration,
    only: Option<&str>,
) -> Result<Vec<Found>, NetError> {
    let mut browser = Browser::start(only)?;
    let mut matches: Vec<Found> = Vec::new();
    let mut deadline = Instant::now() + wait;
    let mut is_enough = false;
    while let Ok(change) = timeout_at(deadline, browser.next()).await {
        match change {
            Change::Found(found) if meant(&found) => {
                matches.retain(|known| known.fullname != found.fullname);
                matches.push(found);
                if !is_enough && enough(&matches) {
                    is_enough = true;
                    deadline = deadline.min(Instant::now() + NAMESAKES);
                }
            }
            Change::Found(_) => {}
            Change::Lost(fullname) => matches.retain(|known| known.fullname != fullname),
        }
    }
    Ok(matches)
}

impl Found {
    /// Whether it is there for what hosts of this kind are.
    pub fn serves(&self, kind: Kind) -> bool {
        self.kind == kind || (self.room && kind == Kind::Room)
    }

    /// Whether a person who types `name` may mean this one: as shown or as instance, whatever the case of its letters.
    pub fn is_called(&self, name: &str) -> bool {
        let wanted = name.to_lowercase();
        [&self.name, &self.instance].into_iter().any(|own| own.to_lowercase() == wanted)
    }
}

/// What was heard so far, by full name.
#[derive(Default)]
pub(super) struct Known(HashMap<String, Entry>);

struct Entry {
    found: Found,
    /// When to tell of it; `None` if it was told.
    ripe: Option<Instant>,
}

impl Known {
    /// Takes in what a service says now.
    pub(super) fn heard(&mut self, found: Found, now: Instant) {
        let has_v4 = found.addresses.iter().any(SocketAddr::is_ipv4);
        if let Some(entry) = self.0.get_mut(&found.fullname) {
            if entry.found != found {
                entry.ripe = Some(match entry.ripe {
                    Some(ripe) if !has_v4 => ripe,
                    _ => now,
                });
                entry.found = found;
            }
        } else if self.0.len() < SERVICES_MAX {
            let ripe = if has_v4 { now } else { now + WAIT_FOR_V4 };
            self.0.insert(found.fullname.clone(), Entry { found, ripe: Some(ripe) });
        }
    }

    /// Forgets a service; whether it was known.
    pub(super) fn left(&mut self, fullname: &str) -> bool {
        self.0.remove(fullname).is_some_and(|entry| entry.ripe.is_none())
    }

    fn next_ripe(&self) -> Option<Instant> {
        self.0.values().filter_map(|entry| entry.ripe).min()
    }

    /// One that is to be told now.
    pub(super) fn ripe(&mut self, now: Instant) -> Option<Found> {
        let entry = self.0.values_mut().find(|entry| entry.ripe.is_some_and(|ripe| ripe <= now))?;
        entry.ripe = None;
        Some(entry.found.clone())
    }
}

/// Reads a stranger's record; `None` if there is nothing in it that we could use.
pub(super) fn read(service: &ResolvedService) -> Option<Found> {
    let suffix = format!(".{SERVICE_TYPE}");
    let at = service.fullname.len().checked_sub(suffix.len())?;
    let (instance, end) = service.fullname.split_at_checked(at)?;
    if !end.eq_ignore_ascii_case(&suffix) || service.port == 0 {
        return None;
    }
    let txt = |key| service.txt_properties.get_property_val_str(key);
    let addresses = in_order(service.addresses.iter(), service.port);
    if addresses.is_empty() {
        return None;
    }
    let instance = names::inert(cut(instance, LABEL_MAX));
    let name = match txt("n") {
        Some(name) if !name.trim().is_empty() => {
            // Whoever was renamed says its old name here, and would look like the one who has it.
            let number = instance.strip_prefix(&names::inert(instance_of(name))).unwrap_or_default();
            names::inert(cut(name, SHOWN_NAME_MAX)) + if is_number(number) { number } else { "" }
        }
        _ => instance.clone(),
    };
    let is_id = |id: &&str| id.len() <= ID_MAX && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    Some(Found {
        name,
        instance,
        id: txt("id").filter(is_id).unwrap_or_default().to_owned(),
        addresses,
        classic: txt("c") == Some("1"),
        kind: txt("k")?.parse().ok()?,
        room: txt("r") == Some("1"),
        version: txt("v")?.parse().ok()?,
        fullname: service.fullname.clone(),
    })
}

/// Whether this is what a name gets that is taken: ` (2)`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')'));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn in_order<'a>(addresses: impl Iterator<Item = &'a ScopedIp>, port: u16) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = addresses
        .map(|scoped| match (scoped, scoped.to_ip_addr()) {
            (ScopedIp::V6(v6), IpAddr::V6(ip)) if ip.is_unicast_link_local() => {
                SocketAddrV6::new(ip, port, 0, v6.scope_id().index).into()
            }
            (_, ip) => SocketAddr::new(ip, port),
        })
        .filter(|address| !address.ip().is_unspecified() && !address.ip().is_multicast())
        .collect();
    let needs_zone = |ip: IpAddr| matches!(ip, IpAddr::V6(v6) if Ipv6Addr::is_unicast_link_local(&v6));
    addresses.sort_by_key(|address| (address.is_ipv6(), needs_zone(address.ip()), *address));
    addresses.truncate(ADDRESSES_MAX);
    addresses
}
