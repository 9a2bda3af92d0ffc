//! Lower-case hexadecimal, the one text form of ids, public keys and (in key files) secrets.

use thiserror::Error;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The text is not exactly the expected number of hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected {expected} hexadecimal digits")]
pub struct NotHex {
    /// Digits expected: twice the number of bytes.
    pub expected: usize,
}

/// `bytes` as lower-case hexadecimal, two digits each.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Exactly `N` bytes from `2 N` hexadecimal digits, either case.
///
/// # Errors
/// [`NotHex`] on any other length or character.
pub fn decode<const N: usize>(text: &str) -> Result<[u8; N], NotHex> {
    let wrong = NotHex { expected: 2 * N };
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return Err(wrong);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0]).ok_or(wrong)? << 4 | digit(pair[1]).ok_or(wrong)?;
    }
    Ok(bytes)
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_and_decodes() {
        assert_eq!(encode(&[0x00, 0x7f, 0xa0]), "007fa0");
        assert_eq!(decode::<3>("007FA0"), Ok([0x00, 0x7f, 0xa0]));
    }

    #[test]
    fn refuses_other_lengths_and_characters() {
        for text in ["", "00", "000", "0g00", "+100", "00 0", "é00"] {
            assert_eq!(decode::<2>(text), Err(NotHex { expected: 4 }), "{text:?}");
        }
    }
}
