//! Every test that the book names as trying the guard is there.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|end| end == "rs") {
            found.push(entry);
        }
    }
}

/// By what the book calls a file: its name, or its directory's where it is called after what it is.
fn name_of(file: &Path) -> String {
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    match stem(file).as_str() {
        "tests" | "main" => stem(file.parent().unwrap()),
        name => name.to_owned(),
    }
}

fn tests_of(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let (mut found, mut marked) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        marked |= line == "#[test]" || line.starts_with("#[tokio::test");
        if marked && let Some((_, rest)) = line.split_once("fn ") {
            found.push(format!("{}::{}", name_of(file), rest.split('(').next().unwrap()));
            marked = false;
        }
    }
    found
}

#[test]
fn every_test_that_the_book_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for dir in ["crates/guard", "crates/policy/src/web", "crates/gateway", "crates/vestibule/tests"] {
        sources(&root.join(dir), &mut files);
    }
    let there: HashSet<String> = files.iter().flat_map(|file| tests_of(file)).collect();
    let book = fs::read_to_string(root.join("docs/reference/guard-tests.md")).unwrap();
    let named: Vec<&str> = book.split('`').skip(1).step_by(2).filter(|span| span.contains("::")).collect();
    assert!(named.len() > 100, "{}", named.len());
    let missing: Vec<_> = named.iter().filter(|name| **name != "FILE::test" && !there.contains(**name)).collect();
    assert!(missing.is_empty(), "the book names tests that are not there: {missing:#?}");
}
