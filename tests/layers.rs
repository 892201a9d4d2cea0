//! Imports go down only: every `crate::` path in `src/` is held against the table in `lib.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Room to the rooms it may import, read from the table: `| floor | room | what | may import |`.
type Table = BTreeMap<String, BTreeSet<String>>;

fn table(lib: &str) -> Table {
    lib.lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter(|row| row.starts_with(|c: char| c.is_ascii_digit()))
        .map(|row| {
            let cells: Vec<&str> = row.trim_end().trim_end_matches('|').split('|').map(str::trim).collect();
            let room = cells.get(1).expect("a row names its room").trim_matches('`');
            let may = cells.get(3).copied().unwrap_or_default();
            (room.to_owned(), may.split_whitespace().map(str::to_owned).collect())
        })
        .collect()
}

/// Every room that this code names by a `crate::` path, and the line where.
fn imports(code: &str) -> Vec<(usize, String)> {
    let bare = without_comments(code);
    let mut found = Vec::new();
    for (at, _) in bare.match_indices("crate::") {
        let before = bare[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let line = bare[..at].matches('\n').count() + 1;
        let rest = &bare[at + "crate::".len()..];
        let list = rest.strip_prefix('{').map_or_else(|| vec![word(rest)], heads);
        found.extend(list.into_iter().map(|room| (line, room)));
    }
    found
}

/// The first names in a `{a::b, c::{d, e}}` group, which starts after its brace.
fn heads(group: &str) -> Vec<String> {
    let (mut heads, mut depth, mut fresh) = (Vec::new(), 1, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                heads.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Line comments may speak of any room. A `//` inside a string cuts that line short, which hides nothing that is code.
fn without_comments(code: &str) -> String {
    code.lines().map(|line| line.find("//").map_or(line, |at| &line[..at])).collect::<Vec<_>>().join("\n")
}

/// The room that a file under `src/` belongs to; `None` for the two roots.
fn room(path: &str) -> Option<&str> {
    let first = path.split('/').next()?;
    let room = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(room, "lib" | "main")).then_some(room)
}

/// What breaks the table, one sentence each.
fn violations<'a>(table: &Table, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, code) in files {
        let Some(room) = room(path) else { continue };
        let Some(allowed) = table.get(room) else {
            wrong.push(format!("{path}: the room `{room}` is not in the table"));
            continue;
        };
        for (line, import) in imports(code) {
            if import != room && !allowed.contains(&import) {
                wrong.push(format!("{path}:{line}: `{room}` imports `{import}`"));
            }
        }
    }
    wrong
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = fs::read_to_string(src.join("lib.rs")).expect("there is a library");
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(&src) {
        let entry = entry.expect("src can be walked");
        if entry.path().extension().is_some_and(|extension| extension == "rs") {
            let path = entry.path().strip_prefix(&src).expect("below src").to_string_lossy().replace('\\', "/");
            files.push((path, fs::read_to_string(entry.path()).expect("code is text")));
        }
    }
    let table = table(&lib);
    for (_, module) in lib.lines().filter_map(|line| line.split_once("pub mod ")) {
        let module = module.trim_end_matches(';');
        assert!(table.contains_key(module), "the room `{module}` is not in the table");
    }
    let wrong = violations(&table, files.iter().map(|(path, code)| (path.as_str(), code.as_str())));
    assert!(wrong.is_empty(), "imports that do not go down:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("there is a library");
    let mut left = table(&lib);
    assert!(left.len() > 5, "the table is read");
    // Take away what imports nothing that is left, until nothing is.
    while !left.is_empty() {
        let done: Vec<String> = left
            .iter()
            .filter(|(_, imports)| imports.iter().all(|import| !left.contains_key(import)))
            .map(|(room, _)| room.clone())
            .collect();
        assert!(!done.is_empty(), "these import each other in a circle: {:?}", left.keys());
        done.iter().for_each(|room| drop(left.remove(room)));
    }
}

const SAMPLE_TABLE: &str = "\
//! | floor | room | lives there | may import |
//! | --- | --- | --- | --- |
//! | 0 | `names` | strings | |
//! | 1 | `store` | the disk | names |
//! | 2 | `cli` | all | names store |
";

#[test]
fn imports_that_go_up_are_found_however_they_are_written() {
    let table = table(SAMPLE_TABLE);
    for code in [
        "use crate::cli::run;",
        "pub(crate) use crate::cli;",
        "use crate::{names::FileName, cli::{self, run}};",
        "use crate::{\n    names::{FileName, inert},\n    cli,\n};",
        "fn f() { crate::cli::run() }",
        "fn f(x: &crate::cli::Args) {}",
        "pub(in crate::cli) fn f() {}",
    ] {
        let wrong = violations(&table, [("store/walk.rs", code)]);
        assert_eq!(wrong.len(), 1, "`{code}` gives {wrong:?}");
        assert!(wrong[0].contains("`store` imports `cli`"), "{wrong:?}");
    }
    assert_eq!(violations(&table, [("attic.rs", "")]).len(), 1, "a room that the table does not know");
}

#[test]
fn imports_that_go_down_or_stay_are_fine() {
    let table = table(SAMPLE_TABLE);
    let code = "//! See `crate::cli`.\nuse crate::names::{FileName, cli};\nuse crate::store::x; // crate::cli\nuse mycrate::cli;";
    assert_eq!(violations(&table, [("store/mod.rs", code)]), Vec::<String>::new());
    assert_eq!(
        violations(&table, [("lib.rs", "use crate::cli;"), ("cli/mod.rs", "use crate::store;")]),
        Vec::<String>::new()
    );
}
