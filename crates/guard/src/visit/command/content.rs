//! What a command says, as one digest: the same form sent twice has the same, though a browser thinks of another boundary each time.

use crate::carried::BodyKind;
use aws_lc_rs::digest;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use memchr::memmem::Finder;

/// The digest of a body, taken piece by piece: SHA-256 of it, or of what stands between the boundaries of an upload, each part
/// with its length.
pub(super) struct Content {
    hash: digest::Context,
    boundary: Option<Finder<'static>>,
    /// Bytes in which a boundary may have begun.
    held: Vec<u8>,
    /// Bytes since the last boundary.
    len: u64,
}

impl Content {
    /// Of a body with these headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| BodyKind::of(kind.to_str().ok()?));
        let boundary = match kind {
            Some(BodyKind::Multipart(boundary)) => Some(Finder::new(boundary.as_bytes()).into_owned()),
            Some(BodyKind::UrlEncoded | BodyKind::Plain) | None => None,
        };
        Self { hash: digest::Context::new(&digest::SHA256), boundary, held: Vec::new(), len: 0 }
    }

    /// The next piece.
    pub(super) fn write(&mut self, piece: &[u8]) {
        let Some(boundary) = &self.boundary else {
            return self.hash.update(piece);
        };
        self.held.extend_from_slice(piece);
        let mut start = 0;
        while let Some(length) = boundary.find(&self.held[start..]) {
            self.hash.update(&self.held[start..start + length]);
            self.hash.update(&(self.len + length as u64).to_be_bytes());
            self.len = 0;
            start += length + boundary.needle().len();
        }
        let clear = start.max((self.held.len() + 1).saturating_sub(boundary.needle().len()));
        self.hash.update(&self.held[start..clear]);
        self.len += (clear - start) as u64;
        self.held.drain(..clear);
    }

    /// The digest of all pieces.
    pub(super) fn digest(mut self) -> [u8; 32] {
        if self.boundary.is_some() {
            self.hash.update(&self.held);
            self.hash.update(&(self.len + self.held.len() as u64).to_be_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.hash.finish().as_ref());
        bytes
    }
}

/// Any body, in pieces of this size: its digest depends on no cut. And the methods that it may name.
pub(crate) fn fuzz(content_type: &'static str, bytes: &[u8], piece: usize) {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type))]);
    let (mut whole, mut pieces) = (Content::of(&headers), Content::of(&headers));
    whole.write(bytes);
    bytes.chunks(piece.max(1)).for_each(|piece| pieces.write(piece));
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
    fn other_bodies_as_they_are() {
        let mut content = Content::of(&HeaderMap::new());
        content.write(b"a");
        content.write(b"bc");
        assert_eq!(content.digest(), digest::digest(&digest::SHA256, b"abc").as_ref());
    }
}
