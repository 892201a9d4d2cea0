//! The room as one member sees it, made of what the host says.

use std::collections::BTreeMap;

use crate::names::{PeerName, inert};
use crate::wire::{MEMBERS_CAP, Member, News, OFFERS_CAP, Shared, Standing, Welcome, What};

/// Members that are known by name, those who have left among them.
const KNOWN: usize = 2 * MEMBERS_CAP;

/// Longest name of an offer in characters.
const OFFER_CHARS: usize = 120;

/// How somebody is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its number in the room.
    pub number: u32,
    /// Its name, inert.
    pub name: String,
    /// Its key.
    pub key: [u8; 32],
    /// Whether it is here.
    pub here: bool,
    /// Whether somebody else in the room is called the same, or looks so.
    pub double: bool,
    /// Whether it is this member itself.
    pub own: bool,
}

/// How an offer is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferCard {
    /// Its number, as `/get` takes it.
    pub offer: u32,
    /// Who offers.
    pub by: Card,
    /// What it is called, inert.
    pub name: String,
    /// What it is.
    pub shared: Shared,
}

/// What a piece of news comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Somebody said something.
    Said(Card, String),
    /// Somebody offers something.
    Shared(OfferCard),
    /// An offer is over.
    Withdrawn(u32),
    /// Somebody came.
    Joined(Card),
    /// Somebody left.
    Left(Card),
}

struct Known {
    name: PeerName,
    look: String,
    key: [u8; 32],
    here: bool,
}

/// A member's view of the room.
#[derive(Default)]
pub struct View {
    you: u32,
    known: BTreeMap<u32, Known>,
    offers: BTreeMap<u32, Standing>,
}

impl View {
    /// Takes in the room as it is.
    pub fn welcome(&mut self, welcome: &Welcome) {
        self.you = welcome.you;
        self.known.values_mut().for_each(|known| known.here = false);
        welcome.members.iter().for_each(|member| self.know(member));
        self.offers = welcome.offers.iter().map(|standing| (standing.offer, standing.clone())).collect();
    }

    /// Takes in what happened.
    pub fn news(&mut self, news: &News) -> Change {
        match &news.what {
            What::Text(text) => Change::Said(self.card(news.by), text.clone()),
            What::Shared { offer, shared } => {
                let standing = Standing { offer: *offer, by: news.by, shared: shared.clone() };
                let card = self.offer_card(&standing);
                self.offers.insert(*offer, standing);
                while self.offers.len() > OFFERS_CAP {
                    self.offers.pop_first();
                }
                Change::Shared(card)
            }
            What::Withdrawn(offer) => {
                self.offers.remove(offer);
                Change::Withdrawn(*offer)
            }
            What::Joined(member) => {
                self.know(member);
                Change::Joined(self.card(member.number))
            }
            What::Left => {
                self.offers.retain(|_, standing| standing.by != news.by);
                let card = self.card(news.by);
                self.known.entry(news.by).and_modify(|known| known.here = false);
                Change::Left(card)
            }
        }
    }

    /// Everybody who is here, by number.
    pub fn here(&self) -> Vec<Card> {
        self.known.iter().filter(|(_, known)| known.here).map(|(number, _)| self.card(*number)).collect()
    }

    /// How many are here.
    pub fn count(&self) -> usize {
        self.known.values().filter(|known| known.here).count()
    }

    /// Every offer that stands, by number.
    pub fn offers(&self) -> Vec<OfferCard> {
        self.offers.values().map(|standing| self.offer_card(standing)).collect()
    }

    /// The offer of that number, if it stands.
    pub fn offer(&self, number: u32) -> Option<OfferCard> {
        self.offers.get(&number).map(|standing| self.offer_card(standing))
    }

    /// The host's key; `None` while that is not known.
    pub fn host(&self) -> Option<[u8; 32]> {
        self.known.get(&0).map(|known| known.key)
    }

    /// This member's own number.
    pub fn you(&self) -> u32 {
        self.you
    }

    fn know(&mut self, member: &Member) {
        let name = PeerName::from_stranger(&member.name);
        let known = Known { look: name.collision_key(), name, key: member.key, here: member.here };
        self.known.insert(member.number, known);
        // Those who came first are forgotten first: a host may say what it likes of who is here.
        while self.known.len() > KNOWN {
            self.known.pop_first();
        }
    }

    fn offer_card(&self, standing: &Standing) -> OfferCard {
        let name = inert(&standing.shared.name).chars().take(OFFER_CHARS).collect();
        let Standing { offer, by, shared } = standing.clone();
        OfferCard { offer, by: self.card(by), name, shared }
    }

    fn card(&self, number: u32) -> Card {
        let own = number == self.you;
        match self.known.get(&number) {
            Some(Known { name, look, key, here }) => {
                let alike =
                    |(other, known): (&u32, &Known)| *other != number && known.look == *look && known.key != *key;
                let double = self.known.iter().any(alike);
                Card { number, name: name.to_string(), key: *key, here: *here, double, own }
            }
            None => Card { number, name: format!("member {number}"), key: [0; 32], here: false, double: false, own },
        }
    }
}
