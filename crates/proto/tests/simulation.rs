//! The three machines wired together, in simulated time, over a network that does what networks do.
//!
//! A [`world`] holds one controller, one gateway, their disks, some clients and an attacker who records everything. The
//! `ledger` writes down what happened and fails the test as soon as something did that must not: a door opened that no
//! device asked for, or twice for one knock; an answer to a recording; a client that came in through no door.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod common;

mod simulation {
    mod chaos;
    mod dice;
    mod evil;
    mod hosts;
    mod ledger;
    mod scenes;
    mod shells;
    mod world;
}
