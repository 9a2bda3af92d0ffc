//! Every error has its words, its code, and its way over the agent's socket.

use super::*;
use std::time::Duration;
use vestibule_proto::inner::{Refusal, RefusalCode};
use vestibule_proto::session::{Reason, ServiceKind};

/// One of each kind.
fn samples() -> Vec<ClientError> {
    let credential = |trouble| ClientError::Credential { trouble, path: "/home/alice/c".to_owned() };
    let refused = |why| ClientError::Refused {
        why,
        tries: 2,
        limit: 20,
        retry_after: Duration::from_secs(61),
        detail: String::new(),
    };
    let service = "db".to_owned();
    let mut all = vec![
        ClientError::WeakPassword { reason: "it is one of the 100,000 commonest".to_owned() },
        ClientError::Ambiguous { names: vec!["a@b".to_owned(), "a@c".to_owned()] },
        ClientError::ControllerAway { controllers: vec!["c.example:443".to_owned()], trouble: None },
        ClientError::AwaitsApproval { words: "alpine bison".to_owned() },
        ClientError::ClockFarOff { offset_ms: -90_000_000 },
        ClientError::LoginFailed { tries: 1, limit: 20 },
        ClientError::Busy,
        ClientError::NoService { asked: service.clone() },
        ClientError::OtherKind { service: service.clone(), is: ServiceKind::Udp },
        ClientError::OtherKind { service: service.clone(), is: ServiceKind::Web },
        ClientError::UpstreamAway { service: service.clone() },
        ClientError::UpstreamHangs { service: service.clone() },
        ClientError::Cut { service },
        ClientError::NotLoopback { address: "0.0.0.0:1".parse().unwrap() },
        ClientError::Listen { address: "127.0.0.1:1".parse().unwrap(), trouble: Trouble::InUse },
        ClientError::Forward { asked: "x".to_owned() },
        ClientError::Files { path: "/p".to_owned(), trouble: Trouble::Full },
        ClientError::AlreadyRunning,
        ClientError::NotRunning,
        ClientError::Unexpected { what: "w".to_owned() },
    ];
    all.extend(
        [
            CredentialTrouble::OtherMachineOrUser,
            CredentialTrouble::MachineChanged { reason: "m".to_owned() },
            CredentialTrouble::WrongPassword,
            CredentialTrouble::NoFingerprint,
            CredentialTrouble::Missing,
            CredentialTrouble::Damaged,
            CredentialTrouble::Newer,
            CredentialTrouble::TooOpen { mode: 0o644 },
            CredentialTrouble::File { reason: "r".to_owned() },
            CredentialTrouble::Exists,
            CredentialTrouble::Tpm(TpmTrouble::Absent),
            CredentialTrouble::Tpm(TpmTrouble::Other),
            CredentialTrouble::Tpm(TpmTrouble::Denied),
            CredentialTrouble::Tpm(TpmTrouble::LockedOut { seconds: Some(7_200) }),
            CredentialTrouble::Tpm(TpmTrouble::LockedOut { seconds: None }),
            CredentialTrouble::Tpm(TpmTrouble::Failed { reason: "r".to_owned() }),
            CredentialTrouble::TpmRequired { reason: "r".to_owned() },
        ]
        .map(credential),
    );
    all.extend(
        [
            InvitationTrouble::NotOne,
            InvitationTrouble::Altered,
            InvitationTrouble::Newer,
            InvitationTrouble::Expired,
            InvitationTrouble::Used,
            InvitationTrouble::Unknown,
        ]
        .map(ClientError::Invitation),
    );
    all.extend(
        [
            GatewayAway::Controller,
            GatewayAway::Dial,
            GatewayAway::WrongKey,
            GatewayAway::Lost,
            GatewayAway::Fault,
            GatewayAway::Reconnecting,
        ]
        .map(ClientError::GatewayAway),
    );
    all.extend(
        [
            Refused::WrongPassword,
            Refused::Wait,
            Refused::Suspended,
            Refused::Revoked,
            Refused::Version,
            Refused::GatewayClock,
            Refused::GatewayKey,
            Refused::Unreadable,
            Refused::Other,
        ]
        .map(refused),
    );
    all.extend(
        [Reason::NoSession, Reason::SignedOff, Reason::Expired, Reason::Idle, Reason::Revoked, Reason::ShuttingDown]
            .map(ClientError::SessionEnded),
    );
    all
}

#[test]
fn every_error_says_what_happened_what_it_means_and_what_to_do() {
    let samples = samples();
    for error in &samples {
        let text = format!("{error:#}");
        assert_eq!(text.lines().next(), Some(error.headline().as_str()));
        assert!(text.lines().count() >= 3, "{text}");
        assert!(text.lines().last().unwrap().starts_with("  → "), "{text}");
        assert!(!text.contains("\n  \n") && !text.contains("  →  "), "{text:?}");
        assert_eq!(error.to_string(), error.headline());
        assert_ne!(error.exit_code(), 0);
    }
    let texts: std::collections::BTreeSet<_> = samples.iter().map(|error| format!("{error:#}")).collect();
    assert_eq!(texts.len(), samples.len(), "two errors read alike");
}

#[test]
fn errors_cross_the_agents_socket_unchanged() {
    for error in samples() {
        let json = serde_json::to_vec(&error).unwrap();
        assert_eq!(serde_json::from_slice::<ClientError>(&json).unwrap(), error);
    }
}

#[test]
fn reasons_keep_their_meaning() {
    use Reason::*;
    for (reason, code) in [
        (Version, 22),
        (Malformed, 1),
        (LoginFailed { tries: 1, limit: 20 }, 24),
        (Wait { seconds: 60 }, 22),
        (Suspended, 22),
        (NoSession, 33),
        (InvitationUsed, 50),
        (InvitationExpired, 50),
        (NoService, 30),
        (UpstreamAway, 31),
        (UpstreamHangs, 32),
        (Busy, 25),
        (GatewayFault, 21),
        (SignedOff, 33),
        (Expired, 33),
        (Idle, 33),
        (Revoked, 33),
        (ShuttingDown, 33),
    ] {
        assert_eq!(ClientError::from_reason(reason).exit_code(), code, "{reason:?}");
        assert_eq!(ClientError::from_open_reason(reason, "db").exit_code(), code, "{reason:?}");
    }
}

#[test]
fn refusals_keep_their_meaning() {
    for (code, exit) in [
        (RefusalCode::WrongPassword, 22),
        (RefusalCode::Wait, 22),
        (RefusalCode::Suspended, 22),
        (RefusalCode::Revoked, 22),
        (RefusalCode::InvitationUsed, 50),
        (RefusalCode::InvitationExpired, 50),
        (RefusalCode::Version, 22),
        (RefusalCode::Time, 22),
        (RefusalCode::Fault, 21),
        (RefusalCode::Busy, 25),
        (RefusalCode::GatewayKey, 22),
    ] {
        let detail = "ask\x1b[2J Bob".to_owned();
        let refusal = Refusal { code, retry_after: Duration::from_secs(60), tries: 6, limit: 20, detail };
        let error = ClientError::from_refusal(refusal);
        assert_eq!(error.exit_code(), exit, "{code:?}");
        assert!(!error.detail().contains('\x1b'));
        if exit == 22 {
            assert!(error.detail().ends_with("The gateway says: ask[2J Bob"), "{error:#}");
        }
    }
}

#[test]
fn only_what_says_nothing_about_the_session_passes() {
    let lasting = [
        ClientError::SessionEnded(Reason::NoSession),
        ClientError::SessionEnded(Reason::Revoked),
        ClientError::ClockFarOff { offset_ms: 1 },
        ClientError::from_reason(Reason::Suspended),
    ];
    assert!(lasting.iter().all(|error| !error.is_passing()));
    let passing = [
        ClientError::Busy,
        ClientError::GatewayAway(GatewayAway::Dial),
        ClientError::from_reason(Reason::Wait { seconds: 1 }),
        ClientError::SessionEnded(Reason::ShuttingDown),
    ];
    assert!(passing.iter().all(ClientError::is_passing));
}
