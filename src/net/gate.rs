//! How many strangers may be inside before they have proven who they are (security.md 6), so that one address cannot keep
//! others out.
//!
//! Two rooms. In the **lobby** is everybody who connected and has not yet said which dialect it speaks: it costs a
//! descriptor and a few bytes. When it is full, the one who has waited longest from the address with the most guests
//! has to go, so whoever fills it only pushes out itself. From there a guest gets a **pass** to prove itself, which
//! costs a TLS state or an HTTP parser: 256 at once, 32 for one address. A burst of honest senders behind one address
//! is not refused, it queues in the lobby until a pass is free or its deadline comes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// Passes in all. Each holder may use 64 KiB of memory before it is known, so 16 MiB together.
pub const PASSES_MAX: usize = 256;

/// Passes of one address (of one /64 for IPv6, since a host chooses freely within it): eight must conspire to take all.
pub const PASSES_PER_ADDRESS: usize = 32;

/// Guests in the lobby: 1,000 senders that begin at the same moment, at most 4 KiB of first bytes each.
pub const LOBBY_MAX: usize = 1_024;

/// From accept to the first byte: every program that connects to talk says something at once.
pub const FIRST_BYTES: Duration = Duration::from_secs(5);

/// From accept to a whole TLS handshake, HTTP head or classic header, however slowly its bytes drip.
pub const HEAD: Duration = Duration::from_secs(15);

/// From accept to being known, absolute: idle limits alone let a slow peer stay for ever.
pub const UNKNOWN: Duration = Duration::from_secs(30);

/// The limits of one listening command; cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    guests_ever: u64,
    lobby: BTreeMap<u64, LobbyGuest>,
    lobby_by_address: HashMap<Address, usize>,
    passes: usize,
    passes_by_address: HashMap<Address, usize>,
    queue: VecDeque<Waiting>,
}

#[derive(Debug)]
struct LobbyGuest {
    address: Address,
    /// Dropped to show it the door.
    _stay: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Waiting {
    address: Address,
    pass: oneshot::Sender<Pass>,
}

/// What counts as one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Address {
    V4(u32),
    V6Network(u64),
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Address::V4(v4.to_bits()),
            IpAddr::V6(v6) => Address::V6Network((v6.to_bits() >> 64) as u64),
        }
    }
}

/// A place in the lobby, given back on drop.
#[derive(Debug)]
pub struct Guest {
    gate: Gate,
    id: u64,
    address: Address,
    shown_the_door: oneshot::Receiver<()>,
}

/// The right to prove oneself, given back on drop.
#[derive(Debug)]
#[must_use = "dropping the pass gives it back"]
pub struct Pass {
    gate: Gate,
    address: Address,
}

impl Gate {
    /// Fresh limits.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Lets a new connection into the lobby; never refuses, see the module for who has to go.
    pub fn enter(&self, peer: IpAddr) -> Guest {
        let address = Address::from(peer);
        let (stay, shown_the_door) = oneshot::channel();
        let mut state = self.state();
        let id = state.guests_ever;
        state.guests_ever += 1;
        state.lobby.insert(id, LobbyGuest { address, _stay: stay });
        *state.lobby_by_address.entry(address).or_default() += 1;
        if state.lobby.len() > LOBBY_MAX {
            state.show_one_the_door();
        }
        drop(state);
        Guest { gate: self.clone(), id, address, shown_the_door }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The counts are whole between any two statements: a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out what is free to those who wait.
    fn hand_out(&self) {
        loop {
            let Some(next) = self.state().next_to_serve() else { return };
            let pass = Pass { gate: self.clone(), address: next.address };
            // Outside the lock: a pass whose taker has gone this moment comes back here, and its drop goes on handing out.
            drop(next.pass.send(pass));
        }
    }
}

impl State {
    fn show_one_the_door(&mut self) {
        let greediest = self.lobby_by_address.iter().max_by_key(|(_, guests)| **guests).map(|(address, _)| *address);
        let oldest = self.lobby.iter().find(|(_, guest)| Some(guest.address) == greediest).map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.leave(id);
        }
    }

    fn leave(&mut self, id: u64) {
        if let Some(guest) = self.lobby.remove(&id) {
            decrease(&mut self.lobby_by_address, guest.address);
        }
    }

    /// Takes from the queue whoever has fewest passes, the earliest of equals, and counts its pass.
    fn next_to_serve(&mut self) -> Option<Waiting> {
        self.queue.retain(|waiting| !waiting.pass.is_closed());
        if self.passes >= PASSES_MAX {
            return None;
        }
        let held = |waiting: &Waiting| self.passes_by_address.get(&waiting.address).copied().unwrap_or(0);
        let (place, held) = self.queue.iter().map(held).enumerate().min_by_key(|(_, held)| *held)?;
        if held >= PASSES_PER_ADDRESS {
            return None;
        }
        let next = self.queue.remove(place)?;
        self.passes += 1;
        *self.passes_by_address.entry(next.address).or_default() += 1;
        Some(next)
    }

    fn take_back(&mut self, address: Address) {
        self.passes -= 1;
        decrease(&mut self.passes_by_address, address);
    }
}

fn decrease(counts: &mut HashMap<Address, usize>, address: Address) {
    if let Some(count) = counts.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&address);
        }
    }
}

impl Guest {
    /// Returns when the lobby is too full for this guest: its connection is to be closed. Cancelling loses nothing.
    pub async fn shown_the_door(&mut self) {
        // Nothing is ever sent: the other half is dropped.
        let _ = (&mut self.shown_the_door).await;
    }

    /// Queues for a pass, and leaves the lobby with it. `None` when shown the door while waiting.
    pub async fn pass(mut self) -> Option<Pass> {
        let (pass, mut granted) = oneshot::channel();
        self.gate.state().queue.push_back(Waiting { address: self.address, pass });
        self.gate.hand_out();
        tokio::select! {
            biased;
            pass = &mut granted => pass.ok(),
            () = self.shown_the_door() => None,
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.gate.state().leave(self.id);
    }
}

impl Pass {
    /// Gives the pass back because the peer is known now: from here on other limits hold.
    pub fn promote(self) {
        drop(self);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.state().take_back(self.address);
        self.gate.hand_out();
    }
}

#[cfg(test)]
mod tests;
