//! Challenges, admissions and browsers' keys: as text.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_guard::fuzzing::entry_text(bytes));
