//! Where a request goes: the application, and the address under which the browser knows it.

use crate::Body;
use crate::guard::{App, Apps, Peer};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use std::sync::Arc;

/// Where a request goes.
pub(super) struct Place {
    pub(super) app: Arc<App>,
    /// `Host` as the browser sent it.
    pub(super) host: String,
    /// `http` or `https`, as the browser sees it.
    pub(super) scheme: &'static str,
    /// The application's own origin, as browsers write it.
    pub(super) origin: String,
}

impl Place {
    /// # Errors
    /// The status to say: 404, there is no such application; 421 (RFC 9110 section 15.5.20), a tunnel leads to it, but the
    /// browser means another host.
    pub(super) fn of(apps: &Apps, peer: &Peer, request: &Request<Body>) -> Result<Self, StatusCode> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).ok_or(StatusCode::NOT_FOUND)?;
        let host = host.to_ascii_lowercase();
        let app = match &peer.tunnel {
            Some(tunnel) => apps.named(&tunnel.app),
            None => apps.at_host(&host),
        };
        let app = app.ok_or(StatusCode::NOT_FOUND)?;
        if peer.tunnel.is_some() && !app.is_known_as(&host) {
            return Err(StatusCode::MISDIRECTED_REQUEST);
        }
        let scheme = if peer.tls { "https" } else { "http" };
        Ok(Self { app: app.clone(), origin: format!("{scheme}://{host}"), host, scheme })
    }

    /// A target of a request as an address on this host: what begins with `//` would be another one's to a browser.
    pub(super) fn here(&self, target: &str) -> String {
        if target.starts_with("//") || target.contains('\\') {
            format!("{}{target}", self.origin)
        } else {
            target.to_owned()
        }
    }
}
