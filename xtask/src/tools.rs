//! What the checks and tests need from outside of the tree, and its installation where we may.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::run::{Result, cargo, run, succeeds, which};

/// A program that tests run, the Debian package that brings it, and what stays untested without it.
struct Tool {
    is_there: fn() -> bool,
    package: &'static str,
    serves: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { is_there: || which("cc").is_some(), package: "gcc", serves: "the C parts of aws-lc-rs and SQLite" },
    Tool { is_there: || which("unshare").is_some(), package: "util-linux", serves: "hosts in network namespaces" },
    Tool { is_there: || which("ip").is_some(), package: "iproute2", serves: "hosts in network namespaces" },
    Tool { is_there: || which("perl").is_some(), package: "perl-base", serves: "the lab's own tests" },
    Tool { is_there: || which("tcpdump").is_some(), package: "tcpdump", serves: "an independent witness of captures" },
    Tool { is_there: || which("nft").is_some(), package: "nftables", serves: "a witness of the door in the kernel" },
    Tool {
        is_there: || which("clang-14").is_some(),
        package: "clang-14",
        serves: "compiling the door in the driver again",
    },
    Tool { is_there: || which("nmap").is_some(), package: "nmap", serves: "the scan by a stranger" },
    Tool { is_there: || which("curl").is_some(), package: "curl", serves: "web services through the proxies" },
    Tool { is_there: || which("ssh").is_some(), package: "openssh-client", serves: "ssh and scp through `pipe`" },
    Tool { is_there: || which("sshd").is_some(), package: "openssh-server", serves: "ssh and scp through `pipe`" },
    Tool { is_there: || which("swtpm").is_some(), package: "swtpm", serves: "credentials that are sealed to a TPM" },
    Tool { is_there: || which("faketime").is_some(), package: "faketime", serves: "clients whose clock is wrong" },
    Tool { is_there: || which("chromium").is_some(), package: "chromium", serves: "the guard's pages in a browser" },
    Tool {
        is_there: || which("chromedriver").is_some(),
        package: "chromium-driver",
        serves: "the guard's pages in a browser",
    },
    Tool { is_there: || which("php").is_some(), package: "php-cli", serves: "the guard before DokuWiki" },
    // Without it DokuWiki's package brings a web server along.
    Tool { is_there: has_dokuwiki, package: "php-cgi", serves: "the guard before DokuWiki" },
    Tool { is_there: has_dokuwiki, package: "php-xml", serves: "the guard before DokuWiki" },
    Tool { is_there: has_dokuwiki, package: "dokuwiki", serves: "the guard before DokuWiki" },
    Tool { is_there: has_venv, package: "python3-venv", serves: "the guard before Django and other applications" },
    Tool { is_there: has_postgres, package: "postgresql", serves: "psql through `forward`" },
    SPIN,
    Tool { is_there: || which("systemd-analyze").is_some(), package: "systemd", serves: "the unit files" },
];

const SPIN: Tool = Tool { is_there: || which("spin").is_some(), package: "spin", serves: "the models of formal/" };

/// What only the tests with `--apps` run.
const FOR_APPS: &[Tool] =
    &[Tool { is_there: || which("npm").is_some(), package: "npm", serves: "the guard before Node-RED" }];

const SYSTEM_POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing, where it may, and says plainly what it can't install. Nothing of it ends the run: what
/// needs a missing program fails by itself and says so.
pub(crate) fn provide(may_install: bool, apps: bool) -> Result<bool> {
    provide_packages(&self::missing(apps), may_install)?;
    provide_component("fmt", "rustfmt", may_install)?;
    provide_component("clippy", "clippy", may_install)?;
    let missing = self::missing(apps);
    for tool in &missing {
        println!("missing: {} ({} will fail)", tool.package, tool.serves);
    }
    if missing.is_empty() {
        println!("everything is there");
    }
    Ok(missing.is_empty())
}

/// Installs what the models of `formal/` take, where it may.
pub(crate) fn provide_for_models(may_install: bool) -> Result<()> {
    if (SPIN.is_there)() { Ok(()) } else { provide_packages(&[&SPIN], may_install) }
}

fn provide_packages(missing: &[&Tool], may_install: bool) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    match as_root().filter(|_| may_install && which("apt-get").is_some()) {
        Some(root) => install(&root, &packages),
        None => {
            println!("not installed, because that takes root: sudo apt-get install {}", packages.join(" "));
            Ok(())
        }
    }
}

fn missing(apps: bool) -> Vec<&'static Tool> {
    TOOLS.iter().chain(FOR_APPS.iter().filter(|_| apps)).filter(|tool| !(tool.is_there)()).collect()
}

/// Whether cargo has this subcommand.
pub(crate) fn has_subcommand(name: &str) -> bool {
    succeeds(&mut cargo(&[name, "--version"]))
}

/// The words before a command that make it root's: none for root, `sudo` where it asks for no password.
fn as_root() -> Option<Vec<&'static str>> {
    if output_of_id() == Some("0".to_owned()) {
        return Some(Vec::new());
    }
    succeeds(Command::new("sudo").args(["-n", "true"])).then(|| vec!["sudo", "-n"])
}

fn output_of_id() -> Option<String> {
    let output = Command::new("id").arg("-u").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn install(root: &[&str], packages: &[&str]) -> Result<()> {
    let command = |words: &[&str]| {
        let all: Vec<&str> =
            root.iter().chain(["env", "DEBIAN_FRONTEND=noninteractive"].iter()).chain(words).copied().collect();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).stdin(std::process::Stdio::null());
        command
    };
    let _quiet = NoServices::begin(root);
    run(&mut command(&["apt-get", "update", "-qq"]))?;
    let words = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends"];
    if !run(&mut command(&[&words, packages].concat()))? {
        println!("apt-get could not install all of {}", packages.join(" "));
    }
    Ok(())
}

/// Keeps services that come with packages from being started: tests start their own. Debian asks this file whether it
/// may; ours is there during the installation only, and never replaces another.
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn begin(root: &[&str]) -> Self {
        let path = Path::new(SYSTEM_POLICY);
        let ours = root.is_empty() && !path.exists() && fs::write(path, "#!/bin/sh\nexit 101\n").is_ok();
        if ours {
            let _ = succeeds(Command::new("chmod").args(["755", SYSTEM_POLICY]));
        }
        Self(ours.then(|| path.to_owned()))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

fn provide_component(subcommand: &str, component: &str, may_install: bool) -> Result<()> {
    if has_subcommand(subcommand) {
        return Ok(());
    }
    if may_install && which("rustup").is_some() {
        run(Command::new("rustup").args(["component", "add", component]))?;
    }
    if !has_subcommand(subcommand) {
        println!("missing: the Rust component {component}; that check will fail");
    }
    Ok(())
}

/// Debian keeps the server outside of the search path, under its version.
fn has_postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let server = versions.map(|version| version.path().join("bin/postgres")).any(|path| path.is_file());
    (server || which("postgres").is_some()) && which("psql").is_some()
}

fn has_dokuwiki() -> bool {
    Path::new("/usr/share/dokuwiki/doku.php").is_file()
}

fn has_venv() -> bool {
    succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"]))
}

/// Whether this runs where no person waits.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some()
}
