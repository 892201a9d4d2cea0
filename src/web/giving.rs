//! What an outbox gives: the verbs of its page, sealed content, and what its one-time paths lead to.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use hyper::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::answer::{Answer, Failure, plain};
use super::capability::digest_of;
use super::outflow::{self, Clear, PIECE_BYTES, Sealed};
use super::paths::Content;
use super::range::{Asked, asked, attachment, segment};
use super::seal::{Sealer, sealed_bytes};
use super::sessions::Signed;
use super::taking::{Taking, Under};
use super::visit::Visit;
use super::{Web, lock, zip};
use crate::events::{Dialect, Peer};
use crate::roll::Kept;
use crate::session::Outbox;
use crate::store::{SourceEntry, SourceKind, SourceList, StoreError};

/// Content up to this is sealed in the clear: the page holds it in memory until it is whole, and so much even an old
/// phone has.
pub(super) const SEALED_MAX: u64 = 256 * 1024 * 1024;

/// Offers of a room that one page is known to take of. The oldest goes first.
const TAKINGS: usize = 64;

/// Entries of one answer to `list`.
const LISTED: usize = 1_000;

/// The name of everything together.
const ZIP_NAME: &str = "qrdrop.zip";

/// The page's own taking of an outbox, made when it first wants something.
pub(super) fn taking(signed: &Signed, outbox: &Arc<Outbox>) -> Arc<Taking> {
    taking_of(signed, 0, outbox)
}

/// The same of one of several, which goes by `number`.
pub(super) fn taking_of(signed: &Signed, number: u32, outbox: &Arc<Outbox>) -> Arc<Taking> {
    let mut takings = lock(&signed.session.takings);
    if takings.len() >= TAKINGS && !takings.contains_key(&number) {
        takings.pop_first();
    }
    Arc::clone(takings.entry(number).or_insert_with(|| Taking::new(Arc::clone(outbox))))
}

/// What `status` of an outbox adds.
pub(super) fn status(outbox: &Outbox) -> Value {
    json!({
        "files": outbox.entries().files(),
        "bytes": total(outbox.entries()),
        "text": outbox.text(),
        "sealed_max": SEALED_MAX,
    })
}

/// `list`.
pub(super) fn listed(outbox: &Outbox, first: usize) -> Value {
    let entries = outbox.entries();
    let listed = (first..entries.len()).take(LISTED).filter_map(|id| {
        let entry = entries.get(u32::try_from(id).ok()?)?;
        let kind = if entry.kind == SourceKind::File { "file" } else { "folder" };
        Some(json!({ "id": id, "path": entry.offered, "bytes": entry.bytes, "kind": kind }))
    });
    json!({ "entries": listed.collect::<Vec<_>>(), "total": entries.len() })
}

/// `link`: a path for what is not fetched sealed. In the clear somebody has to say yes.
pub(super) fn link(
    web: &Web,
    taking: &Arc<Taking>,
    secure: bool,
    content: Content,
    peer: Peer,
) -> Result<Value, Failure> {
    let name = name(taking.entries(), content)?;
    Ok(match taking.decision(secure, peer) {
        None => json!({ "state": "asking" }),
        Some(Err(reason)) => json!({ "state": "refused", "reason": reason }),
        Some(Ok(())) => {
            let capability = web.paths.issue(Some(Arc::clone(taking)), content);
            json!({ "path": format!("/get/{}/{}", *capability, segment(&name)) })
        }
    })
}

/// `fetch`: content in records, from `offset` on.
pub(super) async fn fetch(
    taking: Arc<Taking>,
    signed: &Signed,
    content: Content,
    offset: u64,
    peer: Peer,
) -> Result<Answer, Failure> {
    let entries = Arc::clone(taking.entries());
    let chosen = match content {
        Content::File(id) => Some(offered_file(&entries, id)?),
        Content::Zip => None,
    };
    let bytes = chosen.as_ref().map_or_else(|| total(&entries), |entry| entry.bytes);
    if bytes > SEALED_MAX {
        return Err(Failure::too_large("so much does not fit into a phone's memory"));
    }
    if offset > bytes || (content == Content::Zip && offset > 0) {
        return Err(Failure::refused("offset", "there is nothing there"));
    }
    taking.decide(true, peer).await.map_err(|reason| Failure::conflict("refused", reason))?;
    let under = begin(&taking, true)?;
    let sealer = Sealer::new(&signed.keys.host, signed.number);
    let length = chosen.is_some().then(|| sealed_bytes(bytes - offset));
    let body = outflow::body(length, taking.outbox.brake(), move |pieces| {
        let mut sealed = Sealed::new(pieces, sealer);
        let mut counted = Counted { sink: &mut sealed, under: &under };
        match &chosen {
            Some(entry) => copy(entry, offset..bytes, &mut counted)?,
            None => zip::write(&entries, &mut counted).map_err(io::Error::other)?,
        }
        sealed.finish()
    });
    let mut answer = Response::new(body.map_err(|error| Failure::busy(error.to_string()))?);
    answer.headers_mut().insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(answer)
}

/// `GET /get/CAPABILITY/NAME`.
pub(super) async fn get(
    web: &Arc<Web>,
    outbox: &Arc<Outbox>,
    visit: &Visit,
    capability: &str,
    headers: &HeaderMap,
) -> Answer {
    let digest = digest_of(capability);
    let Some((content, taking)) = web.paths.find(&digest) else {
        return plain(StatusCode::NOT_FOUND, "this path is not good, or not any more");
    };
    visit.admit();
    let taking = taking.unwrap_or_else(|| Taking::new(Arc::clone(outbox)));
    let peer =
        Peer { id: visit.peer.ip().to_string(), name: String::new(), address: visit.peer, dialect: Dialect::Web };
    if let Err(reason) = taking.decide(visit.secure, peer).await {
        return plain(StatusCode::FORBIDDEN, reason);
    }
    let given = match content {
        Content::File(id) => file(web, &taking, visit.secure, digest, id, headers),
        Content::Zip => archive(web, &taking, visit.secure, digest),
    };
    given.unwrap_or_else(|failure| plain(failure.status(), failure.to_string()))
}

fn file(
    web: &Arc<Web>,
    taking: &Arc<Taking>,
    secure: bool,
    digest: [u8; 32],
    id: u32,
    headers: &HeaderMap,
) -> Result<Answer, Failure> {
    let entry = offered_file(taking.entries(), id)?;
    let (len, tag) = (entry.bytes, entity_tag(&entry));
    let field = |name| super::answer::only(headers, &name);
    let same = field(IF_RANGE).is_none_or(|theirs| theirs == tag);
    let part = match asked(field(RANGE).filter(|_| same), len) {
        Asked::Whole => None,
        Asked::Part(part) => Some(part),
        Asked::Beyond => {
            let mut answer = plain(StatusCode::RANGE_NOT_SATISFIABLE, "there is nothing there");
            answer.headers_mut().insert(CONTENT_RANGE, value(&format!("bytes */{len}")));
            return Ok(answer);
        }
    };
    let range = part.clone().unwrap_or(0..len);
    let under = begin(taking, secure)?;
    let (web, their, given) = (Arc::clone(web), Arc::clone(taking), entry.clone());
    let (bytes, runtime) = (range.end - range.start, tokio::runtime::Handle::current());
    let delivered = range.clone();
    let body = outflow::body(Some(bytes), taking.outbox.brake(), move |pieces| {
        let mut clear = Clear::new(pieces);
        copy(&given, delivered.clone(), &mut Counted { sink: &mut clear, under: &under })?;
        clear.finish()?;
        if web.paths.deliver(&digest, delivered, len) {
            runtime.block_on(their.got(vec![id], secure, false));
        }
        Ok(())
    });
    let mut answer = Response::new(body.map_err(|error| Failure::busy(error.to_string()))?);
    let headers = answer.headers_mut();
    attach(headers, leaf(&entry));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(ETAG, value(&tag));
    headers.insert(CONTENT_LENGTH, value(&bytes.to_string()));
    if part.is_some() {
        headers.insert(CONTENT_RANGE, value(&format!("bytes {}-{}/{len}", range.start, range.end - 1)));
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(answer)
}

fn archive(web: &Arc<Web>, taking: &Arc<Taking>, secure: bool, digest: [u8; 32]) -> Result<Answer, Failure> {
    let under = begin(taking, secure)?;
    let (web, their, entries) = (Arc::clone(web), Arc::clone(taking), Arc::clone(taking.entries()));
    let runtime = tokio::runtime::Handle::current();
    let body = outflow::body(None, taking.outbox.brake(), move |pieces| {
        let mut clear = Clear::new(pieces);
        zip::write(&entries, &mut Counted { sink: &mut clear, under: &under }).map_err(io::Error::other)?;
        clear.finish()?;
        if web.paths.deliver(&digest, 0..0, 0) {
            let ids = their.files().collect();
            runtime.block_on(their.got(ids, secure, false));
        }
        Ok(())
    });
    let mut answer = Response::new(body.map_err(|error| Failure::busy(error.to_string()))?);
    attach(answer.headers_mut(), ZIP_NAME);
    Ok(answer)
}

/// Paths for curl.
pub(super) fn curl_paths(web: &Web, outbox: &Outbox) -> Vec<Zeroizing<String>> {
    /// More than that is easier taken together.
    const EACH: usize = 4;
    let entries = outbox.entries();
    let files = || (0..).zip(entries.iter()).filter(|(_, entry)| entry.kind == SourceKind::File).map(|(id, _)| id);
    let contents = match entries.files() {
        0..=EACH => files().map(Content::File).collect(),
        _ => vec![Content::Zip],
    };
    let issue = |content| {
        let name = name(entries, content).ok()?;
        let capability = web.paths.issue(None, content);
        Some(Zeroizing::new(format!("/get/{}/{}", *capability, segment(&name))))
    };
    contents.into_iter().filter_map(issue).collect()
}

fn begin(taking: &Arc<Taking>, secure: bool) -> Result<Under, Failure> {
    taking.begin(secure).ok_or_else(|| Failure::busy("no more is given"))
}

/// The name to save under.
fn name(entries: &SourceList, content: Content) -> Result<String, Failure> {
    match content {
        Content::Zip => Ok(ZIP_NAME.to_owned()),
        Content::File(id) => offered_file(entries, id).map(|entry| leaf(&entry).to_owned()),
    }
}

fn offered_file(entries: &SourceList, id: u32) -> Result<Kept<SourceEntry>, Failure> {
    let entry = entries.get(id).filter(|entry| entry.kind == SourceKind::File);
    entry.ok_or_else(|| Failure::missing("file", "no such file is offered"))
}

fn leaf(entry: &SourceEntry) -> &str {
    entry.offered.rsplit('/').next().unwrap_or(&entry.offered)
}

fn total(entries: &SourceList) -> u64 {
    entries.bytes().unwrap_or(u64::MAX)
}

/// Changes whenever the file does.
fn entity_tag(entry: &SourceEntry) -> String {
    let modified = entry.modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    format!("\"{:x}-{:x}\"", entry.bytes, modified.unwrap_or_default().as_nanos())
}

fn attach(headers: &mut HeaderMap, name: &str) {
    headers.insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_DISPOSITION, value(&attachment(name)));
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("visible ASCII by how it is made")
}

/// Copies a part of a file that must stay as it was listed.
fn copy(entry: &SourceEntry, part: Range<u64>, sink: &mut impl Write) -> io::Result<()> {
    let failed = |error: StoreError| io::Error::other(error);
    let source = entry.open().map_err(failed)?;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut offset = part.start;
    while offset < part.end {
        let wanted = buffer.len().min(usize::try_from(part.end - offset).unwrap_or(usize::MAX));
        let read = source.read_at(offset, &mut buffer[..wanted]).map_err(failed)?;
        sink.write_all(&buffer[..read])?;
        offset += read as u64;
    }
    source.check_unchanged().map_err(failed)
}

/// Counts what goes through.
struct Counted<'a, W> {
    sink: &'a mut W,
    under: &'a Under,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.under.moved(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
