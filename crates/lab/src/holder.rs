//! The process that keeps a host's namespaces, and kills what runs in them when its owner is gone.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use rustix::process::geteuid;

use crate::{
    Context, Failure, Result,
    inhabitants::{Inside, name_of},
    peer,
};

const ADVICE: &str = "tests need network namespaces: run them as root, or as a user who may make user namespaces \
                      (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0)";

/// A network and a mount namespace (and, for an ordinary user, the user namespace around them), alive as long as this.
///
/// `lab-peer hold` sits in them. Its standard input is a pipe whose other end only the test process has: when that one
/// dies by any cause, it kills everything else in the network namespace and ends.
pub(crate) struct Holder {
    child: Child,
    user_namespace: bool,
    inside: Inside,
}

impl Holder {
    /// Makes new namespaces. With `world` they lie in that one's user namespace: only interfaces of namespaces with a
    /// common owner can be joined.
    pub(crate) fn start(world: Option<&Holder>) -> Result<Self> {
        let user_namespace = world.map_or(!geteuid().is_root(), |world| world.user_namespace);
        let outside = name_of("self").context("our own network namespace")?;
        let mut argv: Vec<OsString> = Vec::new();
        if let Some(world) = world.filter(|world| world.user_namespace) {
            argv.extend(
                ["nsenter", "-t", &world.pid().to_string(), "-U", "--preserve-credentials", "--"].map(Into::into),
            );
        }
        argv.push("unshare".into());
        if user_namespace && world.is_none() {
            argv.extend(["-U", "-r"].map(Into::into));
        }
        argv.extend(["-n", "-m", "--"].map(Into::into));
        argv.extend([peer()?.as_os_str().to_owned(), "hold".into(), outside.as_os_str().to_owned()]);
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A signal to the test's group must not end the watchdog before its work.
            .process_group(0)
            .spawn()
            .context("cannot run unshare (package util-linux)")?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        if said != "holding\n" {
            let _ = child.wait();
            return Err(Failure::new(ADVICE));
        }
        let inside = Inside::of(&child.id().to_string(), &outside)?;
        Ok(Self { child, user_namespace, inside })
    }

    /// The holder's process id: names the namespaces for `ip link … netns PID`.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The words before a command that make it run in here. `nsenter` becomes the command, so its process id is the
    /// command's own.
    pub(crate) fn prefix(&self) -> Vec<OsString> {
        let mut argv: Vec<OsString> = ["nsenter", "-t"].map(Into::into).into();
        argv.push(self.pid().to_string().into());
        if self.user_namespace {
            argv.extend(["-U", "--preserve-credentials"].map(Into::into));
        }
        argv.extend(["-n", "-m", "--"].map(Into::into));
        argv
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.inside.end_all(Some(self.pid()));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
