//! Who may do what inside a web application: rules of paths, methods and files, and what they grant one user.
//!
//! A [`WebPolicy`] is the owner's list of [`WebRule`]s for one application; [`WebPolicy::for_user`] makes of it the
//! [`GrantSet`] of one user, which is small enough to travel in a page's token and is asked again at every request.
//! Like the grants of a service, rules only ever allow, and their order means nothing.

mod grant_set;
mod method;
mod path;
mod pattern;
mod policy;

pub use grant_set::{Allowance, GrantSet, GrantSetId, Permission};
pub use method::{InvalidMethods, Methods, is_safe_method};
pub use path::{NormalPath, PathTrick};
pub use pattern::{FilePattern, InvalidPattern, PATTERN_LONGEST, PathPattern};
pub use policy::{WebPolicy, WebRule};
