//! G_tls and its successors (PROTOCOL.md §3.5, rotation): which of them is presented to whom, and for how long.
//!
//! Values: each change gives another set, which is written down before it is in force.

use super::KeysError;
use serde::{Deserialize, Serialize};
use vestibule_proto::entropy::Entropy;
use vestibule_proto::gateway_key::{HandOver, KeyName};
use vestibule_proto::id::{GatewayId, Stamp};
use vestibule_proto::key::{self, Secret, SigningKey, Spki};

/// What `gateway.key` has of it beside the present key.
#[derive(Serialize, Deserialize, Default)]
pub(super) struct TlsDocument {
    /// And until when it counts.
    former: Option<(Seed, Stamp)>,
    controller_has_one_of: Vec<Seed>,
}

#[derive(Serialize, Deserialize)]
struct Seed(#[serde(with = "key::exposed")] Secret<32>);

/// Why the keys are not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    /// The key before the present one still counts.
    #[error("a rotation is under way: the key before the present one still counts")]
    UnderWay,
    /// No key before the present one counts.
    #[error("no rotation is under way: there is one key")]
    NotUnderWay,
    /// The controller has not said for so many new keys that it has one.
    #[error("the controller has not taken a key of this gateway since {UNTOLD} rotations")]
    Untold,
    /// The controller does not know any key yet.
    #[error("this gateway has never been linked to its controller: its keys are new")]
    Unregistered,
    /// The file can't be written.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// So many keys are kept that the controller may know this gateway by.
const UNTOLD: usize = 8;

/// The TLS keys of a gateway.
#[derive(Clone)]
pub struct TlsKeys {
    present: SigningKey,
    former: Option<(SigningKey, Stamp)>,
    /// The key by which the controller knows this gateway is one of these, as long as it has not said that it has taken the
    /// present one: first the one that it has said, then those that it was told since, whose answer may have been lost.
    controller_has_one_of: Vec<SigningKey>,
}

impl TlsKeys {
    /// One key, which was never another.
    pub(super) fn new(present: SigningKey) -> Self {
        Self { present, former: None, controller_has_one_of: Vec::new() }
    }

    pub(super) fn from_document(present: SigningKey, document: TlsDocument) -> Self {
        let former = document.former.map(|(Seed(seed), until)| (SigningKey::from_seed(seed), until));
        let controller_has = document.controller_has_one_of.into_iter().map(|Seed(seed)| SigningKey::from_seed(seed));
        Self { present, former, controller_has_one_of: controller_has.collect() }
    }

    pub(super) fn document(&self) -> TlsDocument {
        let seed = |key: &SigningKey| Seed(key.seed().clone());
        TlsDocument {
            former: self.former.as_ref().map(|(key, until)| (seed(key), *until)),
            controller_has_one_of: self.controller_has_one_of.iter().map(seed).collect(),
        }
    }

    /// Whether it is as [`new`](Self::new) makes it.
    pub(super) fn is_plain(&self) -> bool {
        self.former.is_none() && self.controller_has_one_of.is_empty()
    }

    /// The key to tell devices, and to invite with.
    #[must_use]
    pub fn present(&self) -> &SigningKey {
        &self.present
    }

    /// Until when the key before it counts, if it does.
    #[must_use]
    pub fn former_until(&self) -> Option<Stamp> {
        self.former.as_ref().map(|(_, until)| *until)
    }

    /// A new key; the present one counts until then beside it.
    ///
    /// # Errors
    /// [`TurnError::UnderWay`] while one before it still counts: two do at most. [`TurnError::Untold`].
    pub fn rotated(&self, until: Stamp, entropy: &mut dyn Entropy) -> Result<Self, TurnError> {
        if self.former.is_some() {
            return Err(TurnError::UnderWay);
        }
        Ok(Self { former: Some((self.present.clone(), until)), ..self.replaced(entropy)? })
    }

    /// A new key, which alone counts.
    ///
    /// # Errors
    /// [`TurnError::Untold`] after many without a word of the controller's.
    pub fn replaced(&self, entropy: &mut dyn Entropy) -> Result<Self, TurnError> {
        if self.controller_has_one_of.len() == UNTOLD {
            return Err(TurnError::Untold);
        }
        // The controller takes the newest by the word of the one that it knows, however many there were in between.
        let controller_has_one_of =
            [self.controller_has_one_of.as_slice(), std::slice::from_ref(&self.present)].concat();
        Ok(Self { present: SigningKey::random(entropy), former: None, controller_has_one_of })
    }

    /// The present key alone counts.
    ///
    /// # Errors
    /// [`TurnError::NotUnderWay`] if that is so already.
    pub fn finished(&self) -> Result<Self, TurnError> {
        if self.former.is_none() {
            return Err(TurnError::NotUnderWay);
        }
        Ok(Self { former: None, ..self.clone() })
    }

    /// The controller says that it knows this gateway by this key; `None` if that is no news.
    pub(super) fn known_by(&self, key: &Spki) -> Option<Self> {
        let known: Vec<_> = self.controller_has_one_of.iter().filter(|one| one.spki() == *key).cloned().collect();
        // A key that was none of ours: nothing is learnt from it.
        let is_ours = !known.is_empty() || self.present.spki() == *key;
        let is_news = is_ours && known.len() != self.controller_has_one_of.len();
        is_news.then(|| Self { controller_has_one_of: known, ..self.clone() })
    }

    /// Whether the time of the key before the present one is over.
    #[must_use]
    pub fn is_due(&self, now: Stamp) -> bool {
        self.former.as_ref().is_some_and(|(_, until)| *until <= now)
    }

    /// The key to present to a device that expects this one; `None` if it does not count. Who names none expects what was
    /// there first.
    #[must_use]
    pub fn for_device(&self, expects: Option<KeyName>, now: Stamp) -> Option<&SigningKey> {
        let former = self.former.as_ref().filter(|(_, until)| now < *until).map(|(key, _)| key);
        match expects {
            Some(name) => [Some(&self.present), former].into_iter().flatten().find(|key| name_of(key) == name),
            None => Some(former.unwrap_or(&self.present)),
        }
    }

    /// Which keys a device may expect.
    #[must_use]
    pub fn names(&self) -> Vec<KeyName> {
        let former = self.former.iter().map(|(key, _)| key);
        std::iter::once(&self.present).chain(former).map(name_of).collect()
    }

    /// The key by which the controller knows this gateway, as far as it has said.
    #[must_use]
    pub fn at_controller(&self) -> &SigningKey {
        self.controller_has_one_of.first().unwrap_or(&self.present)
    }

    /// Under which key to try a link. A key that the controller was told it may have without our knowing: its word was lost. So
    /// all that it may have are tried in turn.
    #[must_use]
    pub fn for_link(&self, attempt: u64) -> &SigningKey {
        let keys = self.controller_has_one_of.len() + 1;
        let turn = usize::try_from(attempt % keys as u64).unwrap_or_default();
        self.controller_has_one_of.get(turn).unwrap_or(&self.present)
    }

    /// What the controller is told, if it does not have the present key.
    #[must_use]
    pub fn hand_over(&self, gateway: &GatewayId) -> Option<HandOver> {
        Some(HandOver::sign(gateway, self.controller_has_one_of.first()?, &self.present))
    }
}

fn name_of(key: &SigningKey) -> KeyName {
    KeyName::of(&key.spki())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;
    use vestibule_proto::entropy::SeededEntropy;

    const T: Stamp = Stamp::from_millis(1_800_000_000_000);
    const MONTH: Duration = Duration::from_secs(30 * 24 * 3_600);

    fn first() -> (TlsKeys, SeededEntropy) {
        let mut entropy = SeededEntropy::new(1);
        (TlsKeys::new(SigningKey::random(&mut entropy)), entropy)
    }

    fn presented(keys: &TlsKeys, expected: Option<&SigningKey>, now: Stamp) -> Option<Spki> {
        keys.for_device(expected.map(name_of), now).map(SigningKey::spki)
    }

    #[test]
    fn each_device_is_presented_the_key_that_it_expects_for_thirty_days() {
        let (old, mut entropy) = first();
        let until = T.saturating_add(MONTH);
        let new = old.rotated(until, &mut entropy).unwrap();
        let (was, is) = (old.present(), new.present());
        assert!(was.spki() != is.spki() && new.former_until() == Some(until));
        assert_eq!(new.names(), [name_of(is), name_of(was)]);
        let last = until.saturating_sub(Duration::from_millis(1));
        for now in [T, last] {
            assert_eq!(presented(&new, Some(was), now), Some(was.spki()));
            assert_eq!(presented(&new, Some(is), now), Some(is.spki()));
            assert_eq!(presented(&new, None, now), Some(was.spki()), "programs that name none were enrolled with it");
            assert!(!new.is_due(now));
        }
        assert_eq!(presented(&new, Some(was), until), None, "refused, though it is not off the disk yet");
        assert_eq!(presented(&new, Some(is), until), Some(is.spki()));
        assert_eq!(presented(&new, None, until), Some(is.spki()));
        assert!(new.is_due(until));
        let alone = new.finished().unwrap();
        assert_eq!((presented(&alone, Some(was), T), alone.names()), (None, vec![name_of(is)]));
        let stranger = SigningKey::random(&mut entropy);
        assert_eq!(presented(&new, Some(&stranger), T), None);
    }

    #[test]
    fn two_keys_count_at_most_and_the_owner_can_drop_both_at_once() {
        let (old, mut entropy) = first();
        let new = old.rotated(T, &mut entropy).unwrap();
        assert_eq!(new.rotated(T, &mut entropy).err(), Some(TurnError::UnderWay));
        assert_eq!(old.finished().err(), Some(TurnError::NotUnderWay));
        let newest = new.replaced(&mut entropy).unwrap();
        for gone in [&old, &new] {
            assert_eq!(presented(&newest, Some(gone.present()), Stamp::default()), None);
        }
        assert_eq!(newest.former_until(), None);
        assert_eq!(newest.at_controller().spki(), old.present().spki(), "which knows neither of the two yet");
        let told = newest.hand_over(&GatewayId::new([1; 16])).unwrap();
        assert!(told.spki == newest.present().spki());
        assert!(told.is_signed(&GatewayId::new([1; 16]), &old.present().spki()));
    }

    #[test]
    fn the_controller_is_tried_with_both_until_it_has_the_present_one() {
        let (old, mut entropy) = first();
        assert!(old.hand_over(&GatewayId::new([1; 16])).is_none());
        assert!((0..4).all(|attempt| old.for_link(attempt).spki() == old.present().spki()));
        let new = old.rotated(T, &mut entropy).unwrap();
        let tried: Vec<_> = (0..4).map(|attempt| new.for_link(attempt).spki()).collect();
        let (was, is) = (old.present().spki(), new.present().spki());
        assert_eq!(tried, [was, is, was, is]);
        let done = new.known_by(&is).unwrap();
        assert!(
            (0..4).all(|attempt| done.for_link(attempt).spki() == is)
                && done.hand_over(&GatewayId::new([1; 16])).is_none()
        );
        assert_eq!(done.former_until(), Some(T), "devices have their time all the same");
        assert!(new.known_by(&was).is_none() && done.known_by(&is).is_none(), "no news");
        assert!(new.known_by(&SigningKey::random(&mut entropy).spki()).is_none(), "none of ours");
        // Nor does the end of that time take the controller's way from the gateway.
        assert_eq!(new.finished().unwrap().at_controller().spki(), was);
    }

    /// What the controller answers reaches the gateway or is lost, whatever its owner does meanwhile and wherever it is cut off.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Rotate,
        Replace,
        Finish,
        /// The link is tried, and the key handed over as far as this goes.
        Link {
            handed_over: bool,
            answered: bool,
        },
        Restart,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let link = (any::<bool>(), any::<bool>());
        let link = link.prop_map(|(handed_over, answered)| Step::Link { handed_over, answered });
        let owner = prop_oneof![Just(Step::Rotate), Just(Step::Replace), Just(Step::Finish), Just(Step::Restart)];
        prop::collection::vec(prop_oneof![owner, link], 0..40)
    }

    /// The next link under each of the keys in turn, until the controller knows one; its key then.
    fn linked(keys: &mut TlsKeys, controller: &mut Spki, (handed_over, answered): (bool, bool)) {
        let gateway = GatewayId::new([1; 16]);
        let found = (0..=UNTOLD as u64).map(|attempt| keys.for_link(attempt).spki()).find(|key| key == controller);
        assert!(found.is_some(), "the controller knows this gateway by none of its keys");
        *keys = keys.known_by(controller).unwrap_or_else(|| keys.clone());
        assert_eq!(keys.at_controller().spki(), *controller, "rows are signed by the key that it knows");
        let Some(told) = keys.hand_over(&gateway).filter(|_| handed_over) else { return };
        assert!(told.is_signed(&gateway, controller));
        *controller = told.spki;
        if answered {
            *keys = keys.known_by(controller).expect("it has another one");
        }
    }

    proptest! {
        #[test]
        fn whatever_answer_is_lost_the_controller_knows_the_gateway_by_one_of_its_keys(steps in steps()) {
            let (mut keys, mut entropy) = first();
            let mut controller = keys.present().spki();
            for step in steps {
                keys = match step {
                    Step::Rotate => keys.rotated(T, &mut entropy).unwrap_or(keys),
                    Step::Replace => keys.replaced(&mut entropy).unwrap_or(keys),
                    Step::Finish => keys.finished().unwrap_or(keys),
                    Step::Restart => TlsKeys::from_document(keys.present().clone(), keys.document()),
                    Step::Link { handed_over, answered } => {
                        linked(&mut keys, &mut controller, (handed_over, answered));
                        keys
                    }
                };
                prop_assert!(keys.names().len() <= 2 && keys.controller_has_one_of.len() <= UNTOLD);
            }
            linked(&mut keys, &mut controller, (true, true));
            prop_assert_eq!(controller, keys.present().spki());
            prop_assert!(keys.replaced(&mut entropy).is_ok());
        }
    }
}
