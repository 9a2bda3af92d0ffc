use super::*;
use vestibule_proto::entropy::SeededEntropy;

fn invitation(entropy: &mut SeededEntropy) -> GatewayInvitation {
    GatewayInvitation {
        format: 1,
        controllers: vec!["127.0.0.1:4433".to_owned()],
        controller_key: PrivateKey::random(entropy).public(),
        controller_pin: SigningKey::random(entropy).spki(),
        realm: RealmKey::random(entropy),
        name: "home".to_owned(),
        gateway: GatewayId::random(entropy),
        expires: Stamp::from_millis(1_000),
        secret: Secret::random(entropy),
    }
}

#[test]
fn keys_are_read_back_and_the_seed_lies_apart() {
    let mut entropy = SeededEntropy::new(1);
    let (dir, invitation) = (tempfile::tempdir().unwrap(), invitation(&mut entropy));
    let keys = Keys::generate(&invitation, &mut entropy);
    keys.write_new(dir.path()).unwrap();
    let read = Keys::read(dir.path()).unwrap();
    assert_eq!(read.tls().present().spki(), keys.tls().present().spki());
    assert_eq!(read.inner.public(), keys.inner.public());
    assert!(read.lookup == keys.lookup && read.opaque.to_bytes().unwrap() == keys.opaque.to_bytes().unwrap());
    assert_eq!((read.link.digest, read.link.d_out.public()), (keys.link.digest, keys.link.d_out.public()));

    let seed = std::fs::read(seed_file(dir.path())).unwrap();
    assert_eq!(seed, keys.opaque.to_bytes().unwrap().expose()[..64]);
    let rest = std::fs::read(key_file(dir.path())).unwrap();
    assert!(!rest.windows(16).any(|part| part == &seed[..16]), "the seed is in no other file");
    assert!(matches!(keys.write_new(dir.path()), Err(KeysError::File(_))), "nothing is overwritten");
}

#[test]
fn keys_that_could_not_be_written_leave_no_seed_behind() {
    let mut entropy = SeededEntropy::new(4);
    let (dir, invitation) = (tempfile::tempdir().unwrap(), invitation(&mut entropy));
    let former = Keys::generate(&invitation, &mut entropy);
    former.write_new(dir.path()).unwrap();
    std::fs::remove_file(seed_file(dir.path())).unwrap();
    let key = std::fs::read(key_file(dir.path())).unwrap();

    assert!(Keys::generate(&invitation, &mut entropy).write_new(dir.path()).is_err());
    assert!(!seed_file(dir.path()).exists(), "a seed that belongs to no key");
    assert_eq!(std::fs::read(key_file(dir.path())).unwrap(), key);
}

#[test]
fn the_invitation_serves_until_it_expires_or_was_used() {
    let mut entropy = SeededEntropy::new(2);
    let (dir, invitation) = (tempfile::tempdir().unwrap(), invitation(&mut entropy));
    let keys = Keys::generate(&invitation, &mut entropy);
    keys.write_new(dir.path()).unwrap();
    let first = keys.first_knock(Stamp::from_millis(999)).unwrap();
    assert_eq!(first.digest, invitation.keys().digest);
    assert!(keys.first_knock(Stamp::from_millis(1_000)).is_none());
    keys.forget_invitation(dir.path()).unwrap();
    let read = Keys::read(dir.path()).unwrap();
    assert!(read.is_registered() && read.first_knock(Stamp::from_millis(0)).is_none());
    assert_eq!(read.tls().present().spki(), keys.tls().present().spki());
}

#[test]
fn a_link_for_this_very_gateway_changes_the_way_to_the_controller_and_nothing_else() {
    let mut entropy = SeededEntropy::new(3);
    let (dir, first) = (tempfile::tempdir().unwrap(), invitation(&mut entropy));
    let keys = Keys::generate(&first, &mut entropy);
    keys.write_new(dir.path()).unwrap();
    keys.forget_invitation(dir.path()).unwrap();
    let (inner, tls) = (keys.inner.public(), keys.tls().present().spki());

    let other = invitation(&mut entropy);
    let refused = Keys::read(dir.path()).unwrap().relinked(&other);
    assert!(matches!(refused, Err(KeysError::OtherGateway { gateway, .. }) if gateway == first.gateway));
    let link = GatewayInvitation { gateway: first.gateway, name: "office".to_owned(), ..other };
    keys.relinked(&link).unwrap().write_over(dir.path()).unwrap();

    let read = Keys::read(dir.path()).unwrap();
    assert_eq!((read.gateway, read.name.as_str()), (first.gateway, "office"));
    assert_eq!((read.controller_key, read.controller_pin), (link.controller_key, link.controller_pin));
    assert!(!read.is_registered() && read.controller().realm == link.realm);
    assert_eq!(read.first_knock(Stamp::from_millis(999)).unwrap().digest, link.keys().digest);
    assert_eq!((read.inner.public(), read.tls().present().spki()), (inner, tls));
}

#[test]
fn a_later_realm_key_is_kept_and_an_earlier_one_is_not() {
    let mut entropy = SeededEntropy::new(4);
    let (dir, invitation) = (tempfile::tempdir().unwrap(), invitation(&mut entropy));
    let keys = Keys::generate(&invitation, &mut entropy);
    keys.write_new(dir.path()).unwrap();
    let [second, third] = [2, 3].map(|epoch| Realm { epoch, key: RealmKey::random(&mut entropy) });
    assert!(keys.learn_realm(dir.path(), third.clone()).unwrap());
    assert!(!keys.learn_realm(dir.path(), second).unwrap());
    assert!(!keys.learn_realm(dir.path(), third.clone()).unwrap(), "nothing new");
    keys.forget_invitation(dir.path()).unwrap();
    let read = Keys::read(dir.path()).unwrap();
    assert!(read.realm() == third && keys.realm() == third && read.is_registered());
    assert!(read.identity().introduction.unwrap().realm == third.key, "who is invited from now on knocks under it");
    assert_eq!(read.tls().present().spki(), keys.tls().present().spki());
}

#[test]
fn rotated_tls_keys_are_read_back_from_every_step() {
    let mut entropy = SeededEntropy::new(5);
    let (dir, invitation) = (tempfile::tempdir().unwrap(), invitation(&mut entropy));
    let dir = dir.path();
    let keys = Keys::generate(&invitation, &mut entropy);
    keys.write_new(dir).unwrap();
    let old = keys.tls().present().spki();
    let until = Stamp::from_millis(5_000);
    let early = keys.turn_tls(dir, |tls| tls.rotated(until, &mut entropy));
    assert_eq!(early.err(), Some(TurnError::Unregistered), "the controller would not know whose word it is");
    keys.forget_invitation(dir).unwrap();

    let new = keys.turn_tls(dir, |tls| tls.rotated(until, &mut entropy)).unwrap().present().spki();
    let read = Keys::read(dir).unwrap();
    let tls = read.tls();
    assert_eq!((tls.present().spki(), tls.at_controller().spki(), tls.former_until()), (new, old, Some(until)));
    assert_eq!(read.introduction().gateway_pins, [new], "who is invited from now on expects it");
    assert_eq!(read.turn_tls(dir, |tls| tls.rotated(until, &mut entropy)).err(), Some(TurnError::UnderWay));

    read.linked_under(dir, &old).unwrap();
    assert_eq!(Keys::read(dir).unwrap().tls().at_controller().spki(), old, "that is no news");
    read.linked_under(dir, &new).unwrap();
    let read = Keys::read(dir).unwrap();
    assert_eq!((read.tls().at_controller().spki(), read.tls().former_until()), (new, Some(until)));

    read.turn_tls(dir, TlsKeys::finished).unwrap();
    assert!(read.learn_realm(dir, Realm { epoch: 2, key: RealmKey::random(&mut entropy) }).unwrap());
    let read = Keys::read(dir).unwrap();
    assert_eq!((read.tls().present().spki(), read.tls().former_until(), read.realm().epoch), (new, None, 2));
}

#[test]
fn damaged_files_are_told() {
    let mut entropy = SeededEntropy::new(3);
    let (dir, invitation) = (tempfile::tempdir().unwrap(), invitation(&mut entropy));
    Keys::generate(&invitation, &mut entropy).write_new(dir.path()).unwrap();
    for file in [key_file(dir.path()), seed_file(dir.path())] {
        let whole = std::fs::read(&file).unwrap();
        secret_file::replace(&file, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(Keys::read(dir.path()), Err(KeysError::Damaged)), "{}", file.display());
        secret_file::replace(&file, &whole).unwrap();
    }
    assert!(Keys::read(dir.path()).is_ok());
}
