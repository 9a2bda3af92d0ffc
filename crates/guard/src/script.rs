//! The script that pages are given (PAGEGUARD section 4): it makes whatever sends requests bear the page's token.

pub(crate) mod entry;
pub(crate) mod worker;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::sync::LazyLock;

/// Where it is served, on every application's host.
pub const PATH: &str = "/.vestibule/guard.js";
/// What it is served as.
pub const CONTENT_TYPE: &str = "text/javascript; charset=utf-8";
/// How long it may be kept: its address changes with its content.
pub const CACHE_CONTROL: &str = "public, max-age=31536000, immutable";
/// Its text as it is written, but for what it has in common with workers: that is a function, and stands where this names it.
const WRITTEN: &str = include_str!("script/guard.js");
const SENDERS: &str = include_str!("script/senders.js");

static SOURCE: LazyLock<String> =
    LazyLock::new(|| lines_of(WRITTEN).join("\n").replacen("SENDERS", &lines_of(SENDERS).join("\n"), 1));
static DIGEST: LazyLock<[u8; 32]> = LazyLock::new(|| digest_of(source()));
static URL: LazyLock<String> = LazyLock::new(|| url_of(PATH, &DIGEST));
static INTEGRITY: LazyLock<String> = LazyLock::new(|| format!("sha256-{}", STANDARD.encode(*DIGEST)));

/// The address that pages name: its path, and a digest of its content.
pub fn url() -> &'static str {
    &URL
}

/// Its text as it travels.
pub fn source() -> &'static str {
    &SOURCE
}

/// Its digest as policies and the `integrity` attribute write it: `sha256-…` (CSP3 section 2.3.1, SRI).
pub fn integrity() -> &'static str {
    &INTEGRITY
}

/// The lines of a script, without what is for its readers alone.
fn lines_of(written: &str) -> Vec<&str> {
    written.lines().map(str::trim).filter(|line| !line.starts_with("//")).collect()
}

fn digest_of(source: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, source.as_bytes()).as_ref());
    bytes
}

fn url_of(path: &str, digest: &[u8; 32]) -> String {
    format!("{path}?v={}", URL_SAFE_NO_PAD.encode(&digest[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_compression::Level;
    use async_compression::tokio::bufread::GzipEncoder;
    use futures_util::FutureExt;
    use tokio::io::AsyncReadExt;

    /// The most bytes of the script as it travels.
    const LARGEST: usize = 6 * 1024;

    #[test]
    fn the_script_is_small() {
        let compressed = |text: &str| {
            let mut compressed = Vec::new();
            let mut encoder = GzipEncoder::with_quality(text.as_bytes(), Level::Precise(9));
            encoder.read_to_end(&mut compressed).now_or_never().unwrap().unwrap();
            compressed.len()
        };
        let sizes = (compressed(source()), compressed(&worker::before(b"", "", &[])));
        assert!(sizes.0 > 1_000 && sizes.1 > 500 && sizes.0.max(sizes.1) <= LARGEST, "{sizes:?}");
    }

    #[test]
    fn its_address_tells_its_content() {
        assert_eq!(url().split_once("?v=").map(|(path, digest)| (path, digest.len())), Some((PATH, 16)));
        assert_eq!(integrity().len(), "sha256-".len() + 44);
        assert!(source().is_ascii() || CONTENT_TYPE.ends_with("charset=utf-8"));
        assert!(source().contains("(function senders(") && !source().contains("SENDERS") && !source().contains(" //"));
    }
}
