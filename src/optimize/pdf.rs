//! PDF (ISO 32000): streams compressed that were not, objects packed together, those gone that nothing refers to.

use lopdf::{Document, LoadOptions, Object, SaveOptions};

use super::{Change, Trouble};

/// The largest stream that is expanded while the structure is read, in bytes.
const STREAM_BYTES: usize = 64 * 1024 * 1024;

/// The best that deflate has: documents are small.
const LEVEL: u32 = 9;

/// The same pages in fewer bytes.
pub(super) fn smaller(bytes: &[u8]) -> Result<(Vec<u8>, Change), Trouble> {
    let mut document = load(bytes)?;
    if document.is_encrypted() || document.was_encrypted() {
        return Err(Trouble::LeftAlone("encrypted"));
    }
    let signs = |object: &Object| object.as_dict().is_ok_and(|dictionary| dictionary.has(b"ByteRange"));
    if document.objects.values().any(signs) || contains(bytes, b"/ByteRange") {
        return Err(Trouble::LeftAlone("signed"));
    }
    // The archival kind says which features it has, and these would be others.
    if contains(bytes, b"pdfaid:part") {
        return Err(Trouble::LeftAlone("made for archives"));
    }
    let before = contents(&document);
    if before.is_empty() {
        return Err(Trouble::Damaged);
    }
    document.prune_objects();
    document.objects.retain(|_, object| !is_written_anew(object));
    document.compress();
    let options =
        SaveOptions::builder().use_object_streams(true).use_xref_streams(true).compression_level(LEVEL).build();
    let mut made = Vec::new();
    document.save_with_options(&mut made, options).map_err(|_| Trouble::Damaged)?;
    if made.len() >= bytes.len() {
        return Err(Trouble::LeftAlone("as small as it gets"));
    }
    let mut again = load(&made)?;
    again.objects.retain(|_, object| !is_written_anew(object));
    if again.objects != document.objects || contents(&again) != before {
        return Err(Trouble::Damaged);
    }
    Ok((made, Change { packed: true, ..Change::default() }))
}

/// Reads a document that is as it should be: of what had to be guessed, something may be missing.
fn load(bytes: &[u8]) -> Result<Document, Trouble> {
    let options = LoadOptions { strict: true, max_decompressed_size: Some(STREAM_BYTES), ..LoadOptions::default() };
    Document::load_mem_with_options(bytes, options).map_err(|_| Trouble::Damaged)
}

/// What is there for the sake of the file and not of the document: each writer makes its own.
fn is_written_anew(object: &Object) -> bool {
    matches!(object.type_name(), Ok(b"ObjStm" | b"XRef" | b"Linearized"))
}

/// What each page draws, as hashes.
fn contents(document: &Document) -> Vec<blake3::Hash> {
    document.page_iter().map(|page| blake3::hash(&document.get_page_content(page))).collect()
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
