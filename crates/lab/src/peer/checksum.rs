//! Checksums that the kernel leaves to the network card, which here is a process.

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Writes the checksum of the TCP segment or UDP datagram in the Ethernet frame that begins at `start`. Leaves fragments, other
/// protocols, and what is cut short as they are.
pub(crate) fn complete(packet: &mut [u8], start: usize) {
    let Some(frame) = packet.get_mut(start..) else { return };
    let Some((protocol, pseudo, from, to)) = transport(frame) else { return };
    let at = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return,
    };
    let Some(segment) = frame.get_mut(from..to).filter(|segment| segment.len() >= at + 2) else { return };
    segment[at..at + 2].fill(0);
    let sum = !fold(pseudo + u64::from(protocol) + segment.len() as u64 + sum(segment));
    let sum = if sum == 0 && protocol == UDP { u16::MAX } else { sum };
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The protocol, the sum of both addresses, and where the protocol's part begins and ends.
fn transport(frame: &[u8]) -> Option<(u8, u64, usize, usize)> {
    let ip = frame.get(14..)?;
    match be16(frame, 12)? {
        IPV4 => {
            let (header, whole) = (usize::from(ip.first()? & 0x0f) * 4, usize::from(be16(ip, 2)?));
            let is_fragment = be16(ip, 6)? & 0x3fff != 0;
            (!is_fragment).then_some((*ip.get(9)?, sum(ip.get(12..20)?), 14 + header, 14 + whole))
        }
        IPV6 => Some((*ip.get(6)?, sum(ip.get(8..40)?), 54, 54 + usize::from(be16(ip, 4)?))),
        _ => None,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn sum(bytes: &[u8]) -> u64 {
    let pairs = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |byte| u64::from(*byte)));
    pairs.sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram of a Linux host, as it was on a wire.
    const FRAME: [u8; 46] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x26, 0xb1, 10, 0, 0, 1, 10,
        0, 0, 2, 0x30, 0x39, 0, 53, 0, 12, 0, 0, b'p', b'i', b'n', b'g',
    ];

    #[test]
    fn a_checksum_makes_the_sum_whole_whatever_stood_there() {
        for before in [[0, 0], [0xff, 0xff], [1, 2]] {
            let mut frame = FRAME;
            frame[40..42].copy_from_slice(&before);
            complete(&mut frame, 0);
            let pseudo = sum(&frame[26..34]) + 17 + 12;
            assert_eq!(fold(pseudo + sum(&frame[34..46])), 0xffff);
        }
    }

    #[test]
    fn any_cut_of_a_frame_is_survived_and_fragments_stay_as_they_are() {
        for length in 0..FRAME.len() {
            complete(&mut FRAME[..length].to_vec(), 0);
        }
        let mut fragment = FRAME;
        fragment[20] = 0x20;
        let before = fragment;
        complete(&mut fragment, 0);
        assert_eq!(fragment, before);
    }
}
