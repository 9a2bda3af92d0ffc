//! Numbers and sized buffers (TPM2B) as a TPM writes them: big-endian, lengths first (part 1, section 4; part 2, section 10).

use zeroize::Zeroizing;

use crate::error::TpmError;

/// Longest command or answer, in bytes: that of the kernel's driver.
pub(crate) const MOST: usize = 4_096;

/// Bytes in the making. Erased when dropped: there may be secrets among them.
pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    /// With room for the longest command, so that nothing moves and leaves a copy behind.
    pub(crate) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(MOST)))
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A TPM2B: length, then the bytes. None of ours comes near the length's limit.
    pub(crate) fn sized(self, bytes: &[u8]) -> Self {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX)).bytes(bytes)
    }

    pub(crate) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// Bytes that a TPM, or who pretends to be one, wrote.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// # Errors
    /// [`TpmError::Malformed`] if fewer bytes are left; the same for all that follow.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], TpmError> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(TpmError::Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(TpmError::Malformed)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, TpmError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, TpmError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, TpmError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A TPM2B of at most `most` bytes.
    pub(crate) fn sized(&mut self, most: usize) -> Result<&'a [u8], TpmError> {
        let length = usize::from(self.u16()?);
        if length > most { Err(TpmError::Malformed) } else { self.take(length) }
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// # Errors
    /// [`TpmError::Malformed`] if anything is left.
    pub(crate) fn end(self) -> Result<(), TpmError> {
        if self.0.is_empty() { Ok(()) } else { Err(TpmError::Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = Writer::new().u8(1).u16(0x0203).u32(0x0405_0607).sized(b"ab").finish();
        assert_eq!(bytes.as_slice(), [1, 2, 3, 4, 5, 6, 7, 0, 2, b'a', b'b']);
        let mut reader = Reader::new(&bytes);
        assert_eq!((reader.u8(), reader.u16(), reader.u32()), (Ok(1), Ok(0x0203), Ok(0x0405_0607)));
        assert_eq!(reader.sized(2), Ok(&b"ab"[..]));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn lengths_are_bounded_by_what_is_there_and_by_what_is_allowed() {
        assert_eq!(Reader::new(&[0, 3, 1, 2]).sized(8), Err(TpmError::Malformed));
        assert_eq!(Reader::new(&[0, 3, 1, 2, 3]).sized(2), Err(TpmError::Malformed));
        assert_eq!(Reader::new(&[0xff]).u16(), Err(TpmError::Malformed));
        assert_eq!(Reader::new(&[0]).end(), Err(TpmError::Malformed));
    }
}
