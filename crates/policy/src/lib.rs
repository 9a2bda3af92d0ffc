//! Who may use which service: pure, and *no* unless something says yes.
//!
//! A service bears a list of [`Grant`]s; [`allowed`] decides for one user. There are no denials to weigh against grants
//! and no order among them: one matching grant allows, none denies. What a user may do inside a web application is said by
//! the rules of [`web`].

mod decision;
mod grant;
pub mod web;

pub use decision::{Decision, allowed};
pub use grant::{GROUP_NAME_LONGEST, Grant, InvalidGrant, check_group_name};
