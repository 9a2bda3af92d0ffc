//! What a command is called: two requests with one name are the same command (PAGEGUARD §5).

use crate::{AppName, Binding, LogicalAddress, Serial};
use aws_lc_rs::digest::{Context, SHA256};
use std::fmt;
use thiserror::Error;

/// The most bytes of an action's id.
const ACTION_LONGEST: usize = 32;
/// Sets these digests apart from every other SHA-256 of the project.
const DOMAIN: &[u8] = b"vestibule claim 1";
const START_DOMAIN: &[u8] = b"vestibule claim start 1";

/// What of a page was used: `f0`, `f1`… for its forms, a fresh random text for each call of its scripts; nothing when the
/// request says only which page it comes from. 0 to 32 bytes of `A-Za-z0-9_-`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ActionId(String);

/// The text is not an action's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("an action's id is 1 to 32 of A-Z a-z 0-9 _ -")]
pub struct InvalidAction;

/// All that names a command.
#[derive(Clone, Copy)]
pub struct CommandName<'a> {
    /// The session: a logical address serves another session after its quarantine, and serials begin at 1 again.
    pub binding: &'a Binding,
    /// The session's address.
    pub address: LogicalAddress,
    /// The application.
    pub app: &'a AppName,
    /// The page that offered the command.
    pub serial: Serial,
    /// What of the page was used.
    pub action: &'a ActionId,
    /// The request's method.
    pub method: &'a str,
    /// Path and query as passed on, without the token.
    pub target: &'a str,
    /// SHA-256 of the body as the client sent it, without the token; `None` where the application asks for the stricter rule
    /// (one command per form, whatever is in it).
    pub body: Option<[u8; 32]>,
}

/// The digest of a [`CommandName`]: SHA-256, 32 bytes. Not a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimName(pub [u8; 32]);

impl ActionId {
    /// Reads an id.
    ///
    /// # Errors
    /// It is empty, too long, or has other characters.
    pub fn new(text: &str) -> Result<Self, InvalidAction> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let good = (1..=ACTION_LONGEST).contains(&text.len()) && text.bytes().all(plain);
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidAction) }
    }

    /// For a request that names its page and nothing of it.
    pub const fn none() -> Self {
        Self(String::new())
    }

    /// As text; empty for [`ActionId::none`].
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CommandName<'_> {
    /// The claim's name: every part with its length, so that no two commands run into each other.
    pub fn digest(&self) -> ClaimName {
        self.digest_in(DOMAIN)
    }

    /// The name of all commands whose bodies begin alike: `body` is the digest of the beginning.
    pub fn start(&self) -> ClaimName {
        self.digest_in(START_DOMAIN)
    }

    fn digest_in(&self, domain: &[u8]) -> ClaimName {
        let mut context = Context::new(&SHA256);
        context.update(domain);
        let address = self.address.to_string();
        let serial = self.serial.0.to_be_bytes();
        let body = self.body.as_ref().map_or(&[][..], |digest| &digest[..]);
        let texts = [address.as_str(), self.app.as_str(), self.action.as_str(), self.method, self.target];
        let parts = texts.map(str::as_bytes).into_iter().chain([&self.binding.0[..], &serial, body]);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut name = [0; 32];
        name.copy_from_slice(context.finish().as_ref());
        ClaimName(name)
    }
}

impl fmt::Debug for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids() {
        assert_eq!(ActionId::new("f12").unwrap().as_str(), "f12");
        assert!(ActionId::new(&"a".repeat(32)).is_ok());
        for bad in ["", "a.b", "a b", "ä", "a\n", &"a".repeat(33)] {
            assert_eq!(ActionId::new(bad), Err(InvalidAction), "{bad}");
        }
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let (app, other_app) = (AppName::new("orders").unwrap(), AppName::new("order").unwrap());
        let (f0, f1, none) = (ActionId::new("f0").unwrap(), ActionId::new("f1").unwrap(), ActionId::none());
        let (session, later_session) = (Binding([1; 32]), Binding([2; 32]));
        let address = LogicalAddress("fd00::1".parse().unwrap());
        let base = CommandName {
            binding: &session,
            address,
            app: &app,
            serial: Serial(7),
            action: &f0,
            method: "POST",
            target: "/place",
            body: Some([3; 32]),
        };
        let other_address = LogicalAddress("fd00::2".parse().unwrap());
        let names = [
            base,
            CommandName { binding: &later_session, ..base },
            CommandName { address: other_address, ..base },
            CommandName { app: &other_app, ..base },
            CommandName { serial: Serial(8), ..base },
            CommandName { action: &f1, ..base },
            CommandName { action: &none, ..base },
            CommandName { method: "POS", target: "T/place", ..base },
            CommandName { method: "PUT", ..base },
            CommandName { target: "/place?", ..base },
            CommandName { body: Some([4; 32]), ..base },
            CommandName { body: None, ..base },
        ];
        let distinct: HashSet<_> = names.iter().map(CommandName::digest).collect();
        assert_eq!(distinct.len(), names.len());
        assert_eq!(base.digest(), base.digest());
        assert!(!distinct.contains(&base.start()), "a start is no whole");
    }
}
