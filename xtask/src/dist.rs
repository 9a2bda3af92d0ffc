//! `cargo xtask dist`: what a distribution's packager or an administrator unpacks below `/usr`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::run::{Result, cargo, output, root, run, target};

const SHELLS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/vestibule"),
    ("zsh", "share/zsh/site-functions/_vestibule"),
    ("fish", "share/fish/vendor_completions.d/vestibule.fish"),
];

/// Files of the tree, and where they go.
const FILES: [(&str, &str); 11] = [
    ("packaging/systemd/vestibule-controller.service", "lib/systemd/system/"),
    ("packaging/systemd/vestibule-gateway.service", "lib/systemd/system/"),
    ("packaging/systemd/vestibule-guard.service", "lib/systemd/system/"),
    // To be copied by who wants it: in the system's own place it would be in force.
    ("packaging/systemd/vestibule-gateway.service.d/nftables.conf", "share/doc/vestibule/vestibule-gateway.service.d/"),
    ("packaging/systemd/vestibule-gateway.service.d/xdp.conf", "share/doc/vestibule/vestibule-gateway.service.d/"),
    ("packaging/systemd/user/vestibule-up.service", "lib/systemd/user/"),
    ("packaging/sysusers.d/vestibule.conf", "lib/sysusers.d/"),
    ("packaging/tmpfiles.d/vestibule.conf", "lib/tmpfiles.d/"),
    ("LICENSE-APACHE", "share/doc/vestibule/"),
    ("LICENSE-MIT", "share/doc/vestibule/"),
    ("README.md", "share/doc/vestibule/"),
];

/// Builds the release, lays it out, and packs it: the same source gives the same bytes.
///
/// # Errors
/// Something can't be built or written.
pub(crate) fn dist() -> Result<bool> {
    if !run(&mut cargo(&["build", "--release", "--locked", "--package", "vestibule"]))? {
        return Ok(false);
    }
    let program = target().join("release/vestibule");
    let name = format!("vestibule-{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let dist = target().join("dist");
    let tree = dist.join(&name);
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    lay_out(&program, &tree)?;
    let archive = pack(&dist, &name)?;
    println!("{}", archive.display());
    Ok(true)
}

fn lay_out(program: &Path, tree: &Path) -> Result<()> {
    copy(program, &tree.join("bin/vestibule"))?;
    for (shell, place) in SHELLS {
        let completions = output(Command::new(program).args(["completions", shell]).stdin(Stdio::null()))?;
        write(&tree.join(place), &completions)?;
    }
    let man = tree.join("share/man/man1");
    fs::create_dir_all(&man)?;
    output(Command::new(program).arg("man").arg(&man).stdin(Stdio::null()))?;
    for (file, place) in FILES {
        let from = root().join(file);
        let name = from.file_name().ok_or("a file without a name")?;
        copy(&from, &tree.join(place).join(name))?;
    }
    Ok(())
}

/// One order, one owner, the commit's time: the archive depends on the source alone.
fn pack(dist: &Path, name: &str) -> Result<PathBuf> {
    let time = output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()))?;
    let archive = dist.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"]);
    tar.arg(format!("--mtime=@{}", time.trim())).args(["--use-compress-program=gzip -9n", "-cf"]);
    if !run(tar.arg(&archive).arg("-C").arg(dist).arg(name))? {
        return Err("tar failed".into());
    }
    Ok(archive)
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::copy(from, to).map(drop).map_err(|error| format!("{}: {error}", from.display()).into())
}
