//! Whom to send to, or fetch from: a name, a link, an address, a picture, or a choice from a list.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::doctor::POINTER;
use super::list::nobody;
use super::{Failed, failed, network};
use crate::events::{ExitCode, Failure};
use crate::net::NetError;
use crate::net::discovery::{Browser, Change, Found, Kind, search};
use crate::net::listen::DEFAULT_PORT;
use crate::pairing::{Invitation, InvitationError};
use crate::session::{Device, Known, Target};
use crate::ui::{PickItem, Ui, scan};

/// How long a name may take to be heard.
const NAME_WAIT: Duration = Duration::from_secs(5);

/// Addresses at which a remembered device is looked for: more than it has, fewer than somebody else can invent.
const MOST_ADDRESSES: usize = 32;

/// The longest line that can hold a link; more is not read into memory.
const LINE_CAP: usize = 4_096;

/// A host, before anything was said to it.
pub(super) struct Receiver {
    pub(super) target: Target,
    /// Whether it advertised that it speaks the tutorial's protocol; `None` if it said nothing about it.
    pub(super) classic: Option<bool>,
}

impl Receiver {
    fn invited(link: &str) -> Result<Receiver, Failed> {
        let invitation = Invitation::parse(link).map_err(|error| malformed(&error))?;
        Ok(Receiver { target: Target::Invited(invitation), classic: None })
    }

    /// One that was found, among `all` that were. It proves nothing yet, but it may be one that has to be held to a
    /// remembered key.
    ///
    /// # Errors
    /// It is called like a remembered device, and is another one.
    fn found(found: &Found, all: &[Found], known: &Known) -> Result<Receiver, Failed> {
        if let Some(device) = known.marked(&found.id).and_then(|device| Receiver::remembered(device, all)) {
            return Ok(device);
        }
        known.stranger(&found.name, &found.id).map_err(|impostor| failed(impostor.failure()))?;
        Ok(Receiver { target: Target::Unproven(found.addresses.clone()), classic: Some(found.classic) })
    }

    /// A remembered device, if it is among those that were found; at each address that somebody announces for it.
    fn remembered(device: &Device, found: &[Found]) -> Option<Receiver> {
        let mark = device.key.mark();
        let its: Vec<&Found> = found.iter().filter(|found| found.id == mark).collect();
        let classic = Some(its.first()?.classic);
        let addresses = its.iter().flat_map(|found| found.addresses.iter().copied()).take(MOST_ADDRESSES).collect();
        Some(Receiver { target: Target::Remembered { device: device.clone(), addresses }, classic })
    }

    /// Where it is.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        match &self.target {
            Target::Invited(invitation) => vec![invitation.address],
            Target::Unproven(addresses) | Target::Remembered { addresses, .. } => addresses.clone(),
            Target::Known(address, _) => vec![*address],
        }
    }
}

fn malformed(error: &InvitationError) -> Failed {
    failed(Failure::new(ExitCode::Usage, error.to_string(), "copy the whole link from under the code"))
}

/// What `--to` or `--from` says; a name is that of a host of the `wanted` kind, first of all one that is `known`.
pub(super) async fn named(text: &str, wanted: Kind, only: Option<&str>, known: &Known) -> Result<Receiver, Failed> {
    if text == "-" {
        return Receiver::invited(&last_line(std::io::stdin().lock(), "standard input")?);
    }
    if let Some(path) = text.strip_prefix('@') {
        let file = std::fs::File::open(path).map_err(|error| {
            failed(Failure::new(
                ExitCode::Local,
                format!("can't read the link in `{path}`: {error}"),
                "name the file that `--invite-file` writes there",
            ))
        })?;
        return Receiver::invited(&last_line(BufReader::new(file), path)?);
    }
    if text.contains("://") {
        return Receiver::invited(text);
    }
    if let Some(address) = address(text) {
        return Ok(Receiver { target: Target::Unproven(vec![address]), classic: None });
    }
    let device = known.named(text).map(|device| (device, device.key.mark()));
    let is_device = |found: &Found| device.as_ref().is_some_and(|(_, mark)| *mark == found.id);
    let is_meant = |found: &Found| found.is_called(text) || is_device(found);
    let enough = |found: &[Found]| match device {
        Some(_) => found.iter().any(|found| found.serves(wanted) && is_device(found)),
        None => !found.is_empty(),
    };
    let found = search(is_meant, enough, NAME_WAIT, only).await.map_err(|error| network(ExitCode::Nobody, &error))?;
    let (meant, others): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|found| found.serves(wanted));
    if let (Some((device, _)), Some(other)) = (&device, meant.first()) {
        if let Some(receiver) = Receiver::remembered(device, &meant) {
            return Ok(receiver);
        }
        known.stranger(&device.name, &other.id).map_err(|impostor| failed(impostor.failure()))?;
    }
    let what = called(wanted);
    match (meant.len(), others.first()) {
        (0, Some(other)) => {
            let message = format!("`{text}` is no {what} but another {}", called(other.kind));
            Err(failed(Failure::new(ExitCode::Refused, message, "look at what the other side is running")))
        }
        (0, None) => {
            let message = format!("no {what} named `{text}` was found");
            Err(failed(match wanted {
                Kind::Inbox => Failure { message, ..nobody(NAME_WAIT) },
                _ => Failure::new(ExitCode::Nobody, message, format!("scan its code or use its link; {POINTER}")),
            }))
        }
        (1, _) => Receiver::found(&meant[0], &meant, known),
        (count, _) => Err(failed(Failure::new(
            ExitCode::Nobody,
            format!("{count} {what}s are named `{text}`"),
            "scan the code of the one you mean, or give its link or its address",
        ))),
    }
}

/// What a person calls a host of this kind.
fn called(kind: Kind) -> &'static str {
    match kind {
        Kind::Inbox => "receiver",
        Kind::Outbox => "outbox",
        Kind::Room => "room",
    }
}

/// `ip`, `ip:port`, `[ipv6]:port`.
fn address(text: &str) -> Option<SocketAddr> {
    let ip = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    text.parse().ok().or_else(|| Some(SocketAddr::new(ip.parse::<IpAddr>().ok()?, DEFAULT_PORT)))
}

/// The last line that isn't blank.
fn last_line(reader: impl BufRead, source: &str) -> Result<Zeroizing<String>, Failed> {
    let unreadable = |what: String| {
        failed(Failure::new(ExitCode::Usage, format!("no link in {source}: {what}"), "put the link there"))
    };
    let mut last = Zeroizing::new(String::new());
    for line in reader.lines() {
        let line = Zeroizing::new(line.map_err(|error| unreadable(error.to_string()))?);
        if line.len() > LINE_CAP {
            return Err(unreadable("a line is too long".to_owned()));
        }
        if !line.trim().is_empty() {
            last = line;
        }
    }
    if last.is_empty() { Err(unreadable("it is empty".to_owned())) } else { Ok(last) }
}

/// The receiver whose code is in a picture.
pub(super) async fn pictured(path: &Path) -> Result<Receiver, Failed> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || scan::read_picture(&path)).await;
    let codes = match read {
        Ok(Ok(codes)) => codes,
        Ok(Err(error)) => {
            return Err(failed(Failure::new(
                ExitCode::Usage,
                error.to_string(),
                "take the picture again, closer and straight",
            )));
        }
        Err(_) => {
            return Err(failed(Failure::new(ExitCode::Internal, "the picture could not be decoded", "report it")));
        }
    };
    let mut first = None;
    for code in &codes {
        match Invitation::parse(code) {
            Ok(invitation) => return Ok(Receiver { target: Target::Invited(invitation), classic: None }),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.map_or_else(
        || {
            failed(Failure::new(
                ExitCode::Usage,
                "there is no code in the picture",
                "take it again, closer and straight",
            ))
        },
        |error| malformed(&error),
    ))
}

/// Every remembered receiver that is here, and the names of those that are not.
pub(super) async fn remembered(known: &Known, only: Option<&str>) -> Result<(Vec<Receiver>, Vec<String>), Failed> {
    if known.devices().is_empty() {
        return Err(failed(Failure::new(
            ExitCode::Nobody,
            "no device is remembered",
            "send to one with `--remember` first, while it runs `qrdrop receive --remember`",
        )));
    }
    let is_meant = |found: &Found| found.kind == Kind::Inbox && known.marked(&found.id).is_some();
    let is_here = |device: &Device, found: &[Found]| Receiver::remembered(device, found).is_some();
    let enough = |found: &[Found]| known.devices().iter().all(|device| is_here(device, found));
    let found = search(is_meant, enough, NAME_WAIT, only).await.map_err(|error| network(ExitCode::Nobody, &error))?;
    let here: Vec<Receiver> =
        known.devices().iter().filter_map(|device| Receiver::remembered(device, &found)).collect();
    if here.is_empty() {
        return Err(failed(Failure { message: "no remembered receiver was found".to_owned(), ..nobody(NAME_WAIT) }));
    }
    let absent = known.devices().iter().filter(|device| !is_here(device, &found));
    Ok((here, absent.map(|device| device.name.clone()).collect()))
}

/// What a person chooses from the receivers nearby. `None`: nothing.
///
/// # Errors
/// They can't be listed.
pub(super) async fn chosen(
    ui: &Arc<Ui>,
    only: Option<&str>,
    known: &Known,
) -> Result<Option<Result<Receiver, Failed>>, NetError> {
    let mut browser = Browser::start(only)?;
    let (updates, list) = mpsc::channel(8);
    let mut heard: Vec<Found> = Vec::new();
    let mut picking = std::pin::pin!(ui.pick(list));
    let picked = loop {
        tokio::select! {
            picked = &mut picking => break picked,
            change = browser.next() => {
                match change {
                    Change::Found(found) if found.kind == Kind::Inbox => {
                        match heard.iter_mut().find(|heard| heard.fullname == found.fullname) {
                            Some(heard) => *heard = found,
                            None => heard.push(found),
                        }
                    }
                    Change::Found(_) => continue,
                    Change::Lost(fullname) => heard.retain(|heard| heard.fullname != fullname),
                }
                // A full queue means that a newer list is on its way anyway.
                let _ = updates.try_send(heard.iter().map(|heard| item(heard, known)).collect());
            }
        }
    };
    browser.shutdown().await;
    let picked = picked.and_then(|picked| heard.iter().find(|heard| item(heard, known) == picked));
    Ok(picked.map(|found| Receiver::found(found, &heard, known)))
}

fn item(found: &Found, known: &Known) -> PickItem {
    let device = known.marked(&found.id);
    let name = device.map_or(&found.name, |device| &device.name).clone();
    PickItem { name, address: found.addresses[0], mark: found.id.clone(), trusted: device.is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_names() {
        assert_eq!(address("192.168.1.7"), Some("192.168.1.7:5001".parse().unwrap()));
        assert_eq!(address("192.168.1.7:99"), Some("192.168.1.7:99".parse().unwrap()));
        assert_eq!(address("fd00::1"), Some("[fd00::1]:5001".parse().unwrap()));
        assert_eq!(address("[fd00::1]:7"), Some("[fd00::1]:7".parse().unwrap()));
        assert_eq!(address("laptop"), None);
        assert_eq!(address("10.0.0"), None);
    }

    #[test]
    fn the_last_line_that_is_not_blank_counts() {
        assert_eq!(last_line(&b"http://a\nqrdrop://b\n\n"[..], "x").unwrap().as_str(), "qrdrop://b");
        assert!(last_line(&b"\n \n"[..], "x").is_err());
    }
}
