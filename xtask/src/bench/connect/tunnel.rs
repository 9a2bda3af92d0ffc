//! The tunnel beside `ssh -L`, in interleaved rounds of one run.

use super::super::cpu;
use super::super::peer::Peer;
use super::super::samples::Samples;
use super::Row;
use super::stage::{PASSWORD, Stage, free_tcp};
use crate::run::{self, Result};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const TRIPS: usize = 2_000;
const CONNECTIONS: usize = 300;
const STREAM_FOR: Duration = Duration::from_secs(2);

/// A way to the echo: through us, or through ssh.
struct Way {
    address: SocketAddr,
    /// The processes whose CPU carries it.
    pids: Vec<u32>,
    trips: Vec<Duration>,
    opens: Vec<Duration>,
    gbits: Vec<f64>,
    cpu_per_gb: Vec<f64>,
    children: Vec<Child>,
}

impl Way {
    fn new(address: SocketAddr, pids: Vec<u32>, children: Vec<Child>) -> Self {
        Self { address, pids, trips: vec![], opens: vec![], gbits: vec![], cpu_per_gb: vec![], children }
    }

    /// One round of everything.
    fn round(&mut self) -> Result<()> {
        let mut stream = self.connect()?;
        for trip in 0..TRIPS {
            let took = trip_of(&mut stream)?;
            if trip >= TRIPS / 10 {
                self.trips.push(took);
            }
        }
        for _ in 0..CONNECTIONS / ROUNDS {
            let begun = Instant::now();
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            trip_of(&mut stream)?;
            self.opens.push(begun.elapsed());
        }
        let before = self.cpu()?;
        let mut stream = self.connect()?;
        stream.write_all(&[1])?;
        let (mut bytes, mut carried) = (vec![0; 1 << 20], 0_u64);
        let begun = Instant::now();
        while begun.elapsed() < STREAM_FOR {
            carried += stream.read(&mut bytes)? as u64;
        }
        let took = begun.elapsed();
        drop(stream);
        let spent = self.cpu()?.saturating_sub(before);
        self.gbits.push(carried as f64 * 8.0 / 1e9 / took.as_secs_f64());
        self.cpu_per_gb.push(spent.as_secs_f64() / (carried as f64 / 1e9));
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    }

    fn cpu(&self) -> Result<Duration> {
        self.pids.iter().map(|pid| cpu::cpu_time(*pid)).sum()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Measures both ways, or ours alone where ssh is absent.
pub(super) fn beside_ssh(stage: &Stage, rows: &mut Vec<Row>) -> Result<()> {
    let mut ours = our_way(stage)?;
    let ssh = match Peer::new("sshd", "openssh-server").path_or_skip("ssh -L", "") {
        Ok(sshd) => Some(ssh_way(stage, &sshd)?),
        Err(skipped) => {
            rows.push(skipped);
            None
        }
    };
    let mut ssh = ssh;
    for _ in 0..ROUNDS {
        ours.round()?;
        if let Some(ssh) = &mut ssh {
            ssh.round()?;
        }
    }
    tell("tunnel", &ours, rows);
    let Some(ssh) = ssh else { return Ok(()) };
    tell("ssh -L", &ssh, rows);
    let ratio = |mine: f64, peer: f64| mine / peer;
    let micros = |samples: &[Duration]| Samples::new(samples.to_vec()).micros(50.0);
    rows.push(
        Row::new("64 bytes there and back, of ssh -L", ratio(micros(&ours.trips), micros(&ssh.trips)), "×")
            .at_most(1.2),
    );
    rows.push(
        Row::new("new connection, of ssh -L's channel", ratio(micros(&ours.opens), micros(&ssh.opens)), "×")
            .at_most(1.0),
    );
    rows.push(
        Row::new("one stream's throughput, of ssh -L", ratio(median(&ours.gbits), median(&ssh.gbits)), "×")
            .at_least(1.0),
    );
    Ok(())
}

fn tell(name: &str, way: &Way, rows: &mut Vec<Row>) {
    let (trips, opens) = (Samples::new(way.trips.clone()), Samples::new(way.opens.clone()));
    rows.push(Row::new(format!("{name}: 64 bytes there and back, p50"), trips.micros(50.0), "µs"));
    rows.push(Row::new(format!("{name}: 64 bytes there and back, p99"), trips.micros(99.0), "µs"));
    rows.push(Row::new(format!("{name}: new connection and 64 bytes, p50"), opens.micros(50.0), "µs"));
    rows.push(Row::new(format!("{name}: one stream"), median(&way.gbits), "Gbit/s"));
    rows.push(Row::new(format!("{name}: CPU of both halves"), median(&way.cpu_per_gb), "s/GB"));
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn trip_of(stream: &mut TcpStream) -> Result<Duration> {
    let mut bytes = [b'.'; 64];
    let begun = Instant::now();
    stream.write_all(&bytes)?;
    stream.read_exact(&mut bytes)?;
    Ok(begun.elapsed())
}

/// `vestibule up` with a forward to the echo.
fn our_way(stage: &Stage) -> Result<Way> {
    let (address, http, socks) = (free_tcp()?, free_tcp()?, free_tcp()?);
    let mut up = Command::new(&stage.program)
        .args(["up", "--password-stdin", "--forward", &format!("{address}=echo")])
        .args(["--http", &http.to_string(), "--socks", &socks.to_string(), "--dir"])
        .arg(stage.dir("starter"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    up.stdin.take().ok_or("no stdin")?.write_all(format!("{PASSWORD}\n").as_bytes())?;
    wait_for(address)?;
    Ok(Way::new(address, vec![up.id(), stage.pid(1)], vec![up]))
}

/// `ssh -N -L` with the default cipher, to an sshd of our own.
fn ssh_way(stage: &Stage, sshd: &Path) -> Result<Way> {
    let dir = stage.scratch("ssh")?;
    for key in ["host", "user"] {
        run::output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(key)))?;
    }
    let (listen, address) = (free_tcp()?, free_tcp()?);
    let d = dir.display();
    let config = dir.join("sshd_config");
    fs::write(
        &config,
        format!(
            "ListenAddress {listen}\nHostKey {d}/host\nAuthorizedKeysFile {d}/user.pub\nPidFile none\nUsePAM no\nStrictModes no\n"
        ),
    )?;
    fs::create_dir_all("/run/sshd").ok();
    let server = Command::new(sshd).args(["-D", "-e", "-f"]).arg(&config).stderr(Stdio::null()).spawn()?;
    wait_for(listen)?;
    let client = Command::new("ssh")
        .args(["-F", "none", "-N", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-o", "ExitOnForwardFailure=yes", "-o", "IdentitiesOnly=yes", "-i"])
        .arg(dir.join("user"))
        .args(["-L", &format!("{address}:{}", stage.echo), "-p", &listen.port().to_string(), "127.0.0.1"])
        .stderr(Stdio::null())
        .spawn()?;
    wait_for(address)?;
    // The server's own half is a child of the listener, and a child of that.
    let mut pids = vec![client.id()];
    pids.extend(descendants(server.id()));
    Ok(Way::new(address, pids, vec![client, server]))
}

fn descendants(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children: Vec<u32> =
        fs::read_to_string(path).unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    children.iter().copied().chain(children.iter().flat_map(|pid| descendants(*pid))).collect()
}

fn wait_for(address: SocketAddr) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > until {
            return Err(format!("nobody listens on {address}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
