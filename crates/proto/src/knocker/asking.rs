//! One K1 under way, and the line of attempts over one address family.

use super::device::{Ask, Device, LinkDevice};
use super::{PATIENCE, Schedule, Transmit};
use crate::entropy::Entropy;
use crate::error::Unsealable;
use crate::header::MESSAGE_LEN;
use crate::id::{KnockId, LoginDigest, Stamp};
use crate::inner::{AwaitReady, I1_LEN, InnerKnock, seal_inner};
use crate::key::{PrivateKey, Psk};
use crate::outer::{AwaitGuidance, ControllerPin, Knock, KnockFlags, Versions, seal_knock};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Who knocks.
pub(super) enum Identity {
    /// A device, at a gateway, through the controller.
    Device { device: Arc<Device>, ask: Ask, own: Vec<SocketAddr> },
    /// A gateway, at the controller itself.
    Link(Arc<LinkDevice>),
}

impl Identity {
    fn outer(&self) -> (&ControllerPin, &PrivateKey, &Psk, LoginDigest) {
        match self {
            Self::Device { device, .. } => (&device.controller, &device.d_out, &device.psk_c, device.digest),
            Self::Link(link) => (&link.controller, &link.d_out, &link.psk_c, link.digest),
        }
    }
}

/// What a device keeps of its inner part, to read the answer.
pub(super) struct Inside {
    pub(super) i1: [u8; I1_LEN],
    pub(super) ready: AwaitReady,
}

/// A K1 that was sent, and what is needed to read K6.
pub(super) struct Asking {
    k1: Box<[u8; MESSAGE_LEN]>,
    pub(super) stamp: Stamp,
    pub(super) guidance: AwaitGuidance,
    pub(super) inside: Option<Inside>,
}

impl Asking {
    /// Steps K1 and I1: both parts bear the same knock id and stamp.
    pub(super) fn begin(
        identity: &Identity,
        to: SocketAddr,
        stamp: Stamp,
        challenge: Option<[u8; 24]>,
        cookie: Option<&[u8; 16]>,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, Unsealable> {
        let knock_id = KnockId::random(entropy);
        let (pin, d_out, psk_c, digest) = identity.outer();
        let inside = match identity {
            Identity::Device { device, ask, own } => {
                Some(seal_inside(device, *ask, own, to, knock_id, stamp, entropy)?)
            }
            Identity::Link(_) => None,
        };
        let knock = Knock {
            versions: Versions::OURS,
            flags: KnockFlags { link: inside.is_none() },
            digest,
            stamp,
            knock_id,
            challenge,
            inner: inside.as_ref().map(|inside| inside.i1),
        };
        let (k1, guidance) = seal_knock(pin, d_out, psk_c, &knock, cookie, entropy)?;
        Ok(Self { k1, stamp, guidance, inside })
    }
}

fn seal_inside(
    device: &Device,
    ask: Ask,
    own: &[SocketAddr],
    to: SocketAddr,
    knock_id: KnockId,
    stamp: Stamp,
    entropy: &mut dyn Entropy,
) -> Result<Inside, Unsealable> {
    // Two addresses fit; those of the family that this knock goes out on first.
    let mut addresses = own.to_vec();
    addresses.sort_by_key(|address| address.is_ipv4() != to.is_ipv4());
    addresses.truncate(2);
    let knock = InnerKnock {
        versions: Versions::OURS,
        purpose: ask.purpose,
        stamp,
        knock_id,
        digest: device.digest,
        session: ask.session,
        addresses,
        expects: device.expects,
    };
    let (i1, ready) =
        seal_inner(device.gateway, &device.gateway_key, &device.d_in, &device.psk_g, &device.psk_r, &knock, entropy)?;
    Ok(Inside { i1, ready })
}

/// The attempts over one address family.
pub(super) struct Line {
    targets: Vec<SocketAddr>,
    rounds: u8,
    sent: usize,
    deadline: Option<Instant>,
    pub(super) asking: Option<Asking>,
    /// The cookie that a controller gave us, and which one: later knocks at it bear it, too.
    cookie: Option<(SocketAddr, [u8; 16])>,
    cookies: u8,
}

impl Line {
    /// A line that begins at `at`.
    pub(super) fn new(target: SocketAddr, at: Instant) -> Self {
        Self { targets: vec![target], rounds: 0, sent: 0, deadline: Some(at), asking: None, cookie: None, cookies: 0 }
    }

    /// Another address of the same family, for later rounds.
    pub(super) fn add(&mut self, target: SocketAddr) {
        self.targets.push(target);
    }

    pub(super) fn is_of_family(&self, address: &SocketAddr) -> bool {
        self.targets.iter().all(|target| target.is_ipv4() == address.is_ipv4())
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Bears a cookie from now on, if it has not been asked to too often.
    pub(super) fn take_cookie(&mut self, cookie: [u8; 16]) -> bool {
        let patient = self.cookies < PATIENCE;
        if patient {
            self.cookies += 1;
            self.cookie = Some((self.target(), cookie));
        }
        patient
    }

    /// The cookie for this round's knock.
    pub(super) fn cookie(&self) -> Option<&[u8; 16]> {
        self.cookie.as_ref().filter(|(from, _)| *from == self.target()).map(|(_, cookie)| cookie)
    }

    /// Where this round's knock goes: the addresses take turns.
    pub(super) fn target(&self) -> SocketAddr {
        self.targets[usize::from(self.rounds.saturating_sub(1)) % self.targets.len()]
    }

    /// The same K1 once more, while its pauses last.
    pub(super) fn repeat(&mut self, schedule: &Schedule, now: Instant) -> Option<Transmit> {
        let to = self.target();
        let asking = self.asking.as_ref()?;
        let pause = schedule.pauses.get(self.sent)?;
        self.sent += 1;
        self.deadline = Some(now + *pause);
        Some(Transmit { to, payload: asking.k1.to_vec() })
    }

    /// Whether there is another round.
    pub(super) fn begin_round(&mut self, rounds: u8) -> bool {
        let another = self.rounds < rounds;
        self.rounds += u8::from(another);
        another
    }

    /// A new K1 takes the place of the former.
    pub(super) fn ask(&mut self, asking: Asking, schedule: &Schedule, now: Instant) -> Transmit {
        let transmit = Transmit { to: self.target(), payload: asking.k1.to_vec() };
        self.asking = Some(asking);
        self.sent = 1;
        self.deadline = Some(schedule.pauses.first().map_or(now, |pause| now + *pause));
        transmit
    }

    pub(super) fn give_up(&mut self) {
        self.deadline = None;
        self.asking = None;
    }
}
