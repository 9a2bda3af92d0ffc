//! R1, decided: when a session that lost its connection is taken up again, and when it is over.
//!
//! A pure machine with the verbs of all of ours. The shell ([`client`](crate::client)) tells it what happened and does what it
//! commands; it never sees a socket or a clock.

#[cfg(test)]
mod tests;

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
/// How long the gateway may take to answer at this machine's new address before a new connection is tried as well.
const MOVE_WITHIN: Duration = Duration::from_secs(2);
/// How long a gateway that shuts down is left alone.
const RESTART_WAIT: Duration = Duration::from_secs(1);

/// What happens to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The connection is gone, without a word of the gateway's.
    Broke,
    /// Packets of this machine leave from another address than the connection's: it lives on if the gateway follows it there.
    AddressChanged,
    /// This machine has slept for so long that the gateway has given the connection up.
    Slept,
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
    /// Say "I moved", and go on from this machine's address of now (R2); then report [`Input::Heard`] once the gateway answers
    /// there. One that is being said is given up for this one.
    Move,
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
    /// Connected, and on the way to another address, whether this machine's or what a NAT has made of it. Until then nothing else
    /// is tried.
    ExpectMoved { until: Instant, failures: u32 },
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
            State::ExpectMoved { .. } => self.while_moving(input, now, entropy),
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
            // A NAT may have given its packets another source: nobody tells.
            Input::Silent if now >= quiet_until => self.go_over(now, failures),
            Input::AddressChanged => self.go_over(now, 0),
            Input::Heard => self.state = State::ExpectBreak { quiet_until: now, failures: 0 },
            Input::Broke | Input::Slept => self.lose(now, Duration::ZERO),
            Input::Told(reason) => self.told(reason, now, entropy),
            // Silence that was probed just now, or news of no attempt of ours.
            Input::Silent | Input::Resumed { .. } | Input::Failed(_) => {}
        }
    }

    fn while_moving(&mut self, input: Input, now: Instant, entropy: &mut dyn Entropy) {
        match input {
            Input::Heard => self.state = State::ExpectBreak { quiet_until: now, failures: 0 },
            Input::AddressChanged => self.go_over(now, 0),
            Input::Broke | Input::Slept => self.lose(now, Duration::ZERO),
            Input::Told(reason) => self.told(reason, now, entropy),
            // It is known already, or news of no attempt of ours.
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
            // The attempt comes from a network that this machine has left.
            Input::AddressChanged => {
                self.commands.push_back(Command::Forget);
                self.go_over(now, 0);
            }
            // The attempt that is under way goes on; from another network it would come to nothing.
            Input::Broke | Input::Slept => {
                self.commands.push_back(Command::Abandon);
                self.state = State::ExpectOutcome { failures: 0, stale: input == Input::Slept };
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
            Input::AddressChanged | Input::Slept => self.wait(None, now, Duration::ZERO, 0),
            // News of a connection that was let go of already, or of no attempt of ours.
            Input::Broke | Input::Silent | Input::Heard | Input::Told(_) | Input::Resumed { .. } | Input::Failed(_) => {
            }
        }
    }

    fn while_resuming(&mut self, input: Input, failures: u32, stale: bool, now: Instant, entropy: &mut dyn Entropy) {
        match input {
            Input::AddressChanged | Input::Slept => self.state = State::ExpectOutcome { failures, stale: true },
            Input::Resumed { expires } => self.resumed(expires, now),
            Input::Failed(error) => self.fail(error, failures, stale, now, entropy),
            // News of a connection that was let go of already.
            Input::Broke | Input::Silent | Input::Heard | Input::Told(_) => {}
        }
    }

    /// Takes in that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (due, failures) = match self.state {
            State::ExpectMoved { until, failures } => {
                if now >= until {
                    self.state = State::ExpectEither { failures };
                    self.commands.push_back(Command::Resume);
                }
                return;
            }
            State::ExpectDue { due, failures } => (due, failures),
            State::ExpectBreak { .. } | State::ExpectEither { .. } | State::ExpectOutcome { .. } | State::Over => {
                return;
            }
        };
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
            State::ExpectMoved { until, .. } => Some(until),
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

    fn go_over(&mut self, now: Instant, failures: u32) {
        self.state = State::ExpectMoved { until: now + MOVE_WITHIN, failures };
        self.commands.push_back(Command::Move);
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
