//! Six words that stand for a device's keys: an administrator compares those that the gateway shows with those that the
//! person reads out, before the device may knock (PROTOCOL 3.3, `approve`).
//!
//! They are the first 66 bits, eleven a word, of
//! `SHA-256("vestibule/1 words" ‖ gateway 16 ‖ device 16 ‖ D_out 32 ‖ D_in 32 ‖ D_tls 44 ‖ commitment 32 ‖ record)`.
//!
//! The device's id is chosen by the gateway after the keys were sent, so nobody can look for keys whose words are those of
//! another device. The OPAQUE record is in it because it can't be made from a password without the gateway: words that were
//! overheard are no off-line test of passwords for who holds the device's file (D_in and D_tls alone would be one).

use crate::id::{DeviceId, GatewayId};
use crate::key::{PublicKey, Spki};
use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::fmt;

/// 2,048 words, one a line, in order: 4 to 8 letters, without those that sound alike.
const LIST: &str = include_str!("words/list.txt");

/// How many words there are of a device.
const COUNT: usize = 6;
/// Bits that a word stands for.
const BITS: usize = 11;

/// What the words stand for: all that the gateway will recognise the device by.
pub struct DeviceKeys<'a> {
    /// The gateway that enrols it.
    pub gateway: GatewayId,
    /// The id that the gateway has given it.
    pub device: DeviceId,
    /// The public half of D_out.
    pub d_out: PublicKey,
    /// The public half of D_in.
    pub d_in: PublicKey,
    /// D_tls.
    pub d_tls: Spki,
    /// Its commitment to its fingerprint, 32 bytes.
    pub fingerprint_commitment: [u8; 32],
    /// OPAQUE record, 192 bytes.
    pub record: &'a [u8],
}

/// Six words. No secret: they are to be read out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWords([u16; COUNT]);

impl DeviceWords {
    /// The words of these keys.
    #[must_use]
    pub fn of(keys: &DeviceKeys<'_>) -> Self {
        let parts: [&[u8]; 8] = [
            b"vestibule/1 words",
            keys.gateway.as_bytes(),
            keys.device.as_bytes(),
            keys.d_out.as_bytes(),
            keys.d_in.as_bytes(),
            keys.d_tls.as_bytes(),
            &keys.fingerprint_commitment,
            keys.record,
        ];
        let digest = digest(&SHA256, &parts.concat());
        Self::first_bits(digest.as_ref())
    }

    fn first_bits(digest: &[u8]) -> Self {
        let bit = |at: usize| digest.get(at / 8).map_or(0, |byte| u16::from(byte >> (7 - at % 8) & 1));
        let word = |number: usize| (0..BITS).fold(0, |word, at| word << 1 | bit(number * BITS + at));
        Self(std::array::from_fn(word))
    }
}

impl fmt::Display for DeviceWords {
    /// The words, with spaces between them. A number that stands for none, as no program of ours writes it, is a dash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |number: &u16| LIST.lines().nth(usize::from(*number)).unwrap_or("-");
        f.write_str(&self.0.iter().map(word).collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::{Entropy, SeededEntropy};
    use crate::key::SigningKey;
    use std::collections::BTreeSet;

    #[test]
    fn the_list_has_2048_words_in_order_each_once() {
        let words: Vec<&str> = LIST.lines().collect();
        assert_eq!(words.len(), 1 << BITS);
        assert!(words.is_sorted_by(|one, next| one < next));
        for word in words {
            assert!((4..=8).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word}");
        }
    }

    #[test]
    fn a_word_is_eleven_bits() {
        let of = |bytes: &[u8]| DeviceWords::first_bits(bytes).0;
        assert_eq!(of(&[0; 32]), [0; 6]);
        assert_eq!(of(&[0xff; 32]), [2047; 6]);
        let mut bytes = [0; 32];
        bytes[1] = 0b0010_0000;
        bytes[8] = 0b0100_0000;
        assert_eq!(of(&bytes), [1, 0, 0, 0, 0, 1]);
        bytes[8] = 0b0010_0000;
        assert_eq!(of(&bytes), [1, 0, 0, 0, 0, 0], "bit 66 is not among them");
    }

    #[test]
    fn every_part_counts_and_nothing_else() {
        let mut seen = BTreeSet::new();
        for differing in 0..=7 {
            let seed = |part: u64| 10 * part + u64::from(part == differing);
            let entropy = |part: u64| SeededEntropy::new(seed(part));
            let mut record = [0; 192];
            entropy(7).fill(&mut record);
            let mut commitment = [0; 32];
            entropy(6).fill(&mut commitment);
            let keys = DeviceKeys {
                gateway: GatewayId::random(&mut entropy(1)),
                device: DeviceId::random(&mut entropy(2)),
                d_out: PublicKey::new([seed(3) as u8; 32]),
                d_in: PublicKey::new([seed(4) as u8; 32]),
                d_tls: SigningKey::random(&mut entropy(5)).spki(),
                fingerprint_commitment: commitment,
                record: &record,
            };
            assert_eq!(DeviceWords::of(&keys), DeviceWords::of(&keys));
            seen.insert(DeviceWords::of(&keys).to_string());
        }
        assert_eq!(seen.len(), 8, "each of seven parts changes them");
        assert!(seen.iter().all(|words| words.split(' ').count() == COUNT));
    }
}
