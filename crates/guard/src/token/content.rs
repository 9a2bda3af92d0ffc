//! The bytes of a page inside its token.
//!
//! Serial 8, time 8 (milliseconds), source 16, length of the user's name 1, the name, grants (postcard: 0 and the grants, or 1 and
//! the name of their set) to the end. Numbers are big-endian.

use super::{Page, SealedGrants};
use crate::{Serial, Stamp, UserName};

/// The most bytes of a page: what 512 characters hold, without the token's head (29) and tag (16).
pub(super) const LONGEST: usize = 512 / 4 * 3 - 29 - 16;
/// Serial, time, source, and the length of the user's name.
const FIXED: usize = 8 + 8 + 16 + 1;

/// Appends the page to `out`; grants that don't fit are named instead.
pub(super) fn append(page: &Page, out: &mut Vec<u8>) {
    let user = page.user.as_str().as_bytes();
    out.extend(page.serial.0.to_be_bytes());
    out.extend(page.issued.0.to_be_bytes());
    out.extend(page.source);
    // A name has at most 64 bytes.
    out.push(u8::try_from(user.len()).unwrap_or(u8::MAX));
    out.extend(user);
    append_grants(&page.grants, LONGEST - FIXED - user.len(), out);
}

fn append_grants(grants: &SealedGrants, room: usize, out: &mut Vec<u8>) {
    let mut buffer = [0; LONGEST];
    let bytes = match postcard::to_slice(grants, &mut buffer[..room]) {
        Ok(bytes) => bytes,
        Err(_) => postcard::to_slice(&named(grants), &mut buffer).expect("the name of a set has room"),
    };
    out.extend(&*bytes);
}

fn named(grants: &SealedGrants) -> SealedGrants {
    match grants {
        SealedGrants::Inline(grants) => SealedGrants::Reference(grants.id()),
        SealedGrants::Reference(id) => SealedGrants::Reference(*id),
    }
}

/// Reads a page; `None` unless the bytes are one, to the last.
pub(super) fn read(bytes: &[u8]) -> Option<Page> {
    let (serial, bytes) = bytes.split_first_chunk()?;
    let (issued, bytes) = bytes.split_first_chunk()?;
    let (source, bytes) = bytes.split_first_chunk()?;
    let (length, bytes) = bytes.split_first()?;
    let (user, bytes) = bytes.split_at_checked(usize::from(*length))?;
    let name = std::str::from_utf8(user).ok()?;
    let user = UserName::new(name).ok().filter(|user| user.as_str() == name)?;
    let (grants, rest) = postcard::take_from_bytes(bytes).ok()?;
    let (serial, issued) = (Serial(u64::from_be_bytes(*serial)), Stamp(u64::from_be_bytes(*issued)));
    rest.is_empty().then_some(Page { user, serial, issued, source: *source, grants })
}

/// What is read is written so that it is read again.
pub(crate) fn fuzz_content(bytes: &[u8]) {
    let Some(page) = read(bytes).filter(|_| bytes.len() <= LONGEST) else { return };
    let mut again = Vec::new();
    append(&page, &mut again);
    assert_eq!(read(&again), Some(page), "what was read is written alike");
}
