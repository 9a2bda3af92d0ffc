//! The script of the guard's own pages: the browser's half of entry proof (PAGEGUARD section 3).

use super::{digest_of, url_of};
use std::sync::LazyLock;

/// Where it is served, on every application's host.
pub(crate) const PATH: &str = "/.vestibule/entry.js";
/// Its text.
pub(crate) const SOURCE: &str = include_str!("entry.js");

static URL: LazyLock<String> = LazyLock::new(|| url_of(PATH, &digest_of(SOURCE)));

/// The address that pages name: its path, and a digest of its content.
pub(crate) fn url() -> &'static str {
    &URL
}
