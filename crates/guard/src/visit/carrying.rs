//! The page's token on its way in: taken off wherever it travels, so that neither the application nor its log ever sees it.

use crate::carried::{BodyKind, FormTake, Found, take_from_body, take_from_headers, take_from_query};
use crate::path::target_of;
use crate::{Body, BodyError};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, REFERER};
use hyper::http::request::Parts as Head;
use hyper::http::uri::{PathAndQuery, Uri};

/// How much of a form is looked through for the field: it may stand behind fields that the page put before it.
const FORM: usize = 256 << 10;
/// How much of the other types, where it comes first.
const START: usize = 4 << 10;

/// Takes the token off header and query. Off the `Referer` too: a page's own address may bear one.
pub(super) fn from_head(head: &mut Head) -> Found {
    let in_header = take_from_headers(&mut head.headers);
    let (in_query, rest) = take_from_query(target_of(&head.uri));
    if let Some(target) = rest.and_then(|rest| PathAndQuery::try_from(rest).ok()) {
        head.uri = with_target(&head.uri, target);
    }
    let referer = head.headers.get(REFERER).and_then(|referer| referer.to_str().ok());
    if let Some(rest) = referer.and_then(|referer| take_from_query(referer).1) {
        match HeaderValue::try_from(rest) {
            Ok(rest) => head.headers.insert(REFERER, rest),
            Err(_) => head.headers.remove(REFERER),
        };
    }
    in_header.and(in_query)
}

/// The kind of the body, if it can carry a token.
pub(super) fn kind_of(headers: &HeaderMap) -> Option<BodyKind> {
    BodyKind::of(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}

/// Takes the token off a body, of which no more is read than that needs.
///
/// # Errors
/// The body broke off meanwhile.
pub(super) async fn from_body(
    kind: BodyKind,
    headers: &mut HeaderMap,
    mut body: Body,
) -> Result<(Found, Body), BodyError> {
    let most = if kind == BodyKind::UrlEncoded { FORM } else { START };
    let (start, ended) = start_of(&mut body, most).await?;
    if ended {
        let (found, rest) = take_from_body(&kind, &start);
        shorten(headers, start.len() - rest.len());
        return Ok((found, crate::pages::whole(rest.into_owned())));
    }
    let (mut take, mut out) = (FormTake::new(kind), Vec::with_capacity(start.len()));
    take.write(&start, &mut out);
    // It holds less back than has been read: it is clear by now.
    let found = take.found().cloned().unwrap_or(Found::Malformed);
    shorten(headers, take.removed());
    let start = futures_util::stream::iter([Ok(Frame::data(Bytes::from(out)))]);
    Ok((found, BodyExt::boxed_unsync(StreamBody::new(start.chain(BodyStream::new(body))))))
}

/// At least `most` bytes, or all that there are.
async fn start_of(body: &mut Body, most: usize) -> Result<(Bytes, bool), BodyError> {
    let mut start = BytesMut::new();
    while start.len() < most {
        let Some(frame) = body.frame().await else { return Ok((start.freeze(), true)) };
        if let Ok(data) = frame?.into_data() {
            start.extend_from_slice(&data);
        }
    }
    Ok((start.freeze(), false))
}

fn shorten(headers: &mut HeaderMap, by: usize) {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if let Some(rest) = length.and_then(|length| length.checked_sub(by)) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(rest));
    }
}

fn with_target(uri: &Uri, target: PathAndQuery) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target);
    // The other parts were one address with another target before.
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn head(target: &str, fields: &[(&str, &str)]) -> Head {
        let mut request = Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn token(found: &Found) -> Option<&str> {
        match found {
            Found::One(carried) => Some(carried.token()),
            Found::Nothing | Found::Malformed => None,
        }
    }

    #[test]
    fn header_query_and_referer_are_cleaned() {
        let mut of_query = head("/a?x=1&.vestibule=TOKEN&y=2", &[("referer", "http://h/a?.vestibule=OTHER&z=3")]);
        let found = from_head(&mut of_query);
        assert_eq!(token(&found), Some("TOKEN"));
        assert_eq!(of_query.uri, "/a?x=1&y=2");
        assert_eq!(of_query.headers["referer"], "http://h/a?z=3");
        let mut of_header = head("/a", &[("vestibule-page", "TOKEN.f0")]);
        assert_eq!(token(&from_head(&mut of_header)), Some("TOKEN"));
        assert!(of_header.headers.is_empty());
        assert_eq!(from_head(&mut head("/a?.vestibule=A", &[("vestibule-page", "B")])), Found::Malformed);
    }

    async fn taken(content_type: &str, pieces: &[&[u8]]) -> (Found, Vec<u8>, String) {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let length = length.to_string();
        let mut head = head("/", &[("content-type", content_type), ("content-length", &length)]);
        let frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        let body = BodyExt::boxed_unsync(StreamBody::new(futures_util::stream::iter(frames)));
        let kind = kind_of(&head.headers).unwrap();
        let (found, body) = from_body(kind, &mut head.headers, body).await.unwrap();
        let rest = body.collect().await.unwrap().to_bytes().to_vec();
        assert_eq!(rest.len().to_string(), head.headers["content-length"].to_str().unwrap());
        (found, rest, length)
    }

    const FORM_TYPE: &str = "application/x-www-form-urlencoded";

    #[tokio::test]
    async fn a_small_form_wherever_it_stands() {
        for body in [".vestibule=T.f0&a=1&b=2", "a=1&.vestibule=T.f0&b=2", "a=1&b=2&.vestibule=T.f0"] {
            let (found, rest, _) = taken(FORM_TYPE, &[body.as_bytes()]).await;
            assert_eq!((token(&found), rest.as_slice()), (Some("T"), &b"a=1&b=2"[..]), "{body}");
        }
    }

    #[tokio::test]
    async fn a_large_form_where_it_comes_first() {
        let large = vec![b'x'; 2 * FORM];
        let (found, rest, _) = taken(FORM_TYPE, &[b".vestib", b"ule=T.f0&a=", &large, b"&b=2"]).await;
        assert_eq!(token(&found), Some("T"));
        assert_eq!(rest, [b"a=", large.as_slice(), b"&b=2"].concat());
    }

    #[tokio::test]
    async fn an_upload_in_its_first_part() {
        let start = b"--B\r\nContent-Disposition: form-data; name=\".vestibule\"\r\n\r\nT.f1\r\n";
        let file = [
            &b"--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n"[..],
            &vec![7; 3 * START],
            b"\r\n--B--\r\n",
        ]
        .concat();
        let (found, rest, _) = taken("multipart/form-data; boundary=B", &[start, &file]).await;
        assert_eq!(token(&found), Some("T"));
        assert_eq!(rest, file);
        let (found, rest, _) = taken("multipart/form-data; boundary=B", &[&file]).await;
        assert_eq!(found, Found::Nothing);
        assert_eq!(rest, file);
    }
}
