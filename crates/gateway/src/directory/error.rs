//! Why the directory did not do something for its owner.

use std::fmt;

use vestibule_store::StoreError;

/// The kinds of things that the directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A user.
    User,
    /// A device.
    Device,
    /// An invitation.
    Invitation,
    /// A service.
    Service,
    /// A session.
    Session,
}

impl What {
    /// The command group that handles such things, e.g. `device`.
    pub fn command(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Device => "device",
            Self::Invitation => "invite",
            Self::Service => "service",
            Self::Session => "session",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Device => "device",
            Self::Invitation => "invitation",
            Self::Service => "service",
            Self::Session => "session",
        })
    }
}

/// Why the directory did not do something. Nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// There is no such thing.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// What kind of thing.
        what: What,
        /// The name or id asked for.
        name: String,
    },
    /// The name is taken.
    #[error("there is already a {what} `{name}`")]
    Exists {
        /// What kind of thing.
        what: What,
        /// Its name.
        name: String,
    },
    /// It can't be done to this thing, or with these values; one clause says why.
    #[error("{0}")]
    Invalid(String),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DirectoryError {
    pub(super) fn not_found(what: What, name: impl fmt::Display) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }

    pub(super) fn exists(what: What, name: impl fmt::Display) -> Self {
        Self::Exists { what, name: name.to_string() }
    }
}

impl From<rusqlite::Error> for DirectoryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
