use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use proptest::prelude::*;
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::Now;
use vestibule_proto::key::{PrivateKey, Psk, Secret, SigningKey};
use vestibule_proto::recognition::{ControllerKeys, Limits, Recognition};

use super::*;

const EXPIRES: Stamp = Stamp::from_millis(1_000);
const BEFORE: Stamp = Stamp::from_millis(999);

fn rows() -> (tempfile::TempDir, Rows) {
    let root = tempfile::tempdir().unwrap();
    let rows = Rows::open(&root.path().join("data/controller.db")).unwrap();
    (root, rows)
}

fn gateway(number: u8) -> GatewayId {
    GatewayId::new([number; 16])
}

fn invite(rows: &Rows, number: u8) -> KnockKeys {
    let keys = KnockKeys::derive(&Secret::new([number; 16]));
    rows.invite_gateway(gateway(number), &format!("gateway-{number}"), &keys, EXPIRES).unwrap();
    keys
}

fn register(number: u8) -> Register {
    let mut entropy = SeededEntropy::new(u64::from(number) + 1_000);
    Register {
        digest: LoginDigest::random(&mut entropy),
        device_key: PrivateKey::random(&mut entropy).public(),
        psk_c: Psk::random(&mut entropy),
        spki: SigningKey::random(&mut entropy).spki(),
    }
}

fn device(number: u64) -> Row {
    let mut entropy = SeededEntropy::new(number);
    Row {
        digest: LoginDigest::random(&mut entropy),
        device_key: PrivateKey::random(&mut entropy).public(),
        psk_c: Psk::random(&mut entropy),
        owner: Owner::Gateway(gateway(0)),
        temporary_until: None,
        last: Stamp::default(),
    }
}

/// Digest → owners, of device rows.
fn devices(rows: &Rows) -> BTreeMap<LoginDigest, Vec<GatewayId>> {
    let mut owners: BTreeMap<LoginDigest, Vec<GatewayId>> = BTreeMap::new();
    for row in rows.load(BEFORE).unwrap() {
        if let Owner::Gateway(gateway) = row.owner {
            owners.entry(row.digest).or_default().push(gateway);
        }
    }
    owners
}

fn last(rows: &Rows, digest: &LoginDigest) -> Stamp {
    rows.load(BEFORE).unwrap().into_iter().find(|row| row.digest == *digest).unwrap().last
}

#[tokio::test]
async fn a_gateway_is_invited_registers_and_is_removed() {
    let (_root, rows) = rows_apart().await;
    let keys = blocking(&rows, |rows| invite(rows, 1)).await;
    let loaded = rows.load(BEFORE).unwrap();
    assert_eq!(loaded.len(), 1);
    assert!(loaded[0].digest == keys.digest && loaded[0].device_key == keys.d_out.public());
    assert_eq!(loaded[0].temporary_until, Some(EXPIRES));
    assert!(matches!(loaded[0].owner, Owner::Link(id) if id == gateway(1)));
    assert!(rows.load(EXPIRES).unwrap().is_empty(), "an expired invitation recognises nobody");
    assert_eq!(rows.gateways().unwrap()[0].invited_until, Some(EXPIRES));
    assert_eq!(rows.gateway_spki(&gateway(1)).unwrap(), None);

    let lasting = register(1);
    rows.register_gateway(gateway(1), "home", &lasting).await.unwrap();
    let loaded = rows.load(EXPIRES).unwrap();
    assert_eq!(loaded.len(), 1, "the temporary row is gone");
    assert_eq!((loaded[0].digest, loaded[0].temporary_until), (lasting.digest, None));
    assert_eq!(rows.gateway_spki(&gateway(1)).unwrap(), Some(lasting.spki));
    let again = rows.register_gateway(gateway(1), "home", &register(2)).await;
    assert_eq!(again, Err(RowsError::UnknownGateway(gateway(1))), "the invitation is used");

    rows.publish(gateway(1), device(1)).await.unwrap();
    assert_eq!(rows.gateways().unwrap()[0].rows, 1);
    let removed = blocking(&rows, |rows| rows.remove_gateway("gateway-1").unwrap()).await;
    assert_eq!(removed, Some(gateway(1)));
    assert!(rows.load(BEFORE).unwrap().is_empty() && rows.gateways().unwrap().is_empty());
    assert_eq!(blocking(&rows, |rows| rows.remove_gateway("gateway-1").unwrap()).await, None);
}

#[test]
fn a_name_can_be_invited_again_until_its_gateway_has_linked() {
    let (_root, rows) = rows();
    invite(&rows, 1);
    let second = KnockKeys::derive(&Secret::new([9; 16]));
    rows.invite_gateway(gateway(9), "gateway-1", &second, EXPIRES).unwrap();
    let loaded = rows.load(BEFORE).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].digest, second.digest);

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(rows.register_gateway(gateway(9), "home", &register(9))).unwrap();
    let third = KnockKeys::derive(&Secret::new([10; 16]));
    let taken = rows.invite_gateway(gateway(10), "gateway-1", &third, EXPIRES);
    assert_eq!(taken, Err(RowsError::NameTaken("gateway-1".to_owned())));
}

#[tokio::test]
async fn a_gateway_that_has_linked_is_linked_anew_under_its_own_id_and_name() {
    let (_root, rows) = rows_apart().await;
    blocking(&rows, |rows| invite(rows, 1)).await;
    rows.register_gateway(gateway(1), "one", &register(1)).await.unwrap();
    let again = blocking(&rows, |rows| {
        let again = KnockKeys::derive(&Secret::new([77; 16]));
        let other = rows.invite_gateway(gateway(1), "another-name", &again, EXPIRES);
        assert_eq!(other, Err(RowsError::OtherName("gateway-1".to_owned())));
        assert!(!rows.invite_gateway(gateway(1), "gateway-1", &again, EXPIRES).unwrap());
        again
    })
    .await;
    // Until it comes, its own keys count beside the invitation.
    let digests: Vec<LoginDigest> = rows.load(BEFORE).unwrap().iter().map(|row| row.digest).collect();
    assert!(digests.contains(&again.digest) && digests.contains(&register(1).digest), "{digests:?}");
    // It comes with other keys, once.
    rows.register_gateway(gateway(1), "one", &register(2)).await.unwrap();
    let digests: Vec<LoginDigest> = rows.load(BEFORE).unwrap().iter().map(|row| row.digest).collect();
    assert_eq!(digests, [register(2).digest]);
    let twice = rows.register_gateway(gateway(1), "one", &register(3)).await;
    assert_eq!(twice, Err(RowsError::UnknownGateway(gateway(1))));
}

#[tokio::test]
async fn digest_and_device_key_stand_once() {
    let (_root, rows) = rows_apart().await;
    blocking(&rows, |rows| (invite(rows, 1), invite(rows, 2)).0.digest).await;
    rows.register_gateway(gateway(1), "", &register(1)).await.unwrap();
    let (first, other) = (device(1), device(4));
    rows.publish(gateway(1), other.clone()).await.unwrap();
    rows.publish(gateway(1), first.clone()).await.unwrap();
    // The same row from a second gateway: a cluster.
    rows.publish(gateway(2), first.clone()).await.unwrap();
    assert_eq!(devices(&rows)[&first.digest], [gateway(1), gateway(2)]);

    for stolen in [
        // Another gateway's digest with other keys; its device key under another digest; the same of a link.
        Row { digest: first.digest, ..device(2) },
        Row { device_key: other.device_key, ..device(2) },
        Row { digest: register(1).digest, ..device(2) },
        Row { device_key: register(1).device_key, ..device(2) },
    ] {
        assert_eq!(rows.publish(gateway(2), stolen.clone()).await, Err(RowsError::Conflict(stolen.digest)));
        let refused = stolen.digest;
        assert_eq!(rows.replace(gateway(2), vec![device(3), stolen]).await, Ok(vec![refused]));
        assert_eq!(devices(&rows)[&device(3).digest], [gateway(2)], "the others stand");
        rows.replace(gateway(2), vec![first.clone()]).await.unwrap();
    }
    assert_eq!(devices(&rows)[&first.digest], [gateway(1), gateway(2)]);
    assert_eq!(devices(&rows).len(), 2);
    rows.withdraw(gateway(1), other.digest).await.unwrap();

    rows.withdraw(gateway(1), first.digest).await.unwrap();
    assert_eq!(devices(&rows)[&first.digest], [gateway(2)]);
    rows.withdraw(gateway(2), first.digest).await.unwrap();
    assert!(devices(&rows).is_empty());
}

#[tokio::test]
async fn a_gateway_cannot_withdraw_what_is_not_its_own() {
    let (_root, rows) = rows_apart().await;
    blocking(&rows, |rows| (invite(rows, 1), invite(rows, 2)).0.digest).await;
    rows.publish(gateway(1), device(1)).await.unwrap();
    rows.withdraw(gateway(2), device(1).digest).await.unwrap();
    assert_eq!(devices(&rows)[&device(1).digest], [gateway(1)]);
    // Nor its own link row, by which it would lock itself out.
    let link = KnockKeys::derive(&Secret::new([1; 16])).digest;
    rows.withdraw(gateway(1), link).await.unwrap();
    rows.replace(gateway(1), Vec::new()).await.unwrap();
    assert!(rows.load(BEFORE).unwrap().iter().any(|row| row.digest == link));
    assert_eq!(rows.publish(gateway(7), device(7)).await, Err(RowsError::UnknownGateway(gateway(7))));
}

#[tokio::test]
async fn last_survives_renewal_and_restart_and_never_goes_back() {
    let (root, rows) = rows_apart().await;
    blocking(&rows, |rows| invite(rows, 1).digest).await;
    let row = device(1);
    rows.publish(gateway(1), row.clone()).await.unwrap();
    rows.flush_last(vec![(row.digest, Stamp::from_millis(50))]).await.unwrap();
    rows.flush_last(vec![(row.digest, Stamp::from_millis(40))]).await.unwrap();
    rows.replace(gateway(1), vec![device(3), row.clone()]).await.unwrap();
    rows.publish(gateway(1), row.clone()).await.unwrap();
    assert_eq!(last(&rows, &row.digest), Stamp::from_millis(50));
    // Withdrawn and published again: recordings of before are still met with silence.
    rows.withdraw(gateway(1), row.digest).await.unwrap();
    rows.publish(gateway(1), row.clone()).await.unwrap();
    assert_eq!(last(&rows, &row.digest), Stamp::from_millis(50));
    drop(rows);
    let rows = Rows::open(&root.path().join("data/controller.db")).unwrap();
    assert_eq!(last(&rows, &row.digest), Stamp::from_millis(50));
}

#[tokio::test]
async fn a_digest_changes_under_its_owner_alone() {
    let (_root, rows) = rows_apart().await;
    blocking(&rows, |rows| (invite(rows, 1), invite(rows, 2)).0.digest).await;
    let old = device(1);
    rows.publish(gateway(1), old.clone()).await.unwrap();
    // A new password: the same device key under a new digest, beside the old one for a while.
    let new = Row { digest: device(2).digest, ..old.clone() };
    assert_eq!(rows.publish(gateway(2), new.clone()).await, Err(RowsError::Conflict(new.digest)));
    rows.publish(gateway(1), new.clone()).await.unwrap();
    assert_eq!(devices(&rows).len(), 2);
    // What is on disk is what the machine takes at the next start.
    let keys = ControllerKeys { key: PrivateKey::random(&mut SeededEntropy::new(1)), realm: Secret::new([1; 32]) };
    let mut machine =
        Recognition::new(keys, Now::new(Instant::now(), BEFORE), Limits::default(), &mut SeededEntropy::new(2));
    for row in rows.load(BEFORE).unwrap() {
        machine.upsert_row(row).unwrap();
    }
    // The only owner may give its digest new keys.
    rows.publish(gateway(1), Row { digest: old.digest, ..device(3) }).await.unwrap();
    assert_eq!(devices(&rows).len(), 2);
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u8, u64),
    Withdraw(u8, u64),
    Replace(u8, Vec<u64>),
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let gateway = 1..=3_u8;
    let device = 0..6_u64;
    prop_oneof![
        4 => (gateway.clone(), device.clone()).prop_map(|(g, d)| Step::Publish(g, d)),
        3 => (gateway.clone(), device.clone()).prop_map(|(g, d)| Step::Withdraw(g, d)),
        2 => (gateway.clone(), prop::collection::vec(device, 0..4)).prop_map(|(g, d)| Step::Replace(g, d)),
        1 => gateway.prop_map(Step::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The table agrees with a map gateway → published devices, whatever is done in whatever order.
    #[test]
    fn agrees_with_a_simple_model(steps in prop::collection::vec(step(), 1..25)) {
        let (_root, rows) = rows();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut model: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
        for number in 1..=3 {
            invite(&rows, number);
            model.insert(number, BTreeSet::new());
        }
        for step in steps {
            match step {
                Step::Publish(g, d) => {
                    let done = runtime.block_on(rows.publish(gateway(g), device(d)));
                    prop_assert_eq!(done.is_ok(), model.contains_key(&g));
                    model.entry(g).and_modify(|set| { set.insert(d); });
                }
                Step::Withdraw(g, d) => {
                    runtime.block_on(rows.withdraw(gateway(g), device(d).digest)).unwrap();
                    model.entry(g).and_modify(|set| { set.remove(&d); });
                }
                Step::Replace(g, list) => {
                    let done = runtime.block_on(rows.replace(gateway(g), list.iter().map(|d| device(*d)).collect()));
                    prop_assert_eq!(done.is_ok(), model.contains_key(&g));
                    model.entry(g).and_modify(|set| *set = list.into_iter().collect());
                }
                Step::Remove(g) => {
                    let removed = rows.remove_gateway(&format!("gateway-{g}")).unwrap();
                    prop_assert_eq!(removed.is_some(), model.remove(&g).is_some());
                }
            }
            let mut expected: BTreeMap<LoginDigest, Vec<GatewayId>> = BTreeMap::new();
            for (g, set) in &model {
                for d in set {
                    expected.entry(device(*d).digest).or_default().push(gateway(*g));
                }
            }
            prop_assert_eq!(devices(&rows), expected);
        }
    }
}

async fn rows_apart() -> (tempfile::TempDir, Rows) {
    tokio::task::spawn_blocking(rows).await.unwrap()
}

/// Runs what blocks where blocking is allowed.
async fn blocking<T: Send + 'static>(rows: &Rows, work: impl FnOnce(&Rows) -> T + Send + 'static) -> T {
    let rows = rows.clone();
    tokio::task::spawn_blocking(move || work(&rows)).await.unwrap()
}

#[tokio::test]
async fn a_key_is_handed_over_by_the_one_that_is_known_and_by_no_other() {
    let (_root, rows) = rows_apart().await;
    blocking(&rows, |rows| invite(rows, 1)).await;
    rows.register_gateway(gateway(1), "home", &register(1)).await.unwrap();
    let [first, second, third] = [1, 2, 3].map(|number| register(number).spki);
    assert!(!rows.hand_over(gateway(1), second, third).await.unwrap());
    assert!(rows.hand_over(gateway(1), first, second).await.unwrap());
    assert_eq!(rows.gateway_spki(&gateway(1)).unwrap(), Some(second));
    assert!(!rows.hand_over(gateway(1), first, third).await.unwrap(), "the former one hands over nothing any more");
    assert!(!rows.hand_over(gateway(2), first, third).await.unwrap(), "of a gateway that is not known");
    assert_eq!(rows.gateway_spki(&gateway(1)).unwrap(), Some(second));
}
