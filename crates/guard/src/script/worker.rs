//! What stands before the script of a worker (PAGEGUARD section 4): a worker is a page of its own, and its requests bear the token of
//! the script that it runs.

use super::{SENDERS, lines_of};
use std::sync::LazyLock;

/// Its text in one line, so that the lines of what follows keep their numbers but for the first.
static LINE: LazyLock<String> = LazyLock::new(|| lines_of(SENDERS).join(" "));

/// What is to be put before a worker's script that begins with `start`: `token` is for its requests, reads of the paths of `reads`
/// among them.
pub(crate) fn before(start: &[u8], token: &str, reads: &[String]) -> String {
    // Where the script asks to be read strictly, it must still do so first.
    let directive = if asks_to_be_strict(start) { "\"use strict\"; " } else { "" };
    // Neither can be anything but text.
    let written = |text: serde_json::Result<String>| text.unwrap_or_default();
    let (token, reads) = (written(serde_json::to_string(token)), written(serde_json::to_string(reads)));
    format!("{directive}{}({token}, {reads}); ", *LINE)
}

/// Whether it begins, after comments, with the directive "use strict" (ECMA-262 section 11.2.2).
fn asks_to_be_strict(mut text: &[u8]) -> bool {
    text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    loop {
        text = text.trim_ascii_start();
        let comment = if text.starts_with(b"//") {
            text.iter().position(|byte| *byte == b'\n')
        } else if text.starts_with(b"/*") {
            memchr::memmem::find(&text[2..], b"*/").map(|end| end + 4)
        } else {
            break;
        };
        let Some(end) = comment else { return false };
        text = &text[end..];
    }
    text.starts_with(b"\"use strict\"") || text.starts_with(b"'use strict'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_that_keeps_what_follows_as_it_is_read() {
        let text = before(b"importScripts('a.js')", "abc", &["/a/*".to_owned(), "/\"b".to_owned()]);
        assert!(!text.contains('\n') && text.ends_with(r#"("abc", ["/a/*","/\"b"]); "#), "{text}");
        assert!(
            text.starts_with("(function senders(token, patterns, page) {")
                && !text.contains(" //")
                && !text.contains(";//"),
            "no comment takes the rest with it"
        );
        assert!(before(b"'use strict';", "a", &[]).starts_with("\"use strict\"; (f"));
    }

    #[test]
    fn what_asks_to_be_strict() {
        for yes in
            ["\"use strict\";x()", "'use strict'\n", "/*! a */\n// b\n  /**/'use strict';", "\u{feff}\"use strict\""]
        {
            assert!(asks_to_be_strict(yes.as_bytes()), "{yes}");
        }
        for no in
            ["", "x();'use strict'", "/* 'use strict'", "// 'use strict'", "(()=>{'use strict'})()", "`use strict`"]
        {
            assert!(!asks_to_be_strict(no.as_bytes()), "{no}");
        }
    }
}
