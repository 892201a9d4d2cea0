//! Takes apart what a sender compressed, without believing a word of it.

use zstd::bulk::Decompressor;
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

use super::lane::LaneError;
use super::squeeze::LET_GO;
use crate::wire::{CHUNK_LEN, PIECE_CAP};

/// Where the byte that describes a frame's header is: after the magic number (RFC 8878 3.1.1.1.1).
const DESCRIPTOR: usize = 4;

/// One lane's buffers. What is for compressed bytes is made with the first of them, and each holds at most
/// [`CHUNK_LEN`] bytes.
pub(super) struct Buffers {
    /// Bytes as they come: a piece, or all of a compressed chunk or pack.
    pub(super) wire: Vec<u8>,
    plain: Vec<u8>,
    decoder: Option<Decompressor<'static>>,
    /// Chunks and packs since the last one that was compressed.
    raw: u32,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Buffers { wire: vec![0; PIECE_CAP], plain: Vec::new(), decoder: None, raw: 0 }
    }

    /// The next chunk or pack comes. What is for compressed ones goes when none has come for a while.
    pub(super) fn turn(&mut self) {
        self.raw = self.raw.saturating_add(1);
        if self.raw == LET_GO {
            (self.plain, self.decoder) = (Vec::new(), None);
            self.wire.truncate(PIECE_CAP);
            self.wire.shrink_to_fit();
        }
    }

    /// Room for `packed` compressed bytes.
    pub(super) fn packed(&mut self, packed: usize) -> &mut [u8] {
        debug_assert!(packed as u64 <= CHUNK_LEN);
        if self.wire.len() < packed {
            self.wire.resize(packed, 0);
        }
        &mut self.wire[..packed]
    }

    /// What the first `packed` bytes hold, which must be `len` bytes.
    ///
    /// # Errors
    /// They are anything but one whole frame that says and holds `len` bytes within a window of [`CHUNK_LEN`].
    pub(super) fn expand(&mut self, packed: usize, len: usize) -> Result<&[u8], LaneError> {
        debug_assert!(len as u64 <= CHUNK_LEN);
        self.raw = 0;
        let packed = &self.wire[..packed];
        if !is_one_frame(packed, len) {
            return Err(LaneError::NotExpandable);
        }
        if self.plain.len() < len {
            self.plain.resize(len, 0);
        }
        let plain = &mut self.plain[..len];
        match self.decoder.get_or_insert_default().decompress_to_buffer(packed, plain) {
            Ok(expanded) if expanded == len => Ok(plain),
            _ => Err(LaneError::NotExpandable),
        }
    }
}

/// Whether it looks like one frame of `len` plain bytes with nothing before or behind it. The decoder itself would skip
/// what is no content, take several frames for one, and mind no window, since its output is all it needs to look back.
fn is_one_frame(packed: &[u8], len: usize) -> bool {
    let says_len = matches!(get_frame_content_size(packed), Ok(Some(content)) if content == len as u64);
    says_len
        && window(packed).is_some_and(|window| window <= CHUNK_LEN)
        && find_frame_compressed_size(packed).is_ok_and(|frame| frame == packed.len())
}

/// How far back a frame says that it looks; within its content, where it has a single segment (RFC 8878 3.1.1.1.2).
fn window(frame: &[u8]) -> Option<u64> {
    let single_segment = frame.get(DESCRIPTOR)? & 0x20 != 0;
    if single_segment {
        return Some(0);
    }
    let descriptor = frame.get(DESCRIPTOR + 1)?;
    let base = 1u64 << (10 + (descriptor >> 3));
    Some(base + base / 8 * u64::from(descriptor & 7))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of one block in which a single byte stands for all, by hand (RFC 8878 3.1.1): what zstd itself would
    /// never write.
    fn frame(window_descriptor: u8, says: u32, block: u32) -> Vec<u8> {
        let block_header = ((block << 3) | (1 << 1) | 1).to_le_bytes();
        [&[0x28, 0xb5, 0x2f, 0xfd, 0x80, window_descriptor], &says.to_le_bytes()[..], &block_header[..3], b"x"].concat()
    }

    fn expand(packed: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut buffers = Buffers::new();
        buffers.packed(packed.len()).copy_from_slice(packed);
        buffers.expand(packed.len(), len).ok().map(<[u8]>::to_vec)
    }

    fn compressed(plain: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(plain, 1).unwrap()
    }

    #[test]
    fn a_frame_by_hand_is_taken_as_long_as_all_is_right() {
        assert_eq!(expand(&frame(0x50, 100_000, 100_000), 100_000), Some(vec![b'x'; 100_000]));
    }

    #[test]
    fn what_compressed_chunks_need_goes_when_none_comes_for_a_while_and_is_there_again_when_one_does() {
        let (mut buffers, content) = (Buffers::new(), vec![7; CHUNK_LEN as usize]);
        let frame = compressed(&content);
        for _ in 0..3 {
            buffers.turn();
            buffers.packed(frame.len()).copy_from_slice(&frame);
            assert!(buffers.expand(frame.len(), content.len()).ok() == Some(content.as_slice()));
            (1..LET_GO).for_each(|_| buffers.turn());
            assert_eq!(buffers.plain.len(), content.len(), "another one may come");
            buffers.turn();
            assert_eq!((buffers.plain.capacity(), buffers.wire.len()), (0, PIECE_CAP));
        }
    }

    #[test]
    fn a_window_larger_than_a_chunk_is_refused() {
        for descriptor in [0x51, 0x58, 0x70, 0xff] {
            assert_eq!(expand(&frame(descriptor, 1_000, 1_000), 1_000), None, "{descriptor:#x}");
        }
    }

    #[test]
    fn a_frame_that_says_or_holds_another_length_is_refused() {
        for (says, holds, len) in [(999, 1_000, 1_000), (1_000, 999, 1_000), (1_000, 1_000, 999), (1_000, 1_001, 1_000)]
        {
            assert_eq!(expand(&frame(0x50, says, holds), len), None, "says {says}, holds {holds}, due {len}");
        }
    }

    #[test]
    fn a_bomb_is_refused_at_its_first_words() {
        let bomb = compressed(&vec![0; 64 * 1024 * 1024]);
        assert!(bomb.len() < 8 * 1024);
        assert_eq!(expand(&bomb, CHUNK_LEN as usize), None);
        // The same without a word about how much there is.
        let mut lies = bomb;
        lies[DESCRIPTOR] &= 0x3f;
        assert_eq!(expand(&lies, CHUNK_LEN as usize), None);
    }

    #[test]
    fn what_is_cut_or_followed_by_anything_is_refused() {
        let plain: Vec<u8> = (0..5_000u32).flat_map(|n| (n % 71).to_le_bytes()).collect();
        let honest = compressed(&plain);
        assert_eq!(expand(&honest, plain.len()).as_ref(), Some(&plain));
        for cut in 0..honest.len() {
            assert_eq!(expand(&honest[..cut], plain.len()), None, "cut at {cut}");
        }
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9];
        let empty = compressed(b"");
        for other in [&[0][..], &skippable, &empty, &honest] {
            assert_eq!(expand(&[&honest, other].concat(), plain.len()), None, "followed");
            assert_eq!(expand(&[other, &honest].concat(), plain.len()), None, "led");
        }
    }

    #[test]
    fn a_frame_that_needs_a_dictionary_is_refused() {
        let mut frame = frame(0x50, 1_000, 1_000);
        frame[DESCRIPTOR] |= 1;
        frame.insert(6, 7);
        assert_eq!(expand(&frame, 1_000), None);
    }

    proptest::proptest! {
        #[test]
        fn a_frame_with_bytes_changed_is_taken_or_refused(
            plain in proptest::collection::vec(0u8..4, 1..4_000),
            changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0u8..), 1..4),
        ) {
            let mut packed = compressed(&plain);
            for (place, byte) in changes {
                let place = place.index(packed.len());
                packed[place] = byte;
            }
            let expanded = expand(&packed, plain.len());
            proptest::prop_assert!(expanded.is_none_or(|expanded| expanded.len() == plain.len()));
        }
    }
}
