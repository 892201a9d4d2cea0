//! What holds of a journal, whatever a death or a disk made of it.

use super::journal::Record;
use super::replayed::Replayed;

/// What a journal says is what its whole lines say up to the first that makes no sense, and each of them comes back.
pub fn journal(bytes: &[u8]) {
    let replayed = Replayed::read(bytes).expect("memory can be read");
    let told = &bytes[..replayed.len as usize];
    assert!(told.is_empty() || told.ends_with(b"\n"));
    assert_eq!(Replayed::read(told).ok().as_ref(), Some(&replayed));
    assert_eq!(replayed.keepsake.is_none(), told.is_empty());
    for line in told.split_inclusive(|byte| *byte == b'\n') {
        let record: Record = serde_json::from_slice(line).expect("it made sense");
        let written = serde_json::to_vec(&record).expect("a record can be written");
        assert_eq!(serde_json::from_slice::<Record>(&written).ok(), Some(record));
    }
    let chunks = replayed.parts.values().flatten().map(|part| part.chunks.len());
    assert!(chunks.sum::<usize>() + replayed.temps().count() <= told.iter().filter(|byte| **byte == b'\n').count());
}
