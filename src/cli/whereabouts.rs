//! What a hosting command says of its addresses: which one the code has, what that is worth, and what a change means.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::net::NetError;
use crate::net::accept::{self, Arrival, Knock};
use crate::net::addresses::{Candidate, Reason};
use crate::net::gate::Gate;
use crate::net::listen::{Bound, PortChoice, bind};

/// Which of the new candidates goes into the code, and what to say of the change.
///
/// The address in the code stays while it is there, so that nobody's scan goes nowhere; unless it was one that others
/// can't reach and there is now one that they can.
pub(super) fn moved(before: &[Candidate], chosen: usize, now: &[Candidate]) -> (usize, Option<String>) {
    let reaches_the_room = |candidate: &Candidate| candidate.reason <= Reason::LinkLocal;
    let old = &before[chosen];
    let kept = now.iter().position(|candidate| candidate.ip == old.ip);
    let kept = kept.filter(|&at| reaches_the_room(&now[at]) || !reaches_the_room(&now[0]));
    let at = kept.unwrap_or(0);
    let new = &now[at];
    if new.ip == old.ip {
        let added = now.iter().find(|new| reaches_the_room(new) && before.iter().all(|old| old.ip != new.ip));
        let said = added.map(|new| format!("{} on `{}` is here too: `n` puts it into the code", new.ip, new.interface));
        (at, said)
    } else if new.reason == Reason::Loopback {
        (at, Some("the network is gone: nobody else can reach this machine until there is one".to_owned()))
    } else {
        (at, Some(format!("the code has another address now: {} on `{}`, not {}", new.ip, new.interface, old.ip)))
    }
}

/// A sentence about an address that not everybody in the room can reach.
pub(super) fn warning(all: &[Candidate], chosen: usize) -> Option<String> {
    let candidate = &all[chosen];
    match candidate.reason {
        Reason::Loopback => Some("only this machine can reach this address".to_owned()),
        Reason::Bridge => Some("only containers and virtual machines here can reach this address".to_owned()),
        Reason::Tunnel => Some(format!("only members of the VPN on `{}` can reach this address", candidate.interface)),
        Reason::LinkLocal => Some("self-assigned address: good on a cable between two devices".to_owned()),
        Reason::DefaultRoute | Reason::Private | Reason::Public => {
            let v6_only = all.iter().all(|other| other.ip.is_ipv6() || other.reason > Reason::LinkLocal);
            v6_only.then(|| "no IPv4 here: devices without IPv6 can't reach this address".to_owned())
        }
    }
}

/// The open port. With `--interface` it is open on single addresses, and follows them.
pub(super) struct Doors {
    port: u16,
    /// The addresses it is open on; `None` for all, whatever comes.
    open: Option<Vec<IpAddr>>,
    gate: Gate,
    expose: bool,
    arrivals: mpsc::Sender<Arrival>,
    knock: Arc<dyn Fn(Knock) + Send + Sync>,
    tasks: JoinSet<()>,
}

impl Doors {
    /// Lets peers in through `bound`, which is open on `only` or everywhere. Must be called within a tokio runtime.
    pub(super) fn open(
        bound: Bound,
        only: Option<Vec<IpAddr>>,
        expose: bool,
        arrivals: mpsc::Sender<Arrival>,
        knock: impl Fn(Knock) + Send + Sync + 'static,
    ) -> Result<Doors, NetError> {
        let (port, gate, knock) = (bound.port(), Gate::new(), Arc::new(knock));
        let mut doors = Doors { port, open: only, gate, expose, arrivals, knock, tasks: JoinSet::new() };
        doors.accept(bound)?;
        Ok(doors)
    }

    fn accept(&mut self, bound: Bound) -> Result<(), NetError> {
        let knock = Arc::clone(&self.knock);
        let (gate, arrivals) = (self.gate.clone(), self.arrivals.clone());
        self.tasks.spawn(accept::accept(bound.listen()?, gate, self.expose, arrivals, move |about| knock(about)));
        Ok(())
    }

    /// Opens the port on addresses that are new. Those that are gone let nobody in by themselves.
    pub(super) fn follow(&mut self, now: &[Candidate]) -> Result<(), NetError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let new: Vec<IpAddr> = now.iter().map(|found| found.ip).filter(|ip| !open.contains(ip)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let bound = bind(PortChoice::Exactly(self.port), Some(&new))?;
        open.extend(new);
        self.accept(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(all: &[(&str, &str, Reason)]) -> Vec<Candidate> {
        let candidate = |&(ip, interface, reason): &(&str, &str, Reason)| Candidate {
            ip: ip.parse().expect("an address"),
            interface: interface.to_owned(),
            reason,
        };
        all.iter().map(candidate).collect()
    }

    const HOME: (&str, &str, Reason) = ("192.168.1.5", "wlan0", Reason::DefaultRoute);
    const CABLE: (&str, &str, Reason) = ("10.0.0.5", "eth0", Reason::DefaultRoute);
    const DOCKER: (&str, &str, Reason) = ("172.17.0.1", "docker0", Reason::Bridge);
    const SELF: (&str, &str, Reason) = ("127.0.0.1", "lo", Reason::Loopback);

    #[test]
    fn the_address_in_the_code_stays_while_it_is_there() {
        let (chosen, said) = moved(&candidates(&[HOME]), 0, &candidates(&[CABLE, HOME]));
        assert_eq!((chosen, said.as_deref()), (1, Some("10.0.0.5 on `eth0` is here too: `n` puts it into the code")));
        assert_eq!(moved(&candidates(&[CABLE, HOME]), 1, &candidates(&[HOME])), (0, None), "another one went");
    }

    #[test]
    fn an_address_that_nobody_reaches_gives_way_to_one_that_others_do() {
        for before in [DOCKER, SELF] {
            let (chosen, said) = moved(&candidates(&[before]), 0, &candidates(&[HOME, before]));
            assert_eq!(chosen, 0);
            assert!(said.is_some_and(|said| said.contains("192.168.1.5")), "{before:?}");
        }
    }

    #[test]
    fn a_change_of_address_names_both_and_a_lost_network_is_called_so() {
        let (_, said) = moved(&candidates(&[HOME]), 0, &candidates(&[CABLE]));
        let said = said.expect("it is said");
        assert!(said.contains("10.0.0.5") && said.contains("192.168.1.5"), "{said}");
        let (_, said) = moved(&candidates(&[HOME]), 0, &candidates(&[SELF]));
        assert!(said.is_some_and(|said| said.starts_with("the network is gone")));
    }

    #[test]
    fn whoever_can_not_reach_the_address_is_named() {
        let says = |all: &[_]| warning(&candidates(all), 0).unwrap_or_default();
        assert_eq!(says(&[HOME]), "");
        assert!(says(&[DOCKER]).contains("containers"));
        assert!(says(&[("10.8.0.2", "wg0", Reason::Tunnel)]).contains("`wg0`"));
        assert!(says(&[("fd00::5", "eth0", Reason::DefaultRoute), DOCKER]).contains("IPv6"));
        assert_eq!(says(&[("fd00::5", "eth0", Reason::DefaultRoute), HOME]), "");
    }
}
