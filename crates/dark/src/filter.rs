//! A filter for the kernel: what [`shape`](crate::shape) calls foreign is dropped before it costs a system call.
//!
//! It is a program of the classic packet filter, which an unprivileged process may attach to a socket of its own. It sees
//! the datagram from its UDP header on. Where the kernel has joined datagrams of one source (GRO), it sees the start of
//! the first and the length of all: it passes whatever may hold something of ours, and the socket looks at each by itself.

use std::io;

use socket2::Socket;
use vestibule_proto::header::{Kind, MESSAGE_LEN, VERSION};
use vestibule_proto::moving::MOVED_LEN;
use vestibule_proto::ticket::Tag;

use crate::shape::{CID_LEN, INITIAL_MIN, LONG_MIN, PacketType, QUIC_V1, SHORT_MIN};

/// Attaches the filter. Do it before the socket is bound: no datagram comes in unfiltered then.
///
/// # Errors
/// What the kernel says; on systems without such filters [`io::ErrorKind::Unsupported`].
pub(crate) fn attach(socket: &Socket, knocks: bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let program = assemble(&statements(knocks));
        let filters: Vec<_> = program.iter().map(|op| socket2::SockFilter::new(op.code, op.yes, op.no, op.k)).collect();
        socket.attach_filter(&filters)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let (_, _) = (socket, assemble(&statements(knocks)));
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// One instruction (`struct sock_filter`): if it is a jump, `yes` and `no` say how many instructions to skip.
#[derive(Debug, Clone, Copy)]
struct Op {
    code: u16,
    yes: u8,
    no: u8,
    k: u32,
}

// Codes of instructions (linux/bpf_common.h). A load from behind the end of the datagram drops it.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_WORD: u16 = 0x20;
const LOAD_LENGTH: u16 = 0x80;
const AND: u16 = 0x54;
const SUBTRACT: u16 = 0x14;
const REMAINDER: u16 = 0x94;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Bytes of the UDP header, with which the filter's view begins.
const UDP: u32 = 8;
/// Where a long header has its version, and the length of its destination connection id.
const AT_VERSION: u32 = UDP + 1;
const AT_CID_LEN: u32 = UDP + 5;

/// A statement of the program's source: instructions whose jumps name their targets.
enum Statement {
    Do(u16, u32),
    /// To the first target if the condition holds, else to the second; [`NEXT`] goes on.
    Branch(u16, u32, Option<Target>, Option<Target>),
    Here(Target),
    Return(u32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Ours,
    OursLen,
    Short,
    Long,
    LaterLong,
    LaterLongLen,
    Pass,
    Drop,
}

const NEXT: Option<Target> = None;

fn statements(knocks: bool) -> Vec<Statement> {
    use Statement::{Branch, Do, Here, Return};
    use Target::{Drop, LaterLong, LaterLongLen, Long, Ours, OursLen, Pass, Short};
    let long_type = |packet: PacketType| (packet as u32) << 4;
    // Gateways are knocked at by way of the controller alone, and nobody moves at a controller.
    let (kinds, len) = match knocks {
        true => ([Kind::Knock; 2], MESSAGE_LEN),
        false => ([Kind::Moved, Kind::TagDatagram], MOVED_LEN),
    };
    let [kind, other] = kinds.map(|kind| u32::from(u16::from_be_bytes([kind as u8, VERSION])));
    vec![
        Do(LOAD_BYTE, UDP),
        Do(AND, 0xc0),
        Branch(JUMP_IF_EQUAL, 0xc0, Some(Long), NEXT),
        Branch(JUMP_IF_EQUAL, 0x40, Some(Short), NEXT),
        Branch(JUMP_IF_EQUAL, 0x00, Some(Ours), Some(Drop)),
        // One of ours, or several that the kernel joined.
        Here(Ours),
        Do(LOAD_HALF, UDP),
        Branch(JUMP_IF_EQUAL, kind, Some(OursLen), NEXT),
        Branch(JUMP_IF_EQUAL, other, NEXT, Some(Drop)),
        Here(OursLen),
        Do(LOAD_LENGTH, 0),
        Do(SUBTRACT, UDP),
        Do(REMAINDER, len as u32),
        Branch(JUMP_IF_EQUAL, 0, Some(Pass), Some(Drop)),
        Here(Short),
        Do(LOAD_LENGTH, 0),
        Branch(JUMP_IF_AT_LEAST, UDP + SHORT_MIN as u32, Some(Pass), Some(Drop)),
        Here(Long),
        Do(LOAD_WORD, AT_VERSION),
        Branch(JUMP_IF_EQUAL, QUIC_V1, NEXT, Some(Drop)),
        Do(LOAD_BYTE, AT_CID_LEN),
        Branch(JUMP_IF_EQUAL, CID_LEN as u32, Some(LaterLong), NEXT),
        Branch(JUMP_IF_EQUAL, Tag::SIZE as u32, NEXT, Some(Drop)),
        // A client's first packet.
        Do(LOAD_BYTE, UDP),
        Do(AND, 0x30),
        Branch(JUMP_IF_EQUAL, long_type(PacketType::Initial), NEXT, Some(Drop)),
        Do(LOAD_LENGTH, 0),
        Branch(JUMP_IF_AT_LEAST, UDP + INITIAL_MIN as u32, Some(Pass), Some(Drop)),
        Here(LaterLong),
        Do(LOAD_BYTE, UDP),
        Do(AND, 0x30),
        Branch(JUMP_IF_EQUAL, long_type(PacketType::Initial), Some(LaterLongLen), NEXT),
        Branch(JUMP_IF_EQUAL, long_type(PacketType::Handshake), Some(LaterLongLen), Some(Drop)),
        Here(LaterLongLen),
        Do(LOAD_LENGTH, 0),
        Branch(JUMP_IF_AT_LEAST, UDP + LONG_MIN as u32, Some(Pass), Some(Drop)),
        Here(Drop),
        Return(0),
        Here(Pass),
        Return(u32::MAX),
    ]
}

fn assemble(statements: &[Statement]) -> Vec<Op> {
    let is_op = |statement: &&Statement| !matches!(statement, Statement::Here(_));
    let address = |target: Target| {
        let before = statements.iter().take_while(|statement| !matches!(statement, Statement::Here(t) if *t == target));
        before.filter(is_op).count()
    };
    // The program is short, and all its jumps go forward.
    let skip = |at: usize, target: Option<Target>| target.map_or(0, |target| (address(target) - at - 1) as u8);
    let op = |(at, statement): (usize, &Statement)| match *statement {
        Statement::Do(code, k) => Op { code, yes: 0, no: 0, k },
        Statement::Branch(code, k, yes, no) => Op { code, yes: skip(at, yes), no: skip(at, no), k },
        Statement::Return(k) => Op { code: RETURN, yes: 0, no: 0, k },
        Statement::Here(_) => unreachable!("filtered out"),
    };
    statements.iter().filter(is_op).enumerate().map(op).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shape::tests::{datagram, long};
    use crate::shape::{Shape, shape};

    /// What the kernel does with the program: whether a datagram passes.
    fn passes(knocks: bool, datagram: &[u8]) -> bool {
        let mut seen = vec![0; UDP as usize];
        seen.extend(datagram);
        run(&assemble(&statements(knocks)), &seen).unwrap_or(0) > 0
    }

    fn run(program: &[Op], seen: &[u8]) -> Option<u32> {
        let load = |at: u32, size: usize| {
            let bytes = seen.get(at as usize..at as usize + size)?;
            Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
        };
        let (mut accumulator, mut at) = (0u32, 0);
        loop {
            let op = program[at];
            at += 1;
            match op.code {
                LOAD_BYTE => accumulator = load(op.k, 1)?,
                LOAD_HALF => accumulator = load(op.k, 2)?,
                LOAD_WORD => accumulator = load(op.k, 4)?,
                LOAD_LENGTH => accumulator = seen.len() as u32,
                AND => accumulator &= op.k,
                SUBTRACT => accumulator -= op.k,
                REMAINDER => accumulator %= op.k,
                JUMP_IF_EQUAL => at += usize::from(if accumulator == op.k { op.yes } else { op.no }),
                JUMP_IF_AT_LEAST => at += usize::from(if accumulator >= op.k { op.yes } else { op.no }),
                RETURN => return Some(op.k),
                other => panic!("no such instruction: {other:#x}"),
            }
        }
    }

    fn is_ours(knocks: bool, datagram: &[u8]) -> bool {
        match shape(datagram) {
            Shape::Knock => knocks,
            Shape::Moved | Shape::TagDatagram => !knocks,
            Shape::First(_) | Shape::Later => true,
            Shape::Foreign => false,
        }
    }

    #[test]
    fn knocks_pass_at_the_controller_alone() {
        let knock = datagram(&[1, 1], 1200);
        assert!(passes(true, &knock));
        assert!(!passes(false, &knock));
    }

    #[test]
    fn moves_pass_at_the_gateway_alone() {
        let moved = datagram(&[5, 1], 64);
        assert!(passes(false, &moved) && passes(false, &datagram(&[5, 1], 2 * 64)), "joined ones, too");
        assert!(!passes(true, &moved) && !passes(false, &datagram(&[5, 1], 65)));
        let tag = datagram(&[4, 1], 64);
        assert!(passes(false, &tag) && !passes(true, &tag) && !passes(false, &datagram(&[4, 1], 63)));
    }

    #[test]
    fn joined_knocks_pass() {
        assert!(passes(true, &datagram(&[1, 1], 3 * 1200)));
        assert!(!passes(true, &datagram(&[1, 1], 3 * 1200 - 1)));
    }

    #[test]
    fn every_cut_of_a_header_is_judged_as_by_the_shape() {
        for start in [long(0xc3, 1, 20), long(0xc3, 1, 8), long(0xe3, 1, 8), vec![0x40], vec![1, 1]] {
            for len in (0..start.len()).chain([28, 29, 30, 35, 36, 37, 1199, 1200, 1201]) {
                let datagram = datagram(&start[..start.len().min(len)], len);
                assert_eq!(passes(true, &datagram), is_ours(true, &datagram), "{start:?}, {len} bytes");
            }
        }
    }

    /// Starts that come near to something of ours, so that the random cases aren't all foreign at the first byte.
    fn near_miss() -> impl Strategy<Value = Vec<u8>> {
        let long = (any::<u8>(), prop_oneof![Just(1), Just(0), any::<u32>()], prop_oneof![Just(20), Just(8), 0..32u8])
            .prop_map(|(first, version, cid_len)| long(first | 0x80, version, cid_len));
        prop_oneof![long, prop::collection::vec(any::<u8>(), 0..8), prop::collection::vec(0..3u8, 2)]
    }

    proptest! {
        /// The filter never drops what is ours, and passes nothing else, apart from joined knocks.
        #[test]
        fn the_filter_agrees_with_the_shape(
            start in near_miss(),
            len in prop_oneof![0..64usize, 1190..1210usize, 0..3000usize],
            knocks in any::<bool>(),
        ) {
            let datagram = datagram(&start[..start.len().min(len)], len);
            let (kinds, one) = if knocks { (1..=1, 1200) } else { (4..=5, 64) };
            let begins = datagram.len() > 1 && kinds.contains(&datagram[0]) && datagram[1] == 1;
            let joined = len > one && len.is_multiple_of(one) && begins;
            prop_assert_eq!(passes(knocks, &datagram), is_ours(knocks, &datagram) || joined);
        }
    }
}
