//! The answers (part 1, section 18): taken apart with a bound for every length, whoever wrote them.

use crate::command::{Code, Command};
use crate::error::TpmError;
use crate::wire::{MOST, Reader};

/// Longest public area that we keep: that of the parent has 90 bytes, that of a sealed object 46.
pub(crate) const MOST_PUBLIC: usize = 256;
/// Longest private area that we keep: that of 32 sealed bytes with an auth value has some 160.
pub(crate) const MOST_PRIVATE: usize = 512;
/// Longest digest, nonce or HMAC (SHA-512).
const MOST_DIGEST: usize = 64;

/// An answer that says that the command was carried out.
pub(crate) struct Answer<'a> {
    /// 0 where the command gives none.
    pub(crate) handle: u32,
    /// The parameters, without the length before them.
    pub(crate) parameters: &'a [u8],
    /// Nonce, attributes and HMAC of the one session; empty without.
    pub(crate) nonce: &'a [u8],
    pub(crate) attributes: u8,
    pub(crate) hmac: &'a [u8],
}

/// What a TPM says instead (TPM_RC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Ask again with the same command.
    Later,
    /// Too many wrong auth values.
    Lockout,
    /// A wrong auth value, counted or not.
    Auth,
    /// The object does not belong to this parent, or was altered.
    Integrity,
    /// Anything else.
    Other(u32),
}

/// Head and authorisations of an answer to `command`. The outer result is of what can't be understood, the inner one what the
/// TPM says.
///
/// # Errors
/// [`TpmError::Malformed`].
pub(crate) fn answer<'a>(command: &Command, bytes: &'a [u8]) -> Result<Result<Answer<'a>, Refusal>, TpmError> {
    let mut reader = Reader::new(bytes);
    let (tag, length, code) = (reader.u16()?, reader.u32()?, reader.u32()?);
    if bytes.len() > MOST || u32::try_from(bytes.len()) != Ok(length) {
        return Err(TpmError::Malformed);
    }
    if code != 0 {
        return reader.end().map(|()| Err(refusal(code)));
    }
    let expected = if command.with_sessions { 0x8002 } else { 0x8001 };
    if tag != expected {
        return Err(TpmError::Malformed);
    }
    let handle = if command.answers_handle { reader.u32()? } else { 0 };
    if !command.with_sessions {
        return Ok(Ok(Answer { handle, parameters: reader.rest(), nonce: &[], attributes: 0, hmac: &[] }));
    }
    let length = usize::try_from(reader.u32()?).map_err(|_| TpmError::Malformed)?;
    let parameters = reader.take(length)?;
    let (nonce, attributes, hmac) = (reader.sized(MOST_DIGEST)?, reader.u8()?, reader.sized(MOST_DIGEST)?);
    reader.end()?;
    Ok(Ok(Answer { handle, parameters, nonce, attributes, hmac }))
}

/// Codes of format 1 name a parameter, handle or session besides (part 2, section 6.6.2).
fn refusal(code: u32) -> Refusal {
    const FORMAT_1: u32 = 0x080;
    let error = if code & FORMAT_1 == 0 { code & 0xfff } else { code & 0x0bf };
    match error {
        // YIELDED, TESTING, NV_RATE, RETRY.
        0x908 | 0x90a | 0x920 | 0x922 => Refusal::Later,
        0x921 => Refusal::Lockout,
        // AUTH_FAIL (counted), BAD_AUTH (not counted).
        0x08e | 0x0a2 => Refusal::Auth,
        0x09f => Refusal::Integrity,
        _ => Refusal::Other(code),
    }
}

impl Refusal {
    /// As an error of a command for which none of them has a meaning of its own.
    pub(crate) fn of(self, code: Code) -> TpmError {
        let number = match self {
            Self::Later => 0x922,
            Self::Lockout => return TpmError::LockedOut { seconds: None },
            Self::Auth => 0x08e,
            Self::Integrity => return TpmError::OtherTpm,
            Self::Other(code) => code,
        };
        TpmError::Refused { command: code.name, code: number }
    }
}

/// The public area in the answer to `CreatePrimary`.
///
/// # Errors
/// [`TpmError::Malformed`].
pub(crate) fn primary(parameters: &[u8]) -> Result<&[u8], TpmError> {
    Reader::new(parameters).sized(MOST_PUBLIC)
}

/// Private and public area in the answer to `Create`.
///
/// # Errors
/// [`TpmError::Malformed`].
pub(crate) fn created(parameters: &[u8]) -> Result<(&[u8], &[u8]), TpmError> {
    let mut reader = Reader::new(parameters);
    Ok((reader.sized(MOST_PRIVATE)?, reader.sized(MOST_PUBLIC)?))
}

/// The nonce in the answer to `StartAuthSession`: 16 bytes at least.
///
/// # Errors
/// [`TpmError::Malformed`].
pub(crate) fn session_nonce(parameters: &[u8]) -> Result<&[u8], TpmError> {
    let mut reader = Reader::new(parameters);
    let nonce = reader.sized(MOST_DIGEST)?;
    reader.end()?;
    if nonce.len() < 16 { Err(TpmError::Malformed) } else { Ok(nonce) }
}

/// Numbers and values in the answer to `GetCapability` for properties.
///
/// # Errors
/// [`TpmError::Malformed`].
pub(crate) fn properties(parameters: &[u8]) -> Result<Vec<(u32, u32)>, TpmError> {
    let mut reader = Reader::new(parameters);
    let (_more, capability, count) = (reader.u8()?, reader.u32()?, reader.u32()?);
    // As many as fit into an answer.
    if capability != 6 || count > 512 {
        return Err(TpmError::Malformed);
    }
    let properties = (0..count).map(|_| Ok((reader.u32()?, reader.u32()?))).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;

    fn answer_bytes(tag: u16, code: u32, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(10 + rest.len()).unwrap();
        [&tag.to_be_bytes()[..], &length.to_be_bytes(), &code.to_be_bytes(), rest].concat()
    }

    #[test]
    fn refusals_are_known_with_and_without_what_they_refer_to() {
        for (code, expected) in [
            (0x98e, Refusal::Auth),
            (0x9a2, Refusal::Auth),
            (0x1df, Refusal::Integrity),
            (0x921, Refusal::Lockout),
            (0x922, Refusal::Later),
            (0x908, Refusal::Later),
            (0x100, Refusal::Other(0x100)),
            (0x18b, Refusal::Other(0x18b)),
        ] {
            let bytes = answer_bytes(0x8001, code, &[]);
            assert_eq!(answer(&command::create_primary(), &bytes).unwrap().err(), Some(expected), "{code:#x}");
        }
    }

    #[test]
    fn a_head_that_does_not_fit_is_malformed() {
        let command = command::properties(0x200, 1);
        let whole = answer_bytes(0x8001, 0, &[1, 2, 3]);
        assert_eq!(answer(&command, &whole).unwrap().unwrap().parameters, [1, 2, 3]);
        for length in 0..whole.len() {
            assert!(answer(&command, &whole[..length]).is_err(), "length {length}");
        }
        assert!(answer(&command, &[&whole[..], &[0]].concat()).is_err(), "a byte too many");
        assert!(answer(&command, &answer_bytes(0x8002, 0, &[1, 2, 3])).is_err(), "another tag");
        assert!(answer(&command, &answer_bytes(0x8001, 0x100, &[0])).is_err(), "a refusal says no more");
        assert!(answer(&command, &answer_bytes(0x8001, 0, &[0; MOST])).is_err(), "too long");
    }

    #[test]
    fn lengths_beyond_the_answer_are_malformed() {
        let load = command::load(1, &[], &[]);
        for rest in [&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff][..], &[0, 0, 0, 1, 0, 0, 0, 1], &[0, 0, 0]] {
            assert!(answer(&load, &answer_bytes(0x8002, 0, rest)).is_err());
        }
        assert_eq!(properties(&[0, 0, 0, 0, 6, 0xff, 0xff, 0xff, 0xff]), Err(TpmError::Malformed));
        assert_eq!(properties(&[0, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 2, 0]), Err(TpmError::Malformed));
        assert_eq!(properties(&[0, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 4]), Ok(vec![(0x200, 4)]));
        assert_eq!(session_nonce(&[0, 2, 1, 2]), Err(TpmError::Malformed), "too short to be fresh");
    }
}
