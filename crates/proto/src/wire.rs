//! Fixed layouts: writing and reading fields one behind the other. All numbers are big-endian.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use zeroize::Zeroizing;

/// Bytes of an address and port: IPv6 16 (an IPv4 address mapped into it), port 2. All zero stands for none.
pub(crate) const ADDRESS_LEN: usize = 18;

/// The bytes are not what the layout says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A message of exactly `N` bytes in the making. What is not written stays zero; it is erased when dropped.
///
/// # Panics
/// The methods panic where a field would lie beyond the message: layouts are constants, and each has a test.
pub(crate) struct Writer<const N: usize> {
    bytes: Zeroizing<[u8; N]>,
    at: usize,
}

impl<const N: usize> Writer<N> {
    pub(crate) fn new() -> Self {
        Self { bytes: Zeroizing::new([0; N]), at: 0 }
    }

    pub(crate) fn bytes(&mut self, field: &[u8]) -> &mut Self {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
        self
    }

    pub(crate) fn u8(&mut self, field: u8) -> &mut Self {
        self.bytes(&[field])
    }

    pub(crate) fn u16(&mut self, field: u16) -> &mut Self {
        self.bytes(&field.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, field: u32) -> &mut Self {
        self.bytes(&field.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, field: u64) -> &mut Self {
        self.bytes(&field.to_be_bytes())
    }

    /// A field of `M` bytes that may be absent: then it stays zero.
    pub(crate) fn optional<const M: usize>(&mut self, field: Option<&[u8; M]>) -> &mut Self {
        self.bytes(field.unwrap_or(&[0; M]))
    }

    pub(crate) fn zeros(&mut self, count: usize) -> &mut Self {
        assert!(self.at + count <= N, "the layout has room");
        self.at += count;
        self
    }

    /// An address in a slot of `slot` bytes, of which it fills the first [`ADDRESS_LEN`].
    pub(crate) fn address(&mut self, address: Option<SocketAddr>, slot: usize) -> &mut Self {
        if let Some(address) = address {
            let ip = match address.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            self.bytes(&ip.octets()).u16(address.port()).zeros(slot - ADDRESS_LEN)
        } else {
            self.zeros(slot)
        }
    }

    /// The first `count` of `addresses` in as many slots; slots without an address stay zero.
    pub(crate) fn addresses(&mut self, addresses: &[SocketAddr], count: usize, slot: usize) -> &mut Self {
        for index in 0..count {
            self.address(addresses.get(index).copied(), slot);
        }
        self
    }

    /// The message, of which everything must have been written.
    pub(crate) fn finish(&mut self) -> &Zeroizing<[u8; N]> {
        assert_eq!(self.at, N, "the layout is filled");
        &self.bytes
    }
}

/// A message being read.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn slice(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const M: usize>(&mut self) -> Result<[u8; M], Malformed> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A field of which all zero stands for none.
    pub(crate) fn optional<const M: usize>(&mut self) -> Result<Option<[u8; M]>, Malformed> {
        let field = self.array()?;
        Ok((field != [0; M]).then_some(field))
    }

    /// Reserved bytes, which must be zero.
    pub(crate) fn zeros(&mut self, count: usize) -> Result<(), Malformed> {
        if self.slice(count)?.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Malformed) }
    }

    /// An address in a slot of `slot` bytes. IPv4 addresses mapped into IPv6 come out as IPv4.
    pub(crate) fn address(&mut self, slot: usize) -> Result<Option<SocketAddr>, Malformed> {
        let ip = Ipv6Addr::from(self.array::<16>()?);
        let port = self.u16()?;
        self.zeros(slot - ADDRESS_LEN)?;
        let is_absent = ip.is_unspecified() && port == 0;
        Ok((!is_absent).then(|| SocketAddr::new(ip.to_canonical(), port)))
    }

    /// The addresses in `count` slots; behind an empty slot all must be empty.
    pub(crate) fn addresses(&mut self, count: usize, slot: usize) -> Result<Vec<SocketAddr>, Malformed> {
        let mut addresses = Vec::with_capacity(count);
        for index in 0..count {
            match self.address(slot)? {
                Some(address) if addresses.len() == index => addresses.push(address),
                Some(_) => return Err(Malformed),
                None => {}
            }
        }
        Ok(addresses)
    }

    /// The end: all that is left must be zero.
    pub(crate) fn finish(mut self) -> Result<(), Malformed> {
        self.zeros(self.0.len())
    }
}

/// Whole milliseconds, at most what the field holds.
pub(crate) fn millis_u32(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Whole milliseconds, at most what the field holds: 65.535 s.
pub(crate) fn millis_u16(duration: Duration) -> u16 {
    u16::try_from(duration.as_millis()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_in_canonical_form() {
        let addresses: Vec<SocketAddr> = ["192.0.2.7:443", "[2001:db8::7]:9"].map(|text| text.parse().unwrap()).into();
        let mut writer = Writer::<66>::new();
        writer.addresses(&addresses, 3, 22);
        let bytes = writer.finish();
        assert_eq!(bytes[..18], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7, 1, 187]);
        assert_eq!(bytes[44..], [0; 22]);
        assert_eq!(Reader::new(bytes.as_slice()).addresses(3, 22), Ok(addresses));
    }

    #[test]
    fn an_address_in_a_larger_slot_is_followed_by_zeros() {
        let mut slot = [1; 20];
        assert_eq!(Reader::new(&slot).address(20), Err(Malformed));
        slot[18..].fill(0);
        assert!(Reader::new(&slot).address(20).unwrap().is_some());
    }

    #[test]
    fn an_address_behind_an_empty_slot_is_malformed() {
        let mut slots = [0; 54];
        assert_eq!(Reader::new(&slots).addresses(3, 18), Ok(Vec::new()));
        slots[53] = 1;
        assert_eq!(Reader::new(&slots).addresses(3, 18), Err(Malformed));
    }

    #[test]
    fn reading_beyond_the_end_is_an_error() {
        assert_eq!(Reader::new(&[0; 7]).u64(), Err(Malformed));
        assert_eq!(Reader::new(&[0; 7]).zeros(8), Err(Malformed));
        assert_eq!(Reader::new(&[0; 7]).finish(), Ok(()));
        assert_eq!(Reader::new(&[0, 0, 1]).finish(), Err(Malformed));
    }
}
