//! What the log of claims says, and how it stands in a file: pure.
//!
//! ```text
//! segment: header (64 bytes), records, zeros
//! header:  "vestclm1" | number u64 | id 16 bytes | length of the segment before, u64 | zeros | check 8 bytes
//! record:  length of payload u16 | check 8 bytes | payload (postcard)
//! ```
//! Numbers are little-endian. A check is the first 8 bytes of SHA-256 over (id, offset of the record u64, payload), so that a
//! record counts only where it was written. A length of 0 ends the segment.

use super::name::ClaimName;
use super::starts::{Extent, key_of};
use crate::{AppName, LogicalAddress, Serial, Stamp, UserName};
use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// Bytes of a segment's header.
pub(crate) const HEADER: usize = 64;
/// Bytes before a record's payload.
const FRAME: usize = 10;
const MAGIC: &[u8; 8] = b"vestclm1";
/// The most bytes of a method and a path that a record keeps.
const METHOD_LONGEST: usize = 32;
const PATH_LONGEST: usize = 1_024;

/// What a command is, for the audit log and for the question what a crash has interrupted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// Who gave it.
    pub user: UserName,
    /// By which session.
    pub address: LogicalAddress,
    /// To which application.
    pub app: AppName,
    /// From which page.
    pub serial: Serial,
    /// The request's method; the first 32 bytes are kept.
    pub method: String,
    /// The path without its query; the first 1,024 bytes are kept.
    pub path: String,
}

/// One line of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Record {
    /// From here on it may have taken effect.
    Sent { name: [u8; 32], given: Stamp, about: About },
    /// It was answered.
    Done { name: [u8; 32], at: Stamp, status: u16, stored: bool },
    /// It was not sent after all.
    Unsent { name: [u8; 32] },
    /// Its outcome is not known and will not be.
    Unknown { name: [u8; 32] },
    /// A large one that begins like this: from here on its beginning may have taken effect.
    Begun { start: [u8; 32], extent: Extent, given: Stamp, about: About },
    /// As `Sent`, of one whose beginning was called `begun`: its content has come to its end.
    SentAll { name: [u8; 32], begun: [u8; 32], given: Stamp, about: About },
}

/// The head of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) id: [u8; 16],
    /// How far the segment before is known to be good; 0 for the first.
    pub(crate) before: u64,
}

/// What stands at an offset of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// A record, and where the next begins.
    Record(Box<Record>, usize),
    /// Nothing more, or what a crash left half written.
    End,
}

impl About {
    /// The same with method and path cut to what is kept.
    pub(crate) fn bounded(mut self) -> Self {
        cut(&mut self.method, METHOD_LONGEST);
        cut(&mut self.path, PATH_LONGEST);
        self
    }
}

fn cut(text: &mut String, longest: usize) {
    text.truncate(text.floor_char_boundary(longest));
}

impl Record {
    /// The claim it speaks of.
    pub(crate) fn name(&self) -> ClaimName {
        match self {
            Self::Sent { name, .. }
            | Self::SentAll { name, .. }
            | Self::Done { name, .. }
            | Self::Unsent { name }
            | Self::Unknown { name } => ClaimName(*name),
            Self::Begun { start, extent, .. } => key_of(ClaimName(*start), *extent),
        }
    }

    /// The record's payload. Nothing in a record can fail to be written; should it, the record is not.
    pub(crate) fn payload(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self).ok().filter(|payload| u16::try_from(payload.len()).is_ok())
    }
}

/// How many bytes a payload takes in a segment.
pub(crate) fn framed_len(payload: &[u8]) -> usize {
    FRAME + payload.len()
}

/// Adds the record to what will be written at `offset + out.len()`.
pub(crate) fn frame(id: &[u8; 16], offset: u64, payload: &[u8], out: &mut Vec<u8>) {
    let at = offset + out.len() as u64;
    // `payload()` bounds it.
    let len = u16::try_from(payload.len()).unwrap_or(0);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&check(id, at, payload));
    out.extend_from_slice(payload);
}

/// Reads what stands at `at` of the segment's `bytes`.
pub(crate) fn read(id: &[u8; 16], bytes: &[u8], at: usize) -> Found {
    read_framed(id, bytes, at).map_or(Found::End, |(record, next)| Found::Record(Box::new(record), next))
}

fn read_framed(id: &[u8; 16], bytes: &[u8], at: usize) -> Option<(Record, usize)> {
    let (len, rest) = bytes.get(at..)?.split_first_chunk::<2>()?;
    let (found, rest) = rest.split_first_chunk::<8>()?;
    let len = usize::from(u16::from_le_bytes(*len));
    let payload = rest.get(..len).filter(|_| len > 0)?;
    if *found != check(id, at as u64, payload) {
        return None;
    }
    Some((postcard::from_bytes(payload).ok()?, at + FRAME + len))
}

fn check(id: &[u8; 16], at: u64, payload: &[u8]) -> [u8; 8] {
    let mut context = Context::new(&SHA256);
    context.update(id);
    context.update(&at.to_le_bytes());
    context.update(payload);
    let mut check = [0; 8];
    check.copy_from_slice(&context.finish().as_ref()[..8]);
    check
}

impl Header {
    pub(crate) fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.id);
        bytes[32..40].copy_from_slice(&self.before.to_le_bytes());
        let check = check(&self.id, 0, &bytes[..40]);
        bytes[56..].copy_from_slice(&check);
        bytes
    }

    /// The header at the beginning of a segment; `None` if it is none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        let number = u64::from_le_bytes(*bytes[8..].first_chunk()?);
        let id = *bytes[16..].first_chunk()?;
        let before = u64::from_le_bytes(*bytes[32..].first_chunk()?);
        let header = Self { number, id, before };
        (header.bytes() == *bytes).then_some(header)
    }
}

/// Any bytes as what a segment holds.
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Some(header) = Header::read(bytes) {
        assert_eq!(bytes.get(..HEADER), Some(&header.bytes()[..]));
    }
    if let Ok(record) = postcard::from_bytes::<Record>(bytes) {
        let mut framed = Vec::new();
        let payload = record.payload().unwrap_or_default();
        frame(&[7; 16], 64, &payload, &mut framed);
        let at = vec![0; 64].into_iter().chain(framed).collect::<Vec<u8>>();
        assert!(payload.is_empty() || read(&[7; 16], &at, 64) == Found::Record(Box::new(record), at.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> [Record; 6] {
        let about = About {
            user: UserName::new("alice").unwrap(),
            address: LogicalAddress("10.0.0.7".parse().unwrap()),
            app: AppName::new("orders").unwrap(),
            serial: Serial(3),
            method: "POST".to_owned(),
            path: "/place".to_owned(),
        };
        let extent = Extent { length: Some(1 << 40), boundary: 38 };
        [
            Record::Sent { name: [1; 32], given: Stamp(5), about: about.clone() },
            Record::Done { name: [1; 32], at: Stamp(6), status: 303, stored: true },
            Record::Unsent { name: [2; 32] },
            Record::Unknown { name: [3; 32] },
            Record::Begun { start: [4; 32], extent, given: Stamp(7), about: about.clone() },
            Record::SentAll { name: [5; 32], begun: [6; 32], given: Stamp(7), about },
        ]
    }

    fn segment(id: &[u8; 16]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        let mut written = Vec::new();
        records().iter().for_each(|r| frame(id, HEADER as u64, &r.payload().unwrap(), &mut written));
        bytes.extend(written);
        bytes.resize(4_096, 0);
        bytes
    }

    fn all(id: &[u8; 16], bytes: &[u8]) -> Vec<Record> {
        let mut at = HEADER;
        let mut all = Vec::new();
        while let Found::Record(record, next) = read(id, bytes, at) {
            all.push(*record);
            at = next;
        }
        all
    }

    #[test]
    fn records_come_back_in_order_and_only_where_they_were_written() {
        let id = [7; 16];
        let bytes = segment(&id);
        assert_eq!(all(&id, &bytes), records());
        assert!(all(&[8; 16], &bytes).is_empty(), "another segment's");
        let mut moved = vec![0; HEADER + 1];
        moved.extend_from_slice(&bytes[HEADER..]);
        assert_eq!(read(&id, &moved, HEADER + 1), Found::End, "at another place");
    }

    #[test]
    fn a_flipped_bit_or_a_cut_ends_the_segment_before_the_record() {
        let id = [7; 16];
        let bytes = segment(&id);
        let end = HEADER + records().iter().map(|r| framed_len(&r.payload().unwrap())).sum::<usize>();
        for bit in (HEADER * 8)..(end * 8) {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = all(&id, &bytes);
            assert!(found.len() < records().len(), "bit {bit}");
            assert_eq!(found[..], records()[..found.len()]);
        }
        for cut in HEADER..end {
            assert!(all(&id, &bytes[..cut]).len() < records().len(), "cut at {cut}");
        }
    }

    #[test]
    fn headers() {
        let header = Header { number: 9, id: [4; 16], before: 77 };
        assert_eq!(Header::read(&header.bytes()), Some(header));
        for bit in 0..HEADER * 8 {
            let mut bytes = header.bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&bytes), None, "bit {bit}");
        }
        assert_eq!(Header::read(&[0; HEADER]), None);
    }

    #[test]
    fn long_paths_are_cut_between_characters() {
        let Record::Sent { about, .. } = &records()[0] else { panic!("the first is one") };
        let long = About { path: "ä".repeat(2_000), method: "M".repeat(100), ..about.clone() }.bounded();
        assert_eq!((long.path.len(), long.method.len()), (1_024, 32));
    }
}
