//! A page in a room: it takes a seat, says, and hears by asking again and again (protocol.md 11.5.1).

use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Failure};
use super::api::{OfferPage, Wanted, offer, parse};
use super::giving::{self, SEALED_MAX, listed, taking_of};
use super::run::{peer, run};
use super::sessions::Signed;
use super::taking::Taking;
use super::transfers::{Phase, Transfer};
use super::visit::Visit;
use super::{lock, raised};
use crate::names::{PeerName, inert};
use crate::pairing::Fingerprint;
use crate::room::{Line, Session, Unheard};
use crate::session::{Relay, RoomHost, Space};
use crate::wire::{MESSAGE_CAP, Member, Say, Shared, What, Word};

/// A page that waits for news is answered after this, news or not: shorter than what networks do to silent connections.
const WAIT: Duration = Duration::from_secs(20);

/// News in one answer, about, in bytes.
const ANSWER: usize = 128 * 1024;

#[derive(Deserialize)]
struct Join {
    seen: u64,
}

#[derive(Deserialize)]
struct Hear {
    seen: u64,
}

#[derive(Deserialize)]
struct Said {
    turn: u64,
    text: String,
}

#[derive(Deserialize)]
struct Of {
    offer: u32,
}

#[derive(Deserialize)]
struct List {
    offer: u32,
    first: usize,
}

#[derive(Deserialize)]
struct Got {
    offer: u32,
    ids: Vec<u32>,
}

/// Does what a page asks for that talks, in a room or beside one.
pub(super) async fn talk(
    room: &Arc<RoomHost>,
    visit: &Visit,
    signed: &Signed,
    verb: &str,
    request: &[u8],
) -> Result<Value, Failure> {
    match verb {
        "join" => join(room, visit, signed, parse(request)?).await,
        "hear" => hear(room, signed, parse(request)?).await,
        "say" => {
            let Said { turn, text } = parse(request)?;
            if text.is_empty() || text.len() > MESSAGE_CAP {
                return Err(Failure::refused("request", "a message has 1 to 65,536 bytes"));
            }
            match room.say_from_page(seat(signed)?, Say { turn, word: Word::Text(text) }) {
                Ok(true) => Ok(json!({})),
                Ok(false) => Err(Failure::busy("that is faster than anybody reads")),
                Err(reason) => Err(unheard(reason)),
            }
        }
        _ => Err(no_such_verb()),
    }
}

/// Does what a page in a room asks for about files.
pub(super) async fn call(
    room: &Arc<RoomHost>,
    relay: &Arc<Relay>,
    visit: &Visit,
    signed: &Signed,
    verb: &str,
    request: &[u8],
) -> Result<Value, Failure> {
    match verb {
        "take" => take(room, relay, signed, parse(request)?).await,
        "list" => {
            let List { offer, first } = parse(request)?;
            Ok(listed(&taken(room, relay, signed, offer)?.outbox, first))
        }
        "got" => {
            let Got { offer, ids } = parse(request)?;
            taken(room, relay, signed, offer)?.got(ids, true, true).await;
            Ok(json!({}))
        }
        "offer" => {
            let by = sitting(room, signed)?;
            // What did not arrive whole is not kept: the room has room for so much.
            let request = parse::<OfferPage>(request)?.once();
            let (answer, frozen) = offer(relay.inbox(), visit, signed, request)?;
            if let Some(transfer) = frozen {
                let (relay, session) = (Arc::clone(relay), Arc::clone(&signed.session));
                let peer = peer(&signed.session, visit.peer);
                tokio::spawn(async move {
                    let (files, bytes) = transfer.with_manifest(|manifest| (manifest.files, manifest.bytes));
                    let Some(space) = relay.reserve(files, bytes) else {
                        return transfer.end(Phase::Refused("the host keeps no more for the room".to_owned()));
                    };
                    run(Arc::clone(&transfer), session, peer).await;
                    pass_on(&relay, &transfer, by, space).await;
                });
            }
            Ok(answer)
        }
        _ => Err(no_such_verb()),
    }
}

fn no_such_verb() -> Failure {
    Failure::missing("verb", "no such verb")
}

/// What came whole is offered to the room; of what did not, nothing stays.
async fn pass_on(relay: &Relay, transfer: &Transfer, by: Session, space: Space) {
    let paths = transfer.tops().into_iter().collect();
    let stashed = relay.keep(paths);
    if transfer.is_finished() {
        relay.share(by, stashed, space).await;
    }
}

/// `fetch`.
pub(super) async fn fetch(
    room: &Arc<RoomHost>,
    relay: &Arc<Relay>,
    visit: &Visit,
    signed: &Signed,
    request: &[u8],
) -> Result<Answer, Failure> {
    let (Of { offer }, wanted): (Of, Wanted) = (parse(request)?, parse(request)?);
    let (content, peer) = (wanted.content()?, peer(&signed.session, visit.peer));
    giving::fetch(taken(room, relay, signed, offer)?, signed, content, wanted.offset, peer).await
}

/// Has the host get hold of what is offered; answered when that is here, or after a while.
async fn take(room: &RoomHost, relay: &Relay, signed: &Signed, request: Of) -> Result<Value, Failure> {
    sitting(room, signed)?;
    let mut leaving = room.host().leaving();
    let ready = tokio::select! {
        ready = relay.take(request.offer, WAIT) => ready,
        () = raised(&mut leaving) => None,
    };
    match ready {
        None => Ok(json!({ "ready": false })),
        Some(Ok(_)) => Ok(json!({ "ready": true })),
        Some(Err(reason)) => Err(Failure::conflict("refused", reason)),
    }
}

/// What the page takes of something that is here.
fn taken(room: &RoomHost, relay: &Relay, signed: &Signed, offer: u32) -> Result<Arc<Taking>, Failure> {
    sitting(room, signed)?;
    let outbox = relay.taken(offer).ok_or_else(|| Failure::missing("offer", "that is not offered any more"))?;
    Ok(taking_of(signed, offer, &outbox))
}

/// Its seat, if it still has it.
fn sitting(room: &RoomHost, signed: &Signed) -> Result<Session, Failure> {
    seat(signed).and_then(|session| match room.is_open(session) {
        true => Ok(session),
        false => Err(unheard(Unheard::Over)),
    })
}

async fn join(room: &Arc<RoomHost>, visit: &Visit, signed: &Signed, request: Join) -> Result<Value, Failure> {
    // A page has no key: its session stands for it, whose name nobody else can prove.
    let key = digest(&SHA256, &[b"qrdrop/1 room ".as_slice(), signed.session.id()].concat());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(key.as_ref());
    let entered = room.enter_page(bytes, peer(&signed.session, visit.peer), request.seen).await;
    let entered = entered.map_err(|error| Failure::conflict("refused", error.to_string()))?;
    *lock(&signed.session.seat) = Some(entered.session);
    let welcome = entered.welcome;
    let offers = welcome.offers.iter().map(|offer| shared(offer.offer, offer.by, &offer.shared));
    Ok(json!({
        "you": welcome.you, "seen": welcome.seen, "missed": welcome.missed, "heard": welcome.heard,
        "members": welcome.members.iter().map(member).collect::<Vec<_>>(), "offers": offers.collect::<Vec<_>>(),
    }))
}

async fn hear(room: &Arc<RoomHost>, signed: &Signed, request: Hear) -> Result<Value, Failure> {
    let mut leaving = room.host().leaving();
    let heard = tokio::select! {
        heard = room.hear_from_page(seat(signed)?, request.seen, WAIT, ANSWER) => heard,
        () = raised(&mut leaving) => Ok(Vec::new()),
    };
    let lines = heard.map_err(unheard)?;
    Ok(json!({ "news": lines.iter().map(|line| news(line)).collect::<Vec<_>>() }))
}

fn seat(signed: &Signed) -> Result<Session, Failure> {
    lock(&signed.session.seat).ok_or_else(|| unheard(Unheard::Over))
}

/// Whatever it was: the page joins again, and hears what it has missed.
fn unheard(reason: Unheard) -> Failure {
    Failure::conflict("seat", reason.to_string())
}

fn member(member: &Member) -> Value {
    let name = PeerName::from_stranger(&member.name);
    let mark = Fingerprint::from_bytes(member.key).mark();
    json!({ "number": member.number, "name": name.as_str(), "look": name.collision_key(), "mark": mark, "here": member.here })
}

/// Without the link, which is for programs.
fn shared(offer: u32, by: u32, shared: &Shared) -> Value {
    let (name, large) = (inert(&shared.name), shared.bytes > SEALED_MAX);
    json!({ "offer": offer, "by": by, "name": name, "files": shared.files, "bytes": shared.bytes, "large": large })
}

fn news(line: &Line) -> Value {
    let news = &line.news;
    let what = match &news.what {
        What::Text(text) => json!({ "text": text }),
        What::Shared { offer, shared: what } => json!({ "shared": shared(*offer, news.by, what) }),
        What::Withdrawn(offer) => json!({ "withdrawn": offer }),
        What::Joined(who) => json!({ "joined": member(who) }),
        What::Left => json!({ "left": true }),
    };
    json!({ "number": news.number, "time": news.time_ms, "by": news.by, "turn": news.turn, "what": what })
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[test]
    fn a_page_is_told_of_an_offer_and_never_its_link() {
        let link = crate::wire::OfferLink::new("qrdrop://10.0.0.1:1/#1secret");
        let told = shared(1, 2, &Shared { name: "a\u{202e}b".into(), files: 1, bytes: 2, link }).to_string();
        assert!(!told.contains("secret") && !told.contains('\u{202e}'), "{told}");
        assert_eq!(unheard(Unheard::Over).status(), StatusCode::CONFLICT);
    }
}
