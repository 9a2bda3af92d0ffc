//! Entries for fuzz targets: any bytes may be given; a panic is a bug.

use crate::carried::{BodyKind, FormTake, take_from_body};
use crate::path::{NormalPath, PathShape};

/// A page token as text that somebody sends, and the content of one as if it had been opened.
///
/// # Panics
/// Never, or there is a bug.
pub fn page_token(bytes: &[u8]) {
    crate::token::fuzz_text(&String::from_utf8_lossy(bytes));
    crate::token::fuzz_content(bytes);
}

/// A challenge, an admission or a browser's key as text that somebody sends.
///
/// # Panics
/// Never, or there is a bug.
pub fn entry_text(bytes: &[u8]) {
    crate::entry::fuzz_text(&String::from_utf8_lossy(bytes));
}

/// The path of a request, its shape, and the patterns made of both.
///
/// # Panics
/// Never, or there is a bug.
pub fn normal_path(bytes: &[u8]) {
    use vestibule_policy::web::PathPattern;
    let Ok(path) = NormalPath::from_request(&String::from_utf8_lossy(bytes)) else { return };
    assert!(path.as_str().starts_with('/') && path.segments().all(|segment| segment != "." && segment != ".."));
    if let Ok(pattern) = PathPattern::parse(PathShape::of(&path).as_str()) {
        assert!(pattern.matches(&path) && pattern.may_match(&path));
    }
}

/// A body that may begin with our field: the first byte chooses its kind, the second how it is cut into pieces.
///
/// # Panics
/// Never, or there is a bug.
pub fn form_take(bytes: &[u8]) {
    let [kind, cut, body @ ..] = bytes else { return };
    let kind = match kind % 3 {
        0 => BodyKind::UrlEncoded,
        1 => BodyKind::Plain,
        _ => BodyKind::Multipart("B".to_owned()),
    };
    let (mut take, mut out) = (FormTake::new(kind.clone()), Vec::new());
    body.chunks(usize::from(*cut) + 1).for_each(|piece| take.write(piece, &mut out));
    let found = take.end(&mut out);
    assert!(body.ends_with(&out) && out.len() + take.removed() == body.len());
    let (whole, rest) = take_from_body(&kind, body);
    assert!(kind == BodyKind::UrlEncoded || (found == whole && out == *rest));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn corpus(name: &str, entry: fn(&[u8]), least: usize) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
        let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let seen = files.map(|bytes| entry(&bytes)).count();
        assert!(seen >= least, "{name}: {seen} files");
    }

    #[test]
    fn the_corpus() {
        corpus("page_token", page_token, 6);
        corpus("entry_text", entry_text, 4);
        corpus("normal_path", normal_path, 3);
        corpus("form_take", form_take, 4);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            page_token(&bytes);
            entry_text(&bytes);
            normal_path(&bytes);
            form_take(&bytes);
        }

        #[test]
        fn nearly_forms(kind: u8, cut: u8, body in "(--B|--|\r\n|Content-Disposition: form-data; name=\"[.]vestibule\"|[.]vestibule=|[a-c&=.-]|x{600}){0,12}") {
            form_take(&[&[kind, cut], body.as_bytes()].concat());
        }

        /// Serial, time, source, a user's name, and what may be grants.
        #[test]
        fn nearly_pages(
            fixed in prop::collection::vec(any::<u8>(), 32),
            user in "[a-z0-9.]{0,9}",
            length in 0_u8..10,
            grants in prop::collection::vec(0_u8..8, 0..30),
        ) {
            page_token(&[&fixed[..], &[length], user.as_bytes(), &grants].concat());
        }
    }
}
