//! The program's command lines, as far as the lab gives them: here and nowhere else.

use std::{net::SocketAddr, path::Path};

use serde_json::Value;

use crate::{Context, Result};

/// A service to publish.
#[derive(Clone, Copy)]
pub enum Service {
    /// A TCP service at this address.
    Tcp(SocketAddr),
    /// A web application at this address.
    Web(SocketAddr),
    /// A UDP service at this address.
    Udp(SocketAddr),
}

/// The words of one command, without the program's name.
pub type Words = Vec<String>;

/// `controller init`.
pub(crate) fn controller_init(dir: &Path, addresses: &[SocketAddr]) -> Words {
    let mut words = words(&["controller", "init"]);
    for address in addresses {
        words.extend([format!("--listen={address}"), format!("--public={address}")]);
    }
    in_dir(words, dir)
}

/// `controller run`.
pub(crate) fn controller_run(dir: &Path) -> Words {
    in_dir(words(&["controller", "run"]), dir)
}

/// `controller invite NAME`: prints a link for a gateway.
pub(crate) fn controller_invite(dir: &Path, name: &str) -> Words {
    in_dir(words(&["controller", "invite", name]), dir)
}

/// `controller gateways`, as JSON.
pub(crate) fn controller_gateways(dir: &Path) -> Words {
    in_dir(words(&["--json", "controller", "gateways"]), dir)
}

/// Whether what [`controller_gateways`] printed says that every gateway's link stands.
pub(crate) fn are_linked(gateways: &Value) -> bool {
    let list = gateways.as_array().or_else(|| gateways.get("gateways")?.as_array());
    list.is_some_and(|list| !list.is_empty() && list.iter().all(|gateway| gateway["linked"] == true))
}

/// `gateway init`; the controller's link goes to standard input.
pub(crate) fn gateway_init(dir: &Path, addresses: &[SocketAddr]) -> Words {
    let mut words = words(&["gateway", "init", "--controller=-"]);
    for address in addresses {
        words.extend([format!("--listen={address}"), format!("--public={address}")]);
    }
    in_dir(words, dir)
}

/// `gateway run`.
pub(crate) fn gateway_run(dir: &Path) -> Words {
    in_dir(words(&["gateway", "run"]), dir)
}

/// `user add`.
pub(crate) fn user_add(dir: &Path, user: &str, groups: &[&str]) -> Words {
    let mut words = words(&["user", "add", user]);
    words.extend(groups.iter().map(|group| format!("--group={group}")));
    in_dir(words, dir)
}

/// `invite USER`: prints a link for a person.
pub(crate) fn invite(dir: &Path, user: &str) -> Words {
    in_dir(words(&["invite", user]), dir)
}

/// `service add`.
pub(crate) fn service_add(dir: &Path, name: &str, service: Service, allow: &[&str]) -> Words {
    let mut words = words(&["service", "add", name]);
    words.push(match service {
        Service::Tcp(address) => format!("--tcp={address}"),
        Service::Web(address) => format!("--web=http://{address}"),
        Service::Udp(address) => format!("--udp={address}"),
    });
    words.extend(allow.iter().map(|who| format!("--allow={who}")));
    in_dir(words, dir)
}

/// `enroll`; the link and the password go to standard input, a line each.
pub(crate) fn enroll(dir: &Path) -> Words {
    in_dir(words(&["enroll", "-", "--password-stdin"]), dir)
}

/// `up`; the password goes to standard input.
pub(crate) fn up(dir: &Path) -> Words {
    in_dir(words(&["up", "--password-stdin"]), dir)
}

/// The link in what an invitation printed.
pub(crate) fn link(printed: &str) -> Result<String> {
    let link = printed
        .split_whitespace()
        .find(|word| word.starts_with("vestibule:") || word.starts_with("vestibule-gateway:"));
    link.map(str::to_owned).context(format!("no link in {printed:?}"))
}

fn words(words: &[&str]) -> Words {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Words that act on a directory.
pub(crate) fn in_dir(mut words: Words, dir: &Path) -> Words {
    words.push(format!("--dir={}", dir.display()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_link_among_words() {
        assert_eq!(link("Give alice this link:\n\n  vestibule:AQF \nonce.").unwrap(), "vestibule:AQF");
        assert_eq!(link("vestibule-gateway:XY").unwrap(), "vestibule-gateway:XY");
        assert!(link("error: no vestibule here").is_err());
    }

    #[test]
    fn a_gateway_counts_as_linked_only_where_it_says_so() {
        let linked = |text: &str| are_linked(&serde_json::from_str(text).unwrap());
        assert!(linked(r#"[{"name": "g", "linked": true}]"#));
        assert!(!linked(r#"[{"name": "g", "linked": true}, {"name": "h", "linked": false}]"#));
        assert!(!linked("[]") && !linked("{}"));
    }
}
