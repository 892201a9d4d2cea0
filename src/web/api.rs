//! The verbs of protocol.md 11.5.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::answer::{Answer, Failure};
use super::giving;
use super::manifest::Entry;
use super::paths::Content;
use super::run::{peer, run};
use super::sessions::{Signed, unhex};
use super::transfers::{Phase, Transfer};
use super::visit::Visit;
use super::{Share, Web, lock, raised, room};
use crate::names::PeerName;
use crate::session::{Inbox, Outbox, Standing};
use crate::wire::MESSAGE_CAP;

/// A page that waits is answered after this, changed or not: shorter than what networks do to silent connections.
const WAIT: Duration = Duration::from_secs(20);

/// What a verb's request may hold in bytes.
const REQUEST_CAP: u64 = 64 * 1024;

/// The same of one page of an offer.
const OFFER_CAP: u64 = 1024 * 1024;

/// The same of a message in a room: JSON may write each of its bytes as six.
const SAY_CAP: u64 = 6 * MESSAGE_CAP as u64 + 1024;

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    device: String,
}

#[derive(Deserialize)]
pub(super) struct OfferPage {
    transfer: String,
    first: usize,
    entries: Vec<Entry>,
    #[serde(default)]
    last: bool,
    /// What the transfer is known by if the page offers it again, in hexadecimal; with the last page of the list.
    #[serde(default)]
    resume: Option<String>,
}

impl OfferPage {
    /// As of a page that does not come back.
    pub(super) fn once(self) -> OfferPage {
        OfferPage { resume: None, ..self }
    }
}

#[derive(Deserialize)]
struct Wait {
    transfer: String,
    version: u64,
}

#[derive(Deserialize)]
struct Files {
    transfer: String,
    first: usize,
}

#[derive(Deserialize)]
struct Withdraw {
    transfer: String,
    id: u32,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Anew {
    transfer: String,
    id: u32,
}

#[derive(Deserialize)]
struct Cancel {
    transfer: String,
}

#[derive(Deserialize)]
struct List {
    first: usize,
}

#[derive(Deserialize)]
struct Got {
    ids: Vec<u32>,
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    id: Option<u32>,
    #[serde(default)]
    pub(super) offset: u64,
    #[serde(default)]
    zip: bool,
}

impl Wanted {
    pub(super) fn content(&self) -> Result<Content, Failure> {
        match (self.id, self.zip) {
            (Some(id), false) => Ok(Content::File(id)),
            (None, true) => Ok(Content::Zip),
            _ => Err(Failure::refused("request", "either a file or the zip")),
        }
    }
}

/// The most content that a request of `verb` may have; `None` if there is no such verb here. `talks` where there is a room,
/// whatever is shared.
pub(super) fn cap(share: &Share, talks: bool, verb: &str) -> Option<u64> {
    match (share, verb) {
        (_, "status") => Some(REQUEST_CAP),
        (Share::Inbox(_) | Share::Room(..), "offer") => Some(OFFER_CAP),
        (Share::Inbox(_) | Share::Room(..), "wait" | "files" | "withdraw" | "anew" | "cancel") => Some(REQUEST_CAP),
        (_, "say") if talks => Some(SAY_CAP),
        (_, "join" | "hear") if talks => Some(REQUEST_CAP),
        (Share::Room(..), "take" | "list" | "fetch" | "got") => Some(REQUEST_CAP),
        (Share::Outbox(_), "list" | "fetch" | "got" | "link" | "done") => Some(REQUEST_CAP),
        _ => None,
    }
}

/// Does what a page asks for, `fetch` aside, whose answer is no JSON.
pub(super) async fn call(
    web: &Web,
    visit: &Visit,
    signed: &Signed,
    verb: &str,
    request: &[u8],
) -> Result<Value, Failure> {
    match (&web.share, verb) {
        (_, "status") => status(web, visit, signed, parse(request)?),
        (Share::Inbox(inbox), "offer") => {
            let (answer, frozen) = offer(inbox, visit, signed, parse(request)?)?;
            if let Some(transfer) = frozen {
                tokio::spawn(run(transfer, Arc::clone(&signed.session), peer(&signed.session, visit.peer)));
            }
            Ok(answer)
        }
        (Share::Inbox(_) | Share::Room(..), "wait") => wait(web, signed, parse(request)?).await,
        (Share::Inbox(_) | Share::Room(..), "files") => {
            let Files { transfer, first } = parse(request)?;
            Ok(find(signed, &transfer)?.listed(first))
        }
        (Share::Inbox(_) | Share::Room(..), "withdraw") => {
            let Withdraw { transfer, id, reason } = parse(request)?;
            find(signed, &transfer)?.withdraw(id, &reason)?;
            Ok(json!({}))
        }
        (Share::Inbox(_) | Share::Room(..), "anew") => {
            let Anew { transfer, id } = parse(request)?;
            find(signed, &transfer)?.begin_anew(id)?;
            Ok(json!({}))
        }
        (Share::Inbox(_) | Share::Room(..), "cancel") => {
            let Cancel { transfer } = parse(request)?;
            find(signed, &transfer)?.end(Phase::Cancelled);
            Ok(json!({}))
        }
        (_, "join" | "hear" | "say") => {
            let room = web.room().ok_or_else(|| Failure::missing("verb", "there is no room here"))?;
            room::talk(&room, visit, signed, verb, request).await
        }
        (Share::Room(room, relay), verb) => room::call(room, relay, visit, signed, verb, request).await,
        (Share::Outbox(outbox), "list") => {
            let List { first } = parse(request)?;
            Ok(giving::listed(outbox, first))
        }
        (Share::Outbox(outbox), "got") => {
            let Got { ids } = parse(request)?;
            giving::taking(signed, outbox).got(ids, true, true).await;
            Ok(json!({}))
        }
        (Share::Outbox(outbox), "link") => {
            let content = parse::<Wanted>(request)?.content()?;
            let peer = peer(&signed.session, visit.peer);
            giving::link(web, &giving::taking(signed, outbox), visit.secure, content, peer)
        }
        (Share::Outbox(outbox), "done") => {
            giving::taking(signed, outbox).done();
            Ok(json!({}))
        }
        _ => Err(Failure::missing("verb", "no such verb")),
    }
}

/// `fetch`.
pub(super) async fn fetch(
    outbox: &Arc<Outbox>,
    visit: &Visit,
    signed: &Signed,
    request: &[u8],
) -> Result<Answer, Failure> {
    let wanted: Wanted = parse(request)?;
    let (content, peer) = (wanted.content()?, peer(&signed.session, visit.peer));
    giving::fetch(giving::taking(signed, outbox), signed, content, wanted.offset, peer).await
}

/// The transfer of that name.
pub(super) fn find(signed: &Signed, transfer: &str) -> Result<Arc<Transfer>, Failure> {
    signed.session.transfers.find(transfer).ok_or_else(|| Failure::missing("transfer", "no such transfer"))
}

pub(super) fn parse<T: DeserializeOwned>(request: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(request).map_err(|error| Failure::refused("request", error.to_string()))
}

fn status(web: &Web, visit: &Visit, signed: &Signed, request: Status) -> Result<Value, Failure> {
    let (host, session) = (web.host(), &signed.session);
    *lock(&session.device) = PeerName::from_stranger(&request.device).as_str().to_owned();
    if !session.introduced.swap(true, Ordering::AcqRel) {
        host.introduce(peer(session, visit.peer), Standing::BROWSER.label);
    }
    let (role, more) = match &web.share {
        Share::Inbox(inbox) => {
            let folder = inbox.folder.path().file_name().unwrap_or_default().to_string_lossy();
            let (max, transfers) = (inbox.rules.max_size, session.transfers.under_way());
            ("inbox", json!({ "folder": folder, "max": max, "transfers": transfers }))
        }
        Share::Outbox(outbox) => {
            // A text is delivered with this answer.
            giving::taking(signed, outbox).end_if_whole();
            ("outbox", giving::status(outbox))
        }
        Share::Room(..) => ("room", json!({ "transfers": session.transfers.under_way() })),
    };
    let mut status = json!({ "role": role, "name": host.name, "mark": host.mark(), "secure": visit.secure });
    if let (Value::Object(status), Value::Object(more)) = (&mut status, more) {
        status.extend(more);
    }
    Ok(status)
}

/// `offer`. Returns its answer, and the transfer if its list is whole now.
pub(super) fn offer(
    inbox: &Arc<Inbox>,
    visit: &Visit,
    signed: &Signed,
    request: OfferPage,
) -> Result<(Value, Option<Arc<Transfer>>), Failure> {
    let OfferPage { transfer, first, entries, last, resume } = request;
    if unhex::<16>(&transfer).is_none() {
        return Err(Failure::refused("request", "a transfer is named by 32 hexadecimal digits"));
    }
    let session = &signed.session;
    let transfer = session.transfers.find_or_begin(&transfer, inbox, visit.peer.ip());
    let transfer = transfer.ok_or_else(|| Failure::busy("too many transfers are under way"))?;
    let resume = match resume {
        Some(resume) if last => Some(
            unhex::<32>(&resume)
                .ok_or_else(|| Failure::refused("request", "a transfer is known again by 64 hexadecimal digits"))?,
        ),
        _ => None,
    };
    let (entries, frozen) = transfer.list(first, entries, last, resume)?;
    Ok((json!({ "entries": entries }), frozen.then_some(transfer)))
}

async fn wait(web: &Web, signed: &Signed, request: Wait) -> Result<Value, Failure> {
    let transfer = find(signed, &request.transfer)?;
    let mut leaving = web.host().leaving();
    let mut changes = transfer.watch();
    let changed = changes.wait_for(|version| *version > request.version);
    tokio::select! {
        _ = timeout(WAIT, changed) => {}
        () = raised(&mut leaving) => {}
    }
    Ok(transfer.seen())
}
