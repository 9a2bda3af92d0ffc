//! The objects that are checked in are what their sources compile to.

use std::path::Path;
use std::process::Command;

use crate::wire::run;

#[test]
fn the_objects_are_what_clang_14_makes_of_their_sources_in_any_folder() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    for source in ["src/xdp/door.bpf.c", "examples/cost_xdp/bare.bpf.c"].map(|source| crate_dir.join(source)) {
        let checked_in = std::fs::read(source.with_extension("o")).unwrap();
        assert!(
            compile(&source) == checked_in,
            "{source:?}: compile it as it says: {}",
            run(&["clang-14", "--version"])
        );
    }
}

/// Compiles a copy in a folder of its own.
fn compile(source: &Path) -> Vec<u8> {
    let name = source.file_name().unwrap();
    let folder = std::env::temp_dir().join(format!("vestibule-object-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(source, folder.join(name)).unwrap();
    let words = ["-O2", "-Wall", "-Werror", "-target", "bpf", "-o", "object", "-c"];
    let compiled = Command::new("clang-14").args(words).arg(name).current_dir(&folder).status();
    let compiled = compiled.expect("clang-14 (Debian package clang-14) can be run");
    let object = std::fs::read(folder.join("object"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(compiled.success(), "{source:?}");
    object.unwrap()
}
