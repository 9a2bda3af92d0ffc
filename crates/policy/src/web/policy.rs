//! The rules of one application.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::grant_set::{Allowance, GrantSet, Permission};
use super::method::Methods;
use super::path::NormalPath;
use super::pattern::{FilePattern, PathPattern};
use crate::decision::allowed;
use crate::grant::Grant;

/// The rules of one application. Without any rule, every user whom the service admits may do everything; with one, nobody may do
/// anything but what a rule says.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebPolicy {
    /// The rules, in any order.
    #[serde(default)]
    pub rules: Vec<WebRule>,
    /// Who can grant what is missing, in words for the page that refuses: `the sales office, extension 12`.
    #[serde(default)]
    pub owner: Option<String>,
}

/// One rule: who may use which methods on which paths and files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebRule {
    /// Whom it is for.
    pub who: Grant,
    /// The methods; all when nothing is said. Read from `all`, `reads`, `GET POST` or a list.
    #[serde(default, deserialize_with = "methods")]
    pub methods: Methods,
    /// The paths; none listed: all. `{user}` stands for the user's name.
    #[serde(default)]
    pub paths: Vec<PathPattern>,
    /// The names of files among them; none listed: all, and what is no file.
    #[serde(default)]
    pub files: Vec<FilePattern>,
}

impl WebPolicy {
    /// What the rules grant `user`, a member of `groups`; both in their lower-case form.
    pub fn for_user(&self, user: &str, groups: &[String]) -> GrantSet {
        if self.rules.is_empty() {
            return GrantSet::everything();
        }
        let theirs = self.rules.iter().filter(|rule| rule.is_for(user, groups));
        GrantSet::only(theirs.map(|rule| rule.allowance(user)).collect())
    }

    /// Whether `user`, a member of `groups`, may use `method` on `path`; if not, which rules would do.
    pub fn permits(&self, user: &str, groups: &[String], method: &str, path: &NormalPath) -> Permission {
        if self.for_user(user, groups).permits(method, path).is_permitted() {
            return Permission::Permitted;
        }
        let would_do = |rule: &&WebRule| rule.allowance(user).covers(method, path);
        Permission::Missing { needed: self.rules.iter().filter(would_do).cloned().collect() }
    }
}

impl WebRule {
    fn is_for(&self, user: &str, groups: &[String]) -> bool {
        allowed(user, groups, std::slice::from_ref(&self.who)).is_allowed()
    }

    fn allowance(&self, user: &str) -> Allowance {
        Allowance {
            methods: self.methods.clone(),
            paths: self.paths.iter().map(|pattern| pattern.for_user(user)).collect(),
            files: self.files.iter().map(|pattern| pattern.for_user(user)).collect(),
        }
    }
}

fn methods<'de, D: Deserializer<'de>>(from: D) -> Result<Methods, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "methods are all, reads, or names such as [\"GET\", \"POST\"]")]
    enum Written {
        Text(String),
        List(Vec<String>),
    }
    let text = match Written::deserialize(from)? {
        Written::Text(text) => text,
        Written::List(names) => names.join(" "),
    };
    Methods::parse(&text).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORDERS: &str = r#"
        owner = "the sales office"
        [[rules]]
        who = "group:clerks"
        methods = ["get", "POST"]
        paths = ["/", "/orders/**"]
        [[rules]]
        who = "group:managers"
        [[rules]]
        who = "everyone"
        methods = "reads"
        paths = ["/accounts/{user}/**"]
        files = ["*.pdf", "*.html"]
    "#;

    fn path(text: &str) -> NormalPath {
        NormalPath::from_request(text).unwrap()
    }

    #[test]
    fn rules_as_they_are_written() {
        let policy: WebPolicy = toml::from_str(ORDERS).unwrap();
        let (clerk, manager) = (["clerks".to_owned()], ["managers".to_owned()]);
        for (groups, method, text, permitted) in [
            (&clerk[..], "GET", "/orders/7", true),
            (&clerk, "HEAD", "/", true),
            (&clerk, "DELETE", "/orders/7", false),
            (&clerk, "GET", "/reports", false),
            (&manager, "DELETE", "/reports", true),
            (&[], "GET", "/accounts/alice/a.pdf", true),
            (&[], "GET", "/accounts/bob/a.pdf", false),
            (&[], "GET", "/accounts/alice/", false),
            (&[], "POST", "/accounts/alice/a.pdf", false),
        ] {
            let permission = policy.permits("alice", groups, method, &path(text));
            assert_eq!(permission.is_permitted(), permitted, "{groups:?} {method} {text}");
        }
    }

    #[test]
    fn a_refusal_names_the_rules_that_would_do() {
        let policy: WebPolicy = toml::from_str(ORDERS).unwrap();
        let Permission::Missing { needed } = policy.permits("alice", &[], "GET", &path("/orders/7")) else { panic!() };
        let who: Vec<String> = needed.iter().map(|rule| rule.who.to_string()).collect();
        assert_eq!(who, ["group:clerks", "group:managers"]);
    }

    #[test]
    fn without_rules_everything_and_without_a_matching_rule_nothing() {
        assert_eq!(WebPolicy::default().for_user("alice", &[]), GrantSet::everything());
        let policy: WebPolicy = toml::from_str("[[rules]]\nwho = 'user:bob'").unwrap();
        assert_eq!(policy.for_user("alice", &[]), GrantSet::only(vec![]));
        assert!(policy.permits("bob", &[], "DELETE", &path("/a")).is_permitted());
    }

    #[test]
    fn slips_are_told_and_not_read_as_all() {
        for text in [
            "methods = 'GET+POST'",
            "path = ['/a']",
            "paths = ['a']",
            "methods = []",
            "files = ['a/b']",
            "paths = '/a'",
        ] {
            assert!(toml::from_str::<WebPolicy>(&format!("[[rules]]\nwho = 'everyone'\n{text}")).is_err(), "{text}");
        }
        assert!(toml::from_str::<WebPolicy>("[[rules]]\nmethods = 'all'").is_err());
    }

    #[test]
    fn sets_travel_small_and_whole() {
        let policy: WebPolicy = toml::from_str(ORDERS).unwrap();
        let set = policy.for_user("alice", &["clerks".to_owned()]);
        let bytes = postcard::to_stdvec(&set).unwrap();
        assert!(bytes.len() <= 72, "{}", bytes.len());
        assert_eq!(postcard::from_bytes::<GrantSet>(&bytes).unwrap(), set);
        assert_eq!(postcard::to_stdvec(&GrantSet::everything()).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn a_policy_and_the_set_made_of_it_agree(
            rules in prop::collection::vec(("user:[ab]", "(all|reads|POST)", prop::collection::vec("(/[ab*]){1,2}(/[*][*])?", 0..3)), 0..4),
            method in "(GET|POST)",
            text in "(/[ab]){1,3}",
        ) {
            let rules = rules.into_iter().map(|(who, methods, paths)| WebRule {
                who: Grant::parse(&who).unwrap(),
                methods: Methods::parse(&methods).unwrap(),
                paths: paths.iter().map(|text| PathPattern::parse(text).unwrap()).collect(),
                files: vec![],
            });
            let policy = WebPolicy { rules: rules.collect(), owner: None };
            let (set, path) = (policy.for_user("a", &[]), path(&text));
            prop_assert_eq!(policy.permits("a", &[], &method, &path).is_permitted(), set.permits(&method, &path).is_permitted());
            prop_assert!(!set.permits_any_path(&method) || set.permits(&method, &path).is_permitted());
        }
    }
}
