//! Who is taken without asking, and what a person is asked.

use crate::events::{Answer, Label, NoReason, Offer, Peer, Question, Reporter, Way};
use crate::wire::{Refuse, RefuseCode, VERSION};

/// How far a way of pairing is trusted when nobody is asked: what `--yes` compares with (product.md 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Anyone, without encryption.
    Open,
    /// Encrypted, or a code that a replaced page may have leaked.
    Private,
    /// Both ends are known by their keys.
    Verified,
}

/// What a paired peer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What every transfer of the peer is labelled with.
    pub label: Label,
    /// What `--yes` counts it as.
    pub counts_as: Level,
    /// Whether somebody at the host let it in: by showing it a code, or by comparing one.
    pub is_let_in: bool,
}

/// Whose yes it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    /// A rule that was given in advance.
    Rule,
    /// That of a person who was asked.
    Person,
}

impl Standing {
    /// Proven with the `qrdrop://` link, or by comparing codes.
    pub const VERIFIED: Standing = Standing { label: Label::Verified, counts_as: Level::Verified, is_let_in: true };
    /// Known by its key, and come by itself.
    pub const REMEMBERED: Standing = Standing { is_let_in: false, ..Standing::VERIFIED };
    /// Proven with the `http://` link: the sender knows our key, but the code may have leaked through a phone.
    pub const SCANNED: Standing = Standing { counts_as: Level::Private, ..Standing::VERIFIED };
    /// As [`Standing::SCANNED`], with a code that a browser had used before: its page may have been replaced and have
    /// passed the code on, so a person is asked whatever they said in advance.
    pub const CLAIMED: Standing = Standing { label: Label::Private, counts_as: Level::Open, is_let_in: true };
    /// A phone's browser that came with the code: its page could have been replaced on the way.
    pub const BROWSER: Standing = Standing { counts_as: Level::Private, ..Standing::CLAIMED };
    /// Not encrypted.
    pub const OPEN: Standing = Standing { label: Label::Open, counts_as: Level::Open, is_let_in: false };
}

/// Takes the offer, or gives it, by the rule of `--yes`, or asks. A no comes with what to tell the peer.
pub(super) async fn consent(
    reporter: &dyn Reporter,
    way: Way,
    yes: Option<Level>,
    standing: Standing,
    offer: Offer,
) -> Result<Consent, Refuse> {
    if yes.is_some_and(|level| standing.counts_as >= level) {
        return Ok(Consent::Rule);
    }
    let note = note(way, yes, standing).map(str::to_owned);
    ask(reporter, way, standing, Question::Accept { way, offer, note }).await
}

/// As [`consent`], for somebody who wants to come into a room. Whoever has come with a code that no page has seen, or has
/// compared one, was let in by the person who showed it.
pub(super) async fn admit(
    reporter: &dyn Reporter,
    yes: Option<Level>,
    standing: Standing,
    peer: Peer,
) -> Result<Consent, Refuse> {
    if let_in(yes, standing).is_some_and(|level| standing.counts_as >= level) {
        return Ok(Consent::Rule);
    }
    let note = note(Way::Out, yes, standing).map(str::to_owned);
    ask(reporter, Way::Out, standing, Question::Join { peer, label: standing.label, note }).await
}

async fn ask(reporter: &dyn Reporter, way: Way, standing: Standing, question: Question) -> Result<Consent, Refuse> {
    let (code, text) = match reporter.ask(question).await {
        Answer::Yes => return Ok(Consent::Person),
        Answer::No(NoReason::Person) => (RefuseCode::Declined, "the person there said no".to_owned()),
        Answer::No(NoReason::Timeout) => (RefuseCode::NoAnswer, "nobody answered there in time".to_owned()),
        Answer::No(NoReason::NoTerminal) => {
            let flag = match (way, standing.counts_as) {
                (_, Level::Verified) => "`--yes`",
                (_, Level::Private) => "`--yes=private`",
                (Way::In, Level::Open) => "`--classic accept` or `--yes=open`",
                (Way::Out, Level::Open) => "`--yes=open`",
            };
            (RefuseCode::NobodyToAsk, format!("there is no terminal there to ask at, and it runs without {flag}"))
        }
    };
    Err(refusal(code, text))
}

/// From which level on nobody is asked where a code is the permission: a person has shown it, or compared one.
pub(super) fn let_in(yes: Option<Level>, standing: Standing) -> Option<Level> {
    match standing.is_let_in {
        true => Some(yes.map_or(Level::Private, |yes| yes.min(Level::Private))),
        false => yes,
    }
}

/// What a person should know before answering.
fn note(way: Way, yes: Option<Level>, standing: Standing) -> Option<&'static str> {
    match (way, standing, standing.counts_as) {
        (_, Standing::CLAIMED, _) => {
            Some("a phone's browser has used this code too; a tampered page may have passed it on")
        }
        (Way::Out, _, Level::Open) => Some("nothing would be encrypted: everybody in the network could read it"),
        (Way::In, ..) if yes.is_none() => None,
        (_, _, Level::Verified) | (Way::Out, _, Level::Private) => None,
        (Way::In, _, Level::Private) => Some("the code was scanned from the screen; whoever saw it could be sending"),
        (Way::In, _, Level::Open) => Some("nothing about this sender is proven, and nothing is encrypted"),
    }
}

/// A refusal in this version's words.
pub(super) fn refusal(code: RefuseCode, text: impl Into<String>) -> Refuse {
    Refuse { code, versions: vec![VERSION], text: text.into() }
}
