//! The file format of captures (`tcpdump -w`): classic pcap, either byte order, micro- or nanoseconds.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{Context, Failure, Packet, Packets, Result};

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const LONGEST_FRAME: u32 = 262_144;

/// Reads packets from a stream of pcap bytes, one at a time.
pub(crate) struct PcapReader<R> {
    from: R,
    big_endian: bool,
    nanoseconds: bool,
}

impl<R: Read> PcapReader<R> {
    /// Reads the file's header.
    pub(crate) fn new(mut from: R) -> Result<Self> {
        let mut header = [0; 24];
        from.read_exact(&mut header).context("the header of a capture")?;
        let magic = [header[0], header[1], header[2], header[3]];
        let (big_endian, nanoseconds) = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC_MICROSECONDS, _) => (false, false),
            (MAGIC_NANOSECONDS, _) => (false, true),
            (_, MAGIC_MICROSECONDS) => (true, false),
            (_, MAGIC_NANOSECONDS) => (true, true),
            _ => return Err(Failure::new("not a capture: wrong first bytes")),
        };
        let reader = Self { from, big_endian, nanoseconds };
        match reader.word(&header[20..]) {
            ETHERNET => Ok(reader),
            link => Err(Failure::new(format!("a capture of link type {link}; only Ethernet (1) is read"))),
        }
    }

    /// The next packet; `None` at the end of the stream.
    pub(crate) fn next_packet(&mut self) -> Result<Option<Packet>> {
        let mut header = [0; 16];
        match self.from.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let (seconds, fraction) = (self.word(&header[..4]), self.word(&header[4..8]));
        let (length, on_wire) = (self.word(&header[8..12]), self.word(&header[12..16]));
        if length > LONGEST_FRAME || length < on_wire {
            return Err(Failure::new(format!("a captured frame of {on_wire} bytes, of which {length} are there")));
        }
        let mut frame = vec![0; length as usize];
        self.from.read_exact(&mut frame).context("a captured frame")?;
        let nanoseconds = u64::from(fraction) * if self.nanoseconds { 1 } else { 1000 };
        let at = UNIX_EPOCH + Duration::from_secs(seconds.into()) + Duration::from_nanos(nanoseconds);
        Ok(Some(Packet::decode(at, frame)))
    }

    fn word(&self, bytes: &[u8]) -> u32 {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

impl Packets {
    /// Reads a capture of Ethernet frames, as `tcpdump -w` writes it.
    ///
    /// # Errors
    /// The file can't be read, or is no such capture.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).context(path.display())?;
        let mut reader = PcapReader::new(bytes.as_slice())?;
        let mut packets = Vec::new();
        while let Some(packet) = reader.next_packet()? {
            packets.push(packet);
        }
        Ok(Self::from(packets))
    }

    /// Writes a capture that `tcpdump -r` and Wireshark read.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut bytes = Vec::new();
        write_header(&mut bytes)?;
        for packet in self {
            write_frame(&mut bytes, packet.at, &packet.frame)?;
        }
        fs::write(path, bytes).context(path.display())
    }
}

/// Writes a file's header: Ethernet, nanoseconds.
///
/// # Errors
/// Those of the writer.
pub fn write_header(to: &mut impl Write) -> io::Result<()> {
    let version = [2, 0, 4, 0];
    to.write_all(&MAGIC_NANOSECONDS.to_le_bytes())?;
    to.write_all(&version)?;
    to.write_all(&[0; 8])?;
    to.write_all(&LONGEST_FRAME.to_le_bytes())?;
    to.write_all(&ETHERNET.to_le_bytes())
}

/// Writes one frame.
///
/// # Errors
/// Those of the writer; a frame of more than 4 GiB.
pub fn write_frame(to: &mut impl Write, at: SystemTime, frame: &[u8]) -> io::Result<()> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    for word in [seconds, since.subsec_nanos(), length, length] {
        to.write_all(&word.to_le_bytes())?;
    }
    to.write_all(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("two.pcap");
        let at = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        let written = Packets::from(vec![Packet::decode(at, vec![1; 60]), Packet::decode(at, vec![2; 1500])]);
        written.save(&path).unwrap();
        let read = Packets::read(&path).unwrap();
        assert_eq!(read.len(), 2);
        assert!(read.iter().zip(&written).all(|(a, b)| a.at == b.at && a.frame == b.frame));
    }

    #[test]
    fn reads_the_other_byte_order() {
        let mut bytes = Vec::new();
        for word in [MAGIC_MICROSECONDS, 0x0002_0004, 0, 0, 65535, ETHERNET, 5, 6, 3, 3] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend([7, 8, 9]);
        let mut reader = PcapReader::new(bytes.as_slice()).unwrap();
        let packet = reader.next_packet().unwrap().unwrap();
        assert_eq!(packet.at, UNIX_EPOCH + Duration::new(5, 6000));
        assert_eq!(packet.frame, [7, 8, 9]);
        assert!(reader.next_packet().unwrap().is_none());
    }

    #[test]
    fn refuses_what_is_no_capture_or_cut_short() {
        assert!(PcapReader::new([0; 24].as_slice()).is_err());
        let mut bytes = Vec::new();
        write_header(&mut bytes).unwrap();
        write_frame(&mut bytes, UNIX_EPOCH, &[0; 60]).unwrap();
        // The length on the wire says 61: one byte was not kept.
        bytes[24 + 12] = 61;
        assert!(PcapReader::new(bytes.as_slice()).unwrap().next_packet().is_err());
    }
}
