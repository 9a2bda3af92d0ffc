//! Paths of requests as names of files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A path that names something below a directory and cannot lead out of it: decoded once, without empty, dotted or hidden parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    /// The decoded parts.
    pub(super) parts: Vec<OsString>,
    /// Whether it ends with a slash, as a directory's does.
    pub(super) is_directory: bool,
}

impl Target {
    /// Reads a request's path; nothing for one that no file can have.
    pub(super) fn read(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        if path.is_empty() {
            return Some(Self { parts: Vec::new(), is_directory: true });
        }
        let is_directory = path.ends_with('/');
        let path = path.strip_suffix('/').unwrap_or(path);
        let parts = path.split('/').map(part).collect::<Option<Vec<_>>>()?;
        Some(Self { parts, is_directory })
    }

    /// Its first `count` parts as a path below the directory.
    pub(super) fn path(&self, count: usize) -> PathBuf {
        self.parts.iter().take(count).collect()
    }
}

/// One part, decoded. What begins with a dot is hidden (and might lead upwards); a slash, a backslash or a control character in a
/// name is a trick.
fn part(text: &str) -> Option<OsString> {
    let bytes = decoded(text)?;
    let bad = |byte: &u8| *byte < b' ' || *byte == 0x7f || *byte == b'/' || *byte == b'\\';
    let good = !bytes.is_empty() && !bytes.starts_with(b".") && !bytes.iter().any(bad);
    good.then(|| OsString::from_vec(bytes))
}

/// Percent-decodes once; nothing when a `%` has no two digits behind it.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' { digit(bytes.next()?)? * 16 + digit(bytes.next()?)? } else { byte });
    }
    Some(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_name_files() {
        for (path, parts, is_directory) in [
            ("/", vec![], true),
            ("/a", vec!["a"], false),
            ("/a/b/", vec!["a", "b"], true),
            ("/a%20b/c.d;e=%25", vec!["a b", "c.d;e=%"], false),
            ("/%E3%81%82", vec!["あ"], false),
        ] {
            let target = Target::read(path).unwrap();
            assert_eq!(target.parts, parts, "{path}");
            assert_eq!(target.is_directory, is_directory, "{path}");
        }
    }

    #[test]
    fn paths_that_are_tricks() {
        for path in [
            "",
            "a",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/..",
            "/../a",
            "/a/..",
            "/a/../b",
            "/.",
            "/a/./b",
            "/%2e%2e/a",
            "/%2E./a",
            "/.%2e/a",
            "/.git/config",
            "/a/.htaccess",
            "/%2egit",
            "/a%2fb",
            "/a%2Fb",
            "/..%2f",
            "/a%5cb",
            "/a\\b",
            "/..\\a",
            "/a%00",
            "/a%0a",
            "/%",
            "/%2",
            "/%zz",
            "/%+1",
            "/%252e%252e/%",
        ] {
            assert_eq!(Target::read(path), None, "{path}");
        }
        assert_eq!(Target::read("/%252e%252e").unwrap().parts, ["%2e%2e"], "decoded once, and a harmless name");
    }
}
