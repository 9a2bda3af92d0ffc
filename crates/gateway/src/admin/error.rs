//! Why a request was not carried out.

use serde::{Deserialize, Serialize};
use vestibule_store::StoreError;

use crate::directory::{DirectoryError, What};

/// Why a request was not carried out, for the owner's eyes. Nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// What kind of trouble; decides the exit code.
    pub kind: AdminErrorKind,
    /// What happened, to which thing.
    pub message: String,
    /// What to do next.
    pub next: Option<String>,
}

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminErrorKind {
    /// There is no such thing.
    NotFound,
    /// The name is taken.
    Exists,
    /// It can't be done to this thing, or with these values.
    Invalid,
    /// The database refused.
    Store,
}

impl AdminError {
    /// A request with values that can't be.
    pub fn invalid(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { kind: AdminErrorKind::Invalid, message: message.into(), next: Some(next.into()) }
    }

    pub(super) fn not_found(what: What, name: &str) -> Self {
        DirectoryError::NotFound { what, name: name.to_owned() }.into()
    }
}

impl From<DirectoryError> for AdminError {
    fn from(error: DirectoryError) -> Self {
        let message = error.to_string();
        match error {
            DirectoryError::NotFound { what, .. } => Self {
                kind: AdminErrorKind::NotFound,
                message,
                next: Some(format!("see what there is: vestibule {} list", what.command())),
            },
            DirectoryError::Exists { what, name } => Self {
                kind: AdminErrorKind::Exists,
                message,
                next: Some(format!("choose another name, or look at it: vestibule {} show {name}", what.command())),
            },
            DirectoryError::Invalid(_) => Self { kind: AdminErrorKind::Invalid, message, next: None },
            DirectoryError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self { kind: AdminErrorKind::Store, message: error.to_string(), next: Some(error.next_step().to_owned()) }
    }
}
