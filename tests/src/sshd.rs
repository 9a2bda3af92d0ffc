//! OpenSSH's server on a host, for `ssh` and `scp` of people who know nothing of Vestibule.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use vestibule_lab::{Host, Invocation, Result, Running};

use crate::installed;

/// Any user may open it.
const PORT: u16 = 2222;
const UP_WITHIN: Duration = Duration::from_secs(10);

/// A running sshd with keys of its own. One account, the one that it runs as, may log in, with one key.
pub struct Sshd {
    _running: Running,
    address: SocketAddr,
    dir: PathBuf,
    user: String,
}

impl Sshd {
    /// Starts it at port 2222 of the host's IPv4 address. Its files lie below `dir`.
    ///
    /// # Errors
    /// It isn't installed (Debian package openssh-server), or doesn't come up.
    pub fn start(host: &Host, dir: &Path) -> Result<Self> {
        let server = installed("sshd", "openssh-server")?;
        let dir = dir.join(format!("sshd-{}", host.name()));
        fs::create_dir_all(&dir)?;
        for name in ["host_key", "key"] {
            let words = ["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"];
            host.command("ssh-keygen").args(words).arg(dir.join(name)).run()?.ok()?;
        }
        fs::copy(dir.join("key.pub"), dir.join("authorized_keys"))?;
        let address = SocketAddr::from((host.v4(), PORT));
        // Its root part needs this directory; a disk of the host's own keeps it out of this machine's.
        host.mount_small(Path::new("/run"), 1 << 20)?;
        host.command("mkdir").args(["-m", "755", "/run/sshd"]).run()?.ok()?;
        let user = Host::here().command("id").arg("-un").run()?.ok()?.out();
        fs::write(dir.join("sshd_config"), config(&dir, address, user == "root"))?;
        let mut sshd = host.command(server).args(["-D", "-e", "-f"]).arg(dir.join("sshd_config"));
        if user != "root" {
            // In a user namespace its root part can't change to another account; alone it serves its own.
            sshd = sshd.as_ordinary_user();
        }
        let mut running = sshd.spawn(dir.join("log"))?;
        running.wait_for_log("Server listening", UP_WITHIN)?;
        Ok(Self { _running: running, address, dir, user })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The account that may log in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// A client (`ssh`, `scp`, `sftp`) on `from` that reaches the server by `proxy`, OpenSSH's ProxyCommand (`none`: by
    /// the wire). It holds the key that may log in, knows the server's key, and nothing of the caller's configuration.
    ///
    /// # Errors
    /// It isn't installed (Debian package openssh-client).
    pub fn client(&self, program: &str, from: &Host, proxy: &str) -> Result<Invocation> {
        let known = self.dir.join("known_hosts");
        fs::write(&known, format!("host {}", fs::read_to_string(self.dir.join("host_key.pub"))?))?;
        let settings = [
            format!("ProxyCommand={proxy}"),
            format!("IdentityFile={}", self.dir.join("key").display()),
            format!("UserKnownHostsFile={}", known.display()),
            "HostKeyAlias=host".into(),
            "GlobalKnownHostsFile=/dev/null".into(),
            "IdentitiesOnly=yes".into(),
            "StrictHostKeyChecking=yes".into(),
            "BatchMode=yes".into(),
        ];
        let options = settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]);
        Ok(from.command(installed(program, "openssh-client")?).args(["-F", "/dev/null"]).args(options))
    }
}

/// Without its root part it can't read whether an account is locked, and asks PAM; root's it reads itself.
fn config(dir: &Path, address: SocketAddr, is_root: bool) -> String {
    let pam = if is_root { "no" } else { "yes" };
    let dir = dir.display();
    format!(
        "ListenAddress {address}\nHostKey {dir}/host_key\nAuthorizedKeysFile {dir}/authorized_keys\nPidFile none\n\
         UsePAM {pam}\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nUseDNS no\nMaxStartups 100\nSubsystem sftp internal-sftp\n"
    )
}
