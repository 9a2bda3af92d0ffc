//! Where the roles run, seen from the process that measures: beside it, or in a network namespace at the other end of a veth, where a kernel
//! door sees what comes as it would on a network.

use super::stage::wait;
use crate::run::{Result, output};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

/// Both ends of the veth.
const ROLES: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
const CLIENTS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));

/// A place for the roles; gone with its owner.
pub(super) struct Ground {
    /// Where the roles listen.
    pub(super) roles: IpAddr,
    /// Where they find the upstreams, which are in this process.
    pub(super) upstreams: IpAddr,
    /// Holds their namespace.
    holder: Option<Child>,
}

impl Ground {
    /// Everything on loopback.
    pub(super) const fn here() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { roles: loopback, upstreams: loopback, holder: None }
    }

    /// The roles in a namespace of their own. This process must be in one that is nobody else's.
    pub(super) fn across_a_veth() -> Result<Self> {
        let holder = Command::new("unshare").args(["-n", "--", "sleep", "infinity"]).stdin(Stdio::null()).spawn()?;
        let ground = Self { roles: ROLES, upstreams: CLIENTS, holder: Some(holder) };
        let namespace = ground.namespace().ok_or("no holder")?;
        let here = fs::read_link("/proc/self/ns/net")?;
        wait("the namespace", || fs::read_link(&namespace).is_ok_and(|there| there != here))?;
        let ip = |words: &str| output(Command::new("ip").args(words.split(' '))).map(drop);
        let there = |words: &str| output(ground.command("ip").args(words.split(' '))).map(drop);
        let pid = ground.holder.as_ref().map_or(0, Child::id);
        ip(&format!("link add bench0 type veth peer name bench1 netns {pid}"))?;
        ip(&format!("address add {CLIENTS}/24 dev bench0"))?;
        ip("link set bench0 up")?;
        there(&format!("address add {ROLES}/24 dev bench1"))?;
        there("link set bench1 up")?;
        there("link set lo up")?;
        Ok(ground)
    }

    /// A program where the roles are.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let Some(namespace) = self.namespace() else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={namespace}")).arg("--").arg(program);
        command
    }

    /// Does something in a thread that is where the roles are, as are the threads that it starts.
    pub(super) fn inside<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let there = self.namespace().map(fs::File::open).transpose()?;
        let acting = thread::spawn(move || {
            if let Some(there) = there {
                move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))?;
            }
            Ok::<T, Errno>(act())
        });
        Ok(acting.join().map_err(|_| "a thread panicked")??)
    }

    fn namespace(&self) -> Option<String> {
        self.holder.as_ref().map(|holder| format!("/proc/{}/ns/net", holder.id()))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.holder {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}
