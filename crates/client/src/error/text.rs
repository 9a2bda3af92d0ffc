//! What a person reads: what happened to which thing, what it means, what to do next.

use super::{ClientError, CredentialTrouble, GatewayAway, InvitationTrouble, Refused, TpmTrouble, Trouble};
use std::net::SocketAddr;
use std::time::Duration;
use vestibule_proto::session::{Reason, ServiceKind};

/// Headline, detail, next step.
type Told = (String, String, String);

impl ClientError {
    /// What happened, to which thing: one line.
    #[must_use]
    pub fn headline(&self) -> String {
        self.told().0
    }

    /// What it means: one or more lines.
    #[must_use]
    pub fn detail(&self) -> String {
        self.told().1
    }

    /// What to do next: one line.
    #[must_use]
    pub fn next_step(&self) -> String {
        self.told().2
    }

    fn told(&self) -> Told {
        match self {
            Self::Credential { trouble, path } => credential(trouble, path),
            Self::Ambiguous { names } => told(
                "this machine has several credentials",
                format!("{}. Nothing was sent to the network.", names.join(", ")),
                "say which one: --as USER@GATEWAY",
            ),
            Self::WeakPassword { reason } => told(
                "this password is too weak",
                format!("{reason}. Nothing was sent to the network."),
                "choose a longer one that nobody else uses: several random words, for example",
            ),
            Self::Invitation(trouble) => invitation(*trouble),
            Self::ControllerAway { controllers, trouble } => controller_away(controllers, trouble.as_deref()),
            Self::AwaitsApproval { words } => awaits_approval(words),
            Self::GatewayAway(how) => gateway_away(*how),
            Self::Refused { why, tries, limit, retry_after, detail } => {
                let (headline, mut meaning, next) = refused(*why, *tries, *limit, *retry_after);
                if !detail.is_empty() {
                    meaning = format!("{meaning}\nThe gateway says: {detail}");
                }
                (headline, meaning, next)
            }
            Self::ClockFarOff { offset_ms } => clock(*offset_ms),
            Self::LoginFailed { tries, limit } => told(
                "the login failed",
                format!("The gateway does not accept this password{}.", used(*tries, *limit)),
                "try again; if you forgot the password ask the gateway's owner for a new invitation",
            ),
            Self::Busy => told(
                "the gateway is at a limit",
                "It, the controller or this session has as many connections as it may have.",
                "close what you don't need, or try again in a minute",
            ),
            Self::SessionEnded(reason) => ended(*reason),
            Self::NoService { asked } => no_service(asked),
            Self::OtherKind { service, is } => other_kind(service, *is),
            Self::UpstreamAway { service } => upstream_away(service),
            Self::UpstreamHangs { service } => upstream_hangs(service),
            Self::Cut { service } => cut(service),
            Self::NotLoopback { address } => not_loopback(address),
            Self::Listen { address, trouble } => told(
                format!("nothing can listen on {address}"),
                format!("{}.", trouble_text(trouble)),
                "choose another address or port, or stop the program that uses it",
            ),
            Self::Forward { asked } => not_a_forward(asked),
            Self::Files { path, trouble } => told(
                format!("{path} can't be used"),
                format!("{}.", trouble_text(trouble)),
                "make room or set the directory's permissions right, or name another one with --dir",
            ),
            Self::AlreadyRunning => told(
                "vestibule is already up",
                "Another process holds this directory's session.",
                "use it (vestibule status), or end it first: vestibule down",
            ),
            Self::NotRunning => {
                told("vestibule is not up", "No process holds a session for this directory.", "vestibule up")
            }
            Self::Unexpected { what } => told(
                "something unexpected happened",
                what,
                "try again; if it stays, report it with the log of: vestibule --log debug …",
            ),
        }
    }
}

fn no_service(asked: &str) -> Told {
    told(
        format!("there is no service '{asked}' for you"),
        "No service of this name or upstream exists at the gateway, or you have no grant for it.",
        "see what there is: vestibule services",
    )
}

fn other_kind(service: &str, is: ServiceKind) -> Told {
    match is {
        ServiceKind::Udp => told(
            format!("the service '{service}' is a UDP service"),
            "It carries datagrams, and no connections: a pipe, a proxy or a TCP port can't lead to it.",
            format!("give it a local UDP port: vestibule forward PORT/udp={service}"),
        ),
        ServiceKind::Tcp | ServiceKind::Web => told(
            format!("the service '{service}' is no UDP service"),
            "It carries connections, and no datagrams: a local UDP port can't lead to it.",
            format!("give it a local TCP port: vestibule forward PORT={service}"),
        ),
    }
}

fn upstream_away(service: &str) -> Told {
    told(
        format!("the service '{service}' is away"),
        "The gateway is there, but what stands behind it refuses connections or can't be reached.",
        "try again later, or tell the service's owner",
    )
}

fn upstream_hangs(service: &str) -> Told {
    told(
        format!("the service '{service}' does not answer"),
        "The gateway is there, but what stands behind it did not take the connection in time.",
        "try again later, or tell the service's owner",
    )
}

fn cut(service: &str) -> Told {
    told(
        format!("the connection to '{service}' was cut"),
        "The other side reset it, or the session lost its connection. What was under way may be incomplete.",
        "try again",
    )
}

fn not_loopback(address: &SocketAddr) -> Told {
    told(
        format!("{address} is not an address of this machine alone"),
        "Local listeners lead into the tunnel without asking anybody: they are bound to loopback addresses only.",
        "use 127.0.0.1 or [::1]",
    )
}

fn not_a_forward(asked: &str) -> Told {
    told(
        format!("'{asked}' is not LOCAL=SERVICE"),
        "LOCAL is a port, or a loopback address and a port, with /udp behind it for UDP; SERVICE is a service's name or its upstream's host:port.",
        "for example: vestibule forward 5432=db, or 5353/udp=dns",
    )
}

fn told(headline: impl Into<String>, detail: impl Into<String>, next: impl Into<String>) -> Told {
    (headline.into(), detail.into(), next.into())
}

fn credential(trouble: &CredentialTrouble, path: &str) -> Told {
    const UNSENT: &str = "Nothing was sent to the network.";
    match trouble {
        CredentialTrouble::OtherMachineOrUser => told(
            "the local credential does not open on this device",
            format!("{path} was made on another machine or for another user name.\n{UNSENT}"),
            "check the user name, or ask the gateway's owner for a new invitation for this machine",
        ),
        CredentialTrouble::MachineChanged { reason } => told(
            "the local credential does not recognise this device any more",
            format!("{path}: {reason}.\n{UNSENT}"),
            "undo the change to the machine, or ask the gateway's owner for a new invitation",
        ),
        CredentialTrouble::WrongPassword => told(
            "the password is wrong",
            format!("{path} does not open with it. This check is made on this device alone.\n{UNSENT}"),
            "try again",
        ),
        CredentialTrouble::NoFingerprint => told(
            "this device has no fingerprint",
            format!("Neither a machine id nor another identity of this machine can be read.\n{UNSENT}"),
            "make a machine id: systemd-machine-id-setup",
        ),
        CredentialTrouble::Missing => told(
            "there is no local credential",
            format!("{path} does not exist: this device is not enrolled.\n{UNSENT}"),
            "vestibule enroll (the gateway's owner makes an invitation: vestibule invite USER)",
        ),
        CredentialTrouble::Damaged => told(
            "the local credential is damaged",
            format!("{path} was cut or altered.\n{UNSENT}"),
            "restore it from a backup of this machine, or ask the gateway's owner for a new invitation",
        ),
        CredentialTrouble::Newer => told(
            "the local credential was made by a newer version of this program",
            format!("{path} has a format that this version does not know.\n{UNSENT}"),
            "update vestibule",
        ),
        CredentialTrouble::TooOpen { mode } => told(
            "the local credential is open to others",
            format!("{path} has mode {mode:04o}: others may have copied or replaced it.\n{UNSENT}"),
            format!("think about who could read it, then: chmod 600 {path}"),
        ),
        CredentialTrouble::File { reason } => told(
            "the local credential can't be read",
            format!("{path}: {reason}.\n{UNSENT}"),
            "set the file's owner and permissions right (it must be yours, mode 0600)",
        ),
        CredentialTrouble::Exists => told(
            "there is a local credential already",
            format!("{path} is not overwritten unasked. {UNSENT}"),
            "use it (vestibule up), or replace it: vestibule enroll --replace …",
        ),
        CredentialTrouble::Tpm(trouble) => tpm(trouble, path),
        CredentialTrouble::TpmRequired { reason } => told(
            "the local credential can't be sealed to a TPM",
            format!("{reason}. {UNSENT}"),
            "turn the TPM on in the machine's firmware, let this user use it (group tss), or do without: --tpm auto",
        ),
    }
}

fn tpm(trouble: &TpmTrouble, path: &str) -> Told {
    const UNSENT: &str = "Nothing was sent to the network.";
    const ELSEWHERE: &str = "the local credential is sealed to a TPM that isn't here";
    match trouble {
        TpmTrouble::Absent => told(
            ELSEWHERE,
            format!("{path} opens with the TPM that it was made with, and this machine offers none.\n{UNSENT}"),
            "turn the TPM on in this machine's firmware; on another machine enrol again with an invitation: vestibule enroll --replace",
        ),
        TpmTrouble::Other => told(
            ELSEWHERE,
            format!("{path} was made with another machine's TPM, or this one was cleared since.\n{UNSENT}"),
            "enrol again with an invitation: vestibule enroll --replace (the gateway's owner makes one: vestibule invite USER)",
        ),
        TpmTrouble::Denied => told(
            "this user may not use the TPM that the local credential is sealed to",
            format!("{path} opens with it alone.\n{UNSENT}"),
            "become a member of the group tss, and log in again: sudo usermod --append --groups tss USER",
        ),
        TpmTrouble::LockedOut { seconds } => told(
            "the TPM is locked after too many wrong passwords",
            format!(
                "It refuses the right one, too, until its time is over. It counts for all programs of this machine.\n{UNSENT}"
            ),
            seconds.map_or_else(
                || "wait, then try again".to_owned(),
                |seconds| format!("try again in {} (or have the TPM's owner reset its lock-out)", wait(seconds)),
            ),
        ),
        TpmTrouble::Failed { reason } => told(
            "the TPM that the local credential is sealed to fails",
            format!("{path}: {reason}.\n{UNSENT}"),
            "try again; if it stays, restart the machine, and see what its kernel says of the TPM: dmesg",
        ),
    }
}

/// The longest wait, for people.
fn wait(seconds: u32) -> String {
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}

fn invitation(trouble: InvitationTrouble) -> Told {
    const NEXT: &str = "ask the gateway's owner for a new one: vestibule invite USER";
    const UNSENT: &str = "Nothing was sent to the network.";
    match trouble {
        InvitationTrouble::NotOne => told(
            "this is not an invitation",
            format!("An invitation begins with `vestibule:`. {UNSENT}"),
            "copy the whole link that you were sent",
        ),
        InvitationTrouble::Altered => told(
            "this invitation is altered",
            format!("It was cut off, mistyped or changed: its checksum does not match. {UNSENT}"),
            "copy the whole link again; if it was really changed on its way, tell the gateway's owner",
        ),
        InvitationTrouble::Newer => {
            told("this invitation was made by a newer version of this program", UNSENT, "update vestibule")
        }
        InvitationTrouble::Expired => {
            told("this invitation has expired", "Its time is over; the gateway no longer takes it.", NEXT)
        }
        InvitationTrouble::Used => told(
            "this invitation was used already",
            "An invitation enrols one device, once. If it was not you who used it, somebody else has.",
            "tell the gateway's owner at once if it wasn't you; else ask for a new one: vestibule invite USER",
        ),
        InvitationTrouble::Unknown => told(
            "the gateway does not take this invitation",
            "It may have been withdrawn, or its inner half was altered; the gateway has noted the attempt.",
            NEXT,
        ),
    }
}

fn controller_away(controllers: &[String], trouble: Option<&str>) -> Told {
    let place = if controllers.is_empty() { "its address".to_owned() } else { controllers.join(", ") };
    let meaning = match trouble {
        Some(trouble) => format!("Nothing could be sent to {place}: {trouble}."),
        None => format!(
            "No answer from {place}. It is down, this network blocks UDP to it, or it does not know this device \
             (it stays silent to strangers). A device that was away while the controller's realm key was rotated is a stranger, too."
        ),
    };
    told(
        "the controller does not answer",
        meaning,
        "check this machine's network, then try again; else ask the gateway's owner, for a new invitation if keys were rotated",
    )
}

fn awaits_approval(words: &str) -> Told {
    told(
        "this device waits for approval",
        format!(
            "The gateway's owner has to approve it before it can be used; until then the controller is silent to it.\n\
             The owner compares these words with those that `vestibule device list` shows: {words}"
        ),
        "read the words to the gateway's owner, who approves: vestibule device approve NAME; then try again",
    )
}

fn gateway_away(how: GatewayAway) -> Told {
    const LATER: &str = "try again later, or tell the gateway's owner";
    match how {
        GatewayAway::Controller => told(
            "the gateway is away",
            "The controller is there, but the gateway has no link to it or does not answer.",
            LATER,
        ),
        GatewayAway::Dial => told(
            "the gateway can't be reached from here",
            "It opened its door for this device, but no connection came about: this network may block UDP to its address.",
            "try another network, or tell the gateway's owner",
        ),
        GatewayAway::WrongKey => told(
            "who answers at the gateway's address is not the gateway",
            "It has another key than this device was told at its enrolment: somebody stands between, or the gateway was made \
             anew. Nothing was said to it.",
            "ask the gateway's owner; don't go on before you know",
        ),
        GatewayAway::Lost => {
            told("the connection to the gateway broke", "It ended in the middle of something.", "try again")
        }
        GatewayAway::Fault => {
            told("the gateway has a fault", "It says that its disk or its door fails.", "tell the gateway's owner")
        }
        GatewayAway::Reconnecting => told(
            "the connection to the gateway is being made anew",
            "It broke a moment ago; the session lives on, and no password is needed.",
            "try again in a few seconds",
        ),
    }
}

fn refused(why: Refused, tries: u8, limit: u8, retry_after: Duration) -> Told {
    let used = used(tries, limit);
    let wait = whole_seconds(retry_after);
    match why {
        Refused::WrongPassword => told(
            "the gateway refuses this device: the password is wrong",
            format!("It opened the local credential by chance, but not the gateway's door{used}."),
            if wait > 0 { format!("try again in {wait} s") } else { "try again".to_owned() },
        ),
        Refused::Wait => told(
            "the gateway asks this device to wait",
            format!("Too many wrong passwords{used}."),
            if wait > 0 { format!("try again in {wait} s") } else { "try again later".to_owned() },
        ),
        Refused::Suspended => told(
            "this device is suspended",
            format!("Too many wrong passwords, or the gateway's owner suspended it{used}."),
            "ask the gateway's owner",
        ),
        Refused::Revoked => told(
            "the gateway's owner has taken this access away",
            "This device was revoked, or its user suspended or removed.",
            "ask the gateway's owner: a suspension can be lifted, a revoked device enrolled anew by a new invitation",
        ),
        Refused::Version => told(
            "the gateway speaks another version of the protocol",
            "It and this program have no version in common.",
            "update vestibule, or ask the gateway's owner to",
        ),
        Refused::GatewayClock => told(
            "the gateway's clock is wrong",
            "It differs from the controller's, so that no knock seems fresh to it.",
            "tell the gateway's owner to set it",
        ),
        Refused::GatewayKey => told(
            "the gateway has another key than this device knows",
            "Its key was rotated, and the former one counts no more: this device was away all the time, or the invitation is from before.",
            "ask the gateway's owner for a new invitation",
        ),
        Refused::Unreadable => told(
            "the gateway refuses this device",
            "Its reason can't be read by this device: the local credential does not fit the gateway any more.",
            "ask the gateway's owner for a new invitation",
        ),
        Refused::Other => told(
            "the gateway refuses this device",
            "It gives no reason that this version knows.",
            "ask the gateway's owner",
        ),
    }
}

fn used(tries: u8, limit: u8) -> String {
    if limit > 0 { format!(" ({tries} of {limit} tries used)") } else { String::new() }
}

fn clock(offset_ms: i64) -> Told {
    let hours = offset_ms.unsigned_abs() / 3_600_000;
    let direction = if offset_ms > 0 { "behind" } else { "ahead" };
    told(
        "this machine's clock is wrong",
        format!(
            "It is {hours} hours {direction} of the controller's. Differences of less than a day are bridged, larger ones are not."
        ),
        "set the clock, then try again",
    )
}

fn ended(reason: Reason) -> Told {
    const AGAIN: &str = "log in again: vestibule up";
    match reason {
        Reason::SignedOff => told("the session has ended", "You signed off.", AGAIN),
        Reason::Expired => told("the session has expired", "A session lives only so long, however busy it is.", AGAIN),
        Reason::Idle => told("the session has ended", "Nothing used it for too long.", AGAIN),
        Reason::Revoked => told(
            "the session was revoked",
            "The gateway's owner ended it, or took away the device's or the user's access.",
            "ask the gateway's owner",
        ),
        Reason::ShuttingDown => told(
            "the gateway shuts down",
            "The session can be taken up again when it is back.",
            "try again in a minute",
        ),
        Reason::NoSession => {
            told("the session is gone", "The gateway no longer knows it: it has expired or was ended meanwhile.", AGAIN)
        }
        // These say no and end nothing; a gateway that ends a session with one of them is told literally.
        Reason::Version
        | Reason::Malformed
        | Reason::LoginFailed { .. }
        | Reason::Wait { .. }
        | Reason::Suspended
        | Reason::InvitationUsed
        | Reason::InvitationExpired
        | Reason::NoService
        | Reason::UpstreamAway
        | Reason::UpstreamHangs
        | Reason::Busy
        | Reason::GatewayFault => told("the session is gone", format!("The gateway says: {reason:?}."), AGAIN),
    }
}

fn trouble_text(trouble: &Trouble) -> &str {
    match trouble {
        Trouble::Full => "The disk or the quota is full",
        Trouble::ReadOnly => "The filesystem is read-only",
        Trouble::Denied => "This user has no permission",
        Trouble::Missing => "It does not exist",
        Trouble::InUse => "Another program uses it",
        Trouble::Other { reason } => reason,
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
