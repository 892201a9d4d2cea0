//! The tokens of a hosting command: drawn, shown, renewed, claimed, spent.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::proof::{self, Direction, PROOF_BYTES, Purpose};
use super::{Binding, Fingerprint, Invitation, LinkKind, random};

/// Length of a token in bytes. 128 bits can't be guessed, so nobody need ever be locked out for guessing.
pub const TOKEN_BYTES: usize = 16;

/// How long a token is still good after it was renewed, for the guest who scanned it just before.
pub const GRACE: Duration = Duration::from_secs(2 * 60);

/// Wrong tries, over all addresses, that bring the next renewal forward. Far above what typing errors and old links
/// give, far below what guessing needs.
const WRONG_TRIES_BEFORE_RENEWAL: u32 = 1_000;

/// Renewed tokens of one kind that are in their grace at once. Each costs an HMAC for each try; more than this takes
/// someone who leans on the key or a page that reloads and reloads, and then the oldest goes first.
const MAX_OLD: usize = 8;

/// The secret of an invitation.
pub struct Token(Zeroizing<[u8; TOKEN_BYTES]>);

impl Token {
    /// A new one.
    pub fn random() -> Token {
        Token(random())
    }

    /// A token from bytes that came in a link.
    pub(super) fn copy_of(bytes: &[u8]) -> Token {
        let mut token = Zeroizing::new([0; TOKEN_BYTES]);
        token.copy_from_slice(bytes);
        Token(token)
    }

    /// The secret bytes.
    pub fn as_bytes(&self) -> &[u8; TOKEN_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(<secret>)")
    }
}

/// A guest that has proven a token.
pub struct Admission {
    /// Which link it had.
    pub kind: LinkKind,
    /// A browser has claimed the same token: the guest may have it from a page that was replaced on its way.
    pub claimed: bool,
    /// The host's proof, to be sent back.
    pub host_proof: [u8; PROOF_BYTES],
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("kind", &self.kind).field("claimed", &self.claimed).finish_non_exhaustive()
    }
}

/// Why a proof admits nobody. The peer is told the same for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token that is good now gives this proof: wrong, renewed too long ago, or spent.
    #[error("the code is wrong or no longer valid: scan the one on the screen now")]
    Wrong,
}

/// A token that is no longer shown.
struct Old {
    token: Token,
    /// The end of its grace.
    until: Instant,
    /// By a browser.
    claimed: bool,
}

/// The tokens of one kind of link.
struct Line {
    kind: LinkKind,
    current: Option<Token>,
    /// Oldest first.
    old: Vec<Old>,
}

impl Line {
    fn new(kind: LinkKind) -> Line {
        Line { kind, current: Some(Token::random()), old: Vec::new() }
    }

    /// Draws a new token; the shown one enters its grace.
    fn renew(&mut self, until: Instant, claimed: bool) {
        if let Some(token) = self.current.replace(Token::random()) {
            if self.old.len() == MAX_OLD {
                self.old.remove(0);
            }
            self.old.push(Old { token, until, claimed });
        }
    }

    fn spend(&mut self) {
        self.current = None;
        self.old.clear();
    }

    fn forget_expired(&mut self, now: Instant) {
        self.old.retain(|old| now < old.until);
    }

    /// Every token that is good now, with whether a browser has claimed it.
    fn good(&self) -> impl Iterator<Item = (&Token, bool)> {
        let current = self.current.iter().map(|token| (token, false));
        current.chain(self.old.iter().map(|old| (&old.token, old.claimed)))
    }
}

/// The life of the two tokens, one for each [`LinkKind`], of a hosting command. Renewal is lazy: each method first does
/// what was due by its `now`, so a late timer never keeps an old token alive.
///
/// Every step takes `&mut self`: of two guests at the same moment one is first.
pub struct TokenBook {
    ttl: Option<Duration>,
    http: Line,
    qrdrop: Line,
    drawn: Instant,
    renewal: Option<Instant>,
    wrong_tries: u32,
    edition: u64,
}

impl TokenBook {
    /// Draws both tokens at `now`, to be renewed every `ttl`, or never for the whole run.
    pub fn new(ttl: Option<Duration>, now: Instant) -> TokenBook {
        TokenBook {
            ttl,
            http: Line::new(LinkKind::Http),
            qrdrop: Line::new(LinkKind::Qrdrop),
            drawn: now,
            renewal: ttl.and_then(|ttl| now.checked_add(ttl)),
            wrong_tries: 0,
            edition: 0,
        }
    }

    /// When [`TokenBook::refresh`] has something to do; `None` if never.
    pub fn next_renewal(&self) -> Option<Instant> {
        self.renewal
    }

    /// A number that changes whenever what is shown has to be drawn again.
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// Renews both tokens if that is due, and forgets those whose grace is over.
    pub fn refresh(&mut self, now: Instant) {
        if let Some(due) = self.renewal.filter(|&due| due <= now) {
            self.renew_at(now, due);
        }
        self.http.forget_expired(now);
        self.qrdrop.forget_expired(now);
    }

    /// A person asks for new tokens (key `r`). The old ones keep their grace. After
    /// [`TokenBook::spend`] this is what admits one more device.
    pub fn renew(&mut self, now: Instant) {
        self.refresh(now);
        self.renew_at(now, now);
    }

    /// Nobody else is admitted until [`TokenBook::renew`]: `--once` has had its device.
    pub fn spend(&mut self) {
        self.http.spend();
        self.qrdrop.spend();
        self.renewal = None;
        self.edition += 1;
    }

    /// The invitation to show for a kind of link; `None` while the tokens are spent.
    pub fn invitation(&self, kind: LinkKind, address: SocketAddr, receiver: &Fingerprint) -> Option<Invitation> {
        let token = self.line(kind).current.as_ref()?;
        Some(Invitation::new(kind, address, Token::copy_of(token.as_bytes()), receiver))
    }

    /// Whether the tokens are spent: only [`TokenBook::renew`] admits somebody again.
    pub fn is_spent(&self) -> bool {
        self.http.current.is_none()
    }

    /// Wrong tries over all addresses since the tokens were drawn.
    pub fn wrong_tries(&self) -> u32 {
        self.wrong_tries
    }
}

impl TokenBook {
    /// Admits the guest whose `proof` over `binding` fits a token that is good at `now`.
    ///
    /// # Errors
    ///
    /// [`Refusal`]. A wrong try is counted, and never locks anybody out.
    pub fn admit(&mut self, proof: &[u8], binding: &Binding, now: Instant) -> Result<Admission, Refusal> {
        self.refresh(now);
        let fits = |token: &Token| proof::verify(token.as_bytes(), Purpose::Invite, Direction::Client, binding, proof);
        let found = [&self.http, &self.qrdrop].into_iter().find_map(|line| {
            let (token, claimed) = line.good().find(|(token, _)| fits(token))?;
            let host_proof = proof::prove(token.as_bytes(), Purpose::Invite, Direction::Server, binding);
            Some(Admission { kind: line.kind, claimed, host_proof })
        });
        found.ok_or_else(|| {
            self.note_wrong_try(now);
            Refusal::Wrong
        })
    }

    /// Admits the browser for which `fits` makes something of an http token that is good at `now`, which is how the
    /// page's own key derivation stays out of this room. A guest that proves the claimed token is marked; if it was the one
    /// shown, another is drawn at once and the old one admits more browsers for [`GRACE`].
    ///
    /// # Errors
    ///
    /// [`Refusal::Wrong`], counted like a native one.
    pub fn claim_by_browser<T>(
        &mut self,
        now: Instant,
        mut fits: impl FnMut(&Token) -> Option<T>,
    ) -> Result<T, Refusal> {
        self.refresh(now);
        if let Some(admitted) = self.http.current.as_ref().and_then(&mut fits) {
            self.http.renew(now + GRACE, true);
            self.edition += 1;
            return Ok(admitted);
        }
        for old in &mut self.http.old {
            if let Some(admitted) = fits(&old.token) {
                old.claimed = true;
                return Ok(admitted);
            }
        }
        self.note_wrong_try(now);
        Err(Refusal::Wrong)
    }

    fn line(&self, kind: LinkKind) -> &Line {
        match kind {
            LinkKind::Http => &self.http,
            LinkKind::Qrdrop => &self.qrdrop,
        }
    }

    /// The grace runs from when the renewal was due, the new life from now.
    fn renew_at(&mut self, now: Instant, due: Instant) {
        self.http.renew(due + GRACE, false);
        self.qrdrop.renew(due + GRACE, false);
        self.drawn = now;
        self.renewal = self.ttl.and_then(|ttl| now.checked_add(ttl));
        self.wrong_tries = 0;
        self.edition += 1;
    }

    /// Renewing costs nothing and ends the use of whatever is being tried. Never within [`GRACE`] of
    /// the last drawing: guessing must not take the code away from the person who is scanning it.
    fn note_wrong_try(&mut self, now: Instant) {
        self.wrong_tries = self.wrong_tries.saturating_add(1);
        if self.wrong_tries == WRONG_TRIES_BEFORE_RENEWAL && !self.is_spent() {
            let early = now.max(self.drawn + GRACE);
            self.renewal = Some(self.renewal.map_or(early, |renewal| renewal.min(early)));
        }
    }
}

impl fmt::Debug for TokenBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBook")
            .field("ttl", &self.ttl)
            .field("wrong_tries", &self.wrong_tries)
            .field("edition", &self.edition)
            .finish_non_exhaustive()
    }
}
