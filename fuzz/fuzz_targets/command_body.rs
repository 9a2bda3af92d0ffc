//! A command's body: its digest, and the methods that it may name.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_guard::fuzzing::command_body(bytes));
