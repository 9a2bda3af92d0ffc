//! Paths that everybody reads alike.

use std::fmt;

use thiserror::Error;

/// A path of which grants can be decided: decoded once, and such that no upstream reads it as another one. It begins
/// with `/` and has no empty, `.` or `..` segment; it may end with `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NormalPath(String);

/// What in a path one server reads this way and another that way. Where a grant of paths is in force, such a request is
/// refused rather than guessed at; browsers send none of them by themselves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum PathTrick {
    /// It does not begin with `/`.
    #[error("it does not begin with a slash")]
    Relative,
    /// `%` without two hexadecimal digits, as in `%zz` or `%u002e`.
    #[error("it has a percent sign without two hexadecimal digits")]
    Encoding,
    /// Decoded once, it could be decoded again: `%252e`.
    #[error("it is encoded twice")]
    DoubleEncoding,
    /// Not UTF-8 once decoded: overlong forms (`%c0%af`), surrogates, other charsets.
    #[error("it is not UTF-8")]
    Charset,
    /// A slash that came encoded: `%2f`.
    #[error("it has an encoded slash")]
    EncodedSlash,
    /// A backslash, encoded or not.
    #[error("it has a backslash")]
    Backslash,
    /// A control character, NUL among them, encoded or not.
    #[error("it has a control character")]
    Control,
    /// Two slashes in a row.
    #[error("it has an empty segment")]
    EmptySegment,
    /// A segment of nothing but dots (and blanks), encoded or not: `..`, `%2e%2e`, `...`, `.. `.
    #[error("it has a segment of dots")]
    Dots,
    /// A semicolon, encoded or not: some servers cut a segment off there.
    #[error("it has a semicolon")]
    Parameters,
    /// `?` or `#` that came encoded and that a second reader would take for the path's end.
    #[error("it has an encoded question mark or number sign")]
    EncodedEnd,
    /// A character that some servers fold into a slash, a backslash or a dot: `／`, `＼`, `．`.
    #[error("it has a look-alike of a slash, a backslash or a dot")]
    LookAlike,
}

impl NormalPath {
    /// Reads the path of a request as it was sent: percent-encoded, without the query.
    ///
    /// # Errors
    /// Upstreams may read it in different ways.
    pub fn from_request(path: &str) -> Result<Self, PathTrick> {
        if is_plain(path.as_bytes()) { Ok(Self(path.to_owned())) } else { Self::read_closely(path) }
    }

    fn read_closely(path: &str) -> Result<Self, PathTrick> {
        let path = decode(path)?;
        check_characters(&path)?;
        let inner = path.strip_prefix('/').ok_or(PathTrick::Relative)?;
        // One slash at the end is part of a plain path and leaves no segment behind.
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        match path.as_str() {
            "/" => Ok(Self(path)),
            _ => inner.split('/').try_for_each(check_segment).map(|()| Self(path)),
        }
    }

    /// As text, decoded.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments between the slashes; none of `/`. A slash at the end adds none.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// The last segment, when the path does not end with a slash: the name of a file.
    pub fn file_name(&self) -> Option<&str> {
        self.0.rsplit('/').next().filter(|name| !name.is_empty())
    }
}

impl fmt::Display for NormalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether there is nothing in it to look at closely: letters, digits, `-`, `_`, dots inside names, and single slashes.
fn is_plain(path: &[u8]) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
    let doubtful = |two: &[u8]| two == b"//" || two == b"/.";
    path.first() == Some(&b'/') && path.iter().all(|&byte| plain(byte)) && !path.windows(2).any(doubtful)
}

fn decode(path: &str) -> Result<String, PathTrick> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        match pair(rest.next(), rest.next()).ok_or(PathTrick::Encoding)? {
            b'/' => return Err(PathTrick::EncodedSlash),
            b'?' | b'#' => return Err(PathTrick::EncodedEnd),
            byte => decoded.push(byte),
        }
    }
    let decoded = String::from_utf8(decoded).map_err(|_| PathTrick::Charset)?;
    if decodes_again(decoded.as_bytes()) { Err(PathTrick::DoubleEncoding) } else { Ok(decoded) }
}

fn pair(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high?)? * 16 + digit(low?)?).ok()
}

/// `%u002e` too, which some servers decode.
fn decodes_again(decoded: &[u8]) -> bool {
    decoded.windows(3).any(|three| three[0] == b'%' && pair(Some(three[1]), Some(three[2])).is_some())
        || decoded.windows(2).any(|two| two.eq_ignore_ascii_case(b"%u"))
}

fn check_characters(path: &str) -> Result<(), PathTrick> {
    path.chars().try_for_each(|c| match c {
        '\\' => Err(PathTrick::Backslash),
        ';' => Err(PathTrick::Parameters),
        '\u{2044}' | '\u{2215}' | '\u{2216}' | '\u{29f8}' | '\u{29f9}' | '\u{fe68}' | '\u{ff0f}' | '\u{ff3c}' => {
            Err(PathTrick::LookAlike)
        }
        c if c.is_control() => Err(PathTrick::Control),
        _ => Ok(()),
    })
}

fn check_segment(segment: &str) -> Result<(), PathTrick> {
    let like_dot = |c: char| matches!(c, '\u{2024}'..='\u{2026}' | '\u{fe52}' | '\u{ff0e}');
    if segment.is_empty() {
        Err(PathTrick::EmptySegment)
    } else if segment.chars().all(|c| c == '.' || c.is_whitespace()) {
        Err(PathTrick::Dots)
    } else if segment.chars().all(|c| c == '.' || c.is_whitespace() || like_dot(c)) {
        Err(PathTrick::LookAlike)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_paths_are_decoded_once() {
        for (sent, read) in [
            ("/", "/"),
            ("/orders", "/orders"),
            ("/orders/", "/orders/"),
            ("/a%20b/caf%C3%A9", "/a b/café"),
            ("/100%25.txt", "/100%.txt"),
            ("/%7Ealice/.well-known/x..y", "/~alice/.well-known/x..y"),
            ("/wiki:start,a=b@c!$&'()*+", "/wiki:start,a=b@c!$&'()*+"),
            ("/%E6%B3%A8%E6%96%87", "/注文"),
        ] {
            assert_eq!(NormalPath::from_request(sent).as_ref().map(NormalPath::as_str), Ok(read), "{sent}");
        }
    }

    proptest! {
        #[test]
        fn a_close_look_finds_nothing_in_plain_paths(path in "(/{1,2}[a-cA-C09._-]{0,4}){1,4}/?") {
            if is_plain(path.as_bytes()) {
                prop_assert_eq!(NormalPath::read_closely(&path), Ok(NormalPath(path)));
            }
        }
    }

    #[test]
    fn tricks_are_named() {
        use PathTrick::*;
        for (sent, trick) in [
            ("", Relative),
            ("orders", Relative),
            ("*", Relative),
            ("http://a/b", Relative),
            ("%2forders", EncodedSlash),
            ("/a/..", Dots),
            ("/a/../admin", Dots),
            ("/a/./b", Dots),
            ("/.", Dots),
            ("/a/%2e%2e/admin", Dots),
            ("/a/.%2E/admin", Dots),
            ("/a/.../admin", Dots),
            ("/a/..%20/admin", Dots),
            ("/a/%20/b", Dots),
            ("/a/..;/admin", Parameters),
            ("/admin;jsessionid=1", Parameters),
            ("/admin%3bx", Parameters),
            ("/a//admin", EmptySegment),
            ("//admin", EmptySegment),
            ("/admin//", EmptySegment),
            ("//", EmptySegment),
            ("/a%2fadmin", EncodedSlash),
            ("/a%2Fadmin", EncodedSlash),
            ("/a%5c..%5cadmin", Backslash),
            ("/a\\admin", Backslash),
            ("/a%00.png", Control),
            ("/a%0d%0aHost:b", Control),
            ("/a%09", Control),
            ("/a%7f", Control),
            ("/a%c2%85", Control),
            ("/a%c0%afadmin", Charset),
            ("/a%c0%ae%c0%ae/admin", Charset),
            ("/a%e0%80%afadmin", Charset),
            ("/a%f0%80%80%af", Charset),
            ("/a%ed%a0%80", Charset),
            ("/caf%e9", Charset),
            ("/a%252e%252e/admin", DoubleEncoding),
            ("/a%25%32%65", DoubleEncoding),
            ("/a%25252e", DoubleEncoding),
            ("/a%252fadmin", DoubleEncoding),
            ("/a%25u002e", DoubleEncoding),
            ("/a%u002e%u002e/admin", Encoding),
            ("/a%%32e", Encoding),
            ("/a%", Encoding),
            ("/a%2", Encoding),
            ("/a%zz", Encoding),
            ("/a%+2", Encoding),
            ("/admin%3fx", EncodedEnd),
            ("/admin%23", EncodedEnd),
            ("/a%ef%bc%8f..", LookAlike),
            ("/a%ef%bc%bcadmin", LookAlike),
            ("/%ef%bc%8e%ef%bc%8e/admin", LookAlike),
            ("/.%e2%80%a4/admin", LookAlike),
            ("/%e2%80%a5/admin", LookAlike),
        ] {
            assert_eq!(NormalPath::from_request(sent), Err(trick), "{sent}");
        }
    }

    #[test]
    fn segments_and_file_name() {
        let path = |text| NormalPath::from_request(text).unwrap();
        assert_eq!(path("/a/b/").segments().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(path("/").segments().count(), 0);
        assert_eq!(path("/a/b.pdf").file_name(), Some("b.pdf"));
        assert_eq!(path("/a/").file_name(), None);
        assert_eq!(path("/").file_name(), None);
    }

    proptest! {
        #[test]
        fn what_is_read_has_nothing_left_to_read(path in "(/|%2e|%25|%c3%a9|%2f|;|\\.|[a-zA-Z%]|é|\\\\){0,12}") {
            if let Ok(read) = NormalPath::from_request(&path) {
                let text = read.as_str();
                prop_assert!(text.starts_with('/') && !text.contains("//") && !text.contains(['\\', ';']));
                prop_assert!(read.segments().all(|segment| !matches!(segment, "." | "..")));
                // Decoding it a second time gives nothing new: either it fails or it is the same.
                if let Ok(again) = NormalPath::from_request(text) {
                    prop_assert_eq!(again, read);
                }
            }
        }
    }
}
