//! What holds of every parser of bytes from outside, whatever the bytes: by the name of the fuzz target that looks for a
//! counterexample.
//!
//! Each oracle panics if what it claims is not so. The targets are in `tests/fuzz/`; what they have found, and what reaches
//! each branch, is kept in `tests/fuzz/corpus/`, and the test here replays it.

use crate::{classic, cli, names, net, optimize, pairing, room, session, store, transfer, ui, web, wire};

/// A claim about some bytes.
pub type Oracle = fn(&[u8]);

/// Every oracle, by the name of its target.
pub const ALL: [(&str, Oracle); 22] = [
    ("certificate", pairing::oracle::certificate),
    ("classic", classic::oracle::classic),
    ("code", ui::oracle::code),
    ("compressed", transfer::oracle::compressed),
    ("fields", web::oracle::fields),
    ("frame", wire::oracle::frame),
    ("head", web::oracle::head),
    ("journal", store::oracle::journal),
    ("line", room::oracle::line),
    ("lines", cli::oracle::lines),
    ("link", pairing::oracle::link),
    ("list", web::oracle::list),
    ("names", names::oracle::names),
    ("offer", session::oracle::offer),
    ("photo", optimize::oracle::photo),
    ("picture", ui::oracle::picture),
    ("remembered", session::oracle::remembered),
    ("sealed", web::oracle::sealed),
    ("settings", cli::oracle::settings),
    ("sniff", net::oracle::first_bytes),
    ("txt", net::oracle::txt),
    ("verdicts", session::oracle::verdicts),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn place(what: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(what)
    }

    fn names_in(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_oracle_has_its_target_and_its_corpus() {
        let all: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names_in(&place("targets")), all);
        assert_eq!(names_in(&place("corpus")), all);
        let manifest = fs::read_to_string(place("Cargo.toml")).unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), all.len());
    }

    #[test]
    fn what_the_fuzzer_has_kept_is_as_each_oracle_says() {
        for (name, oracle) in ALL {
            for input in fs::read_dir(place("corpus").join(name)).unwrap() {
                let input = input.unwrap().path();
                // Shown where the oracle panics.
                println!("{}", input.display());
                oracle(&fs::read(&input).unwrap());
            }
        }
    }
}
