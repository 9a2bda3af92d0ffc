//! An application's Content-Security-Policy.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_guard::fuzzing::content_policy(bytes));
