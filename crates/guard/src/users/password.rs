//! Passwords and their Argon2id records.

use argon2::password_hash::{PasswordHash, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use aws_lc_rs::rand;
use thiserror::Error;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// Longest password, in bytes of UTF-8, before and after normalisation.
pub const PASSWORD_LONGEST: usize = 1_024;

/// Why something is no password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PasswordError {
    /// It is empty.
    #[error("the password is empty")]
    Empty,
    /// It is longer than [`PASSWORD_LONGEST`].
    #[error("the password has more than {PASSWORD_LONGEST} bytes")]
    TooLong,
}

/// A password in Unicode Normalization Form C, so that it is the same from every keyboard. Erased when dropped; empty by default,
/// which no user has.
#[derive(Default)]
pub(super) struct Password(Zeroizing<String>);

impl Password {
    pub(super) fn new(typed: &str) -> Result<Self, PasswordError> {
        if typed.is_empty() {
            return Err(PasswordError::Empty);
        }
        if typed.len() > PASSWORD_LONGEST {
            return Err(PasswordError::TooLong);
        }
        // Composition makes UTF-8 at most three times as long: with the room there from the start no copy stays behind.
        let mut normal = Zeroizing::new(String::with_capacity(3 * typed.len()));
        normal.extend(typed.nfc());
        if normal.len() > PASSWORD_LONGEST { Err(PasswordError::TooLong) } else { Ok(Self(normal)) }
    }
}

/// Argon2id as records are made today. A record (PHC string) says itself how it was made.
#[derive(Clone)]
pub(super) struct Kdf {
    params: Params,
}

impl Kdf {
    /// `None` unless Argon2 takes these.
    pub(super) fn new(memory_kib: u32, passes: u32) -> Option<Self> {
        Params::new(memory_kib, passes, 1, Some(32)).ok().map(|params| Self { params })
    }

    /// A record of a password under a fresh salt; `None` when there is no randomness.
    pub(super) fn record(&self, password: &Password) -> Option<String> {
        let mut salt = [0; 16];
        rand::fill(&mut salt).ok()?;
        let salt = SaltString::encode_b64(&salt).ok()?;
        Some(self.argon2().hash_password(password.0.as_bytes(), &salt).ok()?.to_string())
    }

    /// Whether it is the password of a record; and, if so, a new record where this one was made otherwise than today. Without a record
    /// the work is done all the same.
    pub(super) fn verify(&self, password: &Password, record: Option<&str>) -> (bool, Option<String>) {
        let Some(record) = record.and_then(|text| PasswordHash::new(text).ok()) else {
            let mut unused = Zeroizing::new([0; 32]);
            // Nothing depends on the result but the time that it takes.
            let _ = self.argon2().hash_password_into(password.0.as_bytes(), &[0; 16], unused.as_mut());
            return (false, None);
        };
        let right = self.argon2().verify_password(password.0.as_bytes(), &record).is_ok();
        let as_today = Params::try_from(&record).is_ok_and(|params| {
            let of = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
            of(&params) == of(&self.params)
        });
        (right, if right && !as_today { self.record(password) } else { None })
    }

    fn argon2(&self) -> Argon2<'static> {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kdf(memory_kib: u32) -> Kdf {
        Kdf::new(memory_kib, 1).unwrap()
    }

    fn password(typed: &str) -> Password {
        Password::new(typed).unwrap()
    }

    #[test]
    fn a_record_knows_its_password_alone() {
        let record = kdf(64).record(&password("pass\u{e9}")).unwrap();
        assert!(record.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{record}");
        assert_eq!(kdf(64).verify(&password("passe\u{301}"), Some(&record)), (true, None));
        assert_eq!(kdf(64).verify(&password("passe"), Some(&record)), (false, None));
        assert_eq!(kdf(64).verify(&password("passe"), None), (false, None));
        assert_eq!(kdf(64).verify(&Password::default(), Some(&record)), (false, None));
        assert_eq!(kdf(64).verify(&password("passe"), Some("damaged")), (false, None));
        assert_ne!(kdf(64).record(&password("pass\u{e9}")), Some(record), "another salt");
    }

    #[test]
    fn an_old_record_is_renewed_by_the_right_password() {
        let old = kdf(32).record(&password("right")).unwrap();
        let (right, renewed) = kdf(64).verify(&password("right"), Some(&old));
        assert!(right);
        assert_eq!(kdf(64).verify(&password("right"), renewed.as_deref()), (true, None));
        assert_eq!(kdf(64).verify(&password("wrong"), Some(&old)), (false, None));
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(Password::new("").err(), Some(PasswordError::Empty));
        assert!(Password::new(&"x".repeat(PASSWORD_LONGEST)).is_ok());
        assert_eq!(Password::new(&"x".repeat(PASSWORD_LONGEST + 1)).err(), Some(PasswordError::TooLong));
        // U+1D160 is twelve bytes in form C, four as typed.
        assert_eq!(Password::new(&"\u{1d160}".repeat(PASSWORD_LONGEST / 4)).err(), Some(PasswordError::TooLong));
        assert!(Kdf::new(0, 1).is_none() && Kdf::new(64, 0).is_none());
    }
}
