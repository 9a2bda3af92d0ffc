//! An entry for a fuzz target: any bytes may be given; a panic is a bug.

use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::key::Secret;

use crate::error::TpmError;
use crate::line::Line;
use crate::object::SealedObject;
use crate::tpm::Tpm;
use crate::wire::MOST;

/// A TPM that answers with what lies in `bytes`: each answer behind its length of two bytes.
struct Scripted {
    bytes: Vec<u8>,
    taken: usize,
}

impl Line for Scripted {
    fn exchange(&mut self, _: &[u8]) -> Result<Vec<u8>, TpmError> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let (length, rest) = rest.split_first_chunk().ok_or(TpmError::Malformed)?;
        let length = usize::from(u16::from_be_bytes(*length)) % (MOST + 2);
        let answer = rest.get(..length).unwrap_or(rest);
        self.taken += 2 + answer.len();
        Ok(answer.to_vec())
    }
}

/// All that reads what a TPM, or a file, says: answers to sealing, unsealing and looking, and a sealed object.
///
/// # Panics
/// Never, or there is a bug.
pub fn tpm(bytes: &[u8]) {
    if let Ok(object) = SealedObject::from_bytes(bytes) {
        assert_eq!(object.to_bytes(), bytes, "what was read is written alike");
    }
    let entropy = &mut SeededEntropy::new(1);
    let auth = Secret::new([1; 32]);
    let mut tpm = Tpm::over(Scripted { bytes: bytes.to_vec(), taken: 0 });
    let sealed = tpm.seal(&Secret::new([7; 32]), Some(&auth), entropy);
    let _ = tpm.lockout();
    if let Ok(object) = sealed {
        let _ = tpm.unseal(&object, Some(&auth), entropy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            tpm(&bytes);
        }

        /// Answers whose heads are right, so that what stands behind is read.
        #[test]
        fn any_answers(answers in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..120)),
            1..12,
        )) {
            let mut bytes = Vec::new();
            for (sessions, body) in answers {
                let length = u16::try_from(10 + body.len()).unwrap_or(u16::MAX);
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(&[0x80, if sessions { 2 } else { 1 }, 0, 0]);
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(&[0; 4]);
                bytes.extend_from_slice(&body);
            }
            tpm(&bytes);
        }
    }
}
