//! The encoding of a page, as a browser finds it (WHATWG HTML, section 13.2.3), and whether its tags can be found without decoding
//! it: in all encodings but UTF-16, ISO-2022-JP and the "replacement" every byte below 0x80 outside of a longer character is ASCII,
//! and `<`, `>` and quotes are never part of one.

use encoding_rs::{Encoding, ISO_2022_JP, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// How many bytes of a page a browser looks at for a `<meta charset>`.
pub const LOOKED_AT: usize = 1024;

/// A page's encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charset {
    /// Tags can be found in it.
    Rewritable(&'static Encoding),
    /// They can't: the page passes through as it is, and that is logged.
    Opaque(&'static Encoding),
}

/// Finds the encoding from the `Content-Type` and the first [`LOOKED_AT`] bytes, or what there is of them: a byte order mark, the
/// header, an XML declaration, a `<meta>`, else windows-1252, as which every byte is something.
pub fn detect(content_type: Option<&str>, start: &[u8]) -> Charset {
    let marked = Encoding::for_bom(start).map(|(encoding, _)| encoding);
    let named = || content_type.and_then(parameter).and_then(|label| Encoding::for_label(label.as_bytes()));
    let encoding = marked.or_else(named).or_else(|| in_declaration(start)).or_else(|| in_meta(start));
    let encoding = encoding.unwrap_or(WINDOWS_1252);
    if encoding.is_ascii_compatible() { Charset::Rewritable(encoding) } else { Charset::Opaque(encoding) }
}

/// The `charset` parameter of a `Content-Type` (RFC 9110 section 8.3.1).
fn parameter(content_type: &str) -> Option<&str> {
    let parts = content_type.split(';').skip(1);
    let mut named = parts.filter_map(|part| part.split_once('='));
    let (_, value) = named.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(value.trim().trim_matches(['"', '\'']))
}

/// What the declaration of an XML document says; browsers read it in HTML, too.
fn in_declaration(start: &[u8]) -> Option<&'static Encoding> {
    let declaration = start.strip_prefix(b"<?xml")?;
    let declaration = &declaration[..declaration.iter().position(|byte| *byte == b'>')?];
    let value = declaration[position(declaration, b"encoding")? + b"encoding".len()..].trim_ascii_start();
    let value = value.strip_prefix(b"=")?.trim_ascii_start();
    let label = value.split(|byte| matches!(byte, b'"' | b'\'')).nth(1)?;
    Encoding::for_label(label)
}

/// What the first `<meta>` that names an encoding says (13.2.3.2, simplified: a comment or script that looks like one counts).
fn in_meta(start: &[u8]) -> Option<&'static Encoding> {
    let start = start[..start.len().min(LOOKED_AT)].to_ascii_lowercase();
    let mut rest = start.as_slice();
    while let Some(found) = position(rest, b"<meta") {
        rest = &rest[found + b"<meta".len()..];
        let tag = &rest[..rest.iter().position(|byte| *byte == b'>').unwrap_or(rest.len())];
        if let Some(encoding) = named_in(tag) {
            return Some(encoding);
        }
    }
    None
}

/// Whether a `<meta>` with these attributes, in a page that was taken for readable, names an encoding in which tags can't be found.
pub(crate) fn turns_opaque(charset: Option<&[u8]>, content: Option<&[u8]>) -> bool {
    let in_content = || content.and_then(|content| named_in(&content.to_ascii_lowercase()));
    let named = charset.and_then(Encoding::for_label).or_else(in_content);
    named.is_some_and(|encoding| encoding == ISO_2022_JP || encoding == REPLACEMENT)
}

/// The encoding behind the first `charset=` in lower-case text (13.2.3.3). A page in which a `<meta>` can be read isn't UTF-16.
fn named_in(text: &[u8]) -> Option<&'static Encoding> {
    let mut rest = text;
    loop {
        rest = &rest[position(rest, b"charset")? + b"charset".len()..];
        let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else { continue };
        let value = value.trim_ascii_start();
        let value = value.strip_prefix(b"\"").or(value.strip_prefix(b"'")).unwrap_or(value);
        let stops = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b';' | b'/');
        let label = &value[..value.iter().position(stops).unwrap_or(value.len())];
        let encoding = Encoding::for_label(label)?;
        return Some(if [UTF_16BE, UTF_16LE].contains(&encoding) { UTF_8 } else { encoding });
    }
}

fn position(text: &[u8], word: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::{EUC_JP, GB18030, GBK, SHIFT_JIS};

    fn of(content_type: &str, start: &[u8]) -> Charset {
        detect(Some(content_type), start)
    }

    #[test]
    fn a_mark_precedes_the_header_and_that_a_meta() {
        assert_eq!(of("text/html; charset=euc-jp", b"\xef\xbb\xbf<p>"), Charset::Rewritable(UTF_8));
        assert_eq!(of("text/html; Charset=\"EUC-JP\"", b"<meta charset=utf-8>"), Charset::Rewritable(EUC_JP));
        assert_eq!(of("text/html;x=y; charset='sjis'", b""), Charset::Rewritable(SHIFT_JIS));
        assert_eq!(of("text/html", b"<head><META CharSet = gbk>"), Charset::Rewritable(GBK));
        assert_eq!(detect(None, b"<p>"), Charset::Rewritable(WINDOWS_1252));
        assert_eq!(of("text/html; charset=nonsense", b"<meta charset=gb18030>"), Charset::Rewritable(GB18030));
    }

    #[test]
    fn a_meta_in_either_form() {
        let old = b"<meta http-equiv=Content-Type content=\"text/html; charset=Shift_JIS\">";
        assert_eq!(detect(None, old), Charset::Rewritable(SHIFT_JIS));
        assert_eq!(
            detect(None, b"<meta name=x><meta name=charset content=a><meta charset='euc-jp'/>"),
            Charset::Rewritable(EUC_JP)
        );
        assert_eq!(detect(None, b"<meta charset=utf-16>"), Charset::Rewritable(UTF_8));
        let late = [b" ".repeat(LOOKED_AT).as_slice(), b"<meta charset=euc-jp>"].concat();
        assert_eq!(detect(None, &late), Charset::Rewritable(WINDOWS_1252));
    }

    #[test]
    fn an_xml_declaration() {
        let xhtml = |start: &[u8]| of("application/xhtml+xml", start);
        assert_eq!(xhtml(b"<?xml version='1.0' encoding = 'euc-jp'?><html>"), Charset::Rewritable(EUC_JP));
        assert_eq!(xhtml(b"<?xml version=\"1.0\" encoding=\"iso-2022-jp\"?>"), Charset::Opaque(ISO_2022_JP));
        assert_eq!(of("text/html; charset=gbk", b"<?xml encoding='sjis'?>"), Charset::Rewritable(GBK));
        for none in [&b"<?xml version='1.0'?>"[..], b"<?xml encoding=sjis?>", b"<?xml encoding='sjis'"] {
            assert_eq!(xhtml(none), Charset::Rewritable(WINDOWS_1252));
        }
    }

    #[test]
    fn what_cannot_be_rewritten() {
        assert_eq!(of("text/html; charset=utf-16le", b""), Charset::Opaque(UTF_16LE));
        assert_eq!(of("text/html", b"\xff\xfe<\0p\0"), Charset::Opaque(UTF_16LE));
        assert_eq!(of("text/html; charset=iso-2022-jp", b""), Charset::Opaque(ISO_2022_JP));
        assert_eq!(of("text/html", b"<meta charset=iso-2022-jp>"), Charset::Opaque(ISO_2022_JP));
        assert_eq!(of("text/html; charset=hz-gb-2312", b""), Charset::Opaque(REPLACEMENT));
    }

    #[test]
    fn a_late_meta_that_makes_the_page_opaque() {
        assert!(turns_opaque(Some(b"ISO-2022-JP"), None));
        assert!(turns_opaque(None, Some(b"text/html; charset=ISO-2022-JP")));
        assert!(!turns_opaque(Some(b"utf-16"), None));
        assert!(!turns_opaque(None, Some(b"width=device-width")));
    }
}
