//! Whose request it is (steps 1 and 2 of the cycle).

use super::Visit;
use crate::guard::{App, Peer, Tunnel};
use crate::sessions::{BeginError, Gone, Live, Newcomer};
use crate::{Binding, COOKIE, PLAIN_COOKIE, Proof};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{COOKIE as COOKIE_FIELD, HeaderMap};
use std::sync::Arc;
use vestibule_policy::web::GrantSet;

/// Bytes of a session's cookie.
pub(super) const COOKIE_LEN: usize = 32;

impl Peer {
    /// What a session of this peer is proven by.
    pub(super) fn proof(&self) -> Proof {
        if self.tunnel.is_some() { Proof::Tunnel } else { Proof::Cookie }
    }

    /// The name of the cookie that holds a session.
    pub(super) fn cookie(&self) -> &'static str {
        if self.tls { COOKIE } else { PLAIN_COOKIE }
    }

    /// What this request proves itself with.
    pub(super) fn binding(&self, headers: &HeaderMap) -> Option<Binding> {
        match &self.tunnel {
            Some(tunnel) => Some(tunnel.session.binding()),
            None => cookie(headers, self.cookie()).and_then(|value| binding_of(&value)),
        }
    }
}

impl Visit {
    /// The groups of whoever asks, as they are now: what the owner changes holds from the next request on.
    pub(super) fn groups(&self, live: &Live) -> Vec<String> {
        match &self.peer.tunnel {
            Some(tunnel) => tunnel.standing.groups(),
            None => live.groups().to_vec(),
        }
    }

    /// What is granted here to whoever asks.
    pub(super) fn granted(&self, live: &Live) -> GrantSet {
        self.granted_by(&self.place.app, live)
    }

    /// What the rules of this application, which may be newer, grant to whoever asks.
    pub(super) fn granted_by(&self, app: &Arc<App>, live: &Live) -> GrantSet {
        live.granted(app, self.groups(live))
    }

    /// The session, which over a tunnel begins by itself: device and user are proven already.
    pub(super) async fn who(&self, headers: &HeaderMap) -> Result<Arc<Live>, Gone> {
        let peer = &self.peer;
        let binding = peer.binding(headers).ok_or(Gone::Unknown)?;
        let gone = match self.parts.sessions.find(&binding, peer.client, self.now) {
            Ok(live) => return Ok(live),
            Err(gone) => gone,
        };
        match (&peer.tunnel, gone) {
            // After a sign-off, or against the owner's will, it does not.
            (Some(tunnel), Gone::Unknown | Gone::Expired | Gone::Idle) => self.adopt(tunnel).await,
            (_, gone) => Err(gone),
        }
    }

    /// Begins the session of a tunnel.
    pub(super) async fn adopt(&self, tunnel: &Tunnel) -> Result<Arc<Live>, Gone> {
        let who = Newcomer {
            user: tunnel.user.clone(),
            groups: tunnel.standing.groups(),
            device: Some(tunnel.device.clone()),
            client: self.peer.client,
            proof: Proof::Tunnel,
            entry_key: None,
        };
        let binding = tunnel.session.binding();
        match self.parts.sessions.begin(who, binding, self.now).await {
            Ok(live) => Ok(live),
            // Two requests at once: the other was first.
            Err(BeginError::Taken) => self.parts.sessions.find(&binding, self.peer.client, self.now),
            Err(error) => {
                tracing::error!(%error, user = %tunnel.user, "no session could begin");
                Err(Gone::Unknown)
            }
        }
    }
}

/// What ties a session to its cookie.
pub(super) fn binding_of(value: &str) -> Option<Binding> {
    let secret = URL_SAFE_NO_PAD.decode(value).ok().filter(|secret| secret.len() == COOKIE_LEN)?;
    let mut binding = [0; 32];
    binding.copy_from_slice(digest::digest(&digest::SHA256, &secret).as_ref());
    Some(Binding(binding))
}

/// The one cookie of this name; of several none counts, since a neighbour may have set the others.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let fields = headers.get_all(COOKIE_FIELD).iter().filter_map(|value| value.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (Some(value), None) => Some(value.to_owned()),
        (Some(_) | None, Some(_) | None) => None,
    }
}
