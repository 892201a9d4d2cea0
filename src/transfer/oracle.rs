//! What holds of what a sender compressed, whatever it is.

use std::io::Read;

use super::expand::Buffers;
use crate::wire::CHUNK_LEN;

/// What is taken apart is as long as was said and what zstd makes of it in a window of a chunk; what was compressed honestly
/// is what it was.
///
/// The first three bytes say how long it is to be.
pub fn compressed(bytes: &[u8]) {
    let Some(([a, b, c], packed)) = bytes.split_first_chunk() else { return };
    let len = (u32::from_be_bytes([0, *a, *b, *c]) as usize).clamp(1, CHUNK_LEN as usize);
    if let Some(plain) = expanded(packed, len) {
        assert_eq!(plain.len(), len);
        // Who decodes in one go need not mind that a block may not be longer than the window.
        assert!(streamed(packed).is_none_or(|streamed| streamed == plain));
    }
    if let Ok(honest) = zstd::bulk::compress(packed, 1)
        && !packed.is_empty()
    {
        assert_eq!(expanded(&honest, packed.len()).as_deref(), Some(packed));
    }
}

fn expanded(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    if packed.len() as u64 > CHUNK_LEN {
        return None;
    }
    let mut buffers = Buffers::new();
    buffers.packed(packed.len()).copy_from_slice(packed);
    buffers.expand(packed.len(), len).ok().map(<[u8]>::to_vec)
}

fn streamed(packed: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = zstd::Decoder::new(packed).ok()?.single_frame();
    decoder.window_log_max(CHUNK_LEN.ilog2()).ok()?;
    let mut plain = Vec::new();
    decoder.take(CHUNK_LEN + 1).read_to_end(&mut plain).ok()?;
    Some(plain)
}
