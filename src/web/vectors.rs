//! `docs/vectors/web.json`, for the tests of this room.

use serde_json::Value;

use super::keys::Nonce;

pub(super) fn vectors() -> Value {
    serde_json::from_str(include_str!("../../docs/vectors/web.json")).unwrap()
}

pub(super) fn field(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub(super) fn hex(value: &Value) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(field(value).as_bytes()).unwrap()
}

pub(super) fn nonce(value: &Value) -> Nonce {
    hex(value).try_into().unwrap()
}

/// The content of the sealed vectors.
pub(super) fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (7 * i + i / 251) as u8).collect()
}
