//! Where a request goes: the application, and the address under which the browser knows it.

use crate::Body;
use crate::guard::{App, Apps, Peer};
use hyper::Request;
use hyper::header::HOST;
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
    /// `None`: there is no such application.
    pub(super) fn of(apps: &Apps, peer: &Peer, request: &Request<Body>) -> Option<Self> {
        let host = request.headers().get(HOST)?.to_str().ok()?.to_ascii_lowercase();
        let app = match &peer.tunnel {
            Some(tunnel) => apps.named(&tunnel.app)?,
            None => apps.at_host(&host)?,
        };
        let scheme = if peer.tls { "https" } else { "http" };
        Some(Self { app: app.clone(), origin: format!("{scheme}://{host}"), host, scheme })
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
