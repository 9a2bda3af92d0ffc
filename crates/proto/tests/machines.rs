//! The rules of the knock (PROTOCOL 3.5), one by one, at each of the three machines.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod common;

mod machines {
    mod client;
    mod controller;
    mod controller_bench;
    mod controller_gateways;
    mod controller_links;
    mod controller_load;
    mod controller_time;
    mod gateway;
    mod gateway_bench;
    mod gateway_doors;
    mod gateway_guesses;
    mod gateway_order;
    mod timing;
}
