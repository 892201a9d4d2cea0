//! Remembered devices: who is one, and what becomes of those who only say so.

use super::recorder::{NO, NO_TERMINAL, YES};
use super::*;
use crate::events::{Event, Label};
use crate::session::devices::Device;
use crate::wire::RefuseCode;

/// A device with a state folder of its own, that remembers whom it meets.
struct Own {
    devices: Devices,
    _state: TempDir,
}

fn own() -> Own {
    let state = tempfile::tempdir().unwrap();
    Own { devices: Devices::open(Some(state.path().join("state")), true).unwrap(), _state: state }
}

impl Own {
    fn identity(&self) -> Identity {
        self.devices.identity(None, &[]).unwrap()
    }

    fn knows(&self, other: &Own) -> bool {
        self.devices.known().unwrap().holder(&other.identity().fingerprint()).is_some()
    }

    fn as_device(&self, name: &str) -> Device {
        let (key, since) = (self.identity().fingerprint(), "2026-11-21T20:00:00Z".to_owned());
        Device { name: name.to_owned(), key, since, last_seen: None }
    }

    fn inbox(&self, rules: InboxRules, reporter: &Arc<Recorder>) -> Open {
        let (devices, name) = (self.devices.clone(), "host".to_owned());
        let host = Host::new(self.identity(), devices, name, Role::Inbox, None, false, reporter.clone());
        open_as(host, rules, reporter)
    }

    fn sending(&self, file: &str, reporter: &Arc<Recorder>) -> Sending {
        let mut sending = sending(&[(file, file.as_bytes())], reporter);
        (sending.sender.identity, sending.sender.devices) = (self.identity(), self.devices.clone());
        sending
    }
}

/// Two that have met by the link that no browser opens.
async fn acquainted() -> (Own, Own) {
    let (host, guest) = (own(), own());
    let open = host.inbox(rules(), &Recorder::answering([]));
    guest.sending("a", &Recorder::answering([])).send(&open.invited(LinkKind::Qrdrop)).await.unwrap();
    assert!(host.knows(&guest) && guest.knows(&host));
    (host, guest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_remembered_on_both_sides_is_all_it_takes() {
    let (host, guest) = acquainted().await;
    let (theirs, ours) = (Recorder::answering([]), Recorder::answering([]));
    let open = host.inbox(InboxRules { yes: Some(Level::Verified), ..rules() }, &theirs);
    // Even where nothing but an address is known.
    guest.sending("b", &ours).send(&Target::Unproven(vec![open.address])).await.unwrap();
    assert_eq!(open.names(), ["b"]);
    for reporter in [&theirs, &ours] {
        assert!(reporter.questions().is_empty());
        let label = reporter.told(|event| match event {
            Event::Peer { label, .. } => Some(*label),
            _ => None,
        });
        assert_eq!(label.await, Label::Verified);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_the_true_key_is_found_beside_addresses_that_somebody_else_announces_for_it() {
    let (host, guest) = acquainted().await;
    let (open, other) = (host.inbox(rules(), &Recorder::answering([])), Recorder::answering([]));
    let impostor = own().inbox(rules(), &other);
    let device = host.as_device("host");
    let both = Target::Remembered { device: device.clone(), addresses: vec![impostor.address, open.address] };
    guest.sending("b", &Recorder::answering([])).send(&both).await.unwrap();
    assert_eq!(open.names(), ["b"]);
    let alone = Target::Remembered { device: device.clone(), addresses: vec![impostor.address] };
    let failure = guest.sending("c", &Recorder::answering([])).fails(&alone).await;
    assert_eq!(failure.code, ExitCode::Pairing);
    assert!(failure.message.contains(&device.key.mark()), "{failure}");
    // It was shown neither a key nor a word.
    assert!(other.events().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_remembered_there_compares_a_code_and_nothing_weaker() {
    let (host, guest) = acquainted().await;
    host.devices.forget(&guest.identity().fingerprint().mark()).unwrap();
    let theirs = Recorder::answering([YES]);
    let open = host.inbox(rules(), &theirs);
    let target = Target::Remembered { device: host.as_device("host"), addresses: vec![open.address] };
    let failure = guest.sending("b", &Recorder::answering([NO_TERMINAL])).fails(&target).await;
    assert!(failure.code == ExitCode::Pairing && failure.message.contains("not remembered there"), "{failure}");
    let failure = guest.sending("b", &Recorder::answering([NO])).fails(&target).await;
    assert_eq!(failure.code, ExitCode::Pairing);
    assert!(open.names().is_empty());
    let theirs = Recorder::answering([YES]);
    let open = host.inbox(rules(), &theirs);
    let target = Target::Remembered { device: host.as_device("host"), addresses: vec![open.address] };
    guest.sending("b", &Recorder::answering([YES])).send(&target).await.unwrap();
    assert_eq!(theirs.questions().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_the_screen_counts_as_verified_from_a_remembered_device() {
    let (host, guest) = acquainted().await;
    let theirs = Recorder::answering([]);
    let open = host.inbox(InboxRules { yes: Some(Level::Verified), ..rules() }, &theirs);
    guest.sending("b", &Recorder::answering([])).send(&open.invited(LinkKind::Http)).await.unwrap();
    assert_eq!(open.names(), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn e22_a_remembered_name_with_another_key_pairs_in_no_way() {
    let (host, guest) = acquainted().await;
    let theirs = Recorder::answering([YES, YES]);
    let mut open = host.inbox(InboxRules { yes: Some(Level::Open), ..rules() }, &theirs);
    // `sender` is what the remembered one had called itself.
    let stranger = own();
    for target in [open.invited(LinkKind::Qrdrop), open.invited(LinkKind::Http), Target::Unproven(vec![open.address])] {
        let failure = stranger.sending("evil", &Recorder::answering([YES])).fails(&target).await;
        assert_eq!(failure.code, ExitCode::Pairing, "{failure}");
    }
    let alarms = theirs.told_times(3, |event| match event {
        Event::Failed { transfer: None, failure } => Some(failure.clone()),
        _ => None,
    });
    for alarm in alarms.await {
        assert_eq!(alarm.code, ExitCode::Pairing);
        for own in [&guest, &stranger] {
            assert!(alarm.message.contains(&own.identity().fingerprint().mark()), "{alarm}");
        }
    }
    assert!(open.names().is_empty() && !host.knows(&stranger));
    guest.sending("b", &Recorder::answering([])).send(&open.invited(LinkKind::Http)).await.unwrap();
    assert_eq!(open.ended().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_is_not_remembered() {
    let (host, guest) = (own(), own());
    let open = host.inbox(InboxRules { yes: None, ..rules() }, &Recorder::answering([NO]));
    let failure = guest.sending("a", &Recorder::answering([])).fails(&open.invited(LinkKind::Qrdrop)).await;
    assert_eq!(failure.code, ExitCode::Refused);
    assert!(!host.knows(&guest) && !guest.knows(&host));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_claims_to_be_remembered_is_told_that_it_is_not() {
    let open = open(rules(), &Recorder::answering([]));
    let guest = own();
    // It takes the host for a device that it remembers, and the host knows nothing of it.
    let device = Device { key: open.inbox.host.identity.fingerprint(), ..guest.as_device("host") };
    guest.devices.remember("host", &device.key).unwrap();
    let (devices, identity) = (&guest.devices, &guest.identity());
    let reporter = Recorder::answering([NO_TERMINAL]);
    let (role, retry) = (Role::Sends, Duration::ZERO);
    let errand = Errand { identity, devices, name: "guest", role, source: None, reporter: &*reporter, retry };
    let visit = errand.visit(&Target::Remembered { device, addresses: vec![open.address] }, |_| None).await;
    let Err(super::super::SessionError::Refused(refuse)) = visit else { panic!("it was let in") };
    assert_eq!(refuse.code, RefuseCode::Pairing);
}
