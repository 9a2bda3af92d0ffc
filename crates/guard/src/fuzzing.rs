//! Entries for fuzz targets: any bytes may be given; a panic is a bug.

/// A page token as text that somebody sends, and the content of one as if it had been opened.
///
/// # Panics
/// Never, or there is a bug.
pub fn page_token(bytes: &[u8]) {
    crate::token::fuzz_text(&String::from_utf8_lossy(bytes));
    crate::token::fuzz_content(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_corpus() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/page_token");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            page_token(&std::fs::read(file.unwrap().path()).unwrap());
            seen += 1;
        }
        assert!(seen >= 6, "{seen} files");
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            page_token(&bytes);
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
