//! The page: one document with everything in it, and the policy that lets it run nothing else.

use std::sync::LazyLock;

use bytes::Bytes;
use data_encoding::BASE64;
use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use ring::digest::{SHA256, digest};

use super::Share;
use super::answer::{Answer, whole};

/// The policy of every answer that is not the page.
pub(super) const NOTHING: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";

/// What every page begins with.
const BASE: &str = include_str!("assets/base.js");
/// The worker: what each page can do.
const WORKER: [&str; 5] = [
    include_str!("assets/crypto.js"),
    include_str!("assets/session.js"),
    include_str!("assets/engine.js"),
    include_str!("assets/sending.js"),
    include_str!("assets/fetching.js"),
];

const UI: &str = include_str!("assets/ui.js");
const LOOK: &str = include_str!("assets/page.css");

/// What those of a room and of a host beside one have.
const TALK_LOOK: &str = include_str!("assets/talk.css");
const TALK: &str = include_str!("assets/talk.js");
const SAID: &str = include_str!("assets/said.js");

static PAGE: LazyLock<Page> = LazyLock::new(|| Page::splice(&[LOOK], &[], &[BASE, UI]));
static BESIDE: LazyLock<Page> =
    LazyLock::new(|| Page::splice(&[LOOK, TALK_LOOK], &[TALK], &[BASE, SAID, UI, include_str!("assets/beside.js")]));
static ROOM: LazyLock<Page> = LazyLock::new(|| {
    let more = [TALK, include_str!("assets/take.js")];
    Page::splice(&[LOOK, TALK_LOOK], &more, &[BASE, SAID, include_str!("assets/room.js")])
});

struct Page {
    document: Bytes,
    policy: HeaderValue,
}

impl Page {
    /// The document with the parts of its look, what its worker can do beyond [`WORKER`], and what a person does.
    fn splice(look: &[&str], more: &[&str], ui: &[&str]) -> Page {
        let joined = |parts: &[&str]| parts.iter().map(|part| code(part)).collect::<String>();
        let document = include_str!("assets/page.html")
            .replace("/*{style}*/", &joined(look))
            .replace("/*{worker}*/", &joined(&[&WORKER, more].concat()))
            .replace("/*{ui}*/", &joined(ui));
        let (scripts, styles) = (hashes(&document, "script"), hashes(&document, "style"));
        let policy = format!(
            "default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; worker-src blob:; \
             img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let policy = HeaderValue::try_from(policy).expect("hashes in base64 are visible characters");
        Page { document: document.into(), policy }
    }
}

/// The page for what is shared; `talks` where there is a room beside it.
pub(super) fn answer(share: &Share, talks: bool) -> Answer {
    let page = match share {
        Share::Room(..) => &*ROOM,
        Share::Inbox(_) | Share::Outbox(_) if talks => &*BESIDE,
        Share::Inbox(_) | Share::Outbox(_) => &*PAGE,
    };
    let mut answer = whole(StatusCode::OK, "text/html; charset=utf-8", page.document.clone());
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, page.policy.clone());
    answer
}

/// Without indentation and lines of comment, which no phone needs. No text in the assets goes over a line's end.
fn code(asset: &str) -> String {
    let lines = asset.lines().map(str::trim_start);
    lines.filter(|line| !line.starts_with("//") && !line.starts_with("/**")).flat_map(|line| [line, "\n"]).collect()
}

/// What a policy says about the elements of that name: the hash of each one's content (CSP 3, 2.3.1).
fn hashes(document: &str, element: &str) -> String {
    let contents = contents(document, element);
    let hashes: Vec<String> = contents
        .map(|content| format!("'sha256-{}'", BASE64.encode(digest(&SHA256, content.as_bytes()).as_ref())))
        .collect();
    if hashes.is_empty() { "'none'".to_owned() } else { hashes.join(" ") }
}

/// What stands in the elements of that name, whatever their attributes.
fn contents<'a>(document: &'a str, element: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{element}"), format!("</{element}>"));
    let mut rest = document;
    std::iter::from_fn(move || {
        let tag = rest.find(&open)? + open.len();
        let start = tag + rest[tag..].find('>')? + 1;
        let length = rest[start..].find(&close)?;
        let content = &rest[start..start + length];
        rest = &rest[start + length + close.len()..];
        Some(content)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_hash_of_each_script_and_style() {
        let document = "<style>a{}</style><script id=\"a\">one</script><p><script>two</script>";
        assert_eq!(contents(document, "script").collect::<Vec<_>>(), ["one", "two"]);
        // printf one | openssl dgst -sha256 -binary | base64
        assert!(hashes(document, "script").starts_with("'sha256-dpLDrTVAu4A8Ags67mbNiIcSMjTqDG5xQ8Ct1z/0Me0='"));
        assert_eq!(hashes(document, "link"), "'none'");
    }

    #[test]
    fn the_whole_page_is_at_most_60_kib_and_8_more_with_a_conversation_and_keeps_every_line_of_code() {
        for (page, most_kib) in [(&PAGE, 60), (&ROOM, 60), (&BESIDE, 68)] {
            assert!(page.document.len() <= most_kib << 10, "{} bytes", page.document.len());
        }
        let (take, room) = (include_str!("assets/take.js"), include_str!("assets/room.js"));
        let others = [BASE, UI, TALK, SAID, take, room, include_str!("assets/beside.js")];
        for asset in WORKER.into_iter().chain(others) {
            assert!(asset.lines().all(|line| line.matches('`').count() % 2 == 0), "a text goes over a line's end");
            let comments = asset.lines().map(str::trim_start).filter(|line| line.starts_with('/'));
            assert!(comments.clone().all(|line| line.starts_with("//") || line.ends_with("*/")), "a comment of lines");
            assert_eq!(code(asset).lines().count() + comments.count(), asset.lines().count());
        }
    }

    #[test]
    fn the_page_has_no_placeholder_left_and_nothing_from_elsewhere() {
        for page in [&PAGE, &ROOM, &BESIDE] {
            holds_nothing_from_elsewhere(std::str::from_utf8(&page.document).unwrap());
        }
    }

    fn holds_nothing_from_elsewhere(document: &str) {
        assert!(!document.contains("/*{"), "a placeholder is left");
        let tags = document.matches("<script").count() + document.matches("<style").count();
        let hashed = contents(document, "script").count() + contents(document, "style").count();
        assert_eq!(tags, hashed, "a script or style has no hash");
        // The namespace of SVG is a name, not a place.
        let document = document.replace("http://www.w3.org/2000/svg", "");
        for elsewhere in ["http://", "https://", " src=", "@import", "url(", "import(", "importScripts"] {
            assert!(!document.contains(elsewhere), "the page refers to something elsewhere: `{elsewhere}`");
        }
    }
}
