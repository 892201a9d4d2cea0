//! Answers: in the clear to strangers, sealed to a page, and the headers of both.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::page;
use super::seal::seal;
use super::sessions::Signed;
use crate::store::StoreError;

/// The body of an answer; content may come as it is read.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// An answer.
pub(super) type Answer = Response<Body>;

/// What a page is told of something that did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    status: StatusCode,
    /// One word that never changes.
    code: &'static str,
    /// For a person.
    text: String,
    /// How much of a file is there.
    have: Option<u64>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Failure {
        Failure { status, code, text: text.into(), have: None }
    }

    /// The request is not what it must be.
    pub(super) fn refused(code: &'static str, text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, code, text)
    }

    /// It does not fit what is going on.
    pub(super) fn conflict(code: &'static str, text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::CONFLICT, code, text)
    }

    /// What it is about is not there.
    pub(super) fn missing(code: &'static str, text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, code, text)
    }

    /// Something has to end first.
    pub(super) fn busy(text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text)
    }

    /// More content than was declared.
    pub(super) fn too_large(text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "size", text)
    }

    /// A piece begins elsewhere than what is there ends.
    pub(super) fn offset(have: u64) -> Failure {
        let text = format!("the next byte wanted is that at `{have}`");
        Failure { have: Some(have), ..Failure::conflict("offset", text) }
    }

    /// The disk, as a stranger may hear of it.
    pub(super) fn by_disk(error: &StoreError) -> Failure {
        let (status, code) = match error.is_disk_full() {
            true => (StatusCode::INSUFFICIENT_STORAGE, "full"),
            false => (StatusCode::INTERNAL_SERVER_ERROR, "storage"),
        };
        Failure::new(status, code, error.for_peer())
    }

    /// Something went wrong at this end.
    pub(super) fn by_host(text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "storage", text)
    }

    /// The status that goes with it.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    fn told(&self) -> Value {
        match self.have {
            Some(have) => json!({ "error": { "code": self.code, "text": self.text, "have": have }, "have": have }),
            None => json!({ "error": { "code": self.code, "text": self.text } }),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// An answer of one piece.
pub(super) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A sentence.
pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut text = text.into();
    text.push('\n');
    whole(status, "text/plain; charset=utf-8", text)
}

/// JSON in the clear.
pub(super) fn clear(status: StatusCode, value: &Value) -> Answer {
    whole(status, "application/json", value.to_string())
}

/// Whatever came of the request of a page, for nobody but the page.
pub(super) fn sealed(signed: &Signed, outcome: Result<Value, Failure>) -> Answer {
    let (status, value) = match outcome {
        Ok(value) => (StatusCode::OK, value),
        Err(failure) => (failure.status, failure.told()),
    };
    let body = seal(&signed.keys.host, signed.number, value.to_string().as_bytes());
    whole(status, "application/octet-stream", body)
}

/// Gives an answer the headers that all have; nothing but the page itself may run anything.
pub(super) fn protect(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    let mut say = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    say(header::CACHE_CONTROL, "no-store");
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::REFERRER_POLICY, "no-referrer");
    say(header::X_FRAME_OPTIONS, "DENY");
    say(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::NOTHING));
    }
    answer
}

/// The only value of a header, as text; `None` too if there are several.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}
