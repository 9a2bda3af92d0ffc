//! Administration: what the gateway's owner may ask, and how it is answered.
//!
//! [`execute()`] works on the [`Directory`](crate::directory::Directory) alone. The running role serves requests through
//! its [`socket`] and carries out the effects; when it isn't running, the program calls `execute` on the files (holding
//! the role's lock) and drops them: there is nothing to carry out.

mod answer;
mod error;
mod execute;
mod request;
mod selector;
pub mod socket;

#[cfg(test)]
mod tests;

pub use answer::{
    Answer, DeviceView, InvitationView, InvitationViewState, Invited, KeyView, LinkView, LiveSession, Reply, Running,
    ServiceView, SessionView, Status, UserDetail, UserView,
};
pub use error::{AdminError, AdminErrorKind};
pub(crate) use execute::counts;
pub use execute::execute;
pub use request::{DeviceRequest, InviteRequest, KeyRequest, Request, ServiceRequest, SessionRequest, UserRequest};
