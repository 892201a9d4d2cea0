//! What a person is shown and asked.

use std::net::SocketAddr;

use super::{Label, Offer, Peer};

/// What a hosting screen shows beside events. Holds the secret link: never logged, never in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Board {
    /// The link in the code; secret.
    pub link: String,
    /// `ip:port` in the link.
    pub address: SocketAddr,
    /// Interface of that address.
    pub interface: String,
    /// Every other address that may work.
    pub others: Vec<SocketAddr>,
    /// The shown name.
    pub name: String,
    /// Absolute path of the receive folder, if there is one.
    pub directory: Option<String>,
    /// What an outbox has to give, in a few words.
    pub offers: Option<String>,
    /// What to do on the other device, in a sentence or two.
    pub advice: String,
    /// Whether receivers nearby can find it by name.
    pub discoverable: bool,
    /// This side's key mark, which a sender sees too.
    pub mark: String,
    /// A sentence worth a person's attention, e.g. that no other device can reach the address.
    pub warning: Option<String>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("address", &self.address).field("link", &"<secret>").finish_non_exhaustive()
    }
}

/// Which way an offer would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The peer offers it to us.
    In,
    /// The peer wants what is offered here.
    Out,
}

/// Something only a person can decide. Everything but an explicit yes is a no.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Take what is offered, or give it?
    Accept {
        /// Which of the two.
        way: Way,
        /// What is offered.
        offer: Offer,
        /// A sentence that belongs above the question, e.g. why `--yes` did not answer it.
        note: Option<String>,
    },
    /// Let somebody into the room?
    Join {
        /// Who wants to come in.
        peer: Peer,
        /// What the pairing proves.
        label: Label,
        /// A sentence that belongs above the question.
        note: Option<String>,
    },
    /// Is the same code on the other screen?
    SameCode {
        /// Who claims to be there.
        peer: Peer,
        /// Six decimal digits.
        code: String,
    },
}

/// A person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An explicit yes.
    Yes,
    /// A no, whoever gave it.
    No(NoReason),
}

/// Where a no came from, so that the message can name the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReason {
    /// A person said so.
    Person,
    /// Nobody answered within the limit.
    Timeout,
    /// There is no terminal to ask at.
    NoTerminal,
}
