//! Who is known: sessions, the views of each, and the numbers of their requests (protocol.md 11.2 and 11.3).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::time::Instant;

use super::keys::{KEY_BYTES, Key, Nonce, ViewKeys, claim_key, open_key, session_secret};
use super::lock;
use super::numbers::Numbers;
use super::taking::Taking;
use super::transfers::Transfers;
use crate::pairing::Token;
use crate::room;

/// Views of one session that are told apart. More tabs than that, and the oldest hears that it is not known.
const VIEWS: usize = 4;

/// A page signs its first request at once.
const UNCONFIRMED_LASTS: Duration = Duration::from_secs(30);

/// A phone may lie about for that long in the middle of choosing photos.
pub(super) const IDLE_LASTS: Duration = Duration::from_secs(60 * 60);

/// Sessions: a room full of phones. When all are taken, one idle for [`MAKES_ROOM`] has to go.
const SESSIONS: usize = 64;
const MAKES_ROOM: Duration = Duration::from_secs(60);

/// Claims not yet followed by a request; the oldest has to go.
const UNCONFIRMED: usize = 256;

/// One phone that came with the code, through reloads of its page.
pub(super) struct Session {
    id: Nonce,
    views: Mutex<Views>,
    confirmed: AtomicBool,
    seen: Mutex<Instant>,
    /// Whether a person was told of it.
    pub(super) introduced: AtomicBool,
    /// What the page calls its device, made inert.
    pub(super) device: Mutex<String>,
    /// What it sends.
    pub(super) transfers: Transfers,
    /// What it takes: of an outbox under 0, in a room under the number of the offer.
    pub(super) takings: Mutex<BTreeMap<u32, Arc<Taking>>>,
    /// Where it sits in a room.
    pub(super) seat: Mutex<Option<room::Session>>,
}

impl Session {
    /// Its name, which is no secret.
    pub(super) fn id(&self) -> &Nonce {
        &self.id
    }

    fn new(id: Nonce, secret: Key, p: &Nonce, s: &Nonce, now: Instant) -> Session {
        let first = View { keys: Arc::new(ViewKeys::new(&secret, p, s)), numbers: Numbers::default() };
        Session {
            id,
            views: Mutex::new(Views { secret, list: vec![first], current: 0 }),
            confirmed: AtomicBool::new(false),
            seen: Mutex::new(now),
            introduced: AtomicBool::new(false),
            device: Mutex::default(),
            transfers: Transfers::default(),
            seat: Mutex::default(),
            takings: Mutex::default(),
        }
    }

    /// How long the page has said nothing.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*lock(&self.seen))
    }

    fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Acquire)
    }

    fn is_over(&self, now: Instant) -> bool {
        match self.is_confirmed() {
            true => self.idle(now) >= IDLE_LASTS && !self.transfers.is_any_under_way(),
            false => self.idle(now) >= UNCONFIRMED_LASTS,
        }
    }
}

struct Views {
    secret: Key,
    /// Oldest first.
    list: Vec<View>,
    /// The one that works; later ones have not made a request yet.
    current: usize,
}

struct View {
    keys: Arc<ViewKeys>,
    numbers: Numbers,
}

impl Views {
    fn add(&mut self, p: &Nonce, s: &Nonce) {
        if self.list.len() == VIEWS {
            let oldest = usize::from(self.current == 0);
            self.list.remove(oldest);
            self.current -= usize::from(oldest < self.current);
        }
        self.list.push(View { keys: Arc::new(ViewKeys::new(&self.secret, p, s)), numbers: Numbers::default() });
    }

    fn check(&mut self, request: &Request<'_>) -> Result<Arc<ViewKeys>, NotTaken> {
        let Request { method, target, number, mac, .. } = *request;
        let signer = self.list.iter().rposition(|view| view.keys.signed(method, target, number, &mac));
        let signer = signer.ok_or(NotTaken::Session)?;
        if signer < self.current {
            return Err(NotTaken::View);
        }
        let view = &mut self.list[signer];
        if !view.numbers.take(number) {
            return Err(NotTaken::Session);
        }
        self.current = signer;
        Ok(Arc::clone(&view.keys))
    }
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Session, view, number or mac are not right.
    Session,
    /// Another tab has taken the session over.
    View,
    /// All places are taken.
    Busy,
}

/// A request that a known page has made.
pub(super) struct Signed {
    pub(super) session: Arc<Session>,
    pub(super) keys: Arc<ViewKeys>,
    pub(super) number: u64,
}

/// What a page that begins or comes back is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) s: Nonce,
    pub(super) id: Nonce,
    pub(super) proof: [u8; KEY_BYTES],
}

/// A signed request as it came.
pub(super) struct Request<'a> {
    pub(super) id: Nonce,
    method: &'a str,
    target: &'a str,
    pub(super) number: u64,
    pub(super) mac: [u8; KEY_BYTES],
}

/// All sessions of a hosting command.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<Nonce, Arc<Session>>>);

impl Sessions {
    /// Whether the page that drew `p` and sent `proof` knows `token`; then there is a session for it.
    pub(super) fn claim(&self, token: &Token, p: &Nonce, host: &str, proof: &[u8], now: Instant) -> Option<Begun> {
        let key = claim_key(token.as_bytes());
        if !key.verifies(&[b"claim page", p, host.as_bytes()], proof) {
            return None;
        }
        let (s, id) = (random(), random());
        let session = Session::new(id, session_secret(token.as_bytes(), p, &s), p, &s, now);
        let mut sessions = lock(&self.0);
        sessions.retain(|_, session| !session.is_over(now));
        let unconfirmed = sessions.values().filter(|session| !session.is_confirmed());
        if unconfirmed.clone().count() >= UNCONFIRMED
            && let Some(oldest) = unconfirmed.max_by_key(|session| session.idle(now)).map(|session| session.id)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(id, Arc::new(session));
        Some(Begun { s, id, proof: key.mac(&[b"claim host", p, &s, &id]) })
    }

    /// Makes a new view of a session for the page that drew `p`, if it knows the session's secret.
    pub(super) fn open(&self, id: &Nonce, p: &Nonce, proof: &[u8], now: Instant) -> Option<Begun> {
        let session = self.find(id, now)?;
        let mut views = lock(&session.views);
        let key = open_key(&views.secret);
        if !key.verifies(&[b"open page", p, id], proof) {
            return None;
        }
        let s = random();
        views.add(p, &s);
        *lock(&session.seen) = now;
        Some(Begun { s, id: *id, proof: key.mac(&[b"open host", p, &s, id]) })
    }

    /// Takes the request whose `X-Qrdrop` is `header`, once.
    pub(super) fn take(&self, header: &str, method: &str, target: &str, now: Instant) -> Result<Signed, NotTaken> {
        let request = parse(header, method, target).ok_or(NotTaken::Session)?;
        let session = self.find(&request.id, now).ok_or(NotTaken::Session)?;
        let keys = lock(&session.views).check(&request)?;
        if !session.is_confirmed() {
            self.confirm(&session, now)?;
        }
        *lock(&session.seen) = now;
        Ok(Signed { session, keys, number: request.number })
    }

    fn find(&self, id: &Nonce, now: Instant) -> Option<Arc<Session>> {
        let mut sessions = lock(&self.0);
        if sessions.get(id)?.is_over(now) {
            sessions.remove(id);
        }
        sessions.get(id).cloned()
    }

    fn confirm(&self, session: &Session, now: Instant) -> Result<(), NotTaken> {
        let mut sessions = lock(&self.0);
        sessions.retain(|_, session| !session.is_over(now));
        let confirmed = sessions.values().filter(|session| session.is_confirmed());
        if confirmed.clone().count() >= SESSIONS {
            let spare =
                |session: &&Arc<Session>| session.idle(now) >= MAKES_ROOM && !session.transfers.is_any_under_way();
            let idlest = confirmed.filter(spare).max_by_key(|session| session.idle(now)).map(|session| session.id);
            sessions.remove(&idlest.ok_or(NotTaken::Busy)?);
        }
        session.confirmed.store(true, Ordering::Release);
        Ok(())
    }
}

/// `<id>.<number>.<mac>`, each in the one way that it can be written.
pub(super) fn parse<'a>(header: &str, method: &'a str, target: &'a str) -> Option<Request<'a>> {
    let mut parts = header.split('.');
    let (id, digits, mac) = (parts.next()?, parts.next()?, parts.next()?);
    let number: u64 = digits.parse().ok().filter(|number: &u64| number.to_string() == digits)?;
    let (id, mac) = (unhex(id)?, unhex(mac)?);
    parts.next().is_none().then_some(Request { id, method, target, number, mac })
}

/// Bytes in lower-case hexadecimal.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn random() -> Nonce {
    *Token::random().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::vectors::{field, hex, nonce, vectors};

    const HOST: &str = "10.0.0.1:5001";

    /// A page with its session.
    struct Page {
        secret: Key,
        id: Nonce,
        keys: ViewKeys,
    }

    impl Page {
        fn header(&self, number: u64) -> String {
            header(&self.id, &self.keys, number)
        }
    }

    fn header(id: &Nonce, keys: &ViewKeys, number: u64) -> String {
        let mac = keys.sign("POST", "/api/status", number);
        format!("{}.{number}.{}", HEXLOWER.encode(id), HEXLOWER.encode(&mac))
    }

    fn claim(sessions: &Sessions, token: &Token, now: Instant) -> Page {
        let p = random();
        let proof = claim_key(token.as_bytes()).mac(&[b"claim page", &p, HOST.as_bytes()]);
        let begun = sessions.claim(token, &p, HOST, &proof, now).expect("the proof is right");
        let secret = session_secret(token.as_bytes(), &p, &begun.s);
        Page { keys: ViewKeys::new(&secret, &p, &begun.s), secret, id: begun.id }
    }

    fn open(sessions: &Sessions, page: &Page, now: Instant) -> Option<Page> {
        let p = random();
        let proof = open_key(&page.secret).mac(&[b"open page", &p, &page.id]);
        let begun = sessions.open(&page.id, &p, &proof, now)?;
        let secret = page.secret.copy();
        Some(Page { keys: ViewKeys::new(&secret, &p, &begun.s), secret, id: page.id })
    }

    fn take(sessions: &Sessions, header: &str, now: Instant) -> Result<u64, NotTaken> {
        sessions.take(header, "POST", "/api/status", now).map(|signed| signed.number)
    }

    #[test]
    fn the_headers_of_the_vectors_are_understood() {
        let v = vectors();
        for request in v["requests"].as_array().unwrap() {
            let view = &v["views"][request["view"].as_u64().unwrap() as usize];
            let first = &v["views"][0];
            let secret = session_secret(&hex(&v["token"]), &nonce(&first["p"]), &nonce(&first["s"]));
            let keys = ViewKeys::new(&secret, &nonce(&view["p"]), &nonce(&view["s"]));
            let (method, target) = (field(&request["method"]), field(&request["target"]));
            let parsed = parse(field(&request["header"]), method, target).unwrap();
            assert_eq!((parsed.id, parsed.number), (nonce(&v["id"]), request["number"].as_u64().unwrap()));
            assert!(keys.signed(method, target, parsed.number, &parsed.mac));
        }
    }

    #[test]
    fn a_request_is_taken_once_and_only_as_it_was_signed() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let page = claim(&sessions, &Token::random(), now);
        let header = page.header(0);
        assert!(matches!(sessions.take(&header, "PUT", "/api/status", now), Err(NotTaken::Session)));
        assert!(matches!(sessions.take(&header, "POST", "/api/cancel", now), Err(NotTaken::Session)));
        assert_eq!(take(&sessions, &header.replace(".0.", ".1."), now), Err(NotTaken::Session));
        assert_eq!(take(&sessions, &header, now), Ok(0));
        assert_eq!(take(&sessions, &header, now), Err(NotTaken::Session), "replayed");
        for odd in
            ["", "..", "x", &header.replace(".0.", ".00."), &header.replace(".0.", ".+0."), &format!("{header}.")]
        {
            assert_eq!(take(&sessions, odd, now), Err(NotTaken::Session), "{odd}");
        }
    }

    #[test]
    fn a_wrong_proof_or_another_host_begins_no_session() {
        let (sessions, token, now) = (Sessions::default(), Token::random(), Instant::now());
        let p = random();
        let proof = claim_key(token.as_bytes()).mac(&[b"claim page", &p, b"10.0.0.2:5001"]);
        assert_eq!(sessions.claim(&token, &p, HOST, &proof, now), None);
        assert_eq!(sessions.claim(&token, &p, HOST, b"", now), None);
    }

    #[test]
    fn of_two_tabs_the_last_one_works() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let first = claim(&sessions, &Token::random(), now);
        assert_eq!(take(&sessions, &first.header(0), now), Ok(0));
        let second = open(&sessions, &first, now).unwrap();
        assert_eq!(take(&sessions, &first.header(1), now), Ok(1), "until the new one has asked for something");
        assert_eq!(take(&sessions, &second.header(0), now), Ok(0));
        assert_eq!(take(&sessions, &first.header(2), now), Err(NotTaken::View));
        let more: Vec<_> = (0..10).map(|_| open(&sessions, &first, now).unwrap()).collect();
        assert_eq!(take(&sessions, &second.header(1), now), Ok(1), "the working one is never pushed out");
        assert_eq!(take(&sessions, &more[9].header(0), now), Ok(0));
        assert_eq!(take(&sessions, &more[0].header(0), now), Err(NotTaken::Session), "long forgotten");
        assert!(open(&sessions, &Page { id: random(), ..claim(&sessions, &Token::random(), now) }, now).is_none());
    }

    #[test]
    fn a_claim_without_a_request_is_forgotten_soon_and_a_session_after_an_idle_hour() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let (silent, page) = (claim(&sessions, &Token::random(), now), claim(&sessions, &Token::random(), now));
        assert_eq!(take(&sessions, &page.header(0), now), Ok(0));
        let later = now + UNCONFIRMED_LASTS;
        assert_eq!(take(&sessions, &silent.header(0), later), Err(NotTaken::Session));
        assert_eq!(take(&sessions, &page.header(1), later), Ok(1));
        assert!(open(&sessions, &page, later + IDLE_LASTS - Duration::from_secs(1)).is_some());
        assert!(open(&sessions, &page, later + 2 * IDLE_LASTS).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_an_idle_one_makes_room() {
        let (sessions, token, now) = (Sessions::default(), Token::random(), Instant::now());
        let oldest = claim(&sessions, &token, now);
        let later = now + Duration::from_secs(1);
        let claimed: Vec<_> = (0..UNCONFIRMED).map(|_| claim(&sessions, &token, later)).collect();
        assert_eq!(lock(&sessions.0).len(), UNCONFIRMED);
        assert_eq!(take(&sessions, &oldest.header(0), later), Err(NotTaken::Session));
        for page in &claimed[..SESSIONS] {
            assert_eq!(take(&sessions, &page.header(0), later), Ok(0));
        }
        assert_eq!(take(&sessions, &claimed[SESSIONS].header(0), later), Err(NotTaken::Busy));
        let page = claim(&sessions, &token, later + MAKES_ROOM);
        assert_eq!(take(&sessions, &page.header(0), later + MAKES_ROOM), Ok(0));
    }
}
