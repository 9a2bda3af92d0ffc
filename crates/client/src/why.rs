//! Why a connect came about or didn't, step by step, for the person whose connect it was (P11). Strangers hear nothing of it:
//! all of it is known from sealed answers, or was found on this machine.

#[cfg(test)]
mod tests;

use crate::direct::DirectStatus;
use crate::error::{ClientError, CredentialTrouble, GatewayAway, Refused, TpmTrouble};
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;
use vestibule_dark::Way;
use vestibule_proto::knocker::Admitted;

/// The steps of a connect, in their order (`docs/protocol.md`, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Step 1: the credential opens on this machine.
    Device,
    /// Step 1: the password opens its second layer.
    Password,
    /// Steps 2 and 5: the controller knows the device and answers.
    Controller,
    /// Step 2: this machine's clock.
    Clock,
    /// Steps 3 and 4: the gateway has its link, knows the device, and opens its door.
    Admission,
    /// Step 6: the gateway answers at its address.
    Gateway,
    /// Step 6: the login.
    Login,
    /// Step T: a service opens.
    Service,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::Device,
        Self::Password,
        Self::Controller,
        Self::Clock,
        Self::Admission,
        Self::Gateway,
        Self::Login,
        Self::Service,
    ];

    /// The word for it, in tables and in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Password => "password",
            Self::Controller => "controller",
            Self::Clock => "clock",
            Self::Admission => "admission",
            Self::Gateway => "gateway",
            Self::Login => "login",
            Self::Service => "service",
        }
    }
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It went well.
    Good,
    /// Here it ended.
    Failed,
    /// It was not come to.
    NotTried,
}

impl Outcome {
    /// The words for a table.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Failed => "FAILED",
            Self::NotTried => "not tried",
        }
    }
}

/// What was found at one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The step.
    pub step: Step,
    /// How it went.
    pub outcome: Outcome,
    /// What there is to say of it; empty where it wasn't tried.
    pub said: String,
}

/// What a connect has passed so far; it is left behind by one that fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// How long the knock took, once it was answered with *ready*.
    pub knock: Option<Duration>,
    /// Where the controller saw this device.
    pub seen: Option<SocketAddr>,
    /// Whether the address that the controller announced to the gateway is neither this machine's nor explained by a NAT.
    pub address_mismatch: bool,
    /// How many milliseconds the controller's clock is ahead of this machine's, where that mattered.
    pub clock_offset_ms: i64,
    /// How long the gateway's door stands open.
    pub window: Duration,
    /// Where the gateway is to be found, as *ready* told it.
    pub gateways: Vec<SocketAddr>,
    /// How long the gateway took to answer, and where it did.
    pub gateway: Option<(Duration, SocketAddr)>,
    /// Which way led there.
    pub way: Option<Way>,
    /// How long the login took, the password's stretching apart.
    pub login: Option<Duration>,
    /// How long the service that was asked for took to open.
    pub service: Option<Duration>,
    /// How direct services were reached, where there are any.
    pub direct: Option<DirectStatus>,
}

impl Passage {
    /// Notes an admission, and how long the knock for it took.
    pub(crate) fn knocked(&mut self, admitted: &Admitted, took: Duration) {
        self.knock = Some(took);
        self.seen = Some(admitted.seen);
        self.address_mismatch = admitted.address_mismatch;
        self.clock_offset_ms = admitted.clock_offset_ms;
        self.window = admitted.window;
        self.gateways.clone_from(&admitted.gateways);
    }
}

/// What was found at each step of a connect that ended like this. The last step is left out where no service was asked for.
#[must_use]
pub fn findings(passage: &Passage, asked: Option<&str>, end: Result<(), &ClientError>) -> Vec<Finding> {
    let failed = end.err().map(|error| (step_of(error, passage), error));
    let steps = Step::ALL.into_iter().filter(|step| *step != Step::Service || asked.is_some());
    steps
        .map(|step| {
            let (outcome, said) = match failed {
                Some((at, error)) if step == at => (Outcome::Failed, error.headline()),
                Some((at, _)) if step > at => (Outcome::NotTried, String::new()),
                Some(_) | None => (Outcome::Good, good(step, passage, asked)),
            };
            Finding { step, outcome, said }
        })
        .collect()
}

/// What the passage adds to an error's own words; empty where it adds nothing.
#[must_use]
pub fn hint(passage: &Passage, error: &ClientError) -> String {
    let Some(seen) = passage.seen else { return String::new() };
    let away = matches!(error, ClientError::GatewayAway(GatewayAway::Dial));
    if away && passage.address_mismatch {
        return format!(
            "The controller announced this device at {seen}, which is not its address: a proxy or a lying controller stands \
             between, and a gateway with `nat = \"strict\"` answers to that address alone."
        );
    }
    if away {
        return format!(
            "The controller saw this device at {seen}. Where this network uses several addresses, a gateway with \
             `nat = \"strict\"` does not know the others; its door was open for {} s.",
            passage.window.as_secs()
        );
    }
    String::new()
}

/// The step at which a connect ended with this error.
fn step_of(error: &ClientError, passage: &Passage) -> Step {
    match error {
        ClientError::Credential {
            trouble: CredentialTrouble::WrongPassword | CredentialTrouble::Tpm(TpmTrouble::LockedOut { .. }),
            ..
        } => Step::Password,
        ClientError::Credential { .. } | ClientError::Ambiguous { .. } | ClientError::Files { .. } => Step::Device,
        ClientError::ControllerAway { .. } | ClientError::AwaitsApproval { .. } => Step::Controller,
        ClientError::ClockFarOff { .. } => Step::Clock,
        ClientError::GatewayAway(GatewayAway::Controller | GatewayAway::Fault) => Step::Admission,
        ClientError::GatewayAway(
            GatewayAway::Dial | GatewayAway::WrongKey | GatewayAway::Lost | GatewayAway::Reconnecting,
        ) => Step::Gateway,
        ClientError::Refused { why: Refused::WrongPassword | Refused::Wait, .. } if passage.knock.is_some() => {
            Step::Login
        }
        ClientError::Refused { .. } => Step::Admission,
        ClientError::LoginFailed { .. } | ClientError::SessionEnded(_) => Step::Login,
        ClientError::NoService { .. }
        | ClientError::OtherKind { .. }
        | ClientError::UpstreamAway { .. }
        | ClientError::UpstreamHangs { .. }
        | ClientError::Cut { .. } => Step::Service,
        ClientError::Busy
        | ClientError::WeakPassword { .. }
        | ClientError::Invitation(_)
        | ClientError::NotLoopback { .. }
        | ClientError::Listen { .. }
        | ClientError::Forward { .. }
        | ClientError::AlreadyRunning
        | ClientError::NotRunning
        | ClientError::Unexpected { .. } => next_of(passage),
    }
}

/// The step that a connect was at when it had passed so much.
fn next_of(passage: &Passage) -> Step {
    match (passage.knock, passage.gateway, passage.login) {
        (None, _, _) => Step::Admission,
        (Some(_), None, _) => Step::Gateway,
        (Some(_), Some(_), None) => Step::Login,
        (Some(_), Some(_), Some(_)) => Step::Service,
    }
}

/// QUIC is what is expected.
fn over(passage: &Passage) -> &'static str {
    match passage.way {
        Some(Way::Tcp) => " over TCP: this network drops QUIC's datagrams",
        Some(Way::Quic) | None => "",
    }
}

fn good(step: Step, passage: &Passage, asked: Option<&str>) -> String {
    match step {
        Step::Device => "the credential opens on this machine".to_owned(),
        Step::Password => "it opens the credential; the gateway has the last word".to_owned(),
        Step::Controller => passage.knock.map_or_else(
            || "it knows this device and answers".to_owned(),
            |knock| format!("it knows this device; from knock to ready {}", millis(knock)),
        ),
        Step::Clock => clock(passage.clock_offset_ms),
        Step::Admission => admission(passage),
        Step::Gateway => passage
            .gateway
            .map_or_else(String::new, |(took, at)| format!("{at} answers{}, {}", over(passage), millis(took))),
        Step::Login => passage.login.map_or_else(String::new, |took| format!("done, {}", millis(took))),
        Step::Service => {
            let took = passage.service.map_or_else(String::new, |took| format!(", {}", millis(took)));
            format!("'{}' opens{took}{}", asked.unwrap_or_default(), by_which_way(passage))
        }
    }
}

fn clock(offset_ms: i64) -> String {
    match offset_ms {
        0 => "near enough to the controller's".to_owned(),
        ahead if ahead > 0 => format!("{} s behind the controller's; knocks allow for it", ahead / 1_000),
        behind => format!("{} s ahead of the controller's; knocks allow for it", behind.unsigned_abs() / 1_000),
    }
}

fn admission(passage: &Passage) -> String {
    let seen = passage.seen.map_or_else(String::new, |seen| format!(" for this device, seen at {seen}"));
    let odd = if passage.address_mismatch { ", which is not its address, and no NAT explains it" } else { "" };
    format!("the gateway opened its door{seen}{odd}")
}

/// Whether a service that was just opened goes through the tunnel, where some don't.
fn by_which_way(passage: &Passage) -> String {
    match &passage.direct {
        Some(DirectStatus { trouble: Some(trouble), .. }) => format!(", through the tunnel; not directly: {trouble}"),
        Some(DirectStatus { opened: 1.., .. }) => ", directly, without the tunnel".to_owned(),
        Some(_) | None => String::new(),
    }
}

fn millis(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1_000.0)
}
