//! `/proc/net/tcp`, `/proc/net/udp` and those of IPv6: the kernel's sockets as text, one a line. Reading them all is slow.

use super::{Peer, Protocol, canonical};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The socket at `theirs` that hears `ours`.
pub(super) fn search(protocol: Protocol, theirs: SocketAddr, ours: SocketAddr) -> Option<Peer> {
    // A socket of IPv6 may speak IPv4.
    let files = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    files.into_iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        text.lines().skip(1).filter_map(parse).find(|line| protocol.fits(line.ends, theirs, ours)).map(|line| line.peer)
    })
}

/// One socket.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    /// Its own address, and that of its peer.
    ends: (SocketAddr, SocketAddr),
    peer: Peer,
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …`
fn parse(line: &str) -> Option<Line> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let ends = (address(fields.next()?)?, address(fields.next()?)?);
    let mut rest = fields.skip(4);
    let uid = rest.next()?.parse().ok()?;
    let inode = rest.nth(1)?.parse().ok()?;
    Some(Line { ends, peer: Peer { uid, inode } })
}

/// `0100007F:1F90`: words of four bytes as this machine's processor orders them, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| u32::from_str_radix(host.get(8 * index..8 * index + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match host.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let mut bytes = [0; 16];
            bytes.copy_from_slice(words.as_flattened());
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_are_read() {
        let v4 = "   1: 0100007F:1F90 0200007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 12345 1 ffff 20 4 30 10 -1";
        let v6 = "   2: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:C350 06 00000000:00000000 03:00001770 00000000     0        0 0 3 ffff";
        let mapped = "  10: 0000000000000000FFFF00000100007F:0016 0000000000000000FFFF00000200007F:C350 01 00000000:00000000 00:00000000 00000000   105        0 9 1";
        for (line, ends, uid, inode) in [
            (v4, ("127.0.0.1:8080", "127.0.0.2:50000"), 1_000, 12_345),
            (v6, ("[::1]:8080", "[::1]:50000"), 0, 0),
            (mapped, ("127.0.0.1:22", "127.0.0.2:50000"), 105, 9),
        ] {
            let ends = (ends.0.parse().unwrap(), ends.1.parse().unwrap());
            assert_eq!(parse(line), Some(Line { ends, peer: Peer { uid, inode } }), "{line}");
        }
    }

    #[test]
    fn other_lines_are_none() {
        let whole = "1: 0100007F:1F90 0200007F:C350 01 0:0 0:0 0 1000 0 12345";
        assert!(parse(whole).is_some());
        for (from, to) in
            [(":1F90", "1F90"), ("0100007F", "0100007"), ("7F:1F90", "7F:1F90F"), ("1000", "-1"), ("12345", "")]
        {
            assert_eq!(parse(&whole.replace(from, to)), None, "{from}");
        }
        assert_eq!(
            parse("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"),
            None
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(line in "\\PC{0,200}") {
            let _ = parse(&line);
        }
    }
}
