//! The log of claims.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_guard::fuzzing::claim_record(bytes));
