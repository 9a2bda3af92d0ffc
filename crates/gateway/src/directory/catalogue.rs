//! Who may use which service, as a value: read once, asked at every connection without touching the disk.

use std::collections::BTreeMap;

use vestibule_policy::{Decision, allowed};
use vestibule_proto::id::{ServiceName, UserName};
use vestibule_proto::session::{ServiceInfo, ServiceKind, Target};
use vestibule_store::StoreError;

use super::Directory;
use super::service::{Service, services};
use super::user::{User, users};

/// All services and all users' groups at one moment. Read anew after [`Effect::ReloadServices`](super::Effect).
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    services: BTreeMap<ServiceName, Service>,
    users: BTreeMap<UserName, User>,
}

impl Catalogue {
    /// The catalogue of these services and users.
    pub fn new(services: Vec<Service>, users: Vec<User>) -> Self {
        Self {
            services: services.into_iter().map(|service| (service.name.clone(), service)).collect(),
            users: users.into_iter().map(|user| (user.name.clone(), user)).collect(),
        }
    }

    /// Whether `user` may use `service`. No user, no service, suspended: no.
    pub fn may_use(&self, user: &UserName, service: &ServiceName) -> bool {
        self.services.get(service).is_some_and(|service| self.is_allowed(user, service))
    }

    /// The service that a tunnel stream of `user` is to lead to; `None` if there is none or the user has no grant, which
    /// are not told apart.
    pub fn find(&self, user: &UserName, target: &Target) -> Option<&Service> {
        // What carries bytes leads to no UDP service, and the other way round.
        let by_name = |name: &ServiceName, is_udp: bool| {
            let service = self.services.get(name).filter(|service| (service.kind == ServiceKind::Udp) == is_udp);
            service.filter(|service| self.is_allowed(user, service))
        };
        match target {
            Target::Service(name) | Target::Direct { service: name, .. } => by_name(name, false),
            Target::Udp(name) => by_name(name, true),
            Target::Upstream(upstream) => self.services.values().find(|service| {
                let leads_there = service.upstream.eq_ignore_ascii_case(upstream) && service.kind != ServiceKind::Udp;
                leads_there && self.is_allowed(user, service)
            }),
        }
    }

    /// What `user` may use, by name.
    pub fn services_of(&self, user: &UserName) -> Vec<ServiceInfo> {
        let info = |service: &Service| ServiceInfo {
            name: service.name.clone(),
            kind: service.kind,
            upstream: service.upstream.clone(),
        };
        self.services.values().filter(|service| self.is_allowed(user, service)).map(info).collect()
    }

    /// Which of them are direct.
    pub fn direct_services_of(&self, user: &UserName) -> Vec<ServiceName> {
        let direct =
            self.services.values().filter(|service| service.direct.is_some() && self.is_allowed(user, service));
        direct.map(|service| service.name.clone()).collect()
    }

    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The groups of a user; none of one who is unknown or suspended.
    pub fn groups_of(&self, user: &UserName) -> Vec<String> {
        let user = self.users.get(user).filter(|user| !user.suspended);
        user.map(|user| user.groups.clone()).unwrap_or_default()
    }

    fn is_allowed(&self, user: &UserName, service: &Service) -> bool {
        self.users
            .get(user)
            .filter(|user| !user.suspended)
            .map(|user| allowed(user.name.as_str(), &user.groups, &service.grants))
            .is_some_and(|decision| decision == Decision::Allowed)
    }
}

impl Directory {
    /// Reads the catalogue.
    pub async fn catalogue(&self) -> Result<Catalogue, StoreError> {
        self.list(|c| Ok(Catalogue::new(services(c)?, users(c)?))).await
    }
}

#[cfg(test)]
mod tests {
    use vestibule_policy::Grant;
    use vestibule_proto::id::Stamp;

    use super::super::service::Source;
    use super::*;

    fn user(name: &str, groups: &[&str], suspended: bool) -> User {
        User {
            name: UserName::parse(name).unwrap(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            suspended,
            created: Stamp::default(),
        }
    }

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

    fn catalogue() -> Catalogue {
        Catalogue::new(
            vec![
                service("db", "10.0.0.5:5432", &["group:sales"]),
                service("db-for-bob", "10.0.0.5:5432", &["user:bob"]),
                service("nobody", "10.0.0.6:1", &[]),
                service("wiki", "wiki:80", &["everyone"]),
            ],
            vec![user("alice", &["sales"], false), user("bob", &[], false), user("carol", &["sales"], true)],
        )
    }

    #[test]
    fn table() {
        let catalogue = catalogue();
        for (name, expected) in
            [("alice", &["db", "wiki"][..]), ("bob", &["db-for-bob", "wiki"]), ("carol", &[]), ("stranger", &[])]
        {
            let user = UserName::parse(name).unwrap();
            let listed = catalogue.services_of(&user);
            assert_eq!(listed.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), expected, "{name}");
            for service in ["db", "db-for-bob", "nobody", "wiki", "missing"] {
                let service = ServiceName::parse(service).unwrap();
                let may = expected.contains(&service.as_str());
                assert_eq!(catalogue.may_use(&user, &service), may, "{name} {service}");
                assert_eq!(catalogue.find(&user, &Target::Service(service)).is_some(), may, "{name}");
            }
        }
    }

    #[test]
    fn an_upstream_leads_to_the_service_that_the_user_may_use() {
        let catalogue = catalogue();
        let found = |name: &str, upstream: &str| {
            let user = UserName::parse(name).unwrap();
            catalogue.find(&user, &Target::Upstream(upstream.to_owned())).map(|service| service.name.to_string())
        };
        assert_eq!(found("alice", "10.0.0.5:5432").as_deref(), Some("db"));
        assert_eq!(found("bob", "10.0.0.5:5432").as_deref(), Some("db-for-bob"));
        assert_eq!(found("bob", "WIKI:80").as_deref(), Some("wiki"));
        assert_eq!(found("alice", "10.0.0.6:1"), None);
        assert_eq!(found("alice", "10.0.0.9:22"), None, "never an arbitrary address");
    }

    #[test]
    fn what_carries_bytes_leads_to_no_udp_service_and_the_other_way_round() {
        let tcp = service("dns-tcp", "10.0.0.53:53", &["everyone"]);
        // Earlier in the alphabet, so that it would be found first.
        let udp = Service { kind: ServiceKind::Udp, ..service("dns", "10.0.0.53:53", &["everyone"]) };
        let catalogue = Catalogue::new(vec![udp, tcp], vec![user("alice", &[], false)]);
        let name = |text: &str| ServiceName::parse(text).unwrap();
        let found = |target| {
            let alice = UserName::parse("alice").unwrap();
            catalogue.find(&alice, &target).map(|service| service.name.to_string())
        };
        assert_eq!(found(Target::Udp(name("dns"))).as_deref(), Some("dns"));
        assert_eq!(found(Target::Service(name("dns-tcp"))).as_deref(), Some("dns-tcp"));
        assert_eq!(found(Target::Upstream("10.0.0.53:53".to_owned())).as_deref(), Some("dns-tcp"));
        let from = ([127, 0, 0, 1], 1).into();
        for crossed in
            [Target::Udp(name("dns-tcp")), Target::Service(name("dns")), Target::Direct { service: name("dns"), from }]
        {
            assert_eq!(found(crossed.clone()), None, "{crossed:?}");
        }
        let bob = UserName::parse("bob").unwrap();
        assert_eq!(catalogue.find(&bob, &Target::Udp(name("dns"))), None);
    }
}
