//! Page tokens: as text, and their content as if it had been opened.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_guard::fuzzing::page_token(bytes));
