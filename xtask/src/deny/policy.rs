//! The rules of `deny.toml`, as far as this tree uses cargo-deny's.

use serde::{Deserialize, Deserializer, de::Error as _};

use super::Package;
use crate::run;

/// The file. Keys that aren't here are errors: a rule must not be written and not be kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    pub(crate) graph: GraphRules,
    pub(crate) licenses: LicenceRules,
    pub(crate) bans: BanRules,
    #[serde(rename = "sources")]
    _sources: SourceRules,
}

/// Which platforms' dependencies count.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GraphRules {
    pub(crate) targets: Vec<String>,
}

/// Licences.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LicenceRules {
    pub(crate) allow: Vec<String>,
    #[serde(default)]
    pub(crate) exceptions: Vec<LicenceException>,
    #[serde(default, rename = "private")]
    _private: Option<Private>,
}

/// Licences that one crate may have beyond those.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LicenceException {
    pub(crate) allow: Vec<String>,
    #[serde(rename = "crate")]
    crate_: String,
}

/// Whether our own crates are exempt; they are not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Private {
    #[serde(rename = "ignore")]
    _ignore: bool,
}

/// Crates that must not come in, or not twice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct BanRules {
    #[serde(rename = "multiple-versions")]
    _multiple_versions: Denied,
    #[serde(default, rename = "wildcards")]
    _wildcards: Option<Denied>,
    #[serde(default, rename = "allow-wildcard-paths")]
    _allow_wildcard_paths: bool,
    pub(crate) deny: Vec<Spec>,
    pub(crate) skip: Vec<Spec>,
}

/// The one level that this tree uses.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Denied {
    Deny,
}

/// Where crates may come from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct SourceRules {
    #[serde(default, rename = "unknown-registry")]
    _unknown_registry: Option<Denied>,
    #[serde(default, rename = "unknown-git")]
    _unknown_git: Option<Denied>,
    /// `cargo tree` names every source but crates.io, so the list must be that one alone.
    #[serde(deserialize_with = "crates_io_alone", rename = "allow-registry")]
    _allow_registry: (),
}

fn crates_io_alone<'de, D: Deserializer<'de>>(list: D) -> Result<(), D::Error> {
    const CRATES_IO: &str = "https://github.com/rust-lang/crates.io-index";
    if Vec::<String>::deserialize(list)? == [CRATES_IO] {
        Ok(())
    } else {
        Err(D::Error::custom("only crates.io is allowed"))
    }
}

/// A crate, or some versions of it (`syn`, `syn@2`, `rand@0.8`), and why it stands here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    #[serde(rename = "crate")]
    pub(crate) crate_: String,
    pub(crate) reason: String,
}

impl Policy {
    /// Reads the file's text.
    pub(crate) fn parse(text: &str) -> run::Result<Self> {
        Ok(toml::from_str(text).map_err(|error| format!("deny.toml: {error}"))?)
    }
}

impl Spec {
    /// The crate's name.
    pub(crate) fn name(&self) -> &str {
        self.crate_.split('@').next().unwrap_or_default()
    }

    /// Whether it means this package: the same name, and a version that begins with the parts named.
    pub(crate) fn names(&self, package: &Package) -> bool {
        let (name, version) = self.crate_.split_once('@').unwrap_or((&self.crate_, ""));
        let wanted = version.split('.').filter(|part| !part.is_empty());
        name == package.name && wanted.zip(package.version.split('.')).all(|(wanted, part)| wanted == part)
    }
}

impl LicenceException {
    /// The crate it is for.
    pub(crate) fn spec(&self) -> Spec {
        Spec { crate_: self.crate_.clone(), reason: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_names_versions_by_their_first_parts() {
        let package = |version: &str| Package {
            name: "rand".into(),
            version: version.into(),
            license: String::new(),
            source: None,
        };
        let spec = |text: &str| Spec { crate_: text.into(), reason: String::new() };
        assert!(spec("rand").names(&package("0.8.5")));
        assert!(spec("rand@0.8").names(&package("0.8.5")));
        assert!(!spec("rand@0.8").names(&package("0.80.5")) && !spec("rand@0.1").names(&package("0.10.3")));
        assert!(!spec("rand_core@0.8").names(&package("0.8.5")));
    }

    #[test]
    fn an_unknown_rule_is_an_error() {
        assert!(Policy::parse("[graph]\ntargets = []\nexclude = []\n").is_err());
    }
}
