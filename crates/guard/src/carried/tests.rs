use proptest::prelude::*;

use super::*;

const VALUE: &str = "AQ_-b64.f0";

fn carried(value: &str) -> Found {
    Found::One(Carried::parse(value.as_bytes()).unwrap())
}

#[test]
fn values() {
    let one = Carried::parse(b"AQ_-b64.f0").unwrap();
    assert_eq!((one.token(), one.action()), ("AQ_-b64", Some("f0")));
    assert_eq!(Carried::parse(b"AQ").unwrap().action(), None);
    let (longest, action) = ("a".repeat(TOKEN_LONGEST), "b".repeat(ACTION_LONGEST));
    assert!(Carried::parse(format!("{longest}.{action}").as_bytes()).is_some());
    let long = [format!("{longest}a"), format!("a.{action}b")];
    for bad in ["", ".", "a.", ".f0", "a.b.c", "a b", "a=", "a+", "a/", "ä", "a%2e", &long[0], &long[1]] {
        assert_eq!(Carried::parse(bad.as_bytes()), None, "{bad}");
    }
    assert!(!format!("{one:?}").contains("AQ_"));
}

#[test]
fn headers() {
    let headers = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        headers.insert("accept", "*/*".parse().unwrap());
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        headers
    };
    for (values, found) in [
        (&[][..], Found::Nothing),
        (&[VALUE], carried(VALUE)),
        (&[VALUE, VALUE], carried(VALUE)),
        (&[VALUE, "other"], Found::Malformed),
        (&["no token"], Found::Malformed),
    ] {
        let mut headers = headers(values);
        assert_eq!(take_from_headers(&mut headers), found, "{values:?}");
        assert_eq!(headers.len(), 1, "only ours goes");
    }
}

#[test]
fn queries() {
    for (target, left) in [
        ("/p?.vestibule=AQ_-b64.f0", "/p"),
        ("/p?a=1&.vestibule=AQ_-b64.f0", "/p?a=1"),
        ("/p?.vestibule=AQ_-b64.f0&a=1&&b=%2&", "/p?a=1&&b=%2&"),
        ("/p?a=1&.vestibule=AQ_-b64.f0&b=x?y=/../%", "/p?a=1&b=x?y=/../%"),
    ] {
        assert_eq!(take_from_query(target), (carried(VALUE), Some(left.to_owned())), "{target}");
    }
    for target in [
        "/p",
        "/p?",
        "/p?a=.vestibule=b",
        "/p?vestibule=a",
        "/p?.vestibule",
        "/p?.vestibules=a",
        "/.vestibule=a",
        "/p?%2Evestibule=a",
    ] {
        assert_eq!(take_from_query(target), (Found::Nothing, None), "{target}");
    }
    assert_eq!(take_from_query("/p?.vestibule=&a"), (Found::Malformed, Some("/p?a".to_owned())));
    assert_eq!(take_from_query("/p?.vestibule=a&.vestibule=b"), (Found::Malformed, Some("/p".to_owned())));
}

#[test]
fn kinds_of_bodies() {
    let multipart = |boundary: &str| Some(BodyKind::Multipart(boundary.to_owned()));
    for (content_type, kind) in [
        ("application/x-www-form-urlencoded;charset=UTF-8", Some(BodyKind::UrlEncoded)),
        ("Text/Plain", Some(BodyKind::Plain)),
        ("multipart/form-data; boundary=----WebKitFormBoundaryab12", multipart("----WebKitFormBoundaryab12")),
        ("multipart/form-data; charset=x; Boundary=\"a b\"", multipart("a b")),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/mixed; boundary=a", None),
        ("application/json", None),
        ("", None),
    ] {
        assert_eq!(BodyKind::of(content_type), kind, "{content_type}");
    }
}

/// What Chromium and Firefox send for a form whose first field is ours.
fn multipart(rest: &str) -> (BodyKind, String) {
    let body = format!("--B\r\nContent-Disposition: form-data; name=\".vestibule\"\r\n\r\n{VALUE}\r\n{rest}");
    (BodyKind::Multipart("B".to_owned()), body)
}

#[test]
fn bodies_held_whole() {
    let part = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B--\r\n";
    for ((kind, body), left) in [
        ((BodyKind::UrlEncoded, format!(".vestibule={VALUE}&a=1&b=%E3%81%82+")), "a=1&b=%E3%81%82+"),
        ((BodyKind::UrlEncoded, format!("a=1&.vestibule={VALUE}&b")), "a=1&b"),
        ((BodyKind::UrlEncoded, format!("a=1&.vestibule={VALUE}")), "a=1"),
        ((BodyKind::UrlEncoded, format!(".vestibule={VALUE}")), ""),
        ((BodyKind::Plain, format!(".vestibule={VALUE}\r\na=1\r\n")), "a=1\r\n"),
        (multipart(part), part),
        (multipart("--B--\r\n"), "--B--\r\n"),
    ] {
        let (found, rest) = take_from_body(&kind, body.as_bytes());
        assert_eq!((found, &*rest), (carried(VALUE), left.as_bytes()), "{body}");
    }
}

#[test]
fn the_applications_own_fields_stay() {
    let form = |disposition: &str| format!("--B\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n--B--\r\n");
    let bodies = [
        (BodyKind::UrlEncoded, "a=.vestibule=b&vestibule=1&.vestibule".to_owned()),
        (BodyKind::Plain, "a=1\r\n.vestibule=b\r\n".to_owned()),
        (BodyKind::Multipart("B".to_owned()), form("form-data; name=\"vestibule\"")),
        (BodyKind::Multipart("B".to_owned()), form("form-data; name=\".vestibule\"; filename=\"a\"")),
        (BodyKind::Multipart("B".to_owned()), form("attachment; name=\".vestibule\"")),
        (BodyKind::Multipart("C".to_owned()), form("form-data; name=\".vestibule\"")),
        (BodyKind::Multipart("B".to_owned()), String::new()),
    ];
    for (kind, body) in bodies {
        assert_eq!(take_from_body(&kind, body.as_bytes()), (Found::Nothing, body.as_bytes().into()), "{body}");
    }
}

#[test]
fn what_no_browser_sends_is_told() {
    let part = "--B\r\nContent-Disposition: form-data; name=\".vestibule\"\r\n\r\n";
    let multipart = BodyKind::Multipart("B".to_owned());
    for (kind, body) in [
        (BodyKind::UrlEncoded, ".vestibule=a&.vestibule=b".to_owned()),
        (BodyKind::UrlEncoded, ".vestibule=a+b".to_owned()),
        (multipart.clone(), format!("{part}AQ")),
        (multipart.clone(), format!("{part}AQ\r\n--Bx")),
        (multipart.clone(), format!("{part}A Q\r\n--B--\r\n")),
        (multipart, format!("{part}{}\r\n--B--\r\n", "a".repeat(5_000))),
    ] {
        assert_eq!(take_from_body(&kind, body.as_bytes()).0, Found::Malformed, "{body}");
    }
}

#[test]
fn a_stream_is_never_held_back_for_long() {
    for (kind, start) in [
        (BodyKind::UrlEncoded, ".vestibule=".to_owned()),
        (BodyKind::Multipart("B".to_owned()), "--B\r\nX: ".to_owned()),
        (
            BodyKind::Multipart("B".to_owned()),
            "--B\r\nContent-Disposition: form-data; name=\".vestibule\"\r\n\r\n".to_owned(),
        ),
    ] {
        let mut take = FormTake::new(kind);
        let mut out = Vec::new();
        take.write(start.as_bytes(), &mut out);
        (0..3_000).for_each(|_| take.write(b"a", &mut out));
        assert!(take.found().is_some() && out.len() == start.len() + 3_000, "{start}");
    }
}

fn stream(kind: &BodyKind, chunks: &[&[u8]]) -> (Found, Vec<u8>, usize) {
    let mut take = FormTake::new(kind.clone());
    let mut out = Vec::new();
    chunks.iter().for_each(|chunk| take.write(chunk, &mut out));
    let found = take.end(&mut out);
    (found, out, take.removed())
}

fn with_field(kind: &BodyKind, value: &str, rest: &[u8]) -> Vec<u8> {
    let start = match kind {
        BodyKind::UrlEncoded => format!(".vestibule={value}&"),
        BodyKind::Plain => format!(".vestibule={value}\r\n"),
        BodyKind::Multipart(b) => {
            format!("--{b}\r\nContent-Disposition: form-data; name=\".vestibule\"\r\n\r\n{value}\r\n")
        }
    };
    [start.as_bytes(), rest].concat()
}

fn kind() -> impl Strategy<Value = BodyKind> {
    prop_oneof![Just(BodyKind::UrlEncoded), Just(BodyKind::Plain), Just(BodyKind::Multipart("-B".to_owned()))]
}

proptest! {
    #[test]
    fn what_was_put_in_comes_out_and_the_rest_is_as_it_was(
        kind in kind(),
        value in "[a-zA-Z0-9_-]{1,60}([.][a-z0-9]{1,32})?",
        rest in prop::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
        every in 1_usize..40,
    ) {
        let rest = match &kind {
            BodyKind::Multipart(b) => [format!("--{b}\r\n").as_bytes(), &rest].concat(),
            BodyKind::UrlEncoded | BodyKind::Plain => rest,
        };
        let body = with_field(&kind, &value, &rest);
        let (head, tail) = body.split_at(cut.index(body.len()));
        for chunks in [vec![head, tail], body.chunks(every).collect()] {
            let (found, out, removed) = stream(&kind, &chunks);
            prop_assert_eq!(found, carried(&value));
            prop_assert_eq!(&out, &rest);
            prop_assert_eq!(removed, body.len() - rest.len());
        }
    }

    #[test]
    fn whatever_comes_streams_through_as_it_is_read_whole(
        kind in kind(),
        body in "(--?-B|\r\n|Content-Disposition: form-data; name=\".vestibule\"|[.]vestibule=|[a-c&=.-]|x{500}){0,12}",
        every in 1_usize..40,
    ) {
        let body = body.as_bytes();
        let (found, out, removed) = stream(&kind, &body.chunks(every).collect::<Vec<_>>());
        prop_assert_eq!(out.len() + removed, body.len());
        prop_assert_eq!(removed == 0, out == body);
        if kind != BodyKind::UrlEncoded {
            let (whole, rest) = take_from_body(&kind, body);
            prop_assert_eq!(&found, &whole);
            prop_assert_eq!(&out[..], &*rest);
        }
    }

    #[test]
    fn a_query_is_left_as_it_was(pairs in prop::collection::vec("[a-z=%/?;+.]{1,6}", 0..6), at in any::<prop::sample::Index>()) {
        prop_assume!(pairs.iter().all(|pair| !pair.starts_with(".vestibule=")));
        let at = at.index(pairs.len() + 1);
        let mut with = pairs.clone();
        with.insert(at, format!(".vestibule={VALUE}"));
        let target = if pairs.is_empty() { "/p".to_owned() } else { format!("/p?{}", pairs.join("&")) };
        prop_assert_eq!(take_from_query(&format!("/p?{}", with.join("&"))), (carried(VALUE), Some(target)));
    }
}
