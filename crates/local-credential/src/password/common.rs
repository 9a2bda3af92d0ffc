//! Which passwords are refused at enrolment.
//!
//! A thief of the credential file has 20 tries before the device is suspended and drops all but 2^-t of his candidates off
//! line (PROTOCOL 3.2): he must not win with the commonest ones.

use sha2::{Digest, Sha256};
use thiserror::Error;
use vestibule_proto::id::UserName;
use zeroize::Zeroizing;

use super::Password;

/// Fewest characters of a password that may be chosen.
pub const LEAST_CHARACTERS: usize = 8;

/// Why a password may not be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Weak {
    /// Fewer than [`LEAST_CHARACTERS`] characters.
    #[error("the password has {characters} characters; it needs at least {LEAST_CHARACTERS}")]
    TooShort {
        /// Its characters.
        characters: usize,
    },
    /// It contains the user name, or is part of it.
    #[error("the password contains the user name")]
    ContainsUserName,
    /// One of the commonest 100,000, in upper or lower case.
    #[error("the password is one of the 100,000 that are tried first")]
    Common,
}

/// Refuses a password that is among the first ones to be tried. Called where a password is chosen, never where one is
/// checked.
///
/// # Errors
/// [`Weak`] says why.
pub fn refuse_if_common(password: &Password, user: &UserName) -> Result<(), Weak> {
    let characters = password.as_str().chars().count();
    if characters < LEAST_CHARACTERS {
        return Err(Weak::TooShort { characters });
    }
    let folded = fold(password.as_str());
    if contains_name(&folded, user.as_str()) {
        Err(Weak::ContainsUserName)
    } else if listed(&folded) {
        Err(Weak::Common)
    } else {
        Ok(())
    }
}

/// Lower case, so that `PASSWORD1` is as common as `password1`.
fn fold(password: &str) -> Zeroizing<String> {
    // Three bytes of one letter become at most twelve: there is room, so that no copy stays behind.
    let mut folded = Zeroizing::new(String::with_capacity(4 * password.len()));
    folded.extend(password.chars().flat_map(char::to_lowercase));
    folded
}

/// Shorter names, or parts of names, stand in too many good passwords by chance.
const LEAST_NAME_CHARACTERS: usize = 3;

/// The whole name, or the part of it before an `@`; or the password is part of a long name.
fn contains_name(folded: &str, user: &str) -> bool {
    let local = user.split('@').next().unwrap_or(user);
    let contains = |name: &str| name.len() >= LEAST_NAME_CHARACTERS && folded.contains(name);
    contains(user) || contains(local) || user.contains(folded)
}

/// Digests of the commonest passwords of eight characters and more, in lower case, ascending: the first five bytes of the
/// SHA-256 of each. Made by `examples/common_passwords.rs`; `data/README.md` says from what. Another password is taken for
/// one of them once in eleven million.
static TABLE: &[u8] = include_bytes!("../../data/common-passwords.bin");

const DIGEST_LEN: usize = 5;

fn listed(folded: &str) -> bool {
    let (table, _) = TABLE.as_chunks::<DIGEST_LEN>();
    let digest = Sha256::digest(folded);
    table.binary_search_by(|listed| listed.as_slice().cmp(&digest[..DIGEST_LEN])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(password: &str, user: &str) -> Result<(), Weak> {
        refuse_if_common(&Password::new(password).unwrap(), &UserName::parse(user).unwrap())
    }

    #[test]
    fn the_table_has_100_000_ascending_digests() {
        let (table, rest) = TABLE.as_chunks::<DIGEST_LEN>();
        assert_eq!((table.len(), rest.len()), (100_000, 0));
        assert!(table.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn common_passwords_are_refused_in_any_case() {
        for common in
            ["password", "12345678", "Password1", "QWERTYUIOP", "1qaz2wsx", "iloveyou1", "letmein1", "passw0rd"]
        {
            assert_eq!(verdict(common, "alice"), Err(Weak::Common), "{common}");
        }
    }

    /// The last entries of the list that the table was made from.
    #[test]
    fn the_end_of_the_list_is_in_the_table() {
        for common in ["smokey63", "smokey42", "smokey24"] {
            assert_eq!(verdict(common, "alice"), Err(Weak::Common), "{common}");
        }
    }

    #[test]
    fn uncommon_ones_are_not() {
        for good in ["tidal-lantern-94", "Übergrößenträger", "пароль-для-дома"] {
            assert_eq!(verdict(good, "alice"), Ok(()), "{good}");
        }
    }

    #[test]
    fn short_ones_are_refused_by_characters_not_bytes() {
        assert_eq!(verdict("zk4!vQ0", "alice"), Err(Weak::TooShort { characters: 7 }));
        assert_eq!(verdict("ßßßßßßß", "alice"), Err(Weak::TooShort { characters: 7 }));
        assert_eq!(verdict("zk4!vQ0p", "alice"), Ok(()));
        assert_eq!(verdict("ßäöüßäöü", "alice"), Ok(()));
    }

    #[test]
    fn the_user_name_in_any_case_is_refused() {
        for (password, user) in [
            ("alexandra", "alexandra"),
            ("xx-ALICE-xx", "alice"),
            ("alice@example.org", "alice@example.org"),
            ("my-alice-94z", "alice@example.org"),
            ("example.org", "alice@example.org"),
        ] {
            assert_eq!(verdict(password, user), Err(Weak::ContainsUserName), "{password} {user}");
        }
        assert_eq!(verdict("tidal-lantern-94", "al"), Ok(()), "two letters stand in many words");
    }
}
