//! The dependencies as they are built. `cargo tree` tells them: `cargo metadata` also lists what only other platforms'
//! features would pull in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::run::{Result, cargo, output, root};

/// Packages that are built for some of the platforms, and who uses whom.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) packages: BTreeSet<Package>,
    /// The used, with its users.
    users: BTreeMap<Package, BTreeSet<Package>>,
}

/// One version of one crate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The expression in its `Cargo.toml`; empty where there is none.
    pub(crate) license: String,
    /// Where it comes from, unless that is crates.io or this tree.
    pub(crate) source: Option<String>,
}

impl Graph {
    /// What is built for any of `targets`.
    ///
    /// # Errors
    /// cargo fails.
    pub(crate) fn read(targets: &[String]) -> Result<Self> {
        let mut graph = Self::default();
        for target in targets {
            let words = ["tree", "--quiet", "--workspace", "--prefix=depth", "--format=|{p}|{l}", "--target", target];
            graph.add_tree(&output(&mut cargo(&words))?)?;
        }
        Ok(graph)
    }

    /// Adds a printed tree: a line is `DEPTH|NAME vVERSION (NOTE)…|LICENCE`.
    fn add_tree(&mut self, tree: &str) -> Result<()> {
        let mut path: Vec<Package> = Vec::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let parts: Vec<&str> = line.splitn(3, '|').collect();
            let [depth, package, license] = parts.as_slice() else {
                return Err(format!("an unknown form of what cargo tree prints: {line}").into());
            };
            let package = Package::parse(package, license.trim_end_matches(" (*)"))
                .ok_or_else(|| format!("no package in {line}"))?;
            path.truncate(depth.parse()?);
            if let Some(user) = path.last() {
                self.users.entry(package.clone()).or_default().insert(user.clone());
            }
            self.packages.insert(package.clone());
            path.push(package);
        }
        Ok(())
    }

    /// Who uses it, for a message.
    pub(crate) fn users_of(&self, package: &Package) -> String {
        let users: Vec<String> = self.users.get(package).into_iter().flatten().map(ToString::to_string).collect();
        format!("used by {}", users.join(", "))
    }
}

impl Package {
    /// `NAME vVERSION`, and in parentheses what is special: a macro, a path, another source than crates.io.
    fn parse(text: &str, license: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        let (name, version, notes) =
            (words.next()?, words.next()?.strip_prefix('v')?, words.next().unwrap_or_default());
        let ours = |note: &&str| note.starts_with('/') && std::path::Path::new(note).starts_with(root());
        let known = |note: &&str| note.is_empty() || ["proc-macro", "*"].contains(note) || ours(note);
        let source = notes.split(['(', ')']).map(str::trim).find(|note| !known(note)).map(str::to_owned);
        Some(Self { name: name.into(), version: version.into(), license: license.trim().into(), source })
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_printed_tree() {
        let own = root().join("crates/a").display().to_string();
        let tree = format!(
            "0|a v0.1.0 ({own})|MIT\n1|b v1.2.3|MIT OR Apache-2.0\n2|c v2.0.0+spec (proc-macro)|\n\
             1|c v2.0.0+spec (proc-macro)| (*)\n1|d v3.0.0 (https://example.org/d?rev=1#1234)|MIT\n"
        );
        let mut graph = Graph::default();
        graph.add_tree(&tree).unwrap();
        let names: Vec<String> = graph.packages.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a 0.1.0", "b 1.2.3", "c 2.0.0+spec", "d 3.0.0"]);
        let by_name = |name: &str| graph.packages.iter().find(|package| package.name == name).unwrap();
        assert_eq!(graph.users_of(by_name("c")), "used by a 0.1.0, b 1.2.3");
        assert_eq!(by_name("a").source, None);
        assert_eq!(by_name("c").source, None);
        assert_eq!(by_name("d").source.as_deref(), Some("https://example.org/d?rev=1#1234"));
        assert_eq!((by_name("b").license.as_str(), by_name("c").license.as_str()), ("MIT OR Apache-2.0", ""));
    }

    #[test]
    fn a_path_outside_of_this_tree_is_a_source() {
        let package = Package::parse("a v0.1.0 (/somewhere/else)", "MIT").unwrap();
        assert_eq!(package.source.as_deref(), Some("/somewhere/else"));
        assert!(Graph::default().add_tree("what is this").is_err());
    }
}
