//! Names against the real file system, which is the oracle: nothing escapes, nothing is lost.

use proptest::prelude::*;

use super::*;

fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("..".to_owned()),
        Just("README".to_owned()),
        Just("readme".to_owned()),
        Just("caf\u{e9}".to_owned()),
        Just("cafe\u{301}".to_owned()),
        Just(".qrdrop-partial".to_owned()),
        Just("lock".to_owned()),
        "[a-cA-C .]{1,4}",
        "\\PC{1,12}",
        any::<String>(),
        "[a-z]{200,300}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_batch_of_names_is_stored_whole_inside_the_folder(
        batch in prop::collection::vec(prop::collection::vec(component(), 1..4), 1..12),
        if_exists in prop_oneof![Just(IfExists::Rename), Just(IfExists::Skip), Just(IfExists::Replace)],
    ) {
        let bench = Bench::new();
        let receive_folder = bench.folder();
        let paths: Vec<_> = batch.iter().filter_map(|parts| RelPath::from_stranger(&parts.join("/")).ok()).collect();
        let contents: Vec<_> = (0..paths.len()).map(|n| format!("content {n}")).collect();
        let entries = paths.iter().zip(0..).map(|(path, id)| {
            let size = Some(contents[id as usize].len() as u64);
            PlannedEntry { id, path: path.clone(), kind: PlannedKind::File, size, holes: 0, modified: None }
        });
        // a list that contradicts itself is refused as a whole, and then nothing is there
        let stored = match receive_folder.begin(entries.collect::<Vec<_>>(), if_exists) {
            Err(error) => {
                prop_assert!(matches!(error, StoreError::BadPlan { .. }), "{}", error);
                0
            }
            Ok(intake) => {
                let wholes = contents.iter().zip(0..).map(|(content, id)| {
                    let partial = intake.open_partial(id).unwrap();
                    partial.append(content.as_bytes()).unwrap();
                    partial.complete(content.len() as u64).unwrap()
                });
                let results = intake.commit(wholes.collect());
                for ((id, placed), content) in results.into_iter().zip(&contents) {
                    let placed = placed.unwrap();
                    prop_assert!(placed.path.starts_with(receive_folder.path()), "{id}");
                    prop_assert_eq!(&fs::read_to_string(&placed.path).unwrap(), content);
                }
                intake.finish().unwrap();
                contents.len()
            }
        };
        prop_assert_eq!(tree(&bench.inbox()).into_values().flatten().count(), stored);
        bench.assert_canary();
    }
}
