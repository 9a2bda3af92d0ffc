//! One question to the kernel about one socket (`sock_diag(7)`), whatever number of sockets there is.

use super::{Peer, Protocol, canonical};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `struct nlmsghdr` 16 and `struct inet_diag_req_v2` 56.
const QUESTION_LEN: usize = 72;
/// `struct nlmsghdr` 16 and `struct inet_diag_msg` 72; attributes may follow.
const ANSWER_LEN: usize = 88;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const ENOENT: i32 = 2;

/// The socket at `theirs` that hears `ours`.
///
/// # Errors
/// When the kernel can't be asked: it was built without, or a sandbox forbids it.
pub(super) fn ask(protocol: Protocol, theirs: SocketAddr, ours: SocketAddr) -> io::Result<Option<Peer>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::SOCK_DIAG))?;
    rustix::net::send(&socket, &question(protocol, theirs, ours), SendFlags::empty())?;
    // The kernel answers while it is being asked.
    let mut answer = [0; 512];
    let (_, length) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    read(&answer[..length.min(answer.len())], protocol, theirs, ours)
}

fn question(protocol: Protocol, theirs: SocketAddr, ours: SocketAddr) -> [u8; QUESTION_LEN] {
    // For UDP the kernel takes the two ends the other way round, "for historical reasons".
    let (number, first, second) = match protocol {
        Protocol::Tcp => (IPPROTO_TCP, theirs, ours),
        Protocol::Udp => (IPPROTO_UDP, ours, theirs),
    };
    let family = if theirs.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut bytes = Vec::with_capacity(QUESTION_LEN);
    bytes.extend_from_slice(&(QUESTION_LEN as u32).to_ne_bytes());
    bytes.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and sender: this socket asks once.
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[family, number, 0, 0]);
    // In any state.
    bytes.extend_from_slice(&[0xff; 4]);
    bytes.extend_from_slice(&first.port().to_be_bytes());
    bytes.extend_from_slice(&second.port().to_be_bytes());
    bytes.extend_from_slice(&words(first.ip()));
    bytes.extend_from_slice(&words(second.ip()));
    // Any interface, and no cookie.
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[0xff; 8]);
    let mut question = [0; QUESTION_LEN];
    question.copy_from_slice(&bytes);
    question
}

/// An answer to that question. The kernel may tell of a listener at `theirs` when it knows no connection: that is nobody.
fn read(answer: &[u8], protocol: Protocol, theirs: SocketAddr, ours: SocketAddr) -> io::Result<Option<Peer>> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    match u16::from_ne_bytes(field(answer, 4).ok_or_else(malformed)?) {
        NLMSG_ERROR => {
            let errno = i32::from_ne_bytes(field(answer, 16).ok_or_else(malformed)?).saturating_neg();
            if errno == ENOENT { Ok(None) } else { Err(io::Error::from_raw_os_error(errno)) }
        }
        SOCK_DIAG_BY_FAMILY if answer.len() >= ANSWER_LEN => {
            let found = told(answer).ok_or_else(malformed)?;
            Ok(protocol.fits(found.0, theirs, ours).then_some(found.1))
        }
        _ => Err(malformed()),
    }
}

/// Both ends of the socket that an `inet_diag_msg` tells of, and whose it is.
fn told(answer: &[u8]) -> Option<((SocketAddr, SocketAddr), Peer)> {
    let [family]: [u8; 1] = field(answer, 16)?;
    let port = |at| field(answer, at).map(u16::from_be_bytes);
    let ip = |at| {
        Some(if family == AF_INET {
            IpAddr::V4(Ipv4Addr::from(field::<4>(answer, at)?))
        } else {
            IpAddr::V6(Ipv6Addr::from(field::<16>(answer, at)?))
        })
    };
    let end = |at, port_at| Some(canonical(SocketAddr::new(ip(at)?, port(port_at)?)));
    let ends = (end(24, 20)?, end(40, 22)?);
    let uid = u32::from_ne_bytes(field(answer, 80)?);
    let inode = u32::from_ne_bytes(field(answer, 84)?).into();
    Some((ends, Peer { uid, inode }))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// An address in the four words of `struct inet_diag_sockid`.
fn words(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => {
            let mut words = [0; 16];
            words[..4].copy_from_slice(&v4.octets());
            words
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// What the kernel says of a socket that goes from `theirs` to `ours`.
    fn answer(theirs: SocketAddr, ours: SocketAddr, uid: u32, inode: u32) -> Vec<u8> {
        let asked = question(Protocol::Tcp, theirs, ours);
        let mut answer = vec![0; ANSWER_LEN];
        answer[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        answer[16] = asked[16];
        answer[20..68].copy_from_slice(&asked[24..72]);
        answer[80..84].copy_from_slice(&uid.to_ne_bytes());
        answer[84..88].copy_from_slice(&inode.to_ne_bytes());
        answer
    }

    #[test]
    fn an_answer_to_the_question_tells_whose_socket_it_is() {
        for (theirs, ours) in [("127.0.0.1:50000", "127.0.0.1:8118"), ("[::1]:50000", "[::1]:8118")] {
            let (theirs, ours) = (address(theirs), address(ours));
            let told = answer(theirs, ours, 1_000, 77);
            assert_eq!(read(&told, Protocol::Tcp, theirs, ours).unwrap(), Some(Peer { uid: 1_000, inode: 77 }));
            assert_eq!(read(&told, Protocol::Tcp, ours, theirs).unwrap(), None, "another socket");
            assert_eq!(read(&told, Protocol::Tcp, theirs, address("127.0.0.1:1")).unwrap(), None);
            for length in 0..ANSWER_LEN {
                assert!(read(&told[..length], Protocol::Tcp, theirs, ours).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn an_error_is_told_apart_from_no_such_socket() {
        let (theirs, ours) = (address("127.0.0.1:1"), address("127.0.0.1:2"));
        let mut answer = vec![0; 36];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        answer[16..20].copy_from_slice(&(-ENOENT).to_ne_bytes());
        assert_eq!(read(&answer, Protocol::Tcp, theirs, ours).unwrap(), None);
        answer[16..20].copy_from_slice(&(-13i32).to_ne_bytes());
        assert_eq!(read(&answer, Protocol::Tcp, theirs, ours).unwrap_err().raw_os_error(), Some(13));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = read(&bytes, Protocol::Udp, address("127.0.0.1:1"), address("[::1]:2"));
        }
    }
}
