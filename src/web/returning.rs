//! What is there of a page's transfer from an earlier attempt: looked at before it is trusted.

use std::io::Read;
use std::sync::Arc;

use ring::digest::{Context, SHA256};

use super::receiving::{Declared, Digests, Receiving, STEP, sha256_of};
use super::transfers::StoredAs;
use crate::store::{Folder, HeldPart, Intake, StoredBefore};

/// Files of an earlier attempt, by the entries of this one.
#[derive(Default)]
pub(super) struct There {
    /// In part.
    pub(super) parts: Vec<(u32, Arc<Receiving>)>,
    /// Stored, and where; of each whether this process has told of it.
    pub(super) stored: Vec<(u32, StoredAs, bool)>,
    /// Bytes of all of them.
    pub(super) bytes: u64,
}

impl There {
    /// What `intake` has of files that are `declared` so; at most so many in part as there may be open ones.
    /// A file that was stored and is not there as it was any more counts as none. Blocks for the disk.
    pub(super) fn look(
        folder: &Folder,
        intake: &Intake,
        declared: impl Fn(u32) -> Option<Declared>,
        open: usize,
    ) -> There {
        let (held, mut there) = (intake.take_held(), There::default());
        for HeldPart { file, chunks } in held.parts {
            let id = file.id();
            match declared(id).filter(|_| there.parts.len() < open) {
                Some(declared) => {
                    let receiving = Receiving::recalled(file, declared, &chunks);
                    there.bytes += receiving.have();
                    there.parts.push((id, Arc::new(receiving)));
                }
                None => file.remove(),
            }
        }
        for (id, stored) in held.stored.iter() {
            let Some(digests) = digests(folder, &stored) else { continue };
            let name = stored.name.as_str().to_owned();
            there.bytes += stored.bytes;
            there.stored.push((id, StoredAs { name, digests }, stored.told));
        }
        there
    }
}

/// Those of a file that was stored; `None` if it is not there any more as it was.
fn digests(folder: &Folder, stored: &StoredBefore) -> Option<Digests> {
    let mut file = folder.existing(&stored.name).filter(|there| there.bytes == stored.bytes)?.file;
    let (mut blake3, mut sha256, mut buffer) = (blake3::Hasher::new(), Context::new(&SHA256), vec![0; STEP]);
    loop {
        let read = file.read(&mut buffer).ok()?;
        if read == 0 {
            break;
        }
        blake3.update(&buffer[..read]);
        sha256.update(&buffer[..read]);
    }
    let blake3 = *blake3.finalize().as_bytes();
    (blake3 == stored.hash).then(|| Digests { blake3, sha256: sha256_of(&sha256) })
}
