//! Requests as the program sends them, answered by a directory.

use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::{GatewayId, Stamp};
use vestibule_proto::invitation::Invitation;
use vestibule_proto::key::{PrivateKey, Psk, RealmKey, Secret, SigningKey};
use vestibule_proto::login::KsfParams;

use super::*;
use crate::directory::{
    DeviceState, Directory, Effect, EndReason, GuessAnswer, Identity, Introduction, NewDevice, NewSession,
};

const T: Stamp = Stamp::from_millis(1_800_000_000_000);

fn directory() -> (tempfile::TempDir, Directory) {
    let root = tempfile::tempdir().unwrap();
    let mut entropy = SeededEntropy::new(1);
    let identity = Identity {
        gateway: GatewayId::new([1; 16]),
        name: "home".to_owned(),
        k_lookup: Secret::new([2; 32]),
        introduction: Some(Introduction {
            controllers: vec!["127.0.0.1:4433".to_owned()],
            controller_key: PrivateKey::random(&mut entropy).public(),
            realm: RealmKey::random(&mut entropy),
            gateway_key: PrivateKey::random(&mut entropy).public(),
            gateway_pins: vec![SigningKey::random(&mut entropy).spki()],
        }),
    };
    let directory = Directory::open(&root.path().join("data/gateway.db"), identity).unwrap();
    (root, directory)
}

/// Sends a request in its JSON form.
async fn ask(directory: &Directory, json: &str) -> Result<(Answer, Vec<Effect>), AdminError> {
    let request = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let (answer, effects) = execute(directory, request, T, &mut SeededEntropy::new(3)).await?;
    // What is answered comes through the socket unchanged.
    let line = serde_json::to_string(&Reply::from(Ok(answer.clone()))).unwrap();
    assert_eq!(serde_json::from_str::<Reply>(&line).unwrap().into_result().as_ref(), Ok(&answer));
    Ok((answer, effects))
}

async fn answer(directory: &Directory, json: &str) -> Answer {
    ask(directory, json).await.unwrap_or_else(|error| panic!("{json}: {error}")).0
}

async fn refusal(directory: &Directory, json: &str) -> AdminError {
    ask(directory, json).await.err().unwrap_or_else(|| panic!("{json} was carried out"))
}

/// Enrols a device of alice through her link and logs in.
async fn enrol(directory: &Directory, number: u64) -> (String, String) {
    let mut entropy = SeededEntropy::new(number);
    let user = vestibule_proto::id::UserName::parse("alice").unwrap();
    let lifetime = std::time::Duration::from_secs(3_600);
    let (issued, _) = directory.invite(user.clone(), lifetime, T, &mut entropy).await.unwrap();
    let new = NewDevice {
        id: vestibule_proto::id::DeviceId::random(&mut entropy),
        name: format!("laptop-{number}"),
        d_out: PrivateKey::random(&mut entropy).public(),
        d_in: PrivateKey::random(&mut entropy).public(),
        d_tls: SigningKey::random(&mut entropy).spki(),
        psk_g: Psk::random(&mut entropy),
        fingerprint_commitment: [3; 32],
        record: vec![4; 192],
        ksf: KsfParams::STANDARD,
        version_floor: 1,
        awaits: false,
    };
    let device = new.id;
    directory.register_device(issued.id, new, T, &mut entropy).await.unwrap();
    directory.confirm_device(issued.id, device, T).await.unwrap();
    let GuessAnswer::Counted(guess) =
        directory.begin_guess(device, "192.0.2.7:5000".parse().unwrap(), T).await.unwrap()
    else {
        panic!("allowed")
    };
    let session = NewSession {
        id: vestibule_proto::id::SessionId::random(&mut entropy),
        user,
        resume_secret: Secret::random(&mut entropy),
        address: "192.0.2.7:5000".parse().unwrap(),
        expires: T.saturating_add(lifetime),
        idle_limit: lifetime,
        version: 1,
    };
    let id = session.id;
    directory.begin_session(session, guess, T).await.unwrap();
    (device.to_string(), id.to_string())
}

/// What the owner is told of a request that has no answer but that it is done.
async fn done(directory: &Directory, json: &str) -> String {
    let Answer::Done(said) = answer(directory, json).await else { panic!("{json}") };
    said
}

#[tokio::test]
async fn what_is_so_already_is_told_and_no_error() {
    let (_root, directory) = directory();
    answer(&directory, r#"{"user":{"add":{"name":"alice","groups":[]}}}"#).await;
    for (word, said) in [
        ("resume", "the user alice was not suspended"),
        ("suspend", "the user alice is suspended"),
        ("suspend", "the user alice is suspended already"),
        ("resume", "the user alice is no longer suspended"),
    ] {
        assert_eq!(done(&directory, &format!(r#"{{"user":{{"{word}":{{"name":"alice"}}}}}}"#)).await, said);
    }
}

#[tokio::test]
async fn users_from_add_to_remove() {
    let (_root, directory) = directory();
    let (added, effects) = ask(&directory, r#"{"user":{"add":{"name":"Alice","groups":["sales"]}}}"#).await.unwrap();
    assert!(matches!(added, Answer::User(detail) if detail.user.name.as_str() == "alice"));
    assert!(matches!(effects[..], [Effect::ReloadServices]));
    let twice = refusal(&directory, r#"{"user":{"add":{"name":"alice","groups":[]}}}"#).await;
    assert_eq!((twice.kind, twice.message.as_str()), (AdminErrorKind::Exists, "there is already a user `alice`"));
    assert!(twice.next.unwrap().contains("vestibule user show alice"));
    for (json, kind) in [
        (r#"{"user":{"add":{"name":"a b","groups":[]}}}"#, AdminErrorKind::Invalid),
        (r#"{"user":{"add":{"name":"bob","groups":["a b"]}}}"#, AdminErrorKind::Invalid),
        (r#"{"user":{"show":{"name":"bob"}}}"#, AdminErrorKind::NotFound),
        (r#"{"user":{"remove":{"name":"bob"}}}"#, AdminErrorKind::NotFound),
    ] {
        assert_eq!(refusal(&directory, json).await.kind, kind, "{json}");
    }

    let (device, session) = enrol(&directory, 1).await;
    answer(&directory, r#"{"service":{"add":{"name":"db","kind":"tcp","upstream":"db:1","allow":["group:sales"]}}}"#)
        .await;
    let Answer::User(detail) = answer(&directory, r#"{"user":{"show":{"name":"alice"}}}"#).await else { panic!() };
    assert_eq!((detail.user.devices, detail.user.sessions), (1, 1));
    assert_eq!(detail.devices[0].id.to_string(), device);
    assert_eq!(detail.sessions[0].id.to_string(), session);
    assert_eq!(detail.sessions[0].device_name.as_deref(), Some("laptop-1"));
    assert_eq!((detail.invitations.len(), detail.services[0].as_str()), (1, "db"));
    answer(&directory, r#"{"user":{"groups":{"name":"alice","groups":[]}}}"#).await;
    let Answer::Users(users) = answer(&directory, r#"{"user":"list"}"#).await else { panic!() };
    assert_eq!((users[0].groups.len(), users[0].devices, users[0].sessions), (0, 1, 1));

    answer(&directory, r#"{"user":{"suspend":{"name":"alice"}}}"#).await;
    answer(&directory, r#"{"user":{"resume":{"name":"alice"}}}"#).await;
    let (done, effects) = ask(&directory, r#"{"user":{"remove":{"name":"alice"}}}"#).await.unwrap();
    assert_eq!(done, Answer::Done("the user alice and all its devices are removed".to_owned()));
    assert!(effects.len() >= 4, "{effects:?}");
}

#[tokio::test]
async fn devices_and_sessions_by_id_beginning_and_name() {
    let (_root, directory) = directory();
    answer(&directory, r#"{"user":{"add":{"name":"alice","groups":[]}}}"#).await;
    let (first, session) = enrol(&directory, 1).await;
    let (second, _) = enrol(&directory, 2).await;
    for text in [first.as_str(), &first[..6], &first[..8].to_uppercase(), "laptop-1", "alice/laptop-1"] {
        let json = serde_json::to_string(&Request::Device(DeviceRequest::Show { device: text.to_owned() })).unwrap();
        let Answer::Device(found) = answer(&directory, &json).await else { panic!("{text}") };
        assert_eq!(found.id.to_string(), first, "{text}");
    }
    for text in ["", &first[..3], "laptop-3", "bob/laptop-1", "zzzz"] {
        let json = serde_json::to_string(&Request::Device(DeviceRequest::Show { device: text.to_owned() })).unwrap();
        assert_eq!(refusal(&directory, &json).await.kind, AdminErrorKind::NotFound, "{text:?}");
    }
    let Answer::Devices(devices) = answer(&directory, r#"{"device":{"list":{"user":"alice"}}}"#).await else {
        panic!()
    };
    assert_eq!(devices.len(), 2);
    let Answer::Devices(devices) = answer(&directory, r#"{"device":{"list":{"user":null}}}"#).await else { panic!() };
    assert_eq!((devices.len(), devices[0].limit, devices[0].last_try), (2, 20, None));

    let json = format!(r#"{{"session":{{"show":{{"session":"{}"}}}}}}"#, &session[..8]);
    let Answer::Session(shown) = answer(&directory, &json).await else { panic!() };
    assert_eq!((shown.user.as_str(), shown.live, shown.ended), ("alice", None, None));
    let (_, effects) = ask(&directory, &json.replace("show", "revoke")).await.unwrap();
    assert!(matches!(effects[..], [Effect::CutSession(_, EndReason::Revoked)]), "{effects:?}");
    assert!(done(&directory, &json.replace("show", "revoke")).await.ends_with("has ended already"));
    let Answer::Sessions(live) = answer(&directory, r#"{"session":{"list":{"all":false}}}"#).await else { panic!() };
    let Answer::Sessions(all) = answer(&directory, r#"{"session":{"list":{"all":true}}}"#).await else { panic!() };
    assert_eq!((live.len(), all.len()), (1, 2));

    let json = format!(r#"{{"device":{{"revoke":{{"device":"{second}"}}}}}}"#);
    let (_, effects) = ask(&directory, &json).await.unwrap();
    assert_eq!(effects.len(), 3, "{effects:?}");
    assert!(done(&directory, &json).await.ends_with("is revoked already"));
    let resume = json.replace("revoke", "resume");
    assert_eq!(refusal(&directory, &resume).await.kind, AdminErrorKind::Invalid, "revoked is for good");
    assert!(done(&directory, &resume.replace(&second, &first)).await.ends_with("was not suspended"));
    let Answer::Device(revoked) = answer(&directory, r#"{"device":{"show":{"device":"laptop-2"}}}"#).await else {
        panic!()
    };
    assert_eq!(revoked.state, DeviceState::Revoked);
}

#[tokio::test]
async fn a_name_that_fits_two_devices_is_not_guessed() {
    let (_root, directory) = directory();
    answer(&directory, r#"{"user":{"add":{"name":"alice","groups":[]}}}"#).await;
    let (first, _) = enrol(&directory, 1).await;
    // The same name again, on another device.
    let mut again = SeededEntropy::new(77);
    let user = vestibule_proto::id::UserName::parse("alice").unwrap();
    let (issued, _) = directory.invite(user, std::time::Duration::from_secs(600), T, &mut again).await.unwrap();
    let new = NewDevice {
        id: vestibule_proto::id::DeviceId::random(&mut again),
        name: "laptop-1".to_owned(),
        d_out: PrivateKey::random(&mut again).public(),
        d_in: PrivateKey::random(&mut again).public(),
        d_tls: SigningKey::random(&mut again).spki(),
        psk_g: Psk::random(&mut again),
        fingerprint_commitment: [3; 32],
        record: vec![4; 192],
        ksf: KsfParams::STANDARD,
        version_floor: 1,
        awaits: false,
    };
    let second = new.id.to_string();
    directory.register_device(issued.id, new, T, &mut again).await.unwrap();
    let error = refusal(&directory, r#"{"device":{"revoke":{"device":"laptop-1"}}}"#).await;
    assert_eq!(error.kind, AdminErrorKind::Invalid);
    assert!(error.message.contains(&first) && error.message.contains(&second), "{error}");

    // Of two with one name the one that was revoked is not meant.
    let revoked = done(&directory, &format!(r#"{{"device":{{"revoke":{{"device":"{first}"}}}}}}"#)).await;
    assert_eq!(revoked, format!("the device laptop-1 of alice ({first}) is revoked"));
    let Answer::Device(left) = answer(&directory, r#"{"device":{"show":{"device":"alice/laptop-1"}}}"#).await else {
        panic!()
    };
    assert_eq!(left.id.to_string(), second);
    // Both revoked: the name fits two again.
    done(&directory, &format!(r#"{{"device":{{"revoke":{{"device":"{second}"}}}}}}"#)).await;
    assert_eq!(refusal(&directory, r#"{"device":{"show":{"device":"laptop-1"}}}"#).await.kind, AdminErrorKind::Invalid);
}

#[tokio::test]
async fn the_devices_of_somebody_unknown_are_not_an_empty_list() {
    let (_root, directory) = directory();
    answer(&directory, r#"{"user":{"add":{"name":"alice","groups":[]}}}"#).await;
    let Answer::Devices(none) = answer(&directory, r#"{"device":{"list":{"user":"alice"}}}"#).await else { panic!() };
    assert_eq!(none, []);
    assert_eq!(refusal(&directory, r#"{"device":{"list":{"user":"bob"}}}"#).await.kind, AdminErrorKind::NotFound);
}

#[tokio::test]
async fn invitations_services_audit_and_status() {
    let (_root, directory) = directory();
    answer(&directory, r#"{"user":{"add":{"name":"alice","groups":[]}}}"#).await;
    let (answered, effects) =
        ask(&directory, r#"{"invite":{"add":{"user":"alice","expires_in":3600}}}"#).await.unwrap();
    let Answer::Invited(invited) = answered else { panic!() };
    assert_eq!(Invitation::from_link(&invited.link).unwrap().user, "alice");
    assert_eq!(effects.len(), 2);
    let id = invited.id.to_string();
    let Answer::Invitations(list) = answer(&directory, r#"{"invite":"list"}"#).await else { panic!() };
    assert_eq!((list.len(), list[0].state), (1, InvitationViewState::Open));
    let everything = serde_json::to_string(&list).unwrap();
    assert!(!everything.contains(&invited.link[10..40]), "lists hold no secret");
    let json = format!(r#"{{"invite":{{"revoke":{{"invitation":"{}"}}}}}}"#, &id[..8]);
    assert!(done(&directory, &json).await.ends_with("is withdrawn"));
    assert!(done(&directory, &json).await.ends_with("is withdrawn already"));
    let Answer::Invitation(shown) = answer(&directory, &json.replace("revoke", "show")).await else { panic!() };
    assert_eq!(shown.state, InvitationViewState::Revoked);
    let late = refusal(&directory, r#"{"invite":{"add":{"user":"alice","expires_in":0}}}"#).await;
    assert_eq!(late.kind, AdminErrorKind::Invalid);

    let add =
        r#"{"service":{"add":{"name":"orders","kind":"web","upstream":"http://10.0.0.8:8000","allow":["everyone"]}}}"#;
    let Answer::Service(added) = answer(&directory, add).await else { panic!() };
    assert_eq!((added.upstream.as_str(), added.users.len()), ("10.0.0.8:8000", 1));
    for (json, kind) in [
        (add.to_owned(), AdminErrorKind::Exists),
        (add.replace("orders", "x").replace("everyone", "alice"), AdminErrorKind::Invalid),
        (add.replace("orders", "x").replace("8000", "port"), AdminErrorKind::Invalid),
        (add.replace("orders", "x_y"), AdminErrorKind::Invalid),
        (r#"{"service":{"remove":{"name":"x"}}}"#.to_owned(), AdminErrorKind::NotFound),
    ] {
        assert_eq!(refusal(&directory, &json).await.kind, kind, "{json}");
    }
    let Answer::Services(services) = answer(&directory, r#"{"service":"list"}"#).await else { panic!() };
    assert_eq!(services.len(), 1);

    let Answer::Audit(entries) = answer(&directory, r#"{"audit":{"user":"alice","last":2}}"#).await else { panic!() };
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["invitation-issued", "invitation-revoked"]);
    let Answer::Status(status) = answer(&directory, r#""status""#).await else { panic!() };
    assert_eq!((status.users, status.services, status.invitations, status.sessions), (1, 1, 0, 0));
    assert_eq!((status.name.as_str(), status.running), ("home", None));
    answer(&directory, r#"{"service":{"remove":{"name":"orders"}}}"#).await;
}

#[test]
fn trouble_of_the_store_says_what_to_do() {
    use vestibule_store::{StoreError, StoreErrorKind};
    let error = AdminError::from(StoreError::new(StoreErrorKind::Full, "disk full"));
    assert_eq!(error.kind, AdminErrorKind::Store);
    assert!(error.next.unwrap().contains("free some space"));
}

/// Groups taken away must be taken away from what runs, whether or not the answer can be shown.
#[tokio::test]
async fn a_change_has_its_effects_although_it_can_not_be_shown() {
    let (_root, directory) = directory();
    answer(&directory, r#"{"user":{"add":{"name":"alice","groups":["sales"]}}}"#).await;
    enrol(&directory, 4).await;
    let damage = |c: &rusqlite::Connection| {
        Ok::<_, vestibule_store::StoreError>(c.execute("UPDATE session SET address = 'nonsense'", [])?)
    };
    assert_eq!(directory.store().write(damage).await.unwrap(), 1);
    refusal(&directory, r#"{"user":{"show":{"name":"alice"}}}"#).await;

    let (answer, effects) = ask(&directory, r#"{"user":{"groups":{"name":"alice","groups":[]}}}"#).await.unwrap();
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    assert!(matches!(effects.as_slice(), [Effect::ReloadServices]));
}

/// Lists are as long as they are: 20,000 devices and as many lines of the log pass the socket.
#[tokio::test]
async fn long_lists_pass_the_socket() {
    const MANY: u32 = 20_000;
    let (root, directory) = directory();
    answer(&directory, r#"{"user":{"add":{"name":"alice","groups":["sales"]}}}"#).await;
    let fill = move |c: &rusqlite::Connection| {
        for number in 0..MANY {
            let id = |kind: u8, length: usize| {
                let mut id = vec![kind; length];
                id[..4].copy_from_slice(&number.to_be_bytes());
                id
            };
            let (device, digest, key) = (id(1, 16), id(2, 32), id(3, 32));
            c.execute("INSERT INTO knocker (id, digest, d_out) VALUES (?1, ?2, ?3)", (&device, digest, &key))?;
            c.execute(
                "INSERT INTO device (id, user, name, state, d_in, d_tls, psk_c, psk_r, psk_g, record, ksf_memory,
                                     ksf_passes, ksf_lanes, fingerprint, version_floor, created)
                 VALUES (?1, 'alice', 'laptop', 'active', ?2, ?3, ?2, ?2, ?2, x'00', 8, 1, 1, ?2, 1, 0)",
                (&device, &key, spki()),
            )?;
            c.execute("INSERT INTO audit (time, kind, user, detail) VALUES (0, 'login', 'alice', 'somewhere')", [])?;
        }
        Ok::<_, vestibule_store::StoreError>(())
    };
    directory.store().write(fill).await.unwrap();
    let path = root.path().join("s/gateway.sock");
    let served = directory.clone();
    let serving = tokio::spawn(
        super::socket::serve(&path, move |request| {
            let directory = served.clone();
            async move { execute(&directory, request, T, &mut SeededEntropy::new(1)).await.map(|(answer, _)| answer) }
        })
        .unwrap(),
    );
    let asked = super::socket::ask(&path, &Request::Device(super::DeviceRequest::List { user: None })).await.unwrap();
    assert!(matches!(&asked, Answer::Devices(devices) if devices.len() == MANY as usize));
    let query = crate::directory::AuditQuery { last: MANY, ..Default::default() };
    let asked = super::socket::ask(&path, &Request::Audit(query)).await.unwrap();
    assert!(matches!(&asked, Answer::Audit(entries) if entries.len() == MANY as usize));
    let shown = super::socket::ask(&path, &Request::User(super::UserRequest::Show { name: "alice".to_owned() })).await;
    assert!(matches!(shown.unwrap(), Answer::User(detail) if detail.devices.len() == MANY as usize));
    serving.abort();
}

/// The DER of a public key that nobody has.
fn spki() -> Vec<u8> {
    SigningKey::random(&mut SeededEntropy::new(3)).spki().as_bytes().to_vec()
}

/// A link is a secret: what is printed for debugging, in a log or a failed test, must not hold it.
#[tokio::test]
async fn no_debug_print_holds_a_link() {
    let (_root, directory) = directory();
    answer(&directory, r#"{"user":{"add":{"name":"alice","groups":[]}}}"#).await;
    let invited = answer(&directory, r#"{"invite":{"add":{"user":"alice","expires_in":3600}}}"#).await;
    let Answer::Invited(told) = &invited else { panic!("{invited:?}") };
    assert!(told.link.starts_with("vestibule:"));
    assert!(!format!("{invited:?}").contains(&told.link[..20]));
}
