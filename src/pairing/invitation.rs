//! The invitation and the link that carries it: `http://IP:PORT/#1…` or `qrdrop://IP:PORT/#1…`.
//!
//! After `#` stand the version `1` and 43 characters of canonical unpadded base64url (RFC 4648 5): 16 bytes of token,
//! then the first 16 bytes of the receiver's [`Fingerprint`]. What follows `#` never goes over the wire.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use zeroize::Zeroizing;

use super::proof::{self, Direction, PROOF_BYTES, Purpose};
use super::{Binding, Fingerprint, PREFIX_BYTES, TOKEN_BYTES, Token, tls};

/// The version of what follows `#`.
const VERSION: char = '1';

const PAYLOAD_BYTES: usize = TOKEN_BYTES + PREFIX_BYTES;

/// 32 bytes at 6 bits a character.
const PAYLOAD_CHARS: usize = 43;

/// The longest link, with an IPv6 address written in full; so the text is never moved, which would leave copies behind.
pub(super) const MAX_LINK_BYTES: usize = "qrdrop://[]:65535/#1".len() + 39 + PAYLOAD_CHARS;

/// Which of the two links: each has its own token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// For phones and qrdrop alike. A page that was replaced on the way could have read it.
    Http,
    /// For qrdrop alone; no browser opens it.
    Qrdrop,
}

impl LinkKind {
    /// The scheme with its separator, as it stands in a link.
    pub fn scheme(self) -> &'static str {
        match self {
            LinkKind::Http => "http://",
            LinkKind::Qrdrop => "qrdrop://",
        }
    }
}

/// Why a text is not an invitation. Never repeats the text, which may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// Not one of our links at all.
    #[error("this is not a qrdrop link: one begins with `http://` or `qrdrop://`")]
    NotALink,
    /// The address is not `IP:PORT`, or nobody can be reached at it.
    #[error("the link has no usable `IP:PORT`")]
    Address,
    /// An IPv6 zone means something on one machine only.
    #[error("the address in the link has a zone (`%…`), which means nothing on another device")]
    Zone,
    /// There is something between address and `#`.
    #[error("the link has a path, and an invitation has none")]
    Path,
    /// Nothing follows `#`, or there is no `#`.
    #[error("the link lacks what follows `#`: whatever scanned or copied it lost the secret")]
    NoSecret,
    /// Made by a later version.
    #[error("the link was made by a newer qrdrop: update this one")]
    NewerVersion,
    /// What follows `#` is too short, too long or not canonical base64url.
    #[error("what follows `#` in the link is damaged")]
    Secret,
}

/// What a host shows and a guest scans: where it listens, the key it has, and the token that admits.
pub struct Invitation {
    /// Which link it came as.
    pub kind: LinkKind,
    /// Where the host listens. Never port 0, an unspecified or a multicast address in one that was parsed.
    pub address: SocketAddr,
    token: Token,
    receiver: [u8; PREFIX_BYTES],
}

impl Invitation {
    /// An invitation to `address`, where the holder of the key `receiver` listens.
    pub fn new(kind: LinkKind, address: SocketAddr, token: Token, receiver: &Fingerprint) -> Invitation {
        Invitation { kind, address, token, receiver: receiver.prefix() }
    }

    /// What it carries of its maker's key.
    pub fn receiver(&self) -> &[u8; PREFIX_BYTES] {
        &self.receiver
    }

    /// Whether it is one of the holder of that key.
    pub fn is_of(&self, key: &Fingerprint) -> bool {
        self.receiver == key.prefix()
    }

    /// Reads a link. White space around it is forgiven (pasting adds it), as is the case of the scheme; nothing else.
    ///
    /// `https://` is read as [`LinkKind::Http`]: a host with a page in TLS shows it, the token is the same one, and our
    /// own sender speaks TLS either way.
    ///
    /// # Errors
    ///
    /// An [`InvitationError`] that says what is wrong without repeating it.
    pub fn parse(text: &str) -> Result<Invitation, InvitationError> {
        let text = text.trim();
        let (kind, rest) = [("http://", LinkKind::Http), ("https://", LinkKind::Http), ("qrdrop://", LinkKind::Qrdrop)]
            .into_iter()
            .find_map(|(scheme, kind)| Some((kind, strip_prefix_ignoring_case(text, scheme)?)))
            .ok_or(InvitationError::NotALink)?;
        let (location, secret) = rest.split_once('#').unwrap_or((rest, ""));
        let (authority, path) = location.split_at(location.find(['/', '?']).unwrap_or(location.len()));
        let address = parse_address(authority)?;
        if !matches!(path, "" | "/") {
            return Err(InvitationError::Path);
        }
        let (token, receiver) = parse_secret(secret)?;
        Ok(Invitation { kind, address, token, receiver })
    }

    /// The link: 74 bytes at most for IPv4 over http.
    pub fn link(&self) -> Zeroizing<String> {
        self.link_with(self.kind.scheme())
    }

    /// The same invitation for a phone, to a page inside TLS.
    pub fn secure_link(&self) -> Zeroizing<String> {
        self.link_with("https://")
    }

    fn link_with(&self, scheme: &str) -> Zeroizing<String> {
        let mut payload = Zeroizing::new([0; PAYLOAD_BYTES]);
        payload[..TOKEN_BYTES].copy_from_slice(self.token.as_bytes());
        payload[TOKEN_BYTES..].copy_from_slice(&self.receiver);
        let mut link = Zeroizing::new(String::with_capacity(MAX_LINK_BYTES));
        link.push_str(scheme);
        link.push_str(&self.address.to_string());
        link.push_str("/#");
        link.push(VERSION);
        BASE64URL_NOPAD.encode_append(payload.as_slice(), &mut link);
        link
    }

    /// What the client's TLS is to hold the receiver to.
    pub fn pin(&self) -> tls::Pin {
        tls::Pin::Prefix(self.receiver)
    }

    /// The guest's proof that it has the token.
    pub fn prove(&self, binding: &Binding) -> [u8; PROOF_BYTES] {
        proof::prove(self.token.as_bytes(), Purpose::Invite, Direction::Client, binding)
    }

    /// Whether the host's proof shows that it has the token too.
    pub fn verify_host(&self, binding: &Binding, proof: &[u8]) -> bool {
        proof::verify(self.token.as_bytes(), Purpose::Invite, Direction::Server, binding, proof)
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("kind", &self.kind)
            .field("address", &self.address)
            .field("token", &self.token)
            .field("receiver", &HEXLOWER.encode(&self.receiver))
            .finish()
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

fn parse_address(authority: &str) -> Result<SocketAddr, InvitationError> {
    if authority.contains('%') {
        return Err(InvitationError::Zone);
    }
    let address: SocketAddr = authority.parse().map_err(|_| InvitationError::Address)?;
    let reaches_nobody = match address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    if address.port() == 0 || reaches_nobody {
        return Err(InvitationError::Address);
    }
    Ok(address)
}

fn parse_secret(secret: &str) -> Result<(Token, [u8; PREFIX_BYTES]), InvitationError> {
    let Some(version) = secret.chars().next() else {
        return Err(InvitationError::NoSecret);
    };
    if version != VERSION {
        return Err(if version.is_ascii_alphanumeric() {
            InvitationError::NewerVersion
        } else {
            InvitationError::Secret
        });
    }
    let encoded = &secret.as_bytes()[VERSION.len_utf8()..];
    let mut payload = Zeroizing::new([0; PAYLOAD_BYTES]);
    // The decoder refuses trailing bits that are not zero, so a token has one spelling.
    if encoded.len() != PAYLOAD_CHARS || BASE64URL_NOPAD.decode_mut(encoded, payload.as_mut_slice()).is_err() {
        return Err(InvitationError::Secret);
    }
    let (token, receiver) = payload.split_at(TOKEN_BYTES);
    let mut prefix = [0; PREFIX_BYTES];
    prefix.copy_from_slice(receiver);
    Ok((Token::copy_of(token), prefix))
}
