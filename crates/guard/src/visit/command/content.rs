//! What a command says, as one digest: the same form sent twice has the same, though a browser thinks of another boundary each time.

use crate::carried::BodyKind;
use aws_lc_rs::digest;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use memchr::memmem::Finder;

/// So many bytes of a content are its beginning.
pub(super) const START: usize = 64 << 10;

/// The digest of a body, taken piece by piece: SHA-256 of it, or of what stands between the boundaries of an upload, each part
/// with its length.
pub(super) struct Content {
    hash: digest::Context,
    boundary: Option<Finder<'static>>,
    /// Bytes in which a boundary may have begun.
    held: Vec<u8>,
    /// Bytes since the last boundary.
    len: u64,
    /// Bytes that are still missing to its beginning.
    missing: usize,
    start: Option<[u8; 32]>,
}

impl Content {
    /// Of a body with these headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| BodyKind::of(kind.to_str().ok()?));
        let boundary = match kind {
            Some(BodyKind::Multipart(boundary)) => Some(Finder::new(boundary.as_bytes()).into_owned()),
            Some(BodyKind::UrlEncoded | BodyKind::Plain) | None => None,
        };
        let hash = digest::Context::new(&digest::SHA256);
        Self { hash, boundary, held: Vec::new(), len: 0, missing: START, start: None }
    }

    /// The digest of the first [`START`] bytes, once they have come. What stands between boundaries counts: it is the same
    /// whatever the boundary and wherever pieces were cut.
    pub(super) fn start(&self) -> Option<[u8; 32]> {
        self.start
    }

    /// Bytes of the boundary; 0 if it has none.
    pub(super) fn boundary(&self) -> usize {
        self.boundary.as_ref().map_or(0, |boundary| boundary.needle().len())
    }

    /// The next piece.
    pub(super) fn write(&mut self, piece: &[u8]) {
        let Some(boundary) = self.boundary.take() else {
            return self.add(piece);
        };
        self.write_parts(&boundary, piece);
        self.boundary = Some(boundary);
    }

    fn write_parts(&mut self, boundary: &Finder<'static>, piece: &[u8]) {
        // What it begins in is given to the hash, which may want all of it.
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(piece);
        let mut start = 0;
        while let Some(length) = boundary.find(&held[start..]) {
            self.add(&held[start..start + length]);
            self.hash.update(&(self.len + length as u64).to_be_bytes());
            self.len = 0;
            start += length + boundary.needle().len();
        }
        let clear = start.max((held.len() + 1).saturating_sub(boundary.needle().len()));
        self.add(&held[start..clear]);
        self.len += (clear - start) as u64;
        held.drain(..clear);
        self.held = held;
    }

    fn add(&mut self, content: &[u8]) {
        let (first, rest) = content.split_at(content.len().min(self.missing));
        self.hash.update(first);
        self.missing -= first.len();
        if self.missing == 0 && self.start.is_none() {
            self.start = Some(finished(self.hash.clone()));
        }
        self.hash.update(rest);
    }

    /// The digest of all pieces.
    pub(super) fn digest(mut self) -> [u8; 32] {
        if self.boundary.is_some() {
            self.hash.update(&self.held);
            self.hash.update(&(self.len + self.held.len() as u64).to_be_bytes());
        }
        finished(self.hash)
    }
}

fn finished(hash: digest::Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}

/// Any body, in pieces of this size: its digest depends on no cut. And the methods that it may name.
pub(crate) fn fuzz(content_type: &'static str, bytes: &[u8], piece: usize) {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type))]);
    let (mut whole, mut pieces) = (Content::of(&headers), Content::of(&headers));
    whole.write(bytes);
    bytes.chunks(piece.max(1)).for_each(|piece| pieces.write(piece));
    assert_eq!(whole.start(), pieces.start(), "a cut makes a difference");
    assert_eq!(whole.digest(), pieces.digest(), "a cut makes a difference");
    let methods = crate::visit::overrides::of_body(&headers, bytes);
    assert!(methods.iter().all(|method| method.bytes().all(|byte| byte.is_ascii_uppercase())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn digest(boundary: &str, body: &str, piece: usize) -> [u8; 32] {
        let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}")).unwrap();
        let mut content = Content::of(&HeaderMap::from_iter([(CONTENT_TYPE, kind)]));
        body.as_bytes().chunks(piece).for_each(|piece| content.write(piece));
        content.digest()
    }

    fn upload(boundary: &str, value: &str) -> String {
        let part = format!("Content-Disposition: form-data; name=\"a\"\r\n\r\n{value}");
        format!("--{boundary}\r\n{part}\r\n--{boundary}\r\n{part}\r\n--{boundary}--\r\n")
    }

    #[test]
    fn the_same_upload_has_another_boundary_each_time() {
        let (one, two) = ("----WebKitFormBoundaryAAAA", "----WebKitFormBoundaryABAB");
        let expected = digest(one, &upload(one, "text"), 1_000);
        for piece in [1, 2, 7, 26, 27, 100, 1_000] {
            assert_eq!(digest(two, &upload(two, "text"), piece), expected, "{piece}");
        }
        assert_ne!(digest(two, &upload(two, "texts"), 1_000), expected);
        assert_ne!(digest(two, &upload(two, ""), 1_000), expected);
    }

    #[test]
    fn what_looks_like_a_boundary_is_none() {
        let with = format!("--B{}", "x".repeat(10));
        assert_ne!(digest("B", &upload("B", "--"), 9), digest("B", &upload("B", &with), 9));
        assert_ne!(digest("BB", "aBBb", 9), digest("BB", "ab", 9));
        assert_ne!(digest("BB", "aBBbBB", 9), digest("BB", "aBBBBb", 9));
    }

    #[test]
    fn the_beginning_of_an_upload_has_no_boundary_in_it_either() {
        let value = (0..START).map(|n| char::from(b'a' + (n / 9 % 26) as u8)).collect::<String>();
        let start = |boundary: &str, upload: &str, piece: usize| {
            let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}")).unwrap();
            let mut content = Content::of(&HeaderMap::from_iter([(CONTENT_TYPE, kind)]));
            upload.as_bytes().chunks(piece).for_each(|piece| content.write(piece));
            (content.start(), content.digest())
        };
        // The beginning ends within the value, at its end, within a boundary, and behind it.
        for most in [START, START - 60, START - 64, START - 66, START - 68, START - 70, START - 100] {
            let (one, two) = ("----Boundary16161616", "----Boundary17");
            let (first, digest) = start(one, &upload(one, &value[..most]), 4_000);
            assert!(first.is_some());
            for piece in [1_000, 4_001, START, 2 * START] {
                assert_eq!(start(two, &upload(two, &value[..most]), piece), (first, digest), "{most} {piece}");
            }
            let other = value.replacen('z', "y", 1);
            assert_ne!(start(two, &upload(two, &other[..most]), 4_000).0, first);
        }
        assert_eq!(start("B", &upload("B", "little"), 10).0, None);
    }

    #[test]
    fn other_bodies_as_they_are() {
        let mut content = Content::of(&HeaderMap::new());
        content.write(b"a");
        content.write(b"bc");
        assert_eq!(content.digest(), digest::digest(&digest::SHA256, b"abc").as_ref());
    }
}
