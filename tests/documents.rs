//! What the documents say about the tests is so: every case has its row, and every test that a row names is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The cases, by letter: what is known to have gone wrong in tools of this kind. Numbers that are missing were given up.
const CASES: [(char, &[(u8, u8)]); 11] = [
    ('A', &[(1, 8), (10, 13), (15, 17), (19, 20), (22, 22), (24, 24)]),
    ('B', &[(1, 3), (5, 7), (9, 12)]),
    ('C', &[(1, 4), (6, 8), (10, 12)]),
    ('D', &[(1, 4), (6, 12), (14, 15), (17, 22)]),
    ('E', &[(1, 4), (6, 8), (10, 11), (17, 26)]),
    ('F', &[(1, 3), (5, 12), (14, 21)]),
    ('G', &[(1, 4), (6, 8)]),
    ('H', &[(1, 6), (8, 14)]),
    ('R', &[(1, 5), (7, 9), (11, 15), (17, 27)]),
    ('S', &[(1, 2), (4, 8)]),
    ('X', &[(1, 6)]),
];

/// How many rows may stand with a reason in the place of a test.
const UNTESTED: usize = 10;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

/// A row of the cases: which they are, and what is said of the tests.
#[derive(Debug, PartialEq)]
struct Row {
    cases: String,
    tests: String,
}

/// The rows of all tables with four columns; cells hold no `|`.
fn rows(document: &str) -> Vec<Row> {
    let cells = document.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    let cells = cells.map(|row| row.split(" | ").map(str::trim).collect::<Vec<_>>());
    cells
        .filter(|cells| cells.len() == 4 && cells[0] != "case" && !cells[0].starts_with("---"))
        .map(|cells| Row { cases: cells[0].to_owned(), tests: cells[3].trim_end_matches('|').trim().to_owned() })
        .collect()
}

/// `A01`, and `B01–B03` as three.
fn cases(cell: &str) -> BTreeSet<String> {
    let number = |case: &str| case.get(1..).filter(|digits| digits.len() == 2)?.parse::<u8>().ok();
    let mut cases = BTreeSet::new();
    for part in cell.split(", ") {
        let (first, last) = part.split_once('–').unwrap_or((part, part));
        if let (Some(letter), Some(from), Some(to)) = (first.chars().next(), number(first), number(last)) {
            cases.extend((from..=to).map(|number| format!("{letter}{number:02}")));
        }
    }
    cases
}

/// What stands between backticks, with the word before it.
fn named(cell: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = cell.split('`').collect();
    let before = |text: &str| {
        text.rfind(' ').filter(|_| text.ends_with(' ')).map_or(0, |end| text[..end].rfind(' ').map_or(0, |at| at + 1))
    };
    parts.chunks_exact(2).map(|pair| (pair[0][before(pair[0])..].trim(), pair[1])).collect()
}

/// The tests in this code.
fn tests(code: &str) -> BTreeSet<String> {
    let (mut found, mut marked) = (BTreeSet::new(), false);
    for line in code.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            marked |= line.contains("test]") || line.contains("test(");
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            marked = false;
        }
    }
    found
}

/// Where there are tests, by what a row calls it: `names` for a room, `hostile` for a file in `tests/`.
struct Known {
    rooms: BTreeMap<String, BTreeMap<PathBuf, BTreeSet<String>>>,
    files: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    fn look() -> Known {
        let mut known = Known { rooms: BTreeMap::new(), files: BTreeMap::new() };
        for entry in walkdir::WalkDir::new(root().join("src")) {
            let path = entry.expect("src can be walked").into_path();
            let below = path.strip_prefix(root().join("src")).expect("below src").to_owned();
            let (Some(room), true) = (below.iter().next(), path.extension().is_some_and(|extension| extension == "rs"))
            else {
                continue;
            };
            let room = room.to_string_lossy().trim_end_matches(".rs").to_owned();
            known.rooms.entry(room).or_default().insert(below, tests(&read(&path)));
        }
        for entry in fs::read_dir(root().join("tests")).expect("there are tests") {
            let path = entry.expect("they can be listed").path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
                known.files.insert(name, tests(&read(&path)));
            }
        }
        known
    }

    /// Whether there is a test, or a file of tests, of that name.
    fn has(&self, before: &str, name: &str) -> bool {
        if name.ends_with(".py") {
            return root().join("tests/campaign").join(name).exists();
        }
        let Some((way, test)) = name.rsplit_once("::") else {
            return self.files.get(before).is_some_and(|tests| tests.contains(name));
        };
        let Some(room) = way.split("::").next().and_then(|room| self.rooms.get(room)) else { return false };
        let file = PathBuf::from(name.replace("::", "/")).with_extension("rs");
        room.values().any(|tests| tests.contains(test)) || room.get(&file).is_some_and(|tests| !tests.is_empty())
    }
}

#[test]
fn every_case_has_a_row_and_every_test_that_is_named_is_there() {
    let document = read(&root().join("docs/threat-model.md"));
    let (_, document) = document.split_once("\n## Cases\n").expect("there are cases");
    let (rows, known) = (rows(document), Known::look());
    let told: BTreeSet<String> = rows.iter().flat_map(|row| cases(&row.cases)).collect();
    let all: BTreeSet<String> = CASES
        .iter()
        .flat_map(|(letter, ranges)| {
            ranges.iter().flat_map(move |(first, last)| (*first..=*last).map(move |n| format!("{letter}{n:02}")))
        })
        .collect();
    assert_eq!(all.difference(&told).collect::<Vec<_>>(), [&""; 0], "these have no row");
    assert_eq!(told.difference(&all).collect::<Vec<_>>(), [&""; 0], "these are no cases");
    let missing: Vec<String> = rows
        .iter()
        .flat_map(|row| named(&row.tests).into_iter().map(|(before, name)| (&row.cases, before, name)))
        .filter(|(_, before, name)| !known.has(before, name))
        .map(|(cases, before, name)| format!("{cases}: {before} `{name}`"))
        .collect();
    assert!(missing.is_empty(), "these tests are not there:\n{}", missing.join("\n"));
    let untested: Vec<&Row> = rows.iter().filter(|row| named(&row.tests).is_empty()).collect();
    assert!(untested.len() <= UNTESTED, "too many have no test: {untested:#?}");
    assert!(untested.iter().all(|row| row.tests.split(' ').count() > 3), "a reason takes some words: {untested:#?}");
}

#[test]
fn every_test_that_carries_a_case_is_of_a_case_that_is_known() {
    let document = read(&root().join("docs/threat-model.md"));
    let known = Known::look();
    let all = known.rooms.values().flat_map(BTreeMap::values).chain(known.files.values()).flatten();
    let carried = all.filter_map(|test| test.split_once('_')).map(|(case, _)| case).filter(|case| {
        let mut chars = case.chars();
        case.len() == 3 && chars.next().is_some_and(|c| "abcdefghrsx".contains(c)) && chars.all(|c| c.is_ascii_digit())
    });
    let rows: BTreeSet<String> = rows(&document).iter().flat_map(|row| cases(&row.cases)).collect();
    let strange: BTreeSet<&str> = carried.filter(|case| !rows.contains(&case.to_uppercase())).collect();
    assert!(strange.is_empty(), "tests of cases that have no row: {strange:?}");
}

#[test]
fn every_file_of_tests_and_every_campaign_is_in_the_document_about_testing() {
    let document = read(&root().join("docs/testing.md"));
    for folder in ["tests", "tests/campaign"] {
        for entry in fs::read_dir(root().join(folder)).expect("there are tests") {
            let path = entry.expect("they can be listed").path();
            let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
            let told = document.contains(&format!("`tests/{name}`")) || document.contains(&format!("`{name}`"));
            assert!(told || path.is_dir() || !name.ends_with("rs") && !name.ends_with("py"), "`{name}` is not told of");
        }
    }
}

#[test]
#[cfg(unix)]
fn every_program_of_the_tests_that_a_document_tells_to_run_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    let documents = ["README.md", "docs/testing.md", "docs/performance.md", "docs/security.md", "docs/CONTRIBUTING.md"];
    let text: String = documents.iter().map(|document| read(&root().join(document))).collect();
    let words = text.split(['\n', ' ', '`']).filter(|word| word.starts_with("tests/"));
    let told: BTreeSet<_> = words.filter(|word| word.ends_with("/run") || word.ends_with(".py")).collect();
    assert!(told.len() > 10, "{told:?}");
    let is_run =
        |word: &&str| fs::metadata(root().join(word)).is_ok_and(|about| about.permissions().mode() & 0o111 != 0);
    // Those are told with the Python that runs them.
    let of_peers = |word: &&str| word.starts_with("tests/peers/") && root().join(word).is_file();
    let not: Vec<_> = told.iter().filter(|word| !is_run(word) && !of_peers(word)).collect();
    assert!(not.is_empty(), "not there, or not to be run: {not:?}");
}

#[test]
fn a_row_is_read_as_it_is_meant() {
    let table = "| case | attack | answer | tested by |\n| --- | --- | --- | --- |\n\
                 | B01–B03, B07 | links | no | `store::b01_x`, hostile `a_b`, hostile `c_d` and so on; campaign `kills.py` |\n\
                 | G08 | queries | yes | measured by hand |\n| P7 | who | no | |\n";
    let rows = rows(table);
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(cases(&rows[0].cases).into_iter().collect::<Vec<_>>(), ["B01", "B02", "B03", "B07"]);
    let expected = [("", "store::b01_x"), ("hostile", "a_b"), ("hostile", "c_d"), ("campaign", "kills.py")];
    assert_eq!(named(&rows[0].tests), expected);
    assert_eq!(named(&rows[1].tests), []);
    assert!(cases(&rows[2].cases).is_empty() && rows[2].tests.is_empty());
    let code = "#[test]\nfn one() {}\nfn two() {}\n#[tokio::test(flavor = \"x\")]\n#[cfg(unix)]\nasync fn three() {}\n";
    assert_eq!(tests(code).into_iter().collect::<Vec<_>>(), ["one", "three"]);
}
