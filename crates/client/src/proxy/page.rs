//! The pages that the local web port shows when it can't show the service: what happened, what it means, what to do.

use crate::error::ClientError;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em;color:#222;\
background:#fff}h1{font-size:1.3em}.n{color:#555}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}.n{color:#aaa}}";

/// A page to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Status of the response.
    pub(super) status: StatusCode,
    /// What happened.
    pub(super) headline: String,
    /// What it means.
    pub(super) detail: String,
    /// What to do next.
    pub(super) next: String,
}

impl Page {
    /// A page with these texts, none of them HTML yet.
    pub(super) fn new(status: StatusCode, headline: &str, detail: &str, next: &str) -> Self {
        Self { status, headline: headline.to_owned(), detail: detail.to_owned(), next: next.to_owned() }
    }

    /// The page for an error of the tunnel.
    pub(super) fn of(error: &ClientError) -> Self {
        Self::new(status(error), &error.headline(), &error.detail(), &error.next_step())
    }

    /// The response that shows it: small, uncached, and unable to load or run anything.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\
             <h1>{title}</h1><p>{detail}</p><p>→ {next}</p><p class=\"n\">This page comes from Vestibule on this machine, \
             not from the service.</p></html>\n",
            title = escaped(&self.headline),
            detail = escaped(&self.detail),
            next = escaped(&self.next),
        );
        let mut response = Response::new(Full::new(Bytes::from(html)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        response
    }
}

fn status(error: &ClientError) -> StatusCode {
    match error {
        ClientError::NoService { .. } | ClientError::OtherKind { .. } => StatusCode::NOT_FOUND,
        ClientError::UpstreamHangs { .. } => StatusCode::GATEWAY_TIMEOUT,
        ClientError::Busy
        | ClientError::SessionEnded(_)
        | ClientError::GatewayAway(_)
        | ClientError::ControllerAway { .. }
        | ClientError::AwaitsApproval { .. } => StatusCode::SERVICE_UNAVAILABLE,
        ClientError::UpstreamAway { .. }
        | ClientError::Cut { .. }
        | ClientError::Credential { .. }
        | ClientError::Ambiguous { .. }
        | ClientError::WeakPassword { .. }
        | ClientError::Invitation(_)
        | ClientError::Refused { .. }
        | ClientError::ClockFarOff { .. }
        | ClientError::LoginFailed { .. }
        | ClientError::NotLoopback { .. }
        | ClientError::Listen { .. }
        | ClientError::Forward { .. }
        | ClientError::Files { .. }
        | ClientError::AlreadyRunning
        | ClientError::NotRunning
        | ClientError::Unexpected { .. } => StatusCode::BAD_GATEWAY,
    }
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '\n' => html.push_str("<br>"),
            plain => html.push(plain),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_page_says_what_to_do_and_can_not_be_made_to_run_anything() {
        let error = ClientError::NoService { asked: "<script>alert('x')</script>&\"".to_owned() };
        let response = Page::of(&error).response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let html = std::str::from_utf8(&body).unwrap();
        assert!(!html.contains("<script"));
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"));
        assert!(html.contains("vestibule services"));
    }

    #[test]
    fn statuses_tell_the_faults_apart() {
        let service = || "db".to_owned();
        for (error, code) in [
            (ClientError::UpstreamAway { service: service() }, 502),
            (ClientError::UpstreamHangs { service: service() }, 504),
            (ClientError::Busy, 503),
            (ClientError::SessionEnded(vestibule_proto::session::Reason::Expired), 503),
        ] {
            assert_eq!(Page::of(&error).status.as_u16(), code);
        }
    }
}
