//! The test vectors in `vectors/`: they are what this code makes, and a reader that shares no code with it reads them.
//!
//! After a deliberate change of the protocol, `VESTIBULE_WRITE_VECTORS=1 cargo test -p vestibule-proto --test vectors` writes
//! them anew, and the corpus of the fuzzers with them.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod clean_frames;
mod clean_room;
mod corpus;
mod datagrams;
mod documents;
mod frames;
mod make;
mod strict;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use documents::{DatagramVectors, KnockVectors, LoginVectors, TicketVectors};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes the files once, before any test reads them, if that is asked for.
static WRITTEN: LazyLock<()> = LazyLock::new(|| {
    if std::env::var_os("VESTIBULE_WRITE_VECTORS").is_some() {
        for (path, bytes) in made() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
    }
});

/// All files, as this code makes them.
fn made() -> Vec<(PathBuf, Vec<u8>)> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut files: Vec<_> =
        corpus::corpus().into_iter().map(|(entry, name, bytes)| (fuzz.join(entry).join(name), bytes)).collect();
    files.push((path("knock.json"), json(&make::knock())));
    files.push((path("ticket.json"), json(&make::ticket())));
    files.push((path("login.json"), json(&make::login())));
    files.push((path("frames.json"), json(&frames::document())));
    files.push((path("datagrams.json"), json(&datagrams::document())));
    files
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)
}

fn json<T: Serialize>(document: &T) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(document).unwrap();
    text.push(b'\n');
    text
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    LazyLock::force(&WRITTEN);
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

#[test]
fn the_files_are_what_this_code_makes() {
    LazyLock::force(&WRITTEN);
    for (path, bytes) in made() {
        let found = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(found == bytes, "{} is not what is made now; meant so? see the head of this file", path.display());
    }
}

#[test]
fn a_clean_room_reads_the_knock() {
    clean_room::check_knock(&read::<KnockVectors>("knock.json"));
}

#[test]
fn a_clean_room_derives_the_tags() {
    clean_room::check_ticket(&read::<TicketVectors>("ticket.json"));
}

#[test]
fn a_clean_room_derives_what_the_login_is_bound_to() {
    clean_room::check_login(&read::<LoginVectors>("login.json"));
}

#[test]
fn a_clean_room_writes_the_datagrams() {
    datagrams::check(&read::<DatagramVectors>("datagrams.json"));
}
