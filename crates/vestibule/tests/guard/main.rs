//! The page guard alone, as its owner and a browser meet it: the program, a small application behind it, and requests by hand.

// A panic here is the report.
#![allow(clippy::unwrap_used)]

mod alone;
mod behind;
mod support;
