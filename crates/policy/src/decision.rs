//! The decision for one user and one service.

use crate::grant::Grant;

/// What [`allowed`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The user may use the service.
    Allowed,
    /// The user may not.
    Denied {
        /// The grants of the service, none of which covers the user: any one of them would do. Empty: nobody may.
        missing: Vec<Grant>,
    },
}

impl Decision {
    /// Whether the user may use the service.
    pub fn is_allowed(&self) -> bool {
        match self {
            Self::Allowed => true,
            Self::Denied { .. } => false,
        }
    }
}

/// Whether `user`, a member of `groups`, may use a service that bears `grants`. Names are compared byte by byte; they
/// must be in their lower-case form already.
pub fn allowed<G: AsRef<str>>(user: &str, groups: &[G], grants: &[Grant]) -> Decision {
    let covers = |grant: &Grant| match grant {
        Grant::Everyone => true,
        Grant::User(name) => name == user,
        Grant::Group(name) => groups.iter().any(|group| group.as_ref() == name),
    };
    if grants.iter().any(covers) { Decision::Allowed } else { Decision::Denied { missing: grants.to_vec() } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grants(texts: &[&str]) -> Vec<Grant> {
        texts.iter().map(|text| Grant::parse(text).unwrap()).collect()
    }

    #[test]
    fn table() {
        for (user, groups, list, expected) in [
            ("alice", &[][..], &[][..], false),
            ("alice", &["everyone"], &[], false),
            ("alice", &[], &["everyone"], true),
            ("alice", &[], &["user:alice"], true),
            ("alice", &[], &["user:bob"], false),
            ("alice", &["sales"], &["group:sales"], true),
            ("alice", &["sales"], &["user:sales"], false),
            ("sales", &[], &["group:sales"], false),
            ("alice", &["sales", "dev"], &["user:bob", "group:dev"], true),
            ("alice", &["sale"], &["group:sales"], false),
        ] {
            let decision = allowed(user, groups, &grants(list));
            assert_eq!(decision.is_allowed(), expected, "{user} {groups:?} {list:?}");
        }
    }

    #[test]
    fn a_denial_tells_what_would_have_done() {
        let list = grants(&["user:bob", "group:dev"]);
        assert_eq!(allowed("alice", &["sales"], &list), Decision::Denied { missing: list.clone() });
    }

    fn grant() -> impl Strategy<Value = Grant> {
        prop_oneof![
            1 => Just(Grant::Everyone),
            4 => "[abc]".prop_map(Grant::User),
            4 => "[abc]".prop_map(Grant::Group),
        ]
    }

    proptest! {
        #[test]
        fn allowed_exactly_when_one_grant_alone_allows(
            user in "[abc]",
            groups in prop::collection::vec("[abc]", 0..3),
            list in prop::collection::vec(grant(), 0..5),
        ) {
            let alone = list.iter().any(|grant| allowed(&user, &groups, std::slice::from_ref(grant)).is_allowed());
            prop_assert_eq!(allowed(&user, &groups, &list).is_allowed(), alone);
        }

        #[test]
        fn another_grant_never_takes_away(
            user in "[abc]",
            groups in prop::collection::vec("[abc]", 0..3),
            list in prop::collection::vec(grant(), 0..5),
            more in grant(),
        ) {
            let before = allowed(&user, &groups, &list).is_allowed();
            let mut longer = list;
            longer.push(more);
            prop_assert!(!before || allowed(&user, &groups, &longer).is_allowed());
        }
    }
}
