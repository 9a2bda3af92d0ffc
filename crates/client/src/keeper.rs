//! R1, decided: when a session that lost its connection is taken up again, and when it is over.
//!
//! A pure machine with the verbs of all of ours. The shell ([`client`](crate::client)) tells it what happened and does what it
//! commands; it never sees a socket or a clock.

use crate::error::ClientError;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use vestibule_proto::entropy::{self, Entropy};
use vestibule_proto::session::Reason;

/// The first wait after a failed attempt; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The wait after a failed probe is that after so many failed attempts: what is probed may be alive.
const PROBE_HEAD_START: u32 = 4;
/// How long a gateway that shuts down is left alone.
const RESTART_WAIT: Duration = Duration::from_secs(1);

/// What happens to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The connection is gone, without a word of the gateway's.
    Broke,
    /// Packets of this machine leave from another address than the connection's: it can't live on.
    AddressChanged,
    /// The gateway has not answered for a while. Told again for as long as it doesn't.
    Silent,
    /// The gateway answers again.
    Heard,
    /// The gateway says why the session or the connection ends.
    Told(Reason),
    /// A commanded resumption succeeded; the session may live until then.
    Resumed {
        /// By the gateway's word at the resumption.
        expires: Instant,
    },
    /// A commanded resumption failed.
    Failed(ClientError),
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Let go of the connection: open streams are reset on their local sides.
    Abandon,
    /// Knock with purpose *resume*, dial, prove; then report [`Input::Resumed`] or [`Input::Failed`]. The connection before, if it
    /// was not let go of, is to be kept until then, and let go of when this one stands.
    Resume,
    /// Give the attempt up that is under way: the connection before lives after all.
    Forget,
}

/// What the person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The connection is gone; the session is being taken up again.
    Reconnecting {
        /// What the last attempt met, if there was one.
        last: Option<ClientError>,
        /// How long until the next attempt.
        wait: Duration,
    },
    /// The session goes on over a new connection.
    Resumed,
    /// The session is over. Going on takes the password.
    Over(ClientError),
}

/// The machine.
pub struct Keeper {
    state: State,
    expires: Instant,
    commands: VecDeque<Command>,
    events: VecDeque<Event>,
}

/// Named for what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Connected; so far, or again. Not probed before that time.
    ExpectBreak { quiet_until: Instant, failures: u32 },
    /// Connected to somebody who does not answer: whether a new connection comes about is tried meanwhile. If the network is gone
    /// none does, and the streams of the old one may survive.
    ExpectEither { failures: u32 },
    /// Disconnected; the next attempt is due then.
    ExpectDue { due: Instant, failures: u32 },
    /// An attempt is under way. `stale`: the addresses have changed since it began.
    ExpectOutcome { failures: u32, stale: bool },
    /// Over.
    Over,
}

impl Keeper {
    /// For a session that stands, and may live until `expires`.
    #[must_use]
    pub fn new(expires: Instant, now: Instant) -> Self {
        let state = State::ExpectBreak { quiet_until: now, failures: 0 };
        Self { state, expires, commands: VecDeque::new(), events: VecDeque::new() }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, input: Input, now: Instant, entropy: &mut dyn Entropy) {
        match self.state {
            State::ExpectBreak { quiet_until, failures } => {
                self.while_connected(input, quiet_until, failures, now, entropy)
            }
            State::ExpectEither { failures } => self.while_probing(input, failures, now, entropy),
            State::ExpectDue { .. } => self.while_waiting(&input, now),
            State::ExpectOutcome { failures, stale } => self.while_resuming(input, failures, stale, now, entropy),
            State::Over => {}
        }
    }

    fn while_connected(
        &mut self,
        input: Input,
        quiet_until: Instant,
        failures: u32,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) {
        match input {
            Input::Silent if now >= quiet_until => {
                self.state = State::ExpectEither { failures };
                self.commands.push_back(Command::Resume);
            }
            Input::Heard => self.state = State::ExpectBreak { quiet_until: now, failures: 0 },
            Input::Broke | Input::AddressChanged => self.lose(now, Duration::ZERO),
            Input::Told(reason) => self.told(reason, now, entropy),
            // Silence that was probed just now, or news of no attempt of ours.
            Input::Silent | Input::Resumed { .. } | Input::Failed(_) => {}
        }
    }

    fn while_probing(&mut self, input: Input, failures: u32, now: Instant, entropy: &mut dyn Entropy) {
        match input {
            Input::Silent => {}
            Input::Heard => {
                self.commands.push_back(Command::Forget);
                self.state = State::ExpectBreak { quiet_until: now, failures: 0 };
            }
            // The attempt that is under way goes on; from another network it would come to nothing.
            Input::Broke | Input::AddressChanged => {
                self.commands.push_back(Command::Abandon);
                self.state = State::ExpectOutcome { failures: 0, stale: input == Input::AddressChanged };
                self.events.push_back(Event::Reconnecting { last: None, wait: Duration::ZERO });
            }
            Input::Told(reason) => {
                self.commands.push_back(Command::Forget);
                self.told(reason, now, entropy);
            }
            Input::Resumed { expires } => self.resumed(expires, now),
            Input::Failed(error) if error.is_passing() => {
                let quiet_until = now + jittered(backoff(failures + PROBE_HEAD_START), entropy);
                self.state = State::ExpectBreak { quiet_until, failures: failures.saturating_add(1) };
            }
            Input::Failed(error) => {
                self.commands.push_back(Command::Abandon);
                self.end(error);
            }
        }
    }

    fn while_waiting(&mut self, input: &Input, now: Instant) {
        match input {
            // Another network may reach what the last one did not: no reason to wait out the backoff.
            Input::AddressChanged => self.wait(None, now, Duration::ZERO, 0),
            // News of a connection that was let go of already, or of no attempt of ours.
            Input::Broke | Input::Silent | Input::Heard | Input::Told(_) | Input::Resumed { .. } | Input::Failed(_) => {
            }
        }
    }

    fn while_resuming(&mut self, input: Input, failures: u32, stale: bool, now: Instant, entropy: &mut dyn Entropy) {
        match input {
            Input::AddressChanged => self.state = State::ExpectOutcome { failures, stale: true },
            Input::Resumed { expires } => self.resumed(expires, now),
            Input::Failed(error) => self.fail(error, failures, stale, now, entropy),
            // News of a connection that was let go of already.
            Input::Broke | Input::Silent | Input::Heard | Input::Told(_) => {}
        }
    }

    /// Takes in that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let State::ExpectDue { due, failures } = self.state else { return };
        if now >= self.expires {
            self.end(ClientError::SessionEnded(Reason::Expired));
        } else if now >= due {
            self.state = State::ExpectOutcome { failures, stale: false };
            self.commands.push_back(Command::Resume);
        }
    }

    /// When [`Keeper::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::ExpectDue { due, .. } => Some(due.min(self.expires)),
            State::ExpectBreak { .. } | State::ExpectEither { .. } | State::ExpectOutcome { .. } | State::Over => None,
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When the session's time is over.
    #[must_use]
    pub fn expires(&self) -> Instant {
        self.expires
    }

    fn told(&mut self, reason: Reason, now: Instant, entropy: &mut dyn Entropy) {
        if reason == Reason::ShuttingDown {
            return self.lose(now, jittered(RESTART_WAIT, entropy));
        }
        self.commands.push_back(Command::Abandon);
        self.end(ClientError::from_reason(reason));
    }

    fn resumed(&mut self, expires: Instant, now: Instant) {
        self.state = State::ExpectBreak { quiet_until: now, failures: 0 };
        self.expires = expires;
        self.events.push_back(Event::Resumed);
    }

    fn lose(&mut self, now: Instant, wait: Duration) {
        self.commands.push_back(Command::Abandon);
        self.wait(None, now, wait, 0);
    }

    fn fail(&mut self, error: ClientError, failures: u32, stale: bool, now: Instant, entropy: &mut dyn Entropy) {
        if !error.is_passing() {
            return self.end(error);
        }
        let wait = if stale { Duration::ZERO } else { jittered(backoff(failures), entropy).max(asked_wait(&error)) };
        self.wait(Some(error), now, wait, failures.saturating_add(1));
    }

    fn wait(&mut self, last: Option<ClientError>, now: Instant, wait: Duration, failures: u32) {
        self.state = State::ExpectDue { due: now + wait, failures };
        self.events.push_back(Event::Reconnecting { last, wait });
    }

    fn end(&mut self, error: ClientError) {
        self.state = State::Over;
        self.events.push_back(Event::Over(error));
    }
}

/// The wait after so many failures before this one.
fn backoff(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT)
}

/// What the gateway itself asked for.
fn asked_wait(error: &ClientError) -> Duration {
    if let ClientError::Refused { retry_after, .. } = error { *retry_after } else { Duration::ZERO }
}

/// Between half and all of `wait`, in whole milliseconds, so that a thousand clients of a gateway that came back don't knock at once.
fn jittered(wait: Duration, entropy: &mut dyn Entropy) -> Duration {
    let share = f64::from(u16::from_be_bytes(entropy::bytes(entropy))) / f64::from(u16::MAX);
    Duration::from_millis(wait.mul_f64(0.5 + share / 2.0).as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::GatewayAway;
    use proptest::prelude::*;
    use vestibule_proto::entropy::SeededEntropy;

    const LIFE: Duration = Duration::from_secs(3600);
    const AWAY: ClientError = ClientError::GatewayAway(GatewayAway::Controller);

    struct Bench {
        keeper: Keeper,
        now: Instant,
        entropy: SeededEntropy,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self { keeper: Keeper::new(now + LIFE, now), now, entropy: SeededEntropy::new(1) }
        }

        fn input(&mut self, input: Input) {
            self.keeper.handle_input(input, self.now, &mut self.entropy);
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.keeper.handle_timeout(self.now);
        }

        /// Lets time pass until the machine's next deadline; says how long that was.
        fn due(&mut self) -> Duration {
            let wait = self.keeper.poll_timeout().expect("a deadline").saturating_duration_since(self.now);
            self.pass(wait);
            wait
        }

        fn commands(&mut self) -> Vec<Command> {
            std::iter::from_fn(|| self.keeper.poll_command()).collect()
        }

        fn events(&mut self) -> Vec<Event> {
            std::iter::from_fn(|| self.keeper.poll_event()).collect()
        }

        fn resumed(&mut self) {
            let expires = self.now + LIFE;
            self.input(Input::Resumed { expires });
        }
    }

    #[test]
    fn a_broken_connection_is_taken_up_at_once() {
        for input in [Input::Broke, Input::AddressChanged] {
            let mut bench = Bench::new();
            assert_eq!(bench.keeper.poll_timeout(), None);
            bench.input(input);
            assert_eq!(bench.events(), [Event::Reconnecting { last: None, wait: Duration::ZERO }]);
            assert_eq!(bench.due(), Duration::ZERO);
            assert_eq!(bench.commands(), [Command::Abandon, Command::Resume]);
            assert_eq!(bench.keeper.poll_timeout(), None);
            bench.resumed();
            assert_eq!(bench.events(), [Event::Resumed]);
            bench.input(Input::Broke);
            bench.due();
            assert_eq!(bench.commands(), [Command::Abandon, Command::Resume], "and again");
        }
    }

    #[test]
    fn a_gateway_that_shuts_down_gets_a_moment() {
        let mut bench = Bench::new();
        bench.input(Input::Told(Reason::ShuttingDown));
        assert_eq!(bench.commands(), [Command::Abandon]);
        // The connection's own end follows and changes nothing.
        bench.input(Input::Broke);
        assert!(bench.due() >= RESTART_WAIT / 2);
        assert_eq!(bench.commands(), [Command::Resume]);
    }

    #[test]
    fn what_the_gateway_ends_is_over() {
        for reason in [Reason::Revoked, Reason::Expired, Reason::Idle, Reason::SignedOff, Reason::NoSession] {
            let mut bench = Bench::new();
            bench.input(Input::Told(reason));
            assert_eq!(bench.commands(), [Command::Abandon]);
            assert_eq!(bench.events(), [Event::Over(ClientError::SessionEnded(reason))]);
            bench.input(Input::Broke);
            bench.pass(2 * LIFE);
            assert_eq!((bench.commands(), bench.keeper.poll_timeout()), (vec![], None));
        }
    }

    #[test]
    fn waits_grow_to_a_bound_and_are_jittered() {
        let mut bench = Bench::new();
        bench.input(Input::Broke);
        bench.due();
        let mut waits = Vec::new();
        for _ in 0..12 {
            bench.input(Input::Failed(AWAY));
            waits.push(bench.due());
            assert_eq!(bench.commands().last(), Some(&Command::Resume));
        }
        for (failures, wait) in waits.iter().enumerate() {
            let full = backoff(failures as u32);
            assert!(full / 2 <= *wait && *wait <= full, "{failures}: {wait:?}");
        }
        assert_eq!(backoff(7), LONGEST_WAIT);
        assert_eq!(backoff(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn a_wait_that_the_gateway_asks_for_is_kept() {
        let mut bench = Bench::new();
        bench.input(Input::Broke);
        bench.due();
        bench.input(Input::Failed(ClientError::from_reason(Reason::Wait { seconds: 120 })));
        assert_eq!(bench.due(), Duration::from_secs(120));
    }

    #[test]
    fn a_session_that_is_gone_needs_the_password() {
        for error in [
            ClientError::SessionEnded(Reason::NoSession),
            ClientError::SessionEnded(Reason::Expired),
            ClientError::from_reason(Reason::Suspended),
            ClientError::ClockFarOff { offset_ms: 1 },
        ] {
            let mut bench = Bench::new();
            bench.input(Input::Broke);
            bench.due();
            bench.events();
            bench.input(Input::Failed(error.clone()));
            assert_eq!(bench.events(), [Event::Over(error)]);
            assert_eq!(bench.keeper.poll_timeout(), None);
        }
    }

    #[test]
    fn a_new_network_is_tried_at_once() {
        let mut bench = Bench::new();
        bench.input(Input::Broke);
        for _ in 0..8 {
            bench.due();
            bench.input(Input::Failed(AWAY));
        }
        bench.input(Input::AddressChanged);
        assert_eq!(bench.due(), Duration::ZERO);
        bench.commands();
        // While an attempt is under way the news waits for its outcome.
        bench.input(Input::AddressChanged);
        assert_eq!(bench.commands(), []);
        bench.input(Input::Failed(AWAY));
        assert_eq!(bench.due(), Duration::ZERO);
        assert_eq!(bench.commands(), [Command::Resume]);
    }

    #[test]
    fn without_a_connection_the_session_expires() {
        let mut bench = Bench::new();
        bench.input(Input::Broke);
        bench.due();
        let mut ended = false;
        for _ in 0..1_000 {
            bench.input(Input::Failed(AWAY));
            if bench.keeper.poll_timeout().is_none() {
                ended = true;
                break;
            }
            bench.due();
        }
        assert!(ended);
        assert_eq!(bench.events().last(), Some(&Event::Over(ClientError::SessionEnded(Reason::Expired))));
        assert!(bench.now <= bench.keeper.expires() + LONGEST_WAIT);
    }

    #[test]
    fn silence_is_probed_beside_the_old_connection() {
        let mut bench = Bench::new();
        bench.input(Input::Silent);
        assert_eq!((bench.commands(), bench.events()), (vec![Command::Resume], vec![]));
        bench.input(Input::Silent);
        assert_eq!(bench.commands(), [], "one attempt is enough");
        bench.resumed();
        assert_eq!(bench.events(), [Event::Resumed]);
        // It was a gap: the answer comes before the attempt ends.
        bench.input(Input::Silent);
        bench.input(Input::Heard);
        assert_eq!((bench.commands(), bench.events()), (vec![Command::Resume, Command::Forget], vec![]));
        bench.input(Input::Silent);
        assert_eq!(bench.commands(), [Command::Resume], "and once more");
    }

    #[test]
    fn a_probe_that_fails_leaves_the_old_connection_alone_for_a_while() {
        let mut bench = Bench::new();
        bench.input(Input::Silent);
        bench.input(Input::Failed(AWAY));
        bench.commands();
        bench.input(Input::Silent);
        assert_eq!((bench.commands(), bench.events()), (vec![], vec![]));
        bench.pass(backoff(PROBE_HEAD_START));
        bench.input(Input::Silent);
        assert_eq!(bench.commands(), [Command::Resume]);
        // The old connection times out while this attempt is under way: it counts.
        bench.input(Input::Broke);
        assert_eq!(bench.commands(), [Command::Abandon]);
        assert_eq!(bench.events(), [Event::Reconnecting { last: None, wait: Duration::ZERO }]);
        bench.resumed();
        assert_eq!(bench.events(), [Event::Resumed]);
    }

    #[test]
    fn a_probe_may_find_that_the_session_is_gone() {
        let mut bench = Bench::new();
        bench.input(Input::Silent);
        bench.input(Input::Failed(ClientError::SessionEnded(Reason::NoSession)));
        assert_eq!(bench.commands(), [Command::Resume, Command::Abandon]);
        assert_eq!(bench.events(), [Event::Over(ClientError::SessionEnded(Reason::NoSession))]);
    }

    fn inputs() -> impl Strategy<Value = Option<Input>> {
        prop_oneof![
            Just(None),
            Just(Some(Input::Broke)),
            Just(Some(Input::Silent)),
            Just(Some(Input::Heard)),
            Just(Some(Input::AddressChanged)),
            Just(Some(Input::Told(Reason::ShuttingDown))),
            Just(Some(Input::Told(Reason::Revoked))),
            Just(Some(Input::Failed(AWAY))),
            Just(Some(Input::Failed(ClientError::SessionEnded(Reason::NoSession)))),
            Just(Some(Input::Resumed { expires: Instant::now() + LIFE })),
        ]
    }

    proptest! {
        /// In any order of any news: at most one attempt is under way, none after the end, and whenever the session is neither
        /// connected, nor being resumed, nor over, there is a deadline.
        #[test]
        fn never_two_attempts_never_stuck(inputs in prop::collection::vec(inputs(), 0..60)) {
            let mut bench = Bench::new();
            let (mut under_way, mut connected, mut over) = (false, true, false);
            for input in inputs {
                match input {
                    Some(Input::Failed(_) | Input::Resumed { .. }) if !under_way => continue,
                    Some(input) => {
                        under_way &= !matches!(input, Input::Failed(_) | Input::Resumed { .. });
                        bench.input(input);
                    }
                    None => bench.pass(Duration::from_secs(1)),
                }
                for command in bench.commands() {
                    prop_assert!(!over || command == Command::Abandon);
                    match command {
                        Command::Resume => {
                            prop_assert!(!under_way);
                            under_way = true;
                        }
                        Command::Forget => {
                            prop_assert!(under_way && connected);
                            under_way = false;
                        }
                        Command::Abandon => {
                            prop_assert!(connected);
                            connected = false;
                        }
                    }
                }
                for event in bench.events() {
                    prop_assert!(!over);
                    connected |= event == Event::Resumed;
                    over |= matches!(event, Event::Over(_));
                }
                let idle = !connected && !under_way && !over;
                prop_assert_eq!(bench.keeper.poll_timeout().is_some(), idle);
            }
        }
    }
}
