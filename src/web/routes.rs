//! From a request to its answer: what is checked before anything is done (protocol.md 11.7), then who does it.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::answer::{Answer, clear, only, plain, sealed};
use super::api::{cap, find};
use super::body::Inflow;
use super::keys::NONCE_BYTES;
use super::seal::sealed_bytes;
use super::sessions::{NotTaken, unhex};
use super::visit::Visit;
use super::{Share, Web, api, curl, giving, page, room, upload};
use crate::session::{Inbox, Outbox};

const SIGNATURE: HeaderName = HeaderName::from_static("x-qrdrop");

/// What a stranger's request may hold in bytes.
const STRANGER_CAP: u64 = 1024;

/// What a path is for.
enum Route<'a> {
    Page,
    Claim,
    Open,
    Verb(&'a str),
    Data { transfer: &'a str, id: u32, offset: u64 },
    Put { inbox: &'a Arc<Inbox>, capability: &'a str, name: &'a str },
    Get { outbox: &'a Arc<Outbox>, capability: &'a str },
}

impl<'a> Route<'a> {
    fn of(share: &'a Share, talks: bool, path: &'a str) -> Option<Route<'a>> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let route = match (parts.next()?, parts.next(), parts.next(), parts.next(), parts.next()) {
            ("", None, ..) => Route::Page,
            ("claim", None, ..) => Route::Claim,
            ("open", None, ..) => Route::Open,
            ("api", Some("data"), Some(transfer), Some(id), Some(offset))
                if matches!(share, Share::Inbox(_) | Share::Room(..)) =>
            {
                Route::Data { transfer, id: digits(id)?.try_into().ok()?, offset: digits(offset)? }
            }
            ("api", Some(verb), None, ..) if cap(share, talks, verb).is_some() => Route::Verb(verb),
            ("put", Some(capability), Some(name), None, _) => match share {
                Share::Inbox(inbox) => Route::Put { inbox, capability, name },
                Share::Outbox(_) | Share::Room(..) => return None,
            },
            // The name is for those who save.
            ("get", Some(capability), Some(_), None, _) => match share {
                Share::Outbox(outbox) => Route::Get { outbox, capability },
                Share::Inbox(_) | Share::Room(..) => return None,
            },
            _ => return None,
        };
        parts.next().is_none().then_some(route)
    }

    /// The methods that it has, as they stand in `Allow`.
    fn methods(&self) -> &'static str {
        match self {
            Route::Page | Route::Get { .. } => "GET, HEAD",
            Route::Claim | Route::Open | Route::Verb(_) => "POST",
            Route::Data { .. } | Route::Put { .. } => "PUT",
        }
    }

    /// The longest body that it takes in bytes; `None` where its content says so.
    fn most(&self, share: &Share, talks: bool) -> Option<u64> {
        match self {
            Route::Page | Route::Get { .. } => Some(0),
            Route::Claim | Route::Open => Some(STRANGER_CAP),
            Route::Verb(verb) => cap(share, talks, verb).map(sealed_bytes),
            Route::Data { .. } | Route::Put { .. } => None,
        }
    }
}

/// Answers one request.
pub(super) async fn answer(web: &Arc<Web>, visit: &Visit, request: Request<Incoming>) -> Answer {
    let _answering = visit.answering();
    let (head, body) = request.into_parts();
    let header = |name| only(&head.headers, &name);
    let host = header(HOST).unwrap_or_default();
    if !visit.came_to(host) {
        return closing(plain(StatusCode::MISDIRECTED_REQUEST, "this is not the address that was asked for"));
    }
    if web.https_only && !visit.secure {
        return closing(plain(StatusCode::FORBIDDEN, "open the link with https"));
    }
    if head.headers.get_all(ORIGIN).iter().any(|origin| !visit.is_own_origin(origin.as_bytes(), host.as_bytes())) {
        return closing(plain(StatusCode::FORBIDDEN, "nothing is said to pages of others"));
    }
    if ![Method::GET, Method::HEAD, Method::POST, Method::PUT].contains(&head.method) {
        return refused_method("GET, HEAD, POST, PUT");
    }
    let plain_path = head.uri.authority().is_none() && head.uri.query().is_none();
    let talks = web.room().is_some();
    let Some(route) = Some(head.uri.path()).filter(|_| plain_path).and_then(|path| Route::of(&web.share, talks, path))
    else {
        return closing(plain(StatusCode::NOT_FOUND, "there is nothing here"));
    };
    if !route.methods().split(", ").any(|method| method == head.method.as_str()) {
        return refused_method(route.methods());
    }
    let length = header(CONTENT_LENGTH).and_then(digits);
    if length.is_none() && matches!(head.method, Method::POST | Method::PUT) {
        return closing(plain(StatusCode::LENGTH_REQUIRED, "how long is it?"));
    }
    let length = length.unwrap_or(0);
    if route.most(&web.share, talks).is_some_and(|most| length > most) {
        return closing(plain(StatusCode::PAYLOAD_TOO_LARGE, "that is too long"));
    }
    let body = Inflow::new(body, length);
    let signed = || {
        let header = header(SIGNATURE).unwrap_or_default();
        let signed = web.sessions.take(header, head.method.as_str(), head.uri.path(), Instant::now());
        signed.inspect(|_| visit.admit())
    };
    match route {
        Route::Page => page::answer(&web.share, talks),
        Route::Claim => claim(web, host, body).await,
        Route::Open => open(web, body).await,
        Route::Put { inbox, capability, name } => curl::put(web, inbox, visit, (capability, name), body).await,
        Route::Get { outbox, capability } => giving::get(web, outbox, visit, capability, &head.headers).await,
        Route::Verb(verb) => match signed() {
            Ok(signed) => {
                let request = match body.opened(&signed).await {
                    Ok(request) => request,
                    Err(failure) => return sealed(&signed, Err(failure)),
                };
                match (&web.share, verb) {
                    (Share::Outbox(outbox), "fetch") => {
                        let fetched = api::fetch(outbox, visit, &signed, &request).await;
                        fetched.unwrap_or_else(|failure| sealed(&signed, Err(failure)))
                    }
                    (Share::Room(room, relay), "fetch") => {
                        let fetched = room::fetch(room, relay, visit, &signed, &request).await;
                        fetched.unwrap_or_else(|failure| sealed(&signed, Err(failure)))
                    }
                    _ => sealed(&signed, api::call(web, visit, &signed, verb, &request).await),
                }
            }
            Err(why) => not_taken(why),
        },
        Route::Data { transfer, id, offset } => match signed() {
            Ok(signed) => {
                let outcome = match find(&signed, transfer) {
                    Ok(transfer) => upload::put(&transfer, &signed, (id, offset), body).await,
                    Err(failure) => Err(failure),
                };
                sealed(&signed, outcome)
            }
            Err(why) => not_taken(why),
        },
    }
}

#[derive(Deserialize)]
struct Claim {
    p: String,
    proof: String,
}

#[derive(Deserialize)]
struct Open {
    id: String,
    p: String,
    proof: String,
}

async fn claim(web: &Web, host: &str, body: Inflow) -> Answer {
    let asked = async {
        let asked: Claim = serde_json::from_slice(&body.whole().await.ok()?).ok()?;
        Some((unhex::<NONCE_BYTES>(&asked.p)?, unhex::<32>(&asked.proof)?))
    };
    let Some((p, proof)) = asked.await else { return malformed() };
    let begun = web.host().with_tokens(|tokens| {
        let now = Instant::now();
        tokens.claim_by_browser(now.into_std(), |token| web.sessions.claim(token, &p, host, &proof, now))
    });
    match begun {
        Ok(begun) => {
            clear(StatusCode::OK, &json!({ "s": hex(&begun.s), "id": hex(&begun.id), "proof": hex(&begun.proof) }))
        }
        Err(_) => clear(StatusCode::FORBIDDEN, &json!({ "error": "code" })),
    }
}

async fn open(web: &Web, body: Inflow) -> Answer {
    let asked = async {
        let asked: Open = serde_json::from_slice(&body.whole().await.ok()?).ok()?;
        Some((unhex::<NONCE_BYTES>(&asked.id)?, unhex::<NONCE_BYTES>(&asked.p)?, unhex::<32>(&asked.proof)?))
    };
    let Some((id, p, proof)) = asked.await else { return malformed() };
    match web.sessions.open(&id, &p, &proof, Instant::now()) {
        Some(begun) => clear(StatusCode::OK, &json!({ "s": hex(&begun.s), "proof": hex(&begun.proof) })),
        None => not_taken(NotTaken::Session),
    }
}

fn not_taken(why: NotTaken) -> Answer {
    let (status, error) = match why {
        NotTaken::Session => (StatusCode::FORBIDDEN, "session"),
        NotTaken::View => (StatusCode::CONFLICT, "view"),
        NotTaken::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
    };
    clear(status, &json!({ "error": error }))
}

fn malformed() -> Answer {
    clear(StatusCode::BAD_REQUEST, &json!({ "error": "request" }))
}

fn refused_method(allowed: &'static str) -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "that can't be done here");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    closing(answer)
}

/// Whoever asked for something that no page asks for may begin anew.
fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// A number in the one way that it can be written.
fn digits(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
