//! Entries for fuzz targets: any bytes may be given; a panic is a bug.

use crate::carried::{BodyKind, FormTake, take_from_body};
use crate::html::{PageRewriter, Plan, ScriptTag};
use crate::path::{NormalPath, PathShape};
use crate::{csp, once, proxy_protocol, server, upstream, visit};
use hyper::header::HeaderValue;

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

/// A page: the first byte chooses how it is rewritten, the second how it is cut into pieces.
///
/// # Panics
/// Never, or there is a bug.
pub fn page(bytes: &[u8]) {
    let [how, cut, page @ ..] = bytes else { return };
    let plan = Plan {
        token: "tok".to_owned(),
        script: (how & 1 == 0).then(|| ScriptTag { src: "/s.js".to_owned(), nonce: None, integrity: None }),
        forms: how & 2 == 0,
        whole_page: how & 4 == 0,
        own_origin: "http://orders.localhost:8080".to_owned(),
        reads: Vec::new(),
        xml: how & 8 != 0,
    };
    let rewritten = |piece: usize| {
        let (mut rewriter, mut out) = (PageRewriter::new(&plan), Vec::new());
        page.chunks(piece).for_each(|piece| rewriter.write(piece, &mut out));
        rewriter.end(&mut out);
        out
    };
    let whole = rewritten(page.len().max(1));
    assert_eq!(rewritten(usize::from(*cut) + 1), whole, "a cut makes a difference");
    // Nothing is taken away or changed: what came in is still there, in its order.
    let mut rest = whole.iter();
    assert!(page.iter().all(|byte| rest.any(|other| other == byte)), "something is missing");
}

/// An application's Content-Security-Policy: several values, one a line.
///
/// # Panics
/// Never, or there is a bug.
pub fn content_policy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let values: Vec<&str> = text.lines().filter(|value| HeaderValue::from_str(value).is_ok()).collect();
    let admitted = csp::admit(&values, "https://orders.example");
    for policy in admitted.policies.unwrap_or_default() {
        assert!(HeaderValue::from_str(&policy).is_ok(), "{policy:?}");
    }
}

/// The bytes of a client's connection: the first byte says how they are cut into pieces.
///
/// # Panics
/// Never, or there is a bug.
pub fn framing(bytes: &[u8]) {
    let [cut, bytes @ ..] = bytes else { return };
    server::fuzz_framing(bytes, usize::from(*cut) + 1);
}

/// The head of a CGI program's answer.
///
/// # Panics
/// Never, or there is a bug.
pub fn cgi_head(bytes: &[u8]) {
    upstream::fuzz_cgi_head(bytes);
}

/// Range and conditions of a request for a file, whose length the first byte says.
///
/// # Panics
/// Never, or there is a bug.
pub fn conditions(bytes: &[u8]) {
    let [length, text @ ..] = bytes else { return };
    upstream::fuzz_conditions(u64::from(*length), &String::from_utf8_lossy(text));
}

/// A PROXY protocol header.
///
/// # Panics
/// Never, or there is a bug.
pub fn proxy_header(bytes: &[u8]) {
    proxy_protocol::fuzz(bytes);
}

/// The log of claims: a segment's header, and a record's payload.
///
/// # Panics
/// Never, or there is a bug.
pub fn claim_record(bytes: &[u8]) {
    once::fuzz_record(bytes);
}

/// The body of a command: the first byte chooses its type, the second how it is cut into pieces.
///
/// # Panics
/// Never, or there is a bug.
pub fn command_body(bytes: &[u8]) {
    let [kind, cut, body @ ..] = bytes else { return };
    let kinds =
        ["application/x-www-form-urlencoded", "multipart/form-data; boundary=B", "application/json", "text/plain"];
    visit::fuzz_content(kinds[usize::from(kind % 4)], body, usize::from(*cut) + 1);
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
        corpus("page", page, 3);
        corpus("content_policy", content_policy, 2);
        corpus("framing", framing, 3);
        corpus("cgi_head", cgi_head, 2);
        corpus("conditions", conditions, 2);
        corpus("proxy_header", proxy_header, 2);
        corpus("claim_record", claim_record, 1);
        corpus("command_body", command_body, 3);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            page_token(&bytes);
            entry_text(&bytes);
            normal_path(&bytes);
            form_take(&bytes);
            for entry in [page, content_policy, framing, cgi_head, conditions, proxy_header, claim_record, command_body] {
                entry(&bytes);
            }
        }

        #[test]
        fn nearly_pages_of_html(how: u8, cut: u8, text in "(<(/?(form|head|script|svg|template|select|p|!--|!\\[CDATA\\[)|\\?)|[ />\"'=-]| method=\"?post\"?|\\]\\]>|-->|[a-c]){0,30}") {
            page(&[&[how, cut], text.as_bytes()].concat());
        }

        #[test]
        fn nearly_requests(cut: u8, text in "((GET|POST) / HTTP/1[.][01]\r\n|Host: a\r\n|Content-Length: [0-9]\r\n|Transfer-Encoding: chunked\r\n|[0-9a-f]\r\n|\r\n|\n|[a-z]){0,20}") {
            framing(&[&[cut], text.as_bytes()].concat());
        }

        #[test]
        fn nearly_conditions(length: u8, text in "(bytes=|[0-9]{1,20}|-|,|\"a\"|W/|[*]| ){0,8}") {
            conditions(&[&[length], text.as_bytes()].concat());
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
