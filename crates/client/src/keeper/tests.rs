//! News of every kind, in every order.

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

    /// Silence that lasts, whatever is said into it.
    fn silent(&mut self) {
        self.input(Input::Silent);
        assert_eq!(self.due(), MOVE_WITHIN);
    }

    fn resumed(&mut self) {
        let expires = self.now + LIFE;
        self.input(Input::Resumed { expires });
    }
}

#[test]
fn a_broken_connection_is_taken_up_at_once() {
    for input in [Input::Broke, Input::Slept] {
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
fn a_changed_address_takes_the_connection_along() {
    let mut bench = Bench::new();
    bench.input(Input::AddressChanged);
    assert_eq!((bench.commands(), bench.events()), (vec![Command::Move], vec![]));
    bench.input(Input::Heard);
    assert_eq!((bench.commands(), bench.keeper.poll_timeout()), (vec![], None));
    // Twice in a row, before the gateway could answer.
    bench.input(Input::AddressChanged);
    bench.pass(MOVE_WITHIN / 2);
    bench.input(Input::AddressChanged);
    bench.pass(MOVE_WITHIN / 2);
    assert_eq!(bench.commands(), [Command::Move, Command::Move]);
    bench.input(Input::Heard);
    assert_eq!((bench.events(), bench.keeper.poll_timeout()), (vec![], None));
}

#[test]
fn who_is_not_followed_resumes_and_whichever_comes_first_counts() {
    let mut bench = Bench::new();
    bench.input(Input::AddressChanged);
    assert_eq!(bench.due(), MOVE_WITHIN);
    assert_eq!((bench.commands(), bench.events()), (vec![Command::Move, Command::Resume], vec![]));
    bench.resumed();
    assert_eq!(bench.events(), [Event::Resumed]);
    bench.input(Input::AddressChanged);
    bench.due();
    bench.input(Input::Heard);
    assert_eq!(bench.commands(), [Command::Move, Command::Resume, Command::Forget]);
    // An attempt from a network that was left is given up.
    bench.input(Input::AddressChanged);
    bench.due();
    bench.input(Input::AddressChanged);
    assert_eq!(bench.commands(), [Command::Move, Command::Resume, Command::Forget, Command::Move]);
    bench.input(Input::Broke);
    assert_eq!(bench.due(), Duration::ZERO);
    assert_eq!(bench.commands(), [Command::Abandon, Command::Resume]);
}

#[test]
fn silence_is_probed_beside_the_old_connection() {
    let mut bench = Bench::new();
    bench.silent();
    assert_eq!((bench.commands(), bench.events()), (vec![Command::Move, Command::Resume], vec![]));
    bench.input(Input::Silent);
    assert_eq!(bench.commands(), [], "one attempt is enough");
    bench.resumed();
    assert_eq!(bench.events(), [Event::Resumed]);
    // It was a gap: the answer comes before the attempt ends.
    bench.silent();
    bench.input(Input::Heard);
    assert_eq!((bench.commands(), bench.events()), (vec![Command::Move, Command::Resume, Command::Forget], vec![]));
    bench.silent();
    assert_eq!(bench.commands(), [Command::Move, Command::Resume], "and once more");
}

#[test]
fn a_probe_that_fails_leaves_the_old_connection_alone_for_a_while() {
    let mut bench = Bench::new();
    bench.silent();
    bench.input(Input::Failed(AWAY));
    bench.commands();
    bench.input(Input::Silent);
    assert_eq!((bench.commands(), bench.events()), (vec![], vec![]));
    bench.pass(backoff(PROBE_HEAD_START));
    bench.silent();
    assert_eq!(bench.commands(), [Command::Move, Command::Resume]);
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
    bench.silent();
    bench.input(Input::Failed(ClientError::SessionEnded(Reason::NoSession)));
    assert_eq!(bench.commands(), [Command::Move, Command::Resume, Command::Abandon]);
    assert_eq!(bench.events(), [Event::Over(ClientError::SessionEnded(Reason::NoSession))]);
}

fn inputs() -> impl Strategy<Value = Option<Input>> {
    prop_oneof![
        Just(None),
        Just(Some(Input::Broke)),
        Just(Some(Input::Silent)),
        Just(Some(Input::Heard)),
        Just(Some(Input::AddressChanged)),
        Just(Some(Input::Slept)),
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
                    Command::Move => prop_assert!(connected && !under_way),
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
            prop_assert!(bench.keeper.poll_timeout().is_some() || !idle);
            prop_assert!(bench.keeper.poll_timeout().is_none() || !over);
        }
    }
}
