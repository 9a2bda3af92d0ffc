//! Range and conditions of a request for a file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_guard::fuzzing::conditions(bytes));
