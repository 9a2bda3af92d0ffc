//! What happened, and what must never have.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use vestibule_proto::id::{DeviceId, KnockId, LinkRequest, LoginDigest, Stamp, TicketId};

/// A K1 that a client made.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) device: DeviceId,
    pub(crate) digest: LoginDigest,
    pub(crate) knock: KnockId,
    pub(crate) stamp: Stamp,
    /// The password was right: the inner part is the device's own.
    pub(crate) right: bool,
    /// In this life of the controller it was accepted, or told the time.
    pub(crate) heard: bool,
    /// It was accepted, and that stands on the controller's disk.
    pub(crate) written: bool,
    /// Somebody else than its sender was answered in this life of the controller.
    pub(crate) told_elsewhere: bool,
}

/// What a replayed datagram may draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum May {
    /// Nothing at all.
    Nothing,
    /// One sealed answer: the controller had never heard it, or has forgotten with its memory that it had.
    OneAnswer,
}

#[derive(Default)]
pub(crate) struct Ledger {
    /// By the whole datagram.
    pub(crate) made: HashMap<Vec<u8>, Made>,
    /// What mac1 covers of every K1 made, and of those that the controller has had, altered behind it or not.
    headed: HashMap<Vec<u8>, Stamp>,
    sighted: HashSet<Vec<u8>>,
    by_knock: BTreeMap<KnockId, (DeviceId, bool)>,
    /// Where the attacker replayed something from, each time another port, and what it may draw there.
    elsewhere: HashMap<SocketAddr, (May, Vec<u8>)>,
    requests: BTreeMap<LinkRequest, KnockId>,
    opened: BTreeMap<KnockId, TicketId>,
    tickets: BTreeMap<TicketId, DeviceId>,
    ready: BTreeSet<TicketId>,
    granted: BTreeSet<TicketId>,
    evaluated: BTreeMap<DeviceId, u32>,
}

impl Ledger {
    pub(crate) fn made(&mut self, k1: Vec<u8>, made: Made) {
        self.by_knock.insert(made.knock, (made.device, made.right));
        self.headed.insert(head(&k1), made.stamp);
        self.made.entry(k1).or_insert(made);
    }

    /// The attacker sends a K1, whole or altered, from an address of his own.
    pub(crate) fn replayed(&mut self, from: SocketAddr, datagram: &[u8]) {
        let may = match self.made.get(datagram) {
            Some(made) if !made.heard && !made.written => May::OneAnswer,
            Some(_) | None => May::Nothing,
        };
        self.elsewhere.insert(from, (may, datagram.to_vec()));
    }

    /// The controller had a datagram, and by its counters made this of it.
    pub(crate) fn delivered(&mut self, datagram: &[u8], accepted_or_told: bool, remembered: bool) {
        if datagram.len() == 1_200 {
            self.sighted.insert(head(datagram));
        }
        if let Some(made) = self.made.get_mut(datagram) {
            made.heard |= accepted_or_told && remembered;
        } else {
            assert!(!accepted_or_told, "accepted what no device made");
        }
    }

    /// The controller wrote a row's `last` down.
    pub(crate) fn written(&mut self, digest: LoginDigest, last: Stamp) {
        let line = last.as_millis().saturating_sub(2_000);
        for made in self.made.values_mut().filter(|made| made.digest == digest && made.heard) {
            made.written |= made.stamp.as_millis() <= line;
        }
    }

    pub(crate) fn controller_died(&mut self) {
        for made in self.made.values_mut() {
            made.heard = false;
            made.told_elsewhere = false;
        }
    }

    /// A controller starts and remembers no mac1. Of epochs that have begun or begin next it gives no cookie for that; those
    /// that are further ahead, of clocks that were wrong, it will take for new when they come.
    pub(crate) fn controller_started(&mut self, time: Stamp) {
        let epoch = |stamp: Stamp| stamp.as_secs() / 64;
        let headed = &self.headed;
        self.sighted.retain(|head| headed.get(head).is_some_and(|stamp| epoch(*stamp) <= epoch(time) + 1));
    }

    /// The controller answered somebody.
    pub(crate) fn answered(&mut self, to: SocketAddr, length: usize) {
        let Some((may, datagram)) = self.elsewhere.get(&to) else { return };
        if length != 1_200 {
            // A cookie is given before Noise is asked: to a right mac1, of now, that was never here before.
            let head = head(datagram);
            assert!(
                self.headed.contains_key(&head) && !self.sighted.contains(&head),
                "a cookie for a recording, at {to}"
            );
            return;
        }
        let made = self.made.get_mut(datagram).expect("only knocks that a device made are answered");
        assert_eq!(*may, May::OneAnswer, "a recording was answered at {to}: {made:?}");
        assert!(!made.told_elsewhere, "a knock was answered twice elsewhere");
        made.told_elsewhere = true;
    }

    pub(crate) fn remember(&mut self, request: LinkRequest, device: DeviceId, knock: KnockId) {
        let made = self.by_knock.get(&knock);
        assert_eq!(made, Some(&(device, true)), "the gateway looks at a knock that this device did not make");
        self.requests.insert(request, knock);
    }

    pub(crate) fn opens(&mut self, request: LinkRequest, ticket: TicketId) {
        let knock = self.requests[&request];
        let before = self.opened.insert(knock, ticket);
        assert_eq!(before, None, "a second door for one knock");
        self.tickets.insert(ticket, self.by_knock[&knock].0);
    }

    pub(crate) fn ready(&mut self, request: LinkRequest) {
        let ticket = self.opened[&self.requests[&request]];
        assert!(self.ready.insert(ticket), "told twice");
    }

    pub(crate) fn evaluated(&mut self, device: DeviceId) {
        let tried = self.evaluated.entry(device).or_default();
        *tried += 1;
    }

    pub(crate) fn admitted(&self, device: DeviceId, ticket: TicketId) {
        assert!(self.ready.contains(&ticket), "a client believes in a door that does not stand open");
        assert_eq!(self.tickets[&ticket], device);
    }

    pub(crate) fn granted(&mut self, device: DeviceId, bearer: DeviceId, ticket: TicketId) {
        assert_eq!(device, bearer, "somebody came in as somebody else");
        assert!(self.ready.contains(&ticket) && self.tickets[&ticket] == device);
        assert!(self.granted.insert(ticket), "one ticket, two entries");
    }

    pub(crate) fn opened_count(&self) -> usize {
        self.opened.len()
    }

    /// How many wrong passwords of a device were looked at.
    pub(crate) fn looked_at(&self, device: DeviceId) -> u32 {
        self.evaluated.get(&device).copied().unwrap_or_default()
    }

    /// Every datagram that a client sent.
    pub(crate) fn recordings(&self) -> Vec<Vec<u8>> {
        let mut recordings: Vec<_> = self.made.iter().map(|(k1, made)| (made.stamp, k1.clone())).collect();
        recordings.sort();
        recordings.into_iter().map(|(_, k1)| k1).collect()
    }
}

/// Header, mac1 and ephemeral key; mac1 names them.
fn head(datagram: &[u8]) -> Vec<u8> {
    let part = |range: std::ops::Range<usize>| datagram.get(range).unwrap_or_default();
    [part(0..32), part(48..80)].concat()
}
