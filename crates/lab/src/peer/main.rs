//! What the lab runs inside a host, as a process of its own because a namespace is a process's: the eavesdropper, the
//! stranger, and small upstreams. Made for the lab's library, which gives it its words.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks by printing")]

mod capture;
mod checksum;
mod dns;
mod drain;
mod hold;
mod line;
mod send;
mod serve;

use std::{env, io, process::ExitCode};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["hold", outside] => hold::hold(outside),
        ["capture"] => capture::capture(),
        ["send", from, listen] => send::send(from, listen),
        ["connect", to] => send::connect(to),
        ["drain", from, span] => drain::drain(from, span),
        ["line", peer, words @ ..] => line::line(peer, words),
        ["serve", "dns", address] => dns::serve(address),
        ["ask", server, name, within] => dns::ask(server, name, within),
        ["serve", kind, address] => serve::serve(kind, address),
        _ => Err(io::Error::other(
            "lab-peer hold OUTSIDE | capture | send PORT MS | connect ADDRESS | drain ADDRESS MS | line … | serve KIND ADDRESS | ask SERVER NAME MS",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
