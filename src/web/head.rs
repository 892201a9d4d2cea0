//! Strict framing before anything interprets it: where a request head ends and how long its body is, decided by rules so
//! narrow that no two parsers could read the same bytes differently (protocol.md 11.7; RFC 9112, 11.2). Pure.

/// The longest head in bytes.
pub(super) const HEAD_CAP: usize = 16 * 1024;

/// The most fields of a head.
pub(super) const FIELDS_CAP: usize = 64;

/// No file is longer; far from what additions could overflow.
const LENGTH_DIGITS: usize = 18;

/// A head that is not taken: 400, and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request head that is not taken")]
pub(super) struct Malformed;

/// A head that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    /// Its length in bytes, the empty line included.
    pub(super) head: usize,
    /// The length of the body that follows.
    pub(super) body: u64,
}

/// Looks at the bytes of one head as they come.
#[derive(Debug, Default)]
pub(super) struct HeadCheck {
    /// Where the line begins that is not whole yet.
    line: usize,
    /// Up to where no end of that line was found.
    seen: usize,
    lines: usize,
    hosts: usize,
    length: Option<u64>,
}

impl HeadCheck {
    /// Goes on with `bytes`, which begin with the head and are those of the last call and perhaps more. `None`: more is
    /// needed.
    pub(super) fn look(&mut self, bytes: &[u8]) -> Result<Option<Whole>, Malformed> {
        while let Some(found) = bytes[self.seen..].iter().position(|&byte| byte == b'\n') {
            let end = self.seen + found + 1;
            if end > HEAD_CAP {
                return Err(Malformed);
            }
            let line = bytes[self.line..end].strip_suffix(b"\r\n").ok_or(Malformed)?;
            (self.line, self.seen) = (end, end);
            if line.is_empty() && self.lines > 0 {
                let whole = Whole { head: end, body: self.length.unwrap_or(0) };
                return if self.hosts == 1 { Ok(Some(whole)) } else { Err(Malformed) };
            }
            if self.lines == 0 {
                request_line(line)?
            } else {
                self.field(line)?
            }
            self.lines += 1;
        }
        self.seen = bytes.len();
        if bytes.len() >= HEAD_CAP { Err(Malformed) } else { Ok(None) }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Malformed> {
        if self.lines > FIELDS_CAP {
            return Err(Malformed);
        }
        let colon = line.iter().position(|&byte| byte == b':').ok_or(Malformed)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // A space at the beginning (a folded line) or before the colon is no character of a name.
        let good = is_token(name) && value.iter().all(|&byte| byte == b'\t' || !byte.is_ascii_control());
        if !good || name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Err(Malformed);
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.trim_ascii();
            let sane = !digits.is_empty() && digits.len() <= LENGTH_DIGITS && digits.iter().all(u8::is_ascii_digit);
            if !sane || self.length.is_some() {
                return Err(Malformed);
            }
            self.length = Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        }
        Ok(())
    }
}

fn request_line(line: &[u8]) -> Result<(), Malformed> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let good = method.is_some_and(is_token)
        && target.is_some_and(|target| !target.is_empty() && target.iter().all(is_of_target))
        && version == Some(b"HTTP/1.1")
        && parts.next().is_none();
    if good { Ok(()) } else { Err(Malformed) }
}

/// A fragment has no place in a request, and parsers differ in what they make of one.
fn is_of_target(byte: &u8) -> bool {
    byte.is_ascii_graphic() && *byte != b'#'
}

/// `token` of RFC 9110, 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(of_token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(head: &[u8]) -> Result<Option<Whole>, Malformed> {
        HeadCheck::default().look(head)
    }

    fn with(fields: &str) -> Vec<u8> {
        format!("POST /claim HTTP/1.1\r\nHost: 10.0.0.1:5001\r\n{fields}\r\n").into_bytes()
    }

    #[test]
    fn an_honest_head_is_taken_with_the_length_of_its_body() {
        let head = with("Content-Length: 42\r\nAccept: */*\r\nX-Odd:\tcaf\u{e9}\r\n");
        assert_eq!(check(&head), Ok(Some(Whole { head: head.len(), body: 42 })));
        assert_eq!(check(&with("")).map(|whole| whole.map(|whole| whole.body)), Ok(Some(0)));
    }

    #[test]
    fn every_way_to_smuggle_is_refused() {
        for fields in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x10\r\n",
            "Content-Length: 1 2\r\n",
            "Content-Length:\r\n",
            "Content-Length: 10000000000000000000\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "X: a\r\n b\r\n",
            "X: a\r\n\tb\r\n",
            " X: a\r\n",
            "X : a\r\n",
            "X: a\n",
            "X: a\rb\r\n",
            "X: a\0b\r\n",
            "X: a\x1bb\r\n",
            "no colon\r\n",
            ": no name\r\n",
            "Host: 10.0.0.2:5001\r\n",
        ] {
            assert_eq!(check(&with(fields)), Err(Malformed), "{fields:?}");
        }
    }

    #[test]
    fn request_lines_that_are_not_plain_are_refused() {
        for line in [
            "GET / HTTP/1.0",
            "GET / HTTP/2.0",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET /",
            "GET /a b HTTP/1.1",
            "GET /#x HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "G(T / HTTP/1.1",
            "",
        ] {
            assert_eq!(check(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()), Err(Malformed), "{line:?}");
        }
        assert_eq!(check(b"GET / HTTP/1.1\nHost: a\n\n"), Err(Malformed));
        assert_eq!(check(b"GET / HTTP/1.1\r\n\r\n"), Err(Malformed), "no host");
    }

    #[test]
    fn a_head_has_at_most_64_fields_and_16_kib() {
        let fields = |count: usize| with(&"X: y\r\n".repeat(count - 1));
        assert!(check(&fields(64)).is_ok());
        assert_eq!(check(&fields(65)), Err(Malformed));
        let long = |bytes: usize| {
            let rest = bytes - with("X: \r\n").len();
            with(&format!("X: {}\r\n", "y".repeat(rest)))
        };
        assert!(check(&long(HEAD_CAP)).is_ok());
        assert_eq!(check(&long(HEAD_CAP + 1)), Err(Malformed));
        assert_eq!(check(&vec![b'G'; HEAD_CAP]), Err(Malformed), "no line at all");
    }

    proptest! {
        #[test]
        fn however_a_head_is_cut_the_verdict_is_the_same(
            text in prop_oneof!["[A-Z /1.:a-z\r\n]{0,80}", "(X: [a-z]{0,3}\r\n){0,70}", "Content-Length: [0-9+-]{0,20}\r\n"],
            mut cuts in prop::collection::vec(0usize..600, 0..8),
        ) {
            let bytes = with(&text);
            cuts.iter_mut().for_each(|cut| *cut %= bytes.len());
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut check_cut = HeadCheck::default();
            let mut verdict = Ok(None);
            for cut in cuts {
                verdict = check_cut.look(&bytes[..cut]);
                if verdict != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(verdict, check(&bytes));
        }

        #[test]
        fn whatever_comes_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = check(&bytes);
        }
    }
}
