//! Which request needs what (section 3 of the design): one pure function from what a request says to what is done with it.
//!
//! The pipeline gathers [`Facts`], asks [`judge()`], and carries out the [`Verdict`]: `Refuse`, `SignIn` and `ProveEntry` before
//! the upstream sees a byte; `LookInBody` takes the token off the body and asks again; `Admit` goes on to grants and claim.

mod facts;
mod fetch;
mod judge;
mod kind;
mod refusal;

#[cfg(test)]
mod tests;

pub use facts::{AppRules, EntryPoint, Facts, Mode, TokenState, method_overrides, origin_of};
pub(crate) use facts::{is_from_own_page, overrides_method};
pub(crate) use fetch::MODE;
pub use fetch::{Dest, FetchFacts, FetchMode, Site};
pub use judge::{Needs, Outcome, TokenNeed, Verdict, is_part_type, judge};
pub use kind::Kind;
pub use refusal::Refusal;
