//! A PROXY protocol header.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_guard::fuzzing::proxy_header(bytes));
