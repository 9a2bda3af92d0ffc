//! Makes `data/common-passwords.bin` from a list of passwords on standard input, one a line, the commonest first.
//!
//! ```sh
//! cargo run -p vestibule-local-credential --example common_passwords < list.txt > data/common-passwords.bin
//! ```
//!
//! Taken are the first 100,000 different ones of eight characters and more (shorter ones are refused anyway), in lower
//! case. Written are, ascending, the first five bytes of the SHA-256 of each. The last three taken go to standard error.
//! (The library itself includes the table: in a tree without one, make an empty file first.)

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, Write as _};

use sha2::{Digest as _, Sha256};

const TAKEN: usize = 100_000;
const LEAST_CHARACTERS: usize = 8;
const DIGEST_LEN: usize = 5;

fn main() -> io::Result<()> {
    let mut digests = BTreeSet::new();
    let mut last = Vec::new();
    for line in io::stdin().lock().lines() {
        let password: String = line?.chars().flat_map(char::to_lowercase).collect();
        let long_enough = password.chars().count() >= LEAST_CHARACTERS;
        if digests.len() < TAKEN && long_enough && digests.insert(digest(&password)) {
            last.push(password);
        }
    }
    if digests.len() < TAKEN {
        return Err(io::Error::other(format!("the list has only {} such passwords", digests.len())));
    }
    last.drain(..last.len() - 3);
    writeln!(io::stderr(), "{}", last.join("\n"))?;
    io::stdout().write_all(&digests.into_iter().flatten().collect::<Vec<u8>>())
}

fn digest(password: &str) -> [u8; DIGEST_LEN] {
    let mut head = [0; DIGEST_LEN];
    head.copy_from_slice(&Sha256::digest(password)[..DIGEST_LEN]);
    head
}
