//! What every run begins with.

use crate::common::{Person, Realm};
use crate::explored::events::{Budget, Flaw};
use std::collections::HashMap;
use std::sync::Mutex;
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::{KnockId, LoginDigest, Now, Stamp};
use vestibule_proto::inner::{InnerKnock, open_inner};
use vestibule_proto::outer::open_knock;

/// What every run begins with.
pub(crate) struct Setting {
    pub(crate) realm: Realm,
    pub(crate) person: Person,
    pub(crate) start: Now,
    pub(crate) budget: Budget,
    pub(crate) flaw: Option<Flaw>,
    /// There are few knocks and many runs.
    pub(crate) opened: Mutex<HashMap<Vec<u8>, Opened>>,
}

/// What is in a K1.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) inner: [u8; 192],
    pub(crate) digest: LoginDigest,
    pub(crate) knock: KnockId,
    pub(crate) stamp: Stamp,
}

impl Setting {
    pub(crate) fn open(&self, k1: &[u8]) -> Opened {
        self.opened.lock().unwrap().entry(k1.to_vec()).or_insert_with(|| self.opened(k1)).clone()
    }

    fn opened(&self, k1: &[u8]) -> Opened {
        let (keys, gateway, device) = (&self.realm.controller, &self.realm.gateway, &self.person.admissible);
        let mut entropy = SeededEntropy::new(0);
        let outer = open_knock(&keys.key, &keys.realm, k1, &mut entropy).ok().unwrap().knock;
        let (inner, digest) = (outer.inner.unwrap(), outer.digest);
        let opened = open_inner(gateway.id, &gateway.key, &device.d_in, &device.psk_g, digest, &inner, &mut entropy);
        let InnerKnock { knock_id, stamp, .. } = opened.ok().unwrap().knock;
        Opened { inner, digest, knock: knock_id, stamp }
    }
}
