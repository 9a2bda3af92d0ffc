//! Datagrams that might make a server speak.

use vestibule_proto::entropy::{self, SystemEntropy};

/// The length of a knock, and the least of a first QUIC packet (RFC 9000, section 14.1).
const FULL: usize = 1200;

/// Nothing, a byte, noise, a datagram in the shape of a knock, QUIC of three kinds, and words of other protocols.
#[must_use]
pub fn baits() -> Vec<Vec<u8>> {
    let noise: [u8; FULL] = entropy::bytes(&mut SystemEntropy);
    let mut knock = noise;
    knock[..4].copy_from_slice(&[1, 1, 0, 0]);
    let quic = |first: u8, version: [u8; 4]| {
        let mut packet = noise;
        packet[0] = first;
        packet[1..5].copy_from_slice(&version);
        packet[5] = 20;
        packet.to_vec()
    };
    vec![
        Vec::new(),
        vec![0],
        noise.to_vec(),
        knock.to_vec(),
        quic(0xc3, [0, 0, 0, 1]),
        // An unknown version invites a version negotiation packet, a short header a stateless reset.
        quic(0xc3, [0x1a, 0x2a, 0x3a, 0x4a]),
        quic(0x43, [noise[9], noise[10], noise[11], noise[12]]),
        // The first message of WireGuard, a client's hello of DTLS, a question to a name server.
        [&[1, 0, 0, 0][..], &noise[4..148]].concat(),
        [&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0][..], &noise[..64]].concat(),
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03".to_vec(),
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
    ]
}
