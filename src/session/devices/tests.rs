use super::*;

fn key(seed: u8) -> Fingerprint {
    Fingerprint::from_bytes([seed; 32])
}

fn open(state: &Path, remember: bool) -> Devices {
    Devices::open(Some(state.to_owned()), remember).unwrap()
}

#[test]
fn nothing_is_made_by_looking_and_a_key_lasts_from_the_first_wish_to_remember() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    let looking = open(&state, false);
    assert!(looking.known().unwrap().devices().is_empty() && !looking.has_lasting_key() && !state.exists());
    let first = open(&state, true).identity(None, &[]).unwrap().fingerprint();
    let again = open(&state, false);
    assert!(again.has_lasting_key() && !again.remembers());
    assert_eq!(again.identity(None, &[]).unwrap().fingerprint(), first);
    let other = Identity::fresh(&[]).unwrap();
    assert_eq!(again.identity(Some(other.secret()), &[]).unwrap().fingerprint(), first);
}

#[test]
fn processes_at_the_same_time_make_one_key_and_lose_no_entry_of_each_other() {
    const EACH: u8 = 8;
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    let keys: Vec<Fingerprint> = std::thread::scope(|scope| {
        let one = |at: u8| {
            let state = &state;
            scope.spawn(move || {
                let devices = open(state, true);
                for n in 0..EACH {
                    devices.remember(&format!("device {at}-{n}"), &key(at * EACH + n)).unwrap();
                }
                devices.forget(&format!("device {at}-0")).unwrap();
                devices.identity(None, &[]).unwrap().fingerprint()
            })
        };
        let all: Vec<_> = (0..4).map(one).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
    assert_eq!(open(&state, false).known().unwrap().devices().len(), 4 * (usize::from(EACH) - 1));
}

#[test]
fn a_key_and_a_name_are_of_one_device() {
    let root = tempfile::tempdir().unwrap();
    let devices = open(&root.path().join("state"), true);
    devices.remember("Study", &key(1)).unwrap();
    assert!(matches!(devices.remember("study", &key(2)), Err(DevicesError::NameTaken(_))));
    devices.remember("other name", &key(1)).unwrap();
    devices.remember("kitchen", &key(2)).unwrap();
    assert!(matches!(devices.rename("kitchen", "STUDY"), Err(DevicesError::NameTaken(_))));
    assert_eq!(devices.rename("study", "STUDY").unwrap().name, "STUDY");
    let known = devices.known().unwrap();
    assert_eq!(known.devices().len(), 2);
    assert_eq!(known.named("study").map(|device| device.key), Some(key(1)));
    let impostor = known.stranger("Kitchen", &key(3).mark()).unwrap_err();
    assert_eq!((impostor.shown, impostor.remembered), (key(3).mark(), key(2).mark()));
    assert!(known.stranger(" kitchen\n", &key(3).mark()).is_err(), "it would look the same");
    assert!(known.stranger("cellar", &key(2).mark()).is_ok());
}

#[test]
fn a_new_name_is_made_inert_before_it_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let devices = open(&root.path().join("state"), true);
    devices.remember("study", &key(1)).unwrap();
    let name = devices.rename("study", "a\u{1b}[2J\u{202e}b\n").unwrap().name;
    assert!(!name.chars().any(crate::names::is_hidden_char), "{name:?}");
    assert!(devices.known().unwrap().named(&name).is_some());
}

#[test]
fn with_the_last_device_goes_the_key_and_a_process_that_still_shows_it_brings_it_back() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    let devices = open(&state, true);
    devices.remember("study", &key(1)).unwrap();
    devices.forget(&key(1).mark()).unwrap();
    assert!(!open(&state, false).has_lasting_key());
    devices.remember("kitchen", &key(2)).unwrap();
    assert!(open(&state, false).has_lasting_key());
    devices.forget("kitchen").unwrap();
    let newer = open(&state, true);
    newer.remember("cellar", &key(3)).unwrap();
    assert!(matches!(devices.remember("attic", &key(4)), Err(DevicesError::KeyReplaced)));
    assert!(matches!(devices.forget("nobody"), Err(DevicesError::Unknown(_))));
}

#[test]
fn e21_a_list_that_was_not_written_so_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let state = StateDir::open(Some(&root.path().join("state"))).unwrap();
    let entry = |name: &str, key: &str| {
        format!(r#"{{"name":"{name}","key":"{key}","since":"2026-11-21T20:00:00Z","last_seen":null}}"#)
    };
    let list = |entries: &[String]| format!(r#"{{"version":1,"devices":[{}]}}"#, entries.join(","));
    let (one, other) = ("11".repeat(32), "22".repeat(32));
    for (text, is_good) in [
        (list(&[entry("a", &one), entry("b", &other)]), true),
        (list(&[entry("a", &one), entry("A", &other)]), false),
        (list(&[entry("a", &one), entry("b", &one)]), false),
        (list(&[entry("a", &one[2..])]), false),
        (list(&[entry("a\\u001b", &one)]), false),
        (list(&[entry("", &one)]), false),
        (list(&[entry("a", &one)]).replace("2026-", ""), false),
        (list(&[]).replace(":1", ":2"), false),
        (list(&[])[1..].to_owned(), false),
    ] {
        state.write_secret(LIST, text.as_bytes()).unwrap();
        assert_eq!(read(&state).is_ok(), is_good, "{text}");
    }
}
