//! What may come into the tree, checked against `deny.toml`.
//!
//! cargo-deny is the tool for it, and runs where it is installed. To build it in a cold CI would take longer than to
//! build this tree, so the rules that this tree uses (licences, bans, duplicates, sources) are also checked here, from
//! `cargo tree`, and always. A rule of `deny.toml` that this doesn't know is an error, not a rule that nobody keeps.

mod graph;
mod licence;
mod policy;

use std::fs;

use crate::{
    run::{Result, cargo, root, run},
    tools,
};

use graph::{Graph, Package};
use policy::{Policy, Spec};

/// Checks, and prints every breach; true where there is none.
///
/// # Errors
/// `deny.toml` or the graph of dependencies can't be read.
pub(crate) fn deny() -> Result<bool> {
    let policy = Policy::parse(&fs::read_to_string(root().join("deny.toml"))?)?;
    let graph = Graph::read(&policy.graph.targets)?;
    let breaches = breaches(&policy, &graph);
    for breach in &breaches {
        eprintln!("deny: {breach}");
    }
    println!("{} dependencies checked, {} breaches", graph.packages.len(), breaches.len());
    let mut clean = breaches.is_empty();
    if tools::has_subcommand("deny") {
        clean &= run(&mut cargo(&["deny", "--offline", "check", "licenses", "bans", "sources"]))?;
    }
    Ok(clean)
}

fn breaches(policy: &Policy, graph: &Graph) -> Vec<String> {
    let mut breaches = Vec::new();
    for package in &graph.packages {
        breaches.extend(licence_breach(policy, package));
        breaches.extend(source_breach(package));
        if let Some(ban) = policy.bans.deny.iter().find(|ban| ban.names(package)) {
            breaches.push(format!("{package} is banned ({}); {}", ban.reason, graph.users_of(package)));
        }
    }
    breaches.extend(duplicates(policy, graph));
    breaches
}

fn licence_breach(policy: &Policy, package: &Package) -> Option<String> {
    let exception = policy.licenses.exceptions.iter().find(|exception| exception.spec().names(package));
    let allowed = |licence: &str| {
        let listed = |list: &[String]| list.iter().any(|allowed| allowed == licence);
        listed(&policy.licenses.allow) || exception.is_some_and(|exception| listed(&exception.allow))
    };
    let text = &package.license;
    match licence::is_allowed(text, &allowed) {
        Ok(true) => None,
        Ok(false) => Some(format!("{package} is under {text}, which is not allowed")),
        Err(reason) => Some(format!("{package}: can't read its licence {text:?}: {reason}")),
    }
}

/// Ours come from this tree, all others from crates.io.
fn source_breach(package: &Package) -> Option<String> {
    package.source.as_deref().map(|source| format!("{package} comes from {source}, which is not allowed"))
}

/// Two versions of one crate, unless the older is named with a reason; and names that are no longer needed.
fn duplicates(policy: &Policy, graph: &Graph) -> Vec<String> {
    let skip: Vec<&Spec> = policy.bans.skip.iter().collect();
    let skipped = |package: &Package| skip.iter().any(|spec| spec.names(package));
    let mut breaches = Vec::new();
    for package in &graph.packages {
        let same_name = graph.packages.iter().filter(|other| other.name == package.name);
        let others: Vec<String> = same_name
            .filter(|other| other.version != package.version && !skipped(other))
            .map(|other| other.version.clone())
            .collect();
        if !skipped(package) && !others.is_empty() {
            breaches.push(format!("{package} is there beside {}; {}", others.join(", "), graph.users_of(package)));
        }
    }
    for spec in skip {
        let count = graph.packages.iter().filter(|package| package.name == spec.name()).count();
        if count < 2 || !graph.packages.iter().any(|package| spec.names(package)) {
            breaches.push(format!("deny.toml skips {}, which is no duplicate any more", spec.crate_));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [graph]
        targets = ["x86_64-unknown-linux-gnu"]
        [licenses]
        allow = ["MIT"]
        exceptions = [{ allow = ["MPL-2.0"], crate = "selectors" }]
        [bans]
        multiple-versions = "deny"
        deny = [{ crate = "ring", reason = "one crypto library" }]
        skip = [{ crate = "syn@1", reason = "old macros" }]
        [sources]
        allow-registry = ["https://github.com/rust-lang/crates.io-index"]
    "#;

    fn package(name: &str, version: &str, license: &str) -> Package {
        Package { name: name.into(), version: version.into(), license: license.into(), source: None }
    }

    fn graph(packages: impl IntoIterator<Item = Package>) -> Graph {
        let mut graph = Graph::default();
        graph.packages.extend(packages);
        graph
    }

    fn found(packages: Vec<Package>) -> Vec<String> {
        let syn = [package("syn", "1.0.9", "MIT"), package("syn", "2.0.1", "MIT")];
        breaches(&Policy::parse(POLICY).unwrap(), &graph(packages.into_iter().chain(syn)))
    }

    #[test]
    fn a_clean_graph_has_no_breach() {
        assert_eq!(found(vec![package("a", "1.0.0", "MIT"), package("selectors", "0.2.0", "MPL-2.0")]), [""; 0]);
    }

    #[test]
    fn each_rule_finds_its_breach() {
        let one = |package: Package| {
            let breaches = found(vec![package]);
            assert_eq!(breaches.len(), 1, "{breaches:?}");
            breaches[0].clone()
        };
        assert!(one(package("a", "1.0.0", "GPL-3.0")).contains("GPL-3.0"));
        assert!(one(package("a", "1.0.0", "MPL-2.0")).contains("MPL-2.0"), "the exception is another's");
        assert!(one(package("ring", "0.17.0", "MIT")).contains("one crypto library"));
        assert!(one(package("a", "1.0.0", "")).contains("a licence is missing"));
        let git = Some("git+https://example.org/a".to_owned());
        assert!(one(Package { source: git, ..package("a", "1.0.0", "MIT") }).contains("git+"));
    }

    #[test]
    fn duplicates_need_a_reason_and_reasons_a_duplicate() {
        let breaches = found(vec![package("a", "1.0.0", "MIT"), package("a", "2.0.0", "MIT")]);
        assert_eq!(breaches.len(), 2, "{breaches:?}");
        let policy = Policy::parse(POLICY).unwrap();
        let breaches = super::breaches(&policy, &graph([package("syn", "2.0.1", "MIT")]));
        assert!(breaches.len() == 1 && breaches[0].contains("no duplicate any more"), "{breaches:?}");
    }

    #[test]
    fn the_trees_own_rules_can_be_read() {
        let policy = Policy::parse(&fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap();
        assert!(policy.bans.deny.iter().any(|ban| ban.name() == "ring"));
    }
}
