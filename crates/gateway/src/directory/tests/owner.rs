//! Users, services and the audit log, as the owner handles them.

use vestibule_policy::Grant;
use vestibule_proto::id::ServiceName;
use vestibule_proto::session::ServiceKind;

use super::*;

fn service(name: &str, upstream: &str, grants: &[&str]) -> Service {
    Service {
        name: ServiceName::parse(name).unwrap(),
        kind: ServiceKind::Tcp,
        upstream: upstream.to_owned(),
        grants: grants.iter().map(|grant| Grant::parse(grant).unwrap()).collect(),
        source: Source::Directory,
        direct: None,
    }
}

async fn services(directory: &Directory) -> Vec<(String, String, Source)> {
    let services = directory.services().await.unwrap();
    services.into_iter().map(|service| (service.name.to_string(), service.upstream, service.source)).collect()
}

#[tokio::test]
async fn users_are_added_once_with_their_groups() {
    let (_root, directory) = directory();
    let groups = ["sales".to_owned(), "Ops".to_owned(), "sales".to_owned()];
    directory.add_user(name("alice"), &groups, T).await.unwrap();
    let exists = directory.add_user(name("Alice"), &[], T).await.unwrap_err();
    assert_eq!(exists, DirectoryError::Exists { what: What::User, name: "alice".to_owned() });
    let bad = directory.add_user(name("bob"), &["a b".to_owned()], T).await.unwrap_err();
    assert!(matches!(bad, DirectoryError::Invalid(_)));
    assert_eq!(directory.user(&name("alice")).unwrap().unwrap().groups, ["ops", "sales"]);
    directory.set_groups(name("alice"), &["dev".to_owned()], T).await.unwrap();
    let users = directory.users().await.unwrap();
    assert_eq!(users.len(), 1);
    assert_eq!((users[0].groups.as_slice(), users[0].created), (&["dev".to_owned()][..], T));
    directory.set_groups(name("bob"), &[], T).await.unwrap_err();
    // Said twice it is done, and written down once.
    for (done, twice) in [
        (directory.suspend_user(name("alice"), T).await, directory.suspend_user(name("alice"), T).await),
        (directory.resume_user(name("alice"), T).await, directory.resume_user(name("alice"), T).await),
    ] {
        assert_eq!(said(&done.unwrap()), said(&twice.unwrap()));
    }
    let audit = audited(&directory).await;
    assert_eq!(audit[audit.len() - 2..], [AuditKind::UserSuspended, AuditKind::UserResumed]);
    directory.remove_user(name("alice"), T).await.unwrap();
    directory.remove_user(name("alice"), T).await.unwrap_err();
    directory.suspend_user(name("alice"), T).await.unwrap_err();
}

#[tokio::test]
async fn who_is_added_under_the_name_of_one_that_was_removed_inherits_nothing() {
    let (_root, directory) = directory();
    directory.add_user(name("alice"), &[], T).await.unwrap();
    directory.add_service(service("db", "db:5432", &["user:alice", "user:bob"]), T).await.unwrap();
    let configured = Service { source: Source::File, ..service("web", "web:80", &["user:alice"]) };
    directory.set_configured_services(vec![configured], T).await.unwrap();
    directory.remove_user(name("alice"), T).await.unwrap();
    let granted: Vec<(String, String)> = (directory.services().await.unwrap().into_iter())
        .flat_map(|service| service.grants.into_iter().map(move |who| (service.name.to_string(), who.to_string())))
        .collect();
    // What the file says is its owner's to change.
    let expected = [("db", "user:bob"), ("web", "user:alice")].map(|(service, who)| (service.into(), who.into()));
    assert_eq!(granted, expected);
}

#[tokio::test]
async fn every_change_of_who_may_use_what_renews_the_catalogue() {
    let (_root, directory) = directory();
    let sales = ["sales".to_owned()];
    let mut effects = directory.add_service(service("db", "db:5432", &["group:sales"]), T).await.unwrap();
    assert!(matches!(effects.pop(), Some(Effect::ReloadServices)));
    let db = ServiceName::parse("db").unwrap();
    let may = async || directory.catalogue().await.unwrap().may_use(&name("alice"), &db);
    assert!(!may().await);
    for (changed, expected) in [
        (directory.add_user(name("alice"), &sales, T).await, true),
        (directory.set_groups(name("alice"), &[], T).await, false),
    ] {
        assert!(matches!(changed.unwrap().last(), Some(Effect::ReloadServices)), "{expected}");
    }
    assert!(!may().await);
    directory.set_groups(name("alice"), &sales, T).await.unwrap();
    assert!(may().await);
    let changed = directory.suspend_user(name("alice"), T).await.unwrap();
    assert!(matches!(changed.last(), Some(Effect::ReloadServices)) && !may().await);
    let changed = directory.resume_user(name("alice"), T).await.unwrap();
    assert!(matches!(changed.last(), Some(Effect::ReloadServices)) && may().await);
    let changed = directory.remove_service(db.clone(), T).await.unwrap();
    assert_eq!(said(&changed), ["ReloadServices", "CutService(db)"]);
    assert!(!may().await);
}

#[tokio::test]
async fn a_direct_service_has_an_address_for_its_upstream_and_a_port_of_its_own() {
    let (_root, directory) = directory();
    let direct =
        |name: &str, upstream: &str, port| Service { direct: Some(port), ..service(name, upstream, &["everyone"]) };
    let web = Service { kind: ServiceKind::Web, ..direct("web", "10.0.0.8:80", 8080) };
    for bad in [direct("x", "host:22", 2222), direct("x", "0.0.0.0:22", 2222), direct("x", "10.0.0.7:22", 0), web] {
        let refused = directory.add_service(bad.clone(), T).await;
        assert!(matches!(refused, Err(DirectoryError::Invalid(_))), "{bad:?}");
    }
    directory.add_service(direct("ssh", "10.0.0.7:22", 2222), T).await.unwrap();
    let same_port = directory.add_service(direct("other", "10.0.0.8:22", 2222), T).await;
    assert!(matches!(same_port, Err(DirectoryError::Invalid(_))));
    let same_port = directory.set_configured_services(vec![direct("file", "10.0.0.9:22", 2222)], T).await;
    assert!(matches!(same_port, Err(DirectoryError::Invalid(_))));
    let file = |port| vec![direct("file", "[2001:db8::9]:22", port)];
    directory.set_configured_services(file(2223), T).await.unwrap();
    directory.add_user(name("alice"), &[], T).await.unwrap();
    let catalogue = directory.catalogue().await.unwrap();
    let names: Vec<_> = catalogue.direct_services_of(&name("alice")).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["file", "ssh"]);
    assert!(catalogue.direct_services_of(&name("bob")).is_empty(), "whoever may not use it does not hear of it");
    let moved = directory.set_configured_services(file(2224), T).await.unwrap();
    assert_eq!(said(&moved), ["ReloadServices", "CutService(file)"], "at another port it is another service");
}

#[tokio::test]
async fn services_of_file_and_directory_stay_apart() {
    let (_root, directory) = directory();
    directory.add_service(service("db", "10.0.0.5:5432", &["everyone", "everyone"]), T).await.unwrap();
    assert_eq!(directory.services().await.unwrap()[0].grants, [Grant::Everyone]);
    let twice = directory.add_service(service("db", "10.0.0.6:1", &[]), T).await.unwrap_err();
    assert_eq!(twice, DirectoryError::Exists { what: What::Service, name: "db".to_owned() });
    let bad = directory.add_service(service("x", "no-port", &[]), T).await.unwrap_err();
    assert!(matches!(bad, DirectoryError::Invalid(_)));

    let file = |list: &[(&str, &str, &[&str])]| -> Vec<Service> {
        list.iter().map(|(name, upstream, grants)| service(name, upstream, grants)).collect()
    };
    let configured = file(&[("wiki", "wiki:80", &["everyone"]), ("git", "git:22", &["group:dev", "everyone"])]);
    let effects = directory.set_configured_services(configured.clone(), T).await.unwrap();
    assert_eq!(said(&effects), ["ReloadServices"]);
    let three = services(&directory).await;
    assert_eq!(
        three.iter().map(|(name, _, source)| (name.as_str(), *source)).collect::<Vec<_>>(),
        [("db", Source::Directory), ("git", Source::File), ("wiki", Source::File)]
    );
    assert!(directory.set_configured_services(configured, T).await.unwrap().is_empty(), "nothing has changed");

    // A collision refuses the whole set; a service of the file is changed there.
    for colliding in
        [file(&[("new", "new:1", &[]), ("db", "db:1", &[])]), file(&[("a", "a:1", &[]), ("a", "b:1", &[])])]
    {
        let refused = directory.set_configured_services(colliding, T).await.unwrap_err();
        assert!(matches!(refused, DirectoryError::Exists { what: What::Service, .. }));
    }
    assert_eq!(services(&directory).await, three);
    let refused = directory.remove_service(ServiceName::parse("git").unwrap(), T).await.unwrap_err();
    assert!(refused.to_string().contains("configuration file"), "{refused}");

    // One leads elsewhere, one has other grants, one is gone.
    let changed = file(&[("git", "git2:22", &["everyone"])]);
    let effects = directory.set_configured_services(changed, T).await.unwrap();
    assert_eq!(said(&effects), ["ReloadServices", "CutService(git)", "CutService(wiki)"]);
    let effects = directory.set_configured_services(file(&[("git", "git2:22", &[])]), T).await.unwrap();
    assert_eq!(said(&effects), ["ReloadServices"], "flows to the same place go on where still granted");
    directory.set_configured_services(Vec::new(), T).await.unwrap();
    assert_eq!(services(&directory).await.len(), 1);
}

#[tokio::test]
async fn the_audit_log_is_queried_and_bounded() {
    let (_root, directory) = directory();
    for second in 0..1_500 {
        let user = if second % 2 == 0 { "alice" } else { "bob" };
        let kind = if second % 3 == 0 { AuditKind::Login } else { AuditKind::KnockRefused };
        let entry = AuditEntry::of(kind, later(second)).user(&name(user)).detail("é".repeat(200));
        directory.store().write(move |c| super::super::audit::record(c, &entry)).await.unwrap();
    }
    let of = async |query: AuditQuery| directory.audit_entries(query).await.unwrap();
    let all = of(AuditQuery::default()).await;
    assert_eq!((all.len(), all[0].time, all[999].time), (1_000, later(500), later(1_499)), "the newest, oldest first");
    assert_eq!(all[0].detail.len(), 300);
    let some = of(AuditQuery { user: Some(name("bob")), last: 3, ..AuditQuery::default() }).await;
    assert_eq!(some.iter().map(|entry| entry.time).collect::<Vec<_>>(), [later(1_495), later(1_497), later(1_499)]);
    let logins =
        of(AuditQuery { kinds: vec![AuditKind::Login], since: Some(later(1_490)), ..AuditQuery::default() }).await;
    assert_eq!(logins.iter().map(|entry| entry.time).collect::<Vec<_>>(), [1_491, 1_494, 1_497].map(later));

    let now = later(1_000).saturating_add(AUDIT_KEPT);
    directory.forget_due(now).await.unwrap();
    assert_eq!(of(AuditQuery::default()).await[0].time, later(1_000));
}

#[tokio::test]
async fn the_audit_log_keeps_its_number_of_entries() {
    let (_root, directory) = directory();
    // As if it were nearly full: the numbers go on from there.
    let full = i64::try_from(AUDIT_ENTRIES).unwrap();
    directory
        .store()
        .write(move |c| -> Result<(), StoreError> {
            for id in [1, 2, full] {
                c.execute("INSERT INTO audit (id, time, kind, detail) VALUES (?1, 0, 'login', '')", [id])?;
            }
            Ok(())
        })
        .await
        .unwrap();
    directory.audit(AuditEntry::of(AuditKind::Started, T)).await.unwrap();
    assert_eq!(audited(&directory).await.len(), 3, "number 1 is gone");
    directory.audit(AuditEntry::of(AuditKind::Stopped, T)).await.unwrap();
    assert_eq!(audited(&directory).await, [AuditKind::Login, AuditKind::Started, AuditKind::Stopped]);
}

#[test]
fn every_kind_of_entry_reads_back() {
    for kind in AuditKind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(*kind));
        assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{kind}\""));
    }
}

/// The table of services was made anew for a third kind: what stood in it stands, and so do the grants.
#[tokio::test]
async fn services_of_a_former_schema_are_kept_with_their_grants() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data/gateway.db");
    let former = &schema::MIGRATIONS[..5];
    let store = vestibule_store::Store::open(&path, former).unwrap();
    let insert = "
        INSERT INTO service (name, kind, upstream, source, direct) VALUES
            ('db', 'tcp', '10.0.0.5:5432', 'directory', NULL),
            ('orders', 'web', '10.0.0.8:8000', 'file', NULL),
            ('ssh', 'tcp', '10.0.0.7:22', 'directory', 2222);
        INSERT INTO service_grant (service, who) VALUES ('db', 'group:sales'), ('db', 'user:bob'), ('ssh', 'everyone');";
    let udp = "INSERT INTO service (name, kind, upstream, source) VALUES ('dns', 'udp', '10.0.0.53:53', 'file')";
    store.write(move |c| Ok::<_, vestibule_store::StoreError>(c.execute_batch(insert)?)).await.unwrap();
    store.write(move |c| Ok::<_, vestibule_store::StoreError>(c.execute_batch(udp)?)).await.unwrap_err();
    drop(store);

    let directory = open_in(&root);
    let orders = Service { kind: ServiceKind::Web, source: Source::File, ..service("orders", "10.0.0.8:8000", &[]) };
    let ssh = Service { direct: Some(2222), ..service("ssh", "10.0.0.7:22", &["everyone"]) };
    let kept = [service("db", "10.0.0.5:5432", &["group:sales", "user:bob"]), orders, ssh];
    assert_eq!(directory.services().await.unwrap(), kept);
    let dns = Service { kind: ServiceKind::Udp, ..service("dns", "10.0.0.53:53", &["everyone"]) };
    directory.add_service(dns.clone(), T).await.unwrap();
    // Grants still go with their service.
    directory.remove_service(ServiceName::parse("db").unwrap(), T).await.unwrap();
    directory.add_service(service("db", "10.0.0.5:5432", &[]), T).await.unwrap();
    drop(directory);
    let services = open_in(&root).services().await.unwrap();
    assert_eq!(services[..2], [service("db", "10.0.0.5:5432", &[]), dns]);
}

#[tokio::test]
async fn a_udp_service_is_not_direct() {
    let (_root, directory) = directory();
    let dns = Service { kind: ServiceKind::Udp, direct: Some(53), ..service("dns", "10.0.0.53:53", &["everyone"]) };
    let Err(DirectoryError::Invalid(why)) = directory.add_service(dns, T).await else { panic!("added") };
    assert_eq!(why, "the service `dns` is a UDP service: only a TCP service can be direct");
}
