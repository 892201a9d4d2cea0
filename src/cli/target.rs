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
use crate::net::discovery::{Browser, Change, Found, Kind, resolve};
use crate::net::listen::DEFAULT_PORT;
use crate::pairing::{Invitation, InvitationError};
use crate::session::Target;
use crate::ui::{PickItem, Ui, scan};

/// How long a name may take to be heard.
const NAME_WAIT: Duration = Duration::from_secs(5);

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

    fn found(found: Found) -> Receiver {
        Receiver { classic: Some(found.classic), target: Target::Unproven(found.addresses) }
    }

    /// Where it is.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        match &self.target {
            Target::Invited(invitation) => vec![invitation.address],
            Target::Unproven(addresses) => addresses.clone(),
            Target::Known(address, _) => vec![*address],
        }
    }
}

fn malformed(error: &InvitationError) -> Failed {
    failed(Failure::new(ExitCode::Usage, error.to_string(), "copy the whole link from under the code"))
}

/// What `--to` or `--from` says; a name is that of a host of the `wanted` kind.
pub(super) async fn named(text: &str, wanted: Kind, only: Option<&str>) -> Result<Receiver, Failed> {
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
    let found = resolve(text, NAME_WAIT, only).await.map_err(|error| network(ExitCode::Nobody, &error))?;
    let (mut meant, others): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|found| found.kind == wanted);
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
        (1, _) => Ok(Receiver::found(meant.remove(0))),
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

/// The receiver that a person chooses from those nearby. `None`: none was chosen.
pub(super) async fn chosen(ui: &Arc<Ui>, only: Option<&str>) -> Result<Option<Receiver>, Failed> {
    let mut browser = Browser::start(only).map_err(|error| network(ExitCode::Nobody, &error))?;
    let (updates, list) = mpsc::channel(8);
    let mut known: Vec<Found> = Vec::new();
    let mut picking = std::pin::pin!(ui.pick(list));
    let picked = loop {
        tokio::select! {
            picked = &mut picking => break picked,
            change = browser.next() => {
                match change {
                    Change::Found(found) if found.kind == Kind::Inbox => {
                        match known.iter_mut().find(|known| known.fullname == found.fullname) {
                            Some(known) => *known = found,
                            None => known.push(found),
                        }
                    }
                    Change::Found(_) => continue,
                    Change::Lost(fullname) => known.retain(|known| known.fullname != fullname),
                }
                // A full queue means that a newer list is on its way anyway.
                let _ = updates.try_send(known.iter().map(item).collect());
            }
        }
    };
    browser.shutdown().await;
    Ok(picked.and_then(|picked| known.into_iter().find(|known| item(known) == picked)).map(Receiver::found))
}

fn item(found: &Found) -> PickItem {
    PickItem { name: found.name.clone(), address: found.addresses[0], mark: found.id.clone(), trusted: false }
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
