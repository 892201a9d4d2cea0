//! What holds of HTTP as strangers speak it, of sealed bodies, and of what pages list.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Waker};

use data_encoding::HEXLOWER;
use http_body_util::Empty;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;

use super::api::{OfferPage, Wanted, parse};
use super::head::{FIELDS_CAP, HEAD_CAP, HeadCheck, Whole};
use super::keys::{Key, claim_key};
use super::manifest::{Entry, Manifest};
use super::range::{Asked, asked, attachment, segment};
use super::seal::{Opener, RECORD_BYTES, seal, sealed_bytes};
use super::sessions::{self, Request as Signed};
use crate::names;
use crate::store::{PlannedEntry, PlannedKind};

/// However a head is cut the verdict is the same, and what is taken is one request with the same body to hyper, or none.
///
/// The first two bytes say where it is cut.
pub fn head(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first_chunk() else { return };
    let cut = usize::from(u16::from_be_bytes(*cut)) % (bytes.len() + 1);
    let mut check = HeadCheck::default();
    let early = check.look(&bytes[..cut]);
    let verdict = if early == Ok(None) { check.look(bytes) } else { early };
    assert_eq!(verdict, HeadCheck::default().look(bytes), "cut at {cut}");
    let Ok(Some(Whole { head, body })) = verdict else { return };
    let text = &bytes[..head];
    assert!(head <= HEAD_CAP && text.ends_with(b"\r\n\r\n"));
    assert!(text.iter().filter(|byte| **byte == b'\n').count() <= FIELDS_CAP + 2);
    assert_eq!(HeadCheck::default().look(text), Ok(Some(Whole { head, body })));
    assert_eq!(HeadCheck::default().look(&text[..head - 1]), Ok(None));
    if let Some(seen) = as_hyper_reads(text) {
        assert_eq!(seen.hosts, 1);
        assert_eq!(seen.length.unwrap_or(0), body);
        // What follows a CONNECT is no body, and no route takes one.
        assert!(seen.body == Some(body) || seen.method == Method::CONNECT, "{seen:?}");
    }
}

/// A request as it reaches the routes.
#[derive(Debug)]
struct Seen {
    method: Method,
    hosts: usize,
    length: Option<u64>,
    body: Option<u64>,
}

/// The request in `head`, if hyper finds one; it can't find two.
fn as_hyper_reads(head: &[u8]) -> Option<Seen> {
    let seen = RefCell::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let fields = request.headers();
        let length = fields.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.trim().parse().ok());
        seen.borrow_mut().push(Seen {
            method: request.method().clone(),
            hosts: fields.get_all(HOST).iter().count(),
            length,
            body: request.body().size_hint().exact(),
        });
        std::future::ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let stream = TokioIo::new(tokio::io::join(head, tokio::io::sink()));
    let mut serving = pin!(http1::Builder::new().half_close(true).serve_connection(stream, service));
    let mut context = Context::from_waker(Waker::noop());
    // All is in memory: what is not done at once waits for nothing that could come.
    while serving.as_mut().poll(&mut context).is_pending() {}
    let mut seen = seen.into_inner();
    assert!(seen.len() <= 1, "{seen:?}");
    seen.pop()
}

/// What stands in fields: a range is within the content, a signature is written in one way, a name makes one clean field and
/// one clean segment. Three lines, one of each; the range is of as many bytes as the first byte says.
pub fn fields(bytes: &[u8]) {
    let Some((len, text)) = bytes.split_first() else { return };
    let (text, len) = (String::from_utf8_lossy(text), u64::from(*len));
    let mut lines = text.splitn(3, '\n');
    let range = lines.next().unwrap_or_default();
    if let Asked::Part(part) = asked(Some(range), len) {
        assert!(part.start < part.end && part.end <= len, "{part:?} of {len}");
    }
    let signature = lines.next().unwrap_or_default();
    if let Some(Signed { id, number, mac, .. }) = sessions::parse(signature, "GET", "/") {
        assert_eq!(format!("{}.{number}.{}", HEXLOWER.encode(&id), HEXLOWER.encode(&mac)), signature);
    }
    let name = lines.next().unwrap_or_default();
    let field = attachment(name);
    assert!(field.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{field}");
    assert_eq!((field.matches('"').count(), field.matches(';').count()), (2, 2), "{field}");
    let (_, extended) = field.rsplit_once("UTF-8''").expect("both forms are there");
    let segment = segment(name);
    assert!(segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)), "{segment}");
    for encoded in [extended, &segment] {
        assert_eq!(percent_decode_str(encoded).decode_utf8().ok().as_deref(), Some(name));
    }
}

/// What was sealed opens again; with a bit flipped, cut, or under another number it does not; and what nobody sealed never
/// does. The first four bytes say which bit, and how often the rest is repeated, so that there are several records.
pub fn sealed(bytes: &[u8]) {
    let Some(([repeat, place @ ..], rest)) = bytes.split_first_chunk::<4>() else { return };
    let (key, number) = (claim_key(b"any token"), u64::from(*repeat));
    if let Some(content) = opened(&key, number, rest) {
        assert_eq!(seal(&key, number, &content), rest, "nobody can forge");
    }
    let times = if *repeat < 4 { usize::from(*repeat) * RECORD_BYTES / rest.len().max(1) } else { 1 };
    let content = rest.repeat(times.max(1));
    let sealed = seal(&key, number, &content);
    assert_eq!(sealed.len() as u64, sealed_bytes(content.len() as u64));
    assert_eq!(opened(&key, number, &sealed), Some(content));
    let place = u32::from_be_bytes([0, place[0], place[1], place[2]]) as usize % (8 * sealed.len());
    assert_eq!(opened(&key, number, &sealed[..place / 8]), None, "cut");
    assert_eq!(opened(&key, number + 1, &sealed), None, "replayed");
    let mut flipped = sealed;
    flipped[place / 8] ^= 1 << (place % 8);
    assert_eq!(opened(&key, number, &flipped), None, "flipped");
}

fn opened(key: &Key, number: u64, sealed: &[u8]) -> Option<Vec<u8>> {
    let opener = Opener::new(key, number, sealed.len() as u64).ok()?;
    let due = opener.content_left();
    let content = opener.open_all(sealed.to_vec()).ok()?;
    assert_eq!(content.len() as u64, due);
    Some(content)
}

/// A list of a page adds up and stays in the folder, or is refused as a whole.
pub fn list(bytes: &[u8]) {
    let _ = parse::<Wanted>(bytes).map(|wanted| wanted.content().map(drop));
    let _ = parse::<OfferPage>(bytes);
    let Ok(entries) = parse::<Vec<Entry>>(bytes) else { return };
    let (count, mut manifest) = (entries.len(), Manifest::default());
    if manifest.add(entries).is_err() {
        return assert!(manifest.entries.is_empty());
    }
    assert_eq!(manifest.entries.iter().map(|entry| u128::from(entry.bytes)).sum::<u128>(), manifest.bytes.into());
    let (told, left_out) = manifest.told();
    assert_eq!((told.len() as u64 + left_out, manifest.entries.len()), (count as u64, count));
    let Ok(plan) = manifest.plan() else { return };
    assert_eq!(plan.len() + manifest.texts().count(), count);
    for PlannedEntry { path, kind, size, .. } in plan {
        assert!(!path.as_str().starts_with('.'));
        path.components().for_each(names::oracle::safe_component);
        assert_eq!(kind == PlannedKind::File, size.is_some());
    }
}
