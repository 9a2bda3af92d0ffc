//! A filter for the kernel at the listener: first packets of TCP from where nobody is awaited end there, without an answer.
//!
//! An unprivileged process may attach it to a socket of its own. It looks at the source's address alone. Connections that come of the
//! listener inherit it as it was then, and their source has passed it.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use socket2::Socket;

/// More addresses than this the kernel's memory for filters does not take for sure; then the others wait until there is room. They go on
/// trying as long as they are awaited.
const ADDRESSES: usize = 128;

/// One instruction (`struct sock_filter`): code, skip if so, skip if not, operand.
type Op = (u16, u8, u8, u32);

// Codes of instructions (linux/bpf_common.h).
const LOAD_BYTE: u16 = 0x30;
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Where the IP header begins, seen from TCP's (`SKF_NET_OFF`).
const IP: u32 = 0xfff0_0000;
const PASS: Op = (RETURN, 0, 0, u32::MAX);
const DROP: Op = (RETURN, 0, 0, 0);

/// Lets first packets from these addresses come to the listener, and no others. Again: from now on from these.
///
/// # Errors
/// What the kernel says; on systems without such filters [`io::ErrorKind::Unsupported`].
pub(super) fn attach(socket: &Socket, addresses: &BTreeSet<IpAddr>) -> io::Result<()> {
    let program = program(&addresses.iter().copied().take(ADDRESSES).collect());
    #[cfg(target_os = "linux")]
    {
        let filter = |(code, yes, no, operand): Op| socket2::SockFilter::new(code, yes, no, operand);
        socket.attach_filter(&program.into_iter().map(filter).collect::<Vec<_>>())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let (_, _) = (socket, program);
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn program(addresses: &BTreeSet<IpAddr>) -> Vec<Op> {
    let mut four = vec![(LOAD_WORD, 0, 0, IP + 12)];
    let mut six = Vec::new();
    for address in addresses {
        match address {
            IpAddr::V4(v4) => four.extend([(JUMP_IF_EQUAL, 0, 1, v4.to_bits()), PASS]),
            IpAddr::V6(v6) => {
                let words: Vec<u32> = (0..4).map(|n| (v6.to_bits() >> (96 - 32 * n)) as u32).collect();
                for ((word, at), left) in words.into_iter().zip((IP + 8..).step_by(4)).zip([7, 5, 3, 1]) {
                    six.extend([(LOAD_WORD, 0, 0, at), (JUMP_IF_EQUAL, 0, left, word)]);
                }
                six.push(PASS);
            }
        }
    }
    four.push(DROP);
    six.push(DROP);
    let head = [
        (LOAD_BYTE, 0, 0, IP),
        (AND, 0, 0, 0xf0),
        (JUMP_IF_EQUAL, 0, 1, 0x60),
        // Behind the two that follow, and all of IPv4.
        (JUMP, 0, 0, 2 + four.len() as u32),
        (JUMP_IF_EQUAL, 1, 0, 0x40),
        DROP,
    ];
    [&head[..], &four, &six].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel does with a packet that begins with this IP header.
    fn passes(program: &[Op], header: &[u8]) -> bool {
        let (mut at, mut value) = (0, 0);
        loop {
            let (code, yes, no, operand) = program[at];
            at += 1;
            match code {
                LOAD_BYTE => value = header[(operand - IP) as usize].into(),
                LOAD_WORD => {
                    let from = (operand - IP) as usize;
                    value = u32::from_be_bytes(header[from..from + 4].try_into().unwrap());
                }
                AND => value &= operand,
                JUMP => at += operand as usize,
                JUMP_IF_EQUAL => at += usize::from(if value == operand { yes } else { no }),
                RETURN => return operand > 0,
                _ => panic!("an unknown instruction {code:#x}"),
            }
        }
    }

    fn header(source: &str) -> Vec<u8> {
        match source.parse().unwrap() {
            IpAddr::V4(v4) => [&[0x45; 12][..], &v4.octets(), &[0; 4]].concat(),
            IpAddr::V6(v6) => [&[0x60; 8][..], &v6.octets(), &[0; 16]].concat(),
        }
    }

    #[test]
    fn who_is_awaited_passes_and_nobody_else() {
        let awaited = ["192.0.2.1", "198.51.100.7", "2001:db8::1", "2001:db8:0:1::1", "2001:db8::2"];
        let program = program(&awaited.map(|text| text.parse().unwrap()).into());
        for source in awaited {
            assert!(passes(&program, &header(source)), "{source}");
        }
        for stranger in ["192.0.2.2", "1.2.0.192", "2001:db8::3", "2001:db8:1::1", "2002:db8::1", "::ffff:192.0.2.1"] {
            assert!(!passes(&program, &header(stranger)), "{stranger}");
        }
        let nobody = self::program(&BTreeSet::new());
        assert!(!passes(&nobody, &header("192.0.2.1")) && !passes(&nobody, &header("2001:db8::1")));
        assert!(!passes(&program, &[0x55; 40]), "neither IPv4 nor IPv6");
    }

    #[test]
    fn the_largest_program_is_one_that_the_kernel_takes() {
        let address = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]);
        let socket = Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        attach(&socket, &(0..ADDRESSES as u16).map(address).collect()).unwrap();
        let too_many: BTreeSet<IpAddr> = (0..=ADDRESSES as u16).map(address).collect();
        attach(&socket, &too_many).unwrap();
        assert!(!passes(&program(&too_many.iter().copied().take(ADDRESSES).collect()), &header("2001:db9::1")));
    }
}
