//! WebSockets: once both sides agree, bytes pass unread. No other protocol is passed on that begins with `Upgrade` (RFC 9110
//! section 7.8): what would follow could not be judged.

use crate::Body;
use crate::server::Upgrades;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;

/// Bytes held for each direction.
const BUFFER: usize = 8 * 1024;

/// The one protocol that is passed on.
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// A client's wish to go on with a WebSocket; taken off the request before that goes to the upstream.
#[derive(Debug)]
pub struct Handshake {
    client: OnUpgrade,
    upgrades: Upgrades,
}

impl Handshake {
    /// Takes it off a request that asks for a WebSocket; `None` for every other.
    pub fn take<B>(request: &mut Request<B>) -> Option<Self> {
        asks(request.method(), request.version(), request.headers()).then(|| Self {
            upgrades: request.extensions_mut().remove().unwrap_or_default(),
            client: hyper::upgrade::on(request),
        })
    }

    /// When the answer says that the upstream agrees (101), passes bytes both ways until either side closes or `ended`
    /// completes: then both connections are cut at once; so they are with the service of the client's connection
    /// ([`crate::serve_connection`]). With any other answer nothing happens.
    pub fn pass<E>(self, answer: &mut Response<Body>, ended: E)
    where
        E: Future<Output = ()> + Send + 'static,
    {
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let upstream = hyper::upgrade::on(answer);
        self.upgrades.spawn(async move {
            tokio::select! {
                biased;
                () = ended => {}
                () = pass(self.client, upstream) => {}
            }
        });
    }
}

async fn pass(client: OnUpgrade, upstream: OnUpgrade) {
    let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else {
        return;
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    // Whoever broke off, the other sees its connection closed.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await;
}

/// Whether a request asks for a WebSocket.
pub(crate) fn is_asked(parts: &Parts) -> bool {
    asks(&parts.method, parts.version, &parts.headers)
}

/// Whether a request's fields ask for another protocol, be it one that is passed on or not.
pub(crate) fn names_upgrade(fields: &HeaderMap) -> bool {
    let values = fields.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    fields.contains_key(header::UPGRADE)
        && values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
}

/// Puts the fields by which a request asks, or an answer agrees.
pub(crate) fn say(fields: &mut HeaderMap) {
    fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(header::UPGRADE, WEBSOCKET);
}

/// Whether an answer agrees to a WebSocket, and to nothing else.
pub(crate) fn is_agreed(fields: &HeaderMap) -> bool {
    let mut protocols = protocols(fields);
    protocols.next().is_some_and(is_websocket) && protocols.next().is_none()
}

fn asks(method: &Method, version: Version, fields: &HeaderMap) -> bool {
    method == Method::GET && version == Version::HTTP_11 && names_upgrade(fields) && protocols(fields).any(is_websocket)
}

fn protocols(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    fields.get_all(header::UPGRADE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
}

fn is_websocket(protocol: &[u8]) -> bool {
    protocol.trim_ascii().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}
