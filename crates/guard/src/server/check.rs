//! Whether a request that the library took for sound is.

use crate::{Body, Limits};
use http_body_util::{BodyExt, Full};
use hyper::body::Body as HttpBody;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

/// A request that goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    status: StatusCode,
    word: &'static str,
    why: &'static str,
}

/// Makes sure of one host, a method and a target that can be passed on, and a length within `limits`; brings the target to its
/// origin form.
pub(super) fn sound<B: HttpBody>(request: &mut Request<B>, limits: &Limits) -> Result<(), Refused> {
    method(request.method())?;
    one_length(request)?;
    if request.body().size_hint().lower() > limits.body {
        return Err(too_large(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than allowed"));
    }
    let host = host(request)?;
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    let target = request.uri().path_and_query().ok_or(malformed("the request has no path"))?;
    if !target.as_str().starts_with('/') {
        return Err(malformed("the request has no path"));
    }
    if target.as_str().len() > limits.target {
        return Err(too_large(StatusCode::URI_TOO_LONG, "the address is longer than allowed"));
    }
    if request.uri().authority().is_some() {
        let target = Uri::builder().path_and_query(target.clone()).build();
        *request.uri_mut() = target.map_err(|_| malformed("the request has no path"))?;
    }
    Ok(())
}

/// A tunnel is nothing that an application offers, and a trace would show a script what it may not see.
fn method(method: &Method) -> Result<(), Refused> {
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(Refused { status: StatusCode::METHOD_NOT_ALLOWED, ..malformed("this method isn't served") });
    }
    Ok(())
}

fn one_length<B>(request: &Request<B>) -> Result<(), Refused> {
    let fields = request.headers();
    let lengths = fields.get_all(header::CONTENT_LENGTH).iter().count();
    let codings = fields.get_all(header::TRANSFER_ENCODING).iter().count();
    if lengths + codings > 1 || codings > 0 && request.version() >= Version::HTTP_2 {
        return Err(malformed("the body's length is in doubt"));
    }
    Ok(())
}

/// The one host that all parts of the request agree on, where it is not said in `Host` yet.
fn host<B>(request: &Request<B>) -> Result<Option<HeaderValue>, Refused> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    let (field, second) = (fields.next(), fields.next());
    let authority = request.uri().authority().map(Authority::as_str);
    let text = match field {
        Some(field) => field.to_str().map_err(|_| malformed("the host is malformed"))?,
        None => authority.ok_or(malformed("the request names no host"))?,
    };
    if second.is_some() || authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(text)) {
        return Err(malformed("the request names two hosts"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if text.is_empty() || !text.bytes().all(plain) || text.parse::<Authority>().is_err() {
        return Err(malformed("the host is malformed"));
    }
    match field {
        Some(_) => Ok(None),
        None => HeaderValue::from_str(text).map(Some).map_err(|_| malformed("the host is malformed")),
    }
}

fn malformed(why: &'static str) -> Refused {
    Refused { status: StatusCode::BAD_REQUEST, word: "malformed", why }
}

fn too_large(status: StatusCode, why: &'static str) -> Refused {
    Refused { status, word: "too-large", why }
}

impl Refused {
    /// The refusal as a problem document (RFC 9457), after which the connection closes.
    pub(super) fn answer(&self) -> Response<Body> {
        let title = format!("{{\"title\":\"{}\",\"status\":{}}}\n", self.why, self.status.as_u16());
        let mut answer = Response::new(Full::from(title).map_err(|never| match never {}).boxed_unsync());
        *answer.status_mut() = self.status;
        let fields = answer.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        fields.insert("vestibule-refused", HeaderValue::from_static(self.word));
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(method: &str, target: &str, fields: &[(&str, &str)]) -> Result<String, &'static str> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::<bytes::Bytes>::from("12345")).unwrap();
        let limits = Limits { body: 5, target: 20, ..Limits::default() };
        sound(&mut request, &limits).map_err(|refused| refused.why)?;
        Ok(format!("{} {}", request.headers()[header::HOST].to_str().unwrap(), request.uri()))
    }

    #[test]
    fn one_host_and_a_path() {
        assert_eq!(checked("GET", "/x?y", &[("host", "a:80")]).unwrap(), "a:80 /x?y");
        assert_eq!(checked("GET", "http://a/x?y", &[("host", "A")]).unwrap(), "A /x?y");
        assert_eq!(checked("GET", "http://a", &[]).unwrap(), "a /");
        assert_eq!(checked("GET", "http://a/x", &[("host", "b")]).unwrap_err(), "the request names two hosts");
        assert_eq!(checked("GET", "/", &[("host", "a"), ("host", "a")]).unwrap_err(), "the request names two hosts");
        assert_eq!(checked("GET", "/", &[]).unwrap_err(), "the request names no host");
        for bad in ["", "a b", "a/b", "u@a", "a\"", "a,b", "a:b:c"] {
            assert_eq!(checked("GET", "/", &[("host", bad)]).unwrap_err(), "the host is malformed", "{bad}");
        }
    }

    #[test]
    fn what_is_not_served() {
        assert_eq!(checked("CONNECT", "a:443", &[("host", "a:443")]).unwrap_err(), "this method isn't served");
        assert_eq!(checked("TRACE", "/", &[("host", "a")]).unwrap_err(), "this method isn't served");
        assert_eq!(checked("OPTIONS", "*", &[("host", "a")]).unwrap_err(), "the request has no path");
        let long = format!("/{}", "x".repeat(20));
        assert_eq!(checked("GET", &long, &[("host", "a")]).unwrap_err(), "the address is longer than allowed");
        let doubt = [("host", "a"), ("content-length", "5"), ("transfer-encoding", "chunked")];
        assert_eq!(checked("POST", "/", &doubt).unwrap_err(), "the body's length is in doubt");
    }
}
