//! What `docs/vectors/tree.json` says of chunk values and roots is BLAKE3's own word.

use blake3::hazmat::HasherExt;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::*;

/// Byte `i` of the content is `i mod 251`, as in BLAKE3's own vectors.
fn content(size: usize) -> Vec<u8> {
    (0..251).cycle().take(size).collect()
}

/// The value of each chunk: its chaining value, or the ordinary hash of a file of at most one.
fn values(content: &[u8]) -> Vec<String> {
    let value = |(index, chunk): (usize, &[u8])| {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(index as u64 * CHUNK_LEN).update(chunk);
        let alone = content.len() as u64 <= CHUNK_LEN;
        HEXLOWER.encode(&if alone { *hasher.finalize().as_bytes() } else { hasher.finalize_non_root() })
    };
    content.chunks(CHUNK_LEN as usize).enumerate().map(value).collect()
}

#[test]
fn chunk_values_and_roots_are_as_written_down() {
    let vectors: Value = serde_json::from_str(include_str!("../../../docs/vectors/tree.json")).unwrap();
    let files = vectors["files"].as_array().unwrap();
    assert!(!files.is_empty());
    for file in files {
        let content = content(file["size"].as_u64().unwrap() as usize);
        let root = blake3::hash(&content).to_hex().to_string();
        assert_eq!(json!({ "size": content.len(), "chunks": values(&content), "root": root }), *file);
    }
}
