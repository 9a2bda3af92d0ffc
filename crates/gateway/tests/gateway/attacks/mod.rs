//! Attackers, each with what it holds, against the real roles over sockets. The letters and numbers are those of the
//! compromise matrix (`tests/attacks.toml`): a test is named after the attack test that it is a part of.

mod evil_controller;
mod guessing;
mod neighbour;
mod on_path;
mod path;
mod thieves;

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use vestibule_dark::{TransportKind, dial, tls, transport};
use vestibule_gateway::admin::{Answer, Request, SessionRequest};
use vestibule_proto::entropy::{Entropy, SystemEntropy};
use vestibule_proto::key::{SigningKey, Spki};
use vestibule_proto::knocker;
use vestibule_proto::ticket::Tag;

use crate::common::{ANY, World};

/// Longer than a refused dial needs to be silence.
const SILENCE: Duration = Duration::from_millis(1_500);

/// A socket of the attacker's.
struct Stranger(UdpSocket);

impl Stranger {
    fn new() -> Self {
        let socket = UdpSocket::bind(ANY).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    fn send(&self, to: SocketAddr, datagram: &[u8]) {
        self.0.send_to(datagram, to).unwrap();
    }

    /// Everything that has come in until now.
    fn heard(&self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 1 << 16];
        std::iter::from_fn(|| self.0.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())).collect()
    }
}

/// The shape of a QUIC client's first packet that bears this tag.
fn first_packet(tag: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0xc0, 0, 0, 0, 1, tag.len() as u8];
    datagram.extend(tag);
    datagram.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    datagram.extend((0x4000 | (1_200 - datagram.len() - 2) as u16).to_be_bytes());
    datagram.resize(1_200, 0x5a);
    datagram
}

fn random_tag() -> Tag {
    let mut tag = [0; 20];
    SystemEntropy.fill(&mut tag);
    Tag::new(tag)
}

/// Whether a whole client of QUIC, with this tag and key, gets a connection on which the gateway opens its ears.
async fn comes_in(at: SocketAddr, tag: Tag, key: &SigningKey, pins: &[Spki]) -> bool {
    let dialled = dial(ANY, at, tag, key, pins, tls::ALPN_SESSION, transport(TransportKind::Session));
    match tokio::time::timeout(SILENCE, dialled).await {
        // TLS 1.3 tells a client that its key was refused only after its own handshake.
        Ok(Ok((_endpoint, connection))) => tokio::time::timeout(SILENCE, connection.accept_bi()).await.is_err(),
        Ok(Err(_)) | Err(_) => false,
    }
}

/// The same keys again: what a thief has of them he puts in the place of his own.
fn copy(keys: &knocker::Device) -> knocker::Device {
    knocker::Device {
        gateway: keys.gateway,
        controller: keys.controller.clone(),
        d_out: keys.d_out.clone(),
        psk_c: keys.psk_c.clone(),
        psk_r: keys.psk_r.clone(),
        digest: keys.digest,
        gateway_key: keys.gateway_key,
        expects: keys.expects,
        d_in: keys.d_in.clone(),
        psk_g: keys.psk_g.clone(),
    }
}

/// How many sessions there are or were.
async fn sessions(world: &World) -> usize {
    let request = Request::Session(SessionRequest::List { all: true });
    let Answer::Sessions(sessions) = world.ask(request).await else { panic!("no list") };
    sessions.len()
}

/// One of the controller's counters.
fn at_controller(world: &World, name: &str) -> u64 {
    let counters = world.controller.as_ref().unwrap().status().counters;
    counters.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name} in {counters:?}")).1
}

/// The bytes of all files in a folder, by their names.
fn loot(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

fn holds(loot: &[(String, Vec<u8>)], wanted: &[u8]) -> bool {
    loot.iter().any(|(_, bytes)| bytes.windows(wanted.len()).any(|window| window == wanted))
}
