//! Two machines on one wire: that of the test itself, with the door, and the clients'.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Socket, Type};

/// Set inside of the network that a test has for itself.
const INSIDE: &str = "VESTIBULE_TEST_NETWORK";

/// Where the gateway listens, and a port beside it that no door guards.
pub(crate) const PORT: u16 = 4434;
const WITNESS: u16 = 4435;

const CLIENTS: [&str; 8] = [
    "10.99.0.2/24",
    "198.51.100.7/32",
    "198.51.100.200/32",
    "203.0.113.9/32",
    "fd99::2/64",
    "2001:db8::1/128",
    "2001:db8:1:bb00::1/128",
    "2001:db8:1:aaff::1/128",
];

/// Runs `body` in a network namespace of its own, which holds nothing but what it lays: this program runs again there, with
/// this one test. For an ordinary user it lies in a user namespace.
pub(crate) fn in_own_network(test: &str, body: impl FnOnce()) {
    let user: &[&str] = if geteuid().is_root() { &[] } else { &["-U", "-r"] };
    again_by(&[user, &["-n", "-m", "--"]].concat(), test, body);
}

/// Runs `body` in a process that `unshare` starts with these words, and fails as it does.
pub(crate) fn again_by(unshare: &[&str], test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let this = std::env::current_exe().unwrap();
    let again = Command::new("unshare")
        .args(unshare)
        .arg(this)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare (package util-linux) can be run");
    let said = format!("{}\n{}", String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&again.stderr));
    assert!(
        again.status.success() && said.contains("1 passed"),
        "in its own network (root, or an ordinary user who may make user namespaces):\n{said}"
    );
}

/// Runs a program and returns what it printed; fails if it fails.
pub(crate) fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `nft` with one command, as an owner would type it.
pub(crate) fn nft(command: &str) -> String {
    run(&["nft", command])
}

/// The clients' machine. It ends with this.
pub(crate) struct Wire {
    keeper: Child,
    sockets: HashMap<SocketAddr, UdpSocket>,
    gate: UdpSocket,
    witness: UdpSocket,
    sent: u64,
}

impl Wire {
    pub(crate) fn lay() -> Self {
        let keeper = Command::new("unshare").args(["-n", "sleep", "600"]).spawn().unwrap();
        let clients = namespace(&keeper.id().to_string());
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while std::fs::read_link(&clients).is_ok_and(|theirs| theirs == ours) {
            assert!(Instant::now() < deadline, "no namespace for the clients");
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = keeper.id().to_string();
        batch(
            &["ip", "-batch", "-"],
            &format!(
                "link set lo up\nlink add gate type veth peer name eth0 netns {pid}\naddress add 10.99.0.1/24 dev gate\n\
                 address add fd99::1/64 dev gate nodad\nlink set gate up\n"
            ),
        );
        let addresses = CLIENTS.map(|address| format!("address add {address} dev eth0{}\n", nodad(address))).concat();
        ip_of(&pid, &format!("link set lo up\n{addresses}link set eth0 up\n"));
        batch(&["ip", "-batch", "-"], "route add default via 10.99.0.2\n");
        batch(&["ip", "-6", "-batch", "-"], "route add default via fd99::2\n");
        let bind = |port| {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Self { keeper, sockets: HashMap::new(), gate: bind(PORT), witness: bind(WITNESS), sent: 0 }
    }

    /// Sends a datagram from this address of the clients; what the gateway's socket gets of it, if anything. A second
    /// datagram, to the port that nobody guards, goes behind it: when that one is there, the first would be, too.
    pub(crate) fn send(&mut self, source: SocketAddr, datagram: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        self.sent += 1;
        let number = self.sent.to_be_bytes();
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        let server = gate(source);
        let socket = self.socket(source);
        socket.send_to(datagram, (server, PORT)).unwrap();
        socket.send_to(&number, (server, WITNESS)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while receive(&self.witness).is_none_or(|(_, got)| got != number) {
            assert!(Instant::now() < deadline, "what nobody guards does not arrive");
            std::thread::sleep(Duration::from_micros(200));
        }
        receive(&self.gate).or_else(|| {
            // The two may have been looked at by different processors.
            std::thread::sleep(Duration::from_millis(1));
            receive(&self.gate)
        })
    }

    /// The process whose network is the clients'.
    pub(crate) fn clients(&self) -> String {
        self.keeper.id().to_string()
    }

    /// Runs `body` on the clients' machine.
    pub(crate) fn at_clients<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let clients = namespace(&self.clients());
        let enter = || {
            let clients = File::open(&clients).unwrap();
            move_into_link_name_space(clients.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            body()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }

    /// A TCP connection from this address of the clients, or why there is none within `within`.
    pub(crate) fn connect(&self, from: SocketAddr, port: u16, within: Duration) -> Result<TcpStream, ErrorKind> {
        self.at_clients(|| dial(from, port, within))
    }

    /// A socket of the clients, bound to one of their addresses.
    pub(crate) fn socket(&mut self, source: SocketAddr) -> &UdpSocket {
        if !self.sockets.contains_key(&source) {
            let bind = || UdpSocket::bind(source).unwrap_or_else(|error| panic!("{source}: {error}"));
            let socket = self.at_clients(bind);
            self.sockets.insert(source, socket);
        }
        &self.sockets[&source]
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Connects to the gateway's machine, on that of the clients.
pub(crate) fn dial(from: SocketAddr, port: u16, within: Duration) -> Result<TcpStream, ErrorKind> {
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&from.into()).unwrap_or_else(|error| panic!("{from}: {error}"));
    let server = SocketAddr::new(gate(from), port);
    socket.connect_timeout(&server.into(), within).map_err(|error| error.kind())?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    Ok(stream)
}

/// The gateway's address of the client's family.
fn gate(client: SocketAddr) -> IpAddr {
    if client.is_ipv4() { [10, 99, 0, 1].into() } else { "fd99::1".parse().unwrap() }
}

fn namespace(pid: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// Gives `ip` these commands in the network of a process.
pub(crate) fn ip_of(pid: &str, script: &str) {
    batch(&["nsenter", "-t", pid, "-n", "ip", "-batch", "-"], script);
}

fn receive(socket: &UdpSocket) -> Option<(SocketAddr, Vec<u8>)> {
    let mut buffer = [0; 4096];
    match socket.recv_from(&mut buffer) {
        Ok((len, from)) => Some((from, buffer[..len].to_vec())),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

fn nodad(address: &str) -> &'static str {
    if address.contains(':') { " nodad" } else { "" }
}

fn batch(words: &[&str], script: &str) {
    let mut child = Command::new(words[0]).args(&words[1..]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{words:?}:\n{script}");
}
