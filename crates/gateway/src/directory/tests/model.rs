//! The directory against a model that a reader checks in his head: maps in memory.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use vestibule_proto::admission::DeviceKind;
use vestibule_proto::id::KnockId;

use super::*;

const USERS: [&str; 3] = ["alice", "bob", "carol"];

#[derive(Clone, Debug)]
enum Step {
    AddUser(usize),
    RemoveUser(usize),
    Suspend(usize),
    Resume(usize),
    Invite(usize),
    RevokeInvitation(usize),
    Register(usize),
    Confirm(usize),
    RevokeDevice(usize),
    Guess(usize),
    ResumeDevice(usize),
    LogIn(usize),
    EndSession(usize),
    Remember(usize, u64),
    Wait(u64),
    Forget,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..8_usize;
    prop_oneof![
        3 => (0..3_usize).prop_map(Step::AddUser),
        1 => (0..3_usize).prop_map(Step::RemoveUser),
        1 => (0..3_usize).prop_map(Step::Suspend),
        2 => (0..3_usize).prop_map(Step::Resume),
        4 => (0..3_usize).prop_map(Step::Invite),
        1 => any.clone().prop_map(Step::RevokeInvitation),
        5 => any.clone().prop_map(Step::Register),
        6 => any.clone().prop_map(Step::Confirm),
        1 => any.clone().prop_map(Step::RevokeDevice),
        3 => any.clone().prop_map(Step::Guess),
        1 => any.clone().prop_map(Step::ResumeDevice),
        5 => any.clone().prop_map(Step::LogIn),
        2 => any.clone().prop_map(Step::EndSession),
        4 => (any, 0..4_u64).prop_map(|(device, knock)| Step::Remember(device, knock)),
        3 => prop_oneof![Just(30), Just(700), Just(4_000), Just(90_000)].prop_map(Step::Wait),
        2 => Just(Step::Forget),
        1 => Just(Step::Restart),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Pending,
    Active,
    Revoked,
}

#[derive(Clone, Debug)]
struct ModelInvitation {
    id: DeviceId,
    user: usize,
    expires: Stamp,
    state: InvitationState,
    by: Option<DeviceId>,
}

#[derive(Clone, Debug)]
struct ModelDevice {
    id: DeviceId,
    user: usize,
    invitation: DeviceId,
    stage: Stage,
    created: Stamp,
    guesses: u8,
}

#[derive(Clone, Debug)]
struct ModelSession {
    id: SessionId,
    user: usize,
    device: DeviceId,
    expires: Stamp,
    idle_at: Stamp,
    ended: bool,
}

/// What should be there. Seconds since `T` are the clock.
#[derive(Default)]
struct Model {
    now: u64,
    /// User → suspended.
    users: BTreeMap<usize, bool>,
    invitations: Vec<ModelInvitation>,
    devices: Vec<ModelDevice>,
    sessions: Vec<ModelSession>,
    seen: BTreeSet<(DeviceId, KnockId)>,
    numbers: u64,
}

impl Model {
    fn now(&self) -> Stamp {
        later(self.now)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn is_good(&self, user: usize) -> bool {
        self.users.get(&user) == Some(&false)
    }

    fn is_usable(&self, invitation: &ModelInvitation) -> bool {
        invitation.state == InvitationState::Open && self.now() < invitation.expires && self.is_good(invitation.user)
    }

    fn end_sessions(&mut self, which: impl Fn(&ModelSession) -> bool) {
        self.sessions.iter_mut().filter(|session| which(session)).for_each(|session| session.ended = true);
    }

    fn forget_device(&mut self, id: DeviceId) {
        self.devices.retain(|device| device.id != id);
        self.seen.retain(|(device, _)| *device != id);
    }
}

struct Pair {
    root: tempfile::TempDir,
    directory: Directory,
    model: Model,
}

impl Pair {
    async fn step(&mut self, step: Step) {
        let now = self.model.now();
        match step {
            Step::AddUser(user) => {
                let done = self.directory.add_user(name(USERS[user]), &[], now).await;
                assert_eq!(done.is_ok(), !self.model.users.contains_key(&user));
                self.model.users.entry(user).or_insert(false);
            }
            Step::RemoveUser(user) => self.remove_user(user).await,
            Step::Suspend(user) => {
                let done = self.directory.suspend_user(name(USERS[user]), now).await;
                assert_eq!(done.is_ok(), self.model.users.contains_key(&user));
                self.model.users.entry(user).and_modify(|suspended| *suspended = true);
                self.model.end_sessions(|session| session.user == user);
            }
            Step::Resume(user) => {
                let done = self.directory.resume_user(name(USERS[user]), now).await;
                assert_eq!(done.is_ok(), self.model.users.contains_key(&user));
                self.model.users.entry(user).and_modify(|suspended| *suspended = false);
            }
            Step::Invite(user) => self.invite(user).await,
            Step::RevokeInvitation(index) => self.revoke_invitation(index).await,
            Step::Register(index) => self.register(index).await,
            Step::Confirm(index) => self.confirm(index).await,
            Step::RevokeDevice(index) => self.revoke_device(index).await,
            Step::Guess(index) => self.guess(index).await,
            Step::ResumeDevice(index) => self.resume_device(index).await,
            Step::LogIn(index) => self.log_in(index).await,
            Step::EndSession(index) => self.end_session(index).await,
            Step::Remember(index, knock) => self.remember(index, knock).await,
            Step::Wait(seconds) => self.model.now += seconds,
            Step::Forget => self.forget().await,
            Step::Restart => self.directory = open_in(&self.root),
        }
    }

    async fn remove_user(&mut self, user: usize) {
        let done = self.directory.remove_user(name(USERS[user]), self.model.now()).await;
        assert_eq!(done.is_ok(), self.model.users.remove(&user).is_some());
        self.model.end_sessions(|session| session.user == user);
        self.model.invitations.retain(|invitation| invitation.user != user);
        let gone: Vec<_> = self.model.devices.iter().filter(|device| device.user == user).map(|d| d.id).collect();
        gone.into_iter().for_each(|id| self.model.forget_device(id));
    }

    async fn invite(&mut self, user: usize) {
        let (number, now) = (self.model.number(), self.model.now());
        let mut entropy = SeededEntropy::new(1_000_000 + number);
        let done = self.directory.invite(name(USERS[user]), DAY, now, &mut entropy).await;
        assert_eq!(done.is_ok(), self.model.is_good(user));
        if let Ok((issued, _)) = done {
            self.model.invitations.push(ModelInvitation {
                id: issued.id,
                user,
                expires: issued.expires,
                state: InvitationState::Open,
                by: None,
            });
        }
    }

    async fn revoke_invitation(&mut self, index: usize) {
        let Some(invitation) = pick(&self.model.invitations, index) else { return };
        let done = self.directory.revoke_invitation(invitation.id, self.model.now()).await;
        assert_eq!(done.is_ok(), invitation.state != InvitationState::Used);
        if done.is_ok() {
            self.set_invitation(invitation.id, InvitationState::Revoked, None);
            self.forget_pending(invitation.id);
        }
    }

    async fn register(&mut self, index: usize) {
        let Some(invitation) = pick(&self.model.invitations, index) else { return };
        let (number, now) = (self.model.number(), self.model.now());
        let new = new_device(number);
        let id = new.id;
        let done = self.directory.register_device(invitation.id, new, now, &mut SeededEntropy::new(number)).await;
        assert_eq!(done.is_ok(), self.model.is_usable(&invitation), "{:?}", done.err());
        if done.is_ok() {
            let pending = |device: &&ModelDevice| device.invitation == invitation.id && device.stage == Stage::Pending;
            let mut pending: Vec<_> = self.model.devices.iter().filter(pending).map(|d| (d.created, d.id)).collect();
            // The newest stay; of one age those with the lower ids.
            pending.sort_by_key(|(created, id)| (std::cmp::Reverse(*created), *id));
            for (_, id) in pending.into_iter().skip(PENDING_PER_INVITATION as usize - 1) {
                self.model.forget_device(id);
            }
            let (user, invitation) = (invitation.user, invitation.id);
            let stage = Stage::Pending;
            self.model.devices.push(ModelDevice { id, user, invitation, stage, created: now, guesses: 0 });
        }
    }

    async fn confirm(&mut self, index: usize) {
        let Some(device) = pick(&self.model.devices, index) else { return };
        let invitation = self.model.invitations.iter().find(|one| one.id == device.invitation).cloned();
        let expected = invitation.is_some_and(|invitation| {
            let again = invitation.by == Some(device.id) && device.stage == Stage::Active;
            again || (self.model.is_usable(&invitation) && device.stage == Stage::Pending)
        });
        let done = self.directory.confirm_device(device.invitation, device.id, self.model.now()).await;
        assert_eq!(done.is_ok(), expected, "{:?}", done.err());
        if done.is_ok() && device.stage == Stage::Pending {
            let now = self.model.now();
            self.change_device(device.id, |device| (device.stage, device.created) = (Stage::Active, now));
            self.set_invitation(device.invitation, InvitationState::Used, Some(device.id));
            self.forget_pending(device.invitation);
        }
    }

    async fn revoke_device(&mut self, index: usize) {
        let Some(device) = pick(&self.model.devices, index) else { return };
        let done = self.directory.revoke_device(device.id, self.model.now()).await;
        assert!(done.is_ok(), "{:?}", done.err());
        self.change_device(device.id, |device| device.stage = Stage::Revoked);
        self.model.end_sessions(|session| session.device == device.id);
    }

    async fn guess(&mut self, index: usize) {
        let Some(device) = pick(&self.model.devices, index) else { return };
        let count = self.directory.count_guess(device.id, address(), self.model.now()).await.unwrap();
        assert_eq!(count.count, device.guesses.saturating_add(1));
        self.change_device(device.id, |device| device.guesses = count.count);
    }

    async fn resume_device(&mut self, index: usize) {
        let Some(device) = pick(&self.model.devices, index) else { return };
        let done = self.directory.resume_device(device.id, self.model.now()).await;
        assert_eq!(done.is_ok(), device.stage == Stage::Active);
        if done.is_ok() && device.guesses >= 20 {
            self.change_device(device.id, |device| device.guesses = 0);
        }
    }

    async fn log_in(&mut self, index: usize) {
        let Some(device) = pick(&self.model.devices, index) else { return };
        let now = self.model.now();
        let guess = match self.directory.begin_guess(device.id, address(), now).await.unwrap() {
            GuessAnswer::Counted(guess) => guess,
            GuessAnswer::Suspended => return assert!(device.guesses >= 20),
            GuessAnswer::Wait(_) => return assert!((5..20).contains(&device.guesses)),
            GuessAnswer::Unknown => panic!("it is known"),
        };
        let number = self.model.number();
        let new = NewSession {
            id: SessionId::random(&mut SeededEntropy::new(number)),
            expires: now.saturating_add(Duration::from_secs(3_600)),
            ..new_session(1, USERS[device.user])
        };
        let (id, expires) = (new.id, new.expires);
        let done = self.directory.begin_session(new, guess, now).await;
        assert_eq!(done.is_ok(), device.stage == Stage::Active && self.model.is_good(device.user), "{done:?}");
        let guesses = if done.is_ok() { 0 } else { device.guesses + 1 };
        self.change_device(device.id, |device| device.guesses = guesses);
        if done.is_ok() {
            let idle_at = now.saturating_add(Duration::from_secs(600));
            let (user, device) = (device.user, device.id);
            self.model.sessions.push(ModelSession { id, user, device, expires, idle_at, ended: false });
        }
    }

    async fn end_session(&mut self, index: usize) {
        let Some(session) = pick(&self.model.sessions, index) else { return };
        let effects = self.directory.end_session(session.id, EndReason::SignedOff, self.model.now()).await.unwrap();
        assert_eq!(effects.is_empty(), session.ended);
        self.model.end_sessions(|one| one.id == session.id);
    }

    async fn remember(&mut self, index: usize, knock: u64) {
        let Some(device) = pick(&self.model.devices, index) else { return };
        // A client stamps with its clock: a knock of the same number is the same only within the same moment.
        let knock = KnockId::random(&mut SeededEntropy::new(self.model.now * 10 + knock));
        let fresh = self.directory.remember(device.id, knock, self.model.now()).await.unwrap();
        assert_eq!(fresh, self.model.seen.insert((device.id, knock)));
    }

    async fn forget(&mut self) {
        let now = self.model.now();
        self.directory.forget_due(now).await.unwrap();
        self.model.end_sessions(|session| now >= session.expires || now >= session.idle_at.saturating_add(2 * MINUTE));
        self.model.invitations.retain(|invitation| now <= invitation.expires.saturating_add(INVITATION_KEPT));
        let pending =
            |device: &&ModelDevice| device.stage == Stage::Pending && now > device.created.saturating_add(PENDING_KEPT);
        let gone: Vec<_> = self.model.devices.iter().filter(pending).map(|device| device.id).collect();
        gone.into_iter().for_each(|id| self.model.forget_device(id));
    }

    /// Everything that can be asked agrees.
    async fn compare(&self) {
        let (directory, model) = (&self.directory, &self.model);
        let users: BTreeMap<_, _> =
            directory.users().await.unwrap().into_iter().map(|user| (user.name.to_string(), user.suspended)).collect();
        let expected = model.users.iter().map(|(user, suspended)| (USERS[*user].to_owned(), *suspended)).collect();
        assert_eq!(users, expected);

        let state = |device: &ModelDevice| match device.stage {
            Stage::Pending => DeviceState::Pending,
            Stage::Active if device.guesses >= 20 => DeviceState::Suspended,
            Stage::Active => DeviceState::Active,
            Stage::Revoked => DeviceState::Revoked,
        };
        let devices: BTreeMap<_, _> = directory
            .devices(None)
            .await
            .unwrap()
            .into_iter()
            .map(|device| (device.id, (format!("{:?}", device.state), device.guesses.count)))
            .collect();
        let expected =
            model.devices.iter().map(|device| (device.id, (format!("{:?}", state(device)), device.guesses))).collect();
        assert_eq!(devices, expected);

        // Published and admissible: what is neither pending nor revoked, and invitations that are not withdrawn.
        let admissible: BTreeMap<_, _> = directory
            .admissible()
            .await
            .unwrap()
            .into_iter()
            .map(|one| (one.device, (one.revoked, matches!(one.kind, DeviceKind::Invitation { used: true, .. }))))
            .collect();
        let of_devices = model
            .devices
            .iter()
            .filter(|device| device.stage != Stage::Pending)
            .map(|device| (device.id, (device.stage == Stage::Revoked || !model.is_good(device.user), false)));
        let of_invitations = model.invitations.iter().map(|one| {
            let revoked = one.state == InvitationState::Revoked || !model.is_good(one.user);
            (one.id, (revoked, one.state == InvitationState::Used))
        });
        assert_eq!(admissible, of_devices.chain(of_invitations).collect());
        let published = directory.published_rows().await.unwrap().len();
        let active = model.devices.iter().filter(|device| device.stage == Stage::Active).count();
        let invited = model.invitations.iter().filter(|one| one.state != InvitationState::Revoked).count();
        assert_eq!(published, active + invited);

        let live: BTreeSet<_> =
            directory.live_sessions(model.now()).await.unwrap().into_iter().map(|session| session.id).collect();
        let now = model.now();
        let lives = |session: &&ModelSession| !session.ended && now < session.expires && now < session.idle_at;
        assert_eq!(live, model.sessions.iter().filter(lives).map(|session| session.id).collect());
    }

    fn change_device(&mut self, id: DeviceId, change: impl Fn(&mut ModelDevice)) {
        self.model.devices.iter_mut().filter(|device| device.id == id).for_each(change);
    }

    fn set_invitation(&mut self, id: DeviceId, state: InvitationState, by: Option<DeviceId>) {
        let found = self.model.invitations.iter_mut().filter(|invitation| invitation.id == id);
        found.for_each(|invitation| (invitation.state, invitation.by) = (state, by));
    }

    fn forget_pending(&mut self, invitation: DeviceId) {
        let pending = |device: &&ModelDevice| device.invitation == invitation && device.stage == Stage::Pending;
        let gone: Vec<_> = self.model.devices.iter().filter(pending).map(|device| device.id).collect();
        gone.into_iter().for_each(|id| self.model.forget_device(id));
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn pick<T: Clone>(list: &[T], index: usize) -> Option<T> {
    (!list.is_empty()).then(|| list[index % list.len()].clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_simple_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (root, directory) = directory();
        let mut pair = Pair { root, directory, model: Model::default() };
        runtime.block_on(async {
            for step in steps {
                pair.step(step).await;
                pair.compare().await;
            }
        });
    }
}
