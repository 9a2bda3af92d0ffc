//! What one user may do in one application.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::method::Methods;
use super::path::{NormalPath, PathTrick};
use super::pattern::{FilePattern, PathPattern};
use super::policy::WebRule;

/// What the rules of one application grant one user, in one canonical form: equal sets are equal bytes. Small enough in serde to
/// stand in a page's token; clones share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GrantSet(Extent);

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Extent {
    /// The application has no rules.
    Everything,
    /// Sorted, each once.
    Only(#[serde(with = "shared")] Arc<Vec<Allowance>>),
}

/// One rule without whom it is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Allowance {
    /// The methods.
    pub methods: Methods,
    /// The paths; none listed: all.
    pub paths: Vec<PathPattern>,
    /// The names of files among them; none listed: all, and what is no file.
    pub files: Vec<FilePattern>,
}

/// Names a [`GrantSet`] where it is too large to be carried: the first 16 bytes of SHA-256 over its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct GrantSetId(pub [u8; 16]);

/// What is said to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The user may do it.
    Permitted,
    /// The user may not.
    Missing {
        /// The rules of the application that would do, whomever they are for. Empty: nobody may; and always empty when a
        /// [`GrantSet`] was asked, which knows of no rules but its user's own. [`WebPolicy::permits`](super::WebPolicy::permits)
        /// knows them all.
        needed: Vec<WebRule>,
    },
}

/// In serde what is shared looks like what is not.
mod shared {
    use super::Allowance;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub(super) fn serialize<S: Serializer>(allowances: &Arc<Vec<Allowance>>, to: S) -> Result<S::Ok, S::Error> {
        allowances.as_slice().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Vec<Allowance>>, D::Error> {
        Vec::deserialize(from).map(Arc::new)
    }
}

impl GrantSet {
    /// All that the application can do: it has no rules of its own.
    pub fn everything() -> Self {
        Self(Extent::Everything)
    }

    /// These and nothing else; none: nothing at all.
    pub fn only(mut allowances: Vec<Allowance>) -> Self {
        for allowance in &mut allowances {
            allowance.paths.sort();
            allowance.paths.dedup();
            allowance.files.sort();
            allowance.files.dedup();
        }
        allowances.sort();
        allowances.dedup();
        Self(Extent::Only(Arc::new(allowances)))
    }

    /// Whether the user may use `method` on `path`.
    pub fn permits(&self, method: &str, path: &NormalPath) -> Permission {
        let permitted = match &self.0 {
            Extent::Everything => true,
            Extent::Only(allowances) => allowances.iter().any(|allowance| allowance.covers(method, path)),
        };
        Permission::of(permitted)
    }

    /// The same for a path as it was sent. A path that upstreams may read in different ways is no trouble to a user to whom all
    /// paths are open for that method.
    ///
    /// # Errors
    /// It depends on the path, and that is such a one.
    pub fn permits_request(&self, method: &str, path: &str) -> Result<Permission, PathTrick> {
        if self.permits_any_path(method) {
            return Ok(Permission::Permitted);
        }
        NormalPath::from_request(path).map(|path| self.permits(method, &path))
    }

    /// Whether the user may use `method` on every path, so that the path need not be looked at.
    pub fn permits_any_path(&self, method: &str) -> bool {
        match &self.0 {
            Extent::Everything => true,
            Extent::Only(allowances) => {
                allowances.iter().any(|allowance| allowance.is_for_any_path() && allowance.methods.contains(method))
            }
        }
    }

    /// Its name.
    pub fn id(&self) -> GrantSetId {
        let digest: [u8; 32] = Sha256::digest(self.to_string()).into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        GrantSetId(id)
    }
}

impl Allowance {
    /// Whether it covers `method` on `path`.
    pub fn covers(&self, method: &str, path: &NormalPath) -> bool {
        self.methods.contains(method)
            && (self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches(path)))
            && (self.files.is_empty() || self.files.iter().any(|pattern| pattern.matches(path)))
    }

    fn is_for_any_path(&self) -> bool {
        self.files.is_empty() && (self.paths.is_empty() || self.paths.iter().any(PathPattern::is_everything))
    }
}

impl Permission {
    fn of(permitted: bool) -> Self {
        if permitted { Self::Permitted } else { Self::Missing { needed: Vec::new() } }
    }

    /// Whether the user may do it.
    pub fn is_permitted(&self) -> bool {
        match self {
            Self::Permitted => true,
            Self::Missing { .. } => false,
        }
    }
}

impl fmt::Display for GrantSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Extent::Everything => f.write_str("everything"),
            Extent::Only(allowances) => allowances.iter().try_for_each(|allowance| writeln!(f, "{allowance}")),
        }
    }
}

/// Tabs separate what may itself have blanks; no pattern has a tab.
impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.methods)?;
        self.paths.iter().try_for_each(|pattern| write!(f, "\t{pattern}"))?;
        self.files.iter().try_for_each(|pattern| write!(f, "\t{pattern}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(methods: &str, paths: &[&str], files: &[&str]) -> Allowance {
        Allowance {
            methods: Methods::parse(methods).unwrap(),
            paths: paths.iter().map(|text| PathPattern::parse(text).unwrap()).collect(),
            files: files.iter().map(|text| FilePattern::parse(text).unwrap()).collect(),
        }
    }

    #[test]
    fn nothing_is_permitted_but_what_is_listed() {
        let set = GrantSet::only(vec![
            allowance("reads", &["/orders/**"], &[]),
            allowance("POST", &["/orders"], &[]),
            allowance("reads", &["/reports/**"], &["*.pdf"]),
        ]);
        for (method, path, permitted) in [
            ("GET", "/orders/7", true),
            ("POST", "/orders", true),
            ("POST", "/orders/7", false),
            ("DELETE", "/orders", false),
            ("GET", "/reports/2026/a.pdf", true),
            ("GET", "/reports/2026/a.csv", false),
            ("GET", "/reports/", false),
            ("GET", "/", false),
        ] {
            let path = NormalPath::from_request(path).unwrap();
            assert_eq!(set.permits(method, &path).is_permitted(), permitted, "{method} {path}");
        }
        assert!(!GrantSet::only(vec![]).permits("GET", &NormalPath::from_request("/").unwrap()).is_permitted());
    }

    #[test]
    fn tricks_are_refused_exactly_where_the_path_counts() {
        let some = GrantSet::only(vec![allowance("reads", &["/**"], &[]), allowance("POST", &["/a/**"], &[])]);
        assert_eq!(some.permits_request("GET", "/a%2fb"), Ok(Permission::Permitted));
        assert_eq!(some.permits_request("POST", "/a/%2e%2e/b"), Err(PathTrick::Dots));
        assert_eq!(some.permits_request("POST", "/a/b"), Ok(Permission::Permitted));
        assert_eq!(GrantSet::everything().permits_request("POST", "/a/../b"), Ok(Permission::Permitted));
        let files = GrantSet::only(vec![allowance("all", &[], &["*.pdf"])]);
        assert_eq!(files.permits_request("GET", "/a%00.pdf"), Err(PathTrick::Control));
    }

    #[test]
    fn one_set_has_one_name() {
        let (a, b) = (allowance("reads", &["/a", "/b"], &[]), allowance("all", &["/c"], &["*.x", "*.y"]));
        let (c, d) = (allowance("reads", &["/b", "/a", "/a"], &[]), allowance("all", &["/c"], &["*.y", "*.x"]));
        let set = GrantSet::only(vec![a.clone(), b.clone()]);
        assert_eq!(GrantSet::only(vec![d, c, a.clone()]), set);
        assert_ne!(GrantSet::only(vec![a]).id(), set.id());
        assert_ne!(GrantSet::only(vec![]).id(), GrantSet::everything().id());
    }

    #[test]
    fn names_do_not_change_between_versions() {
        let shown = |set: GrantSet| set.id().0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // printf everything | sha256sum; printf 'reads\t/orders/**\t*.pdf\n' | sha256sum
        assert_eq!(shown(GrantSet::everything()), "a0a44ed8cfc32b7e61befeb99bbff770");
        assert_eq!(
            shown(GrantSet::only(vec![allowance("reads", &["/orders/**"], &["*.pdf"])])),
            "fb9cbbf96d569562145e25983532b73f"
        );
    }
}
