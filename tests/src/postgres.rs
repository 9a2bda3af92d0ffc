//! A PostgreSQL server on a host.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use vestibule_lab::{Context, Failure, Host, Result, Running};

const PORT: u16 = 5432;
const UP_WITHIN: Duration = Duration::from_secs(60);

/// A running server with an empty database `postgres`, which the user `vestibule` owns and anybody may connect to.
pub struct Postgres {
    _running: Running,
    address: SocketAddr,
}

impl Postgres {
    /// Starts it at port 5432 of the host's IPv4 address. Its files lie below `dir`.
    ///
    /// # Errors
    /// It isn't installed (Debian package postgresql), or doesn't come up.
    pub fn start(host: &Host, dir: &Path) -> Result<Self> {
        let dir = &dir.join(format!("postgres-{}", host.name()));
        fs::create_dir_all(dir)?;
        let (programs, data) = (programs()?, dir.join("data"));
        // It refuses to be root.
        let initdb =
            host.command(programs.join("initdb")).args(["--username=vestibule", "--auth=trust", "--no-sync", "-D"]);
        initdb.arg(&data).as_ordinary_user().run()?.ok()?;
        let rules = data.join("pg_hba.conf");
        fs::write(&rules, fs::read_to_string(&rules)? + "host all all all trust\n")?;
        let address = SocketAddr::from((host.v4(), PORT));
        let mut server = host.command(programs.join("postgres")).arg("-D").arg(&data);
        let sockets = dir.display().to_string();
        let listen = address.ip().to_string();
        for (name, value) in [
            ("listen_addresses", listen.as_str()),
            ("unix_socket_directories", sockets.as_str()),
            ("max_connections", "200"),
            ("fsync", "off"),
        ] {
            server = server.arg("-c").arg(format!("{name}={value}"));
        }
        let mut running = server.as_ordinary_user().spawn(dir.join("log"))?;
        running.wait_for_log("ready to accept connections", UP_WITHIN)?;
        Ok(Self { _running: running, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Debian keeps the server's programs under its version.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("no PostgreSQL (Debian package postgresql)")?;
    let with_server =
        versions.flatten().map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").is_file());
    with_server.ok_or_else(|| Failure::new("no PostgreSQL server (Debian package postgresql)"))
}
