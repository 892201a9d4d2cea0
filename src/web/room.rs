//! A page in a room: it takes a seat, says, and hears by asking again and again (protocol.md 11.5.1).

use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Failure;
use super::api::parse;
use super::run::peer;
use super::sessions::Signed;
use super::visit::Visit;
use super::{lock, raised};
use crate::names::{PeerName, inert};
use crate::pairing::Fingerprint;
use crate::room::{Line, Session, Unheard};
use crate::session::RoomHost;
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

/// Does what a page asks for.
pub(super) async fn call(
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
        _ => Err(Failure::missing("verb", "no such verb")),
    }
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
    json!({ "offer": offer, "by": by, "name": inert(&shared.name), "files": shared.files, "bytes": shared.bytes })
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
