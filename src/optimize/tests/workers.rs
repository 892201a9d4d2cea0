use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::optimize::{Optimizer, Outcome};

const BOTH: Wishes = Wishes { strip_location: true, ..SHRINK };

/// A picture in a folder of its own.
fn picture() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.jpg");
    fs::write(&path, located_jpeg()).unwrap();
    (folder, path)
}

async fn outcome(program: &Path, wishes: Wishes, picture: &Path) -> Outcome {
    let target = || tempfile::tempfile();
    Optimizer::new(program.to_owned(), wishes).make(File::open(picture).unwrap(), target).await
}

/// A program that does this. It is written by another process: one that is open for writing can't be run.
fn program(folder: &Path, lines: &str) -> PathBuf {
    let path = folder.join("program");
    let write = format!("printf '#!/bin/sh\\n%s\\n' \"$1\" > '{0}' && chmod 700 '{0}'", path.display());
    assert!(Command::new("sh").args(["-c", &write, "sh", lines]).status().unwrap().success());
    path
}

#[tokio::test]
async fn a_worker_that_crashes_leaves_the_original() {
    let (folder, picture) = picture();
    for crash in ["exit 1", "kill -9 $$", "echo '{' >&2", "echo junk; echo junk >&2; exit 0"] {
        let program = program(folder.path(), crash);
        assert!(matches!(outcome(&program, SHRINK, &picture).await, Outcome::AsItIs(Some(_))), "{crash}");
        assert_eq!(outcome(&program, BOTH, &picture).await, Outcome::LocationStays("jpeg"), "{crash}");
    }
    assert!(matches!(outcome(Path::new("/nonexistent"), SHRINK, &picture).await, Outcome::AsItIs(Some(_))));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_hangs_is_not_waited_for_and_leaves_the_original() {
    let (folder, picture) = picture();
    let program = program(folder.path(), "exec sleep 1000");
    assert_eq!(outcome(&program, SHRINK, &picture).await, Outcome::AsItIs(Some("it takes too long".to_owned())));
}

#[tokio::test]
async fn a_disk_without_room_leaves_the_original_or_says_that_the_place_stays() {
    let (_folder, picture) = picture();
    let full = || Err(io::ErrorKind::StorageFull.into());
    let made = Optimizer::new("/nonexistent".into(), SHRINK).make(File::open(&picture).unwrap(), full).await;
    assert!(matches!(made, Outcome::AsItIs(Some(_))));
    let made = Optimizer::new("/nonexistent".into(), BOTH).make(File::open(&picture).unwrap(), full).await;
    assert_eq!(made, Outcome::LocationStays("jpeg"));
}

#[tokio::test]
async fn what_is_no_picture_is_not_even_given_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.jpg");
    fs::write(&path, "words, whatever they are called").unwrap();
    let never = || unreachable!("there is nothing to write");
    let made = Optimizer::new("/nonexistent".into(), BOTH).make(File::open(&path).unwrap(), never).await;
    assert_eq!(made, Outcome::AsItIs(None));
}

#[tokio::test]
async fn formats_whose_place_can_not_be_removed_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let starts: [(&[u8], &str); 5] = [
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x14ftypqt  ", "MOV"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"GIF89a", "GIF"),
        (b"\xff\x0a\0\0", "JPEG XL"),
    ];
    for (start, format) in starts {
        fs::write(&path, start).unwrap();
        assert_eq!(outcome(Path::new("/nonexistent"), STRIP, &path).await, Outcome::LocationStays(format));
        assert_eq!(outcome(Path::new("/nonexistent"), SHRINK, &path).await, Outcome::AsItIs(None));
    }
}
