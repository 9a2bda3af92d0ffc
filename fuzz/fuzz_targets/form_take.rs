//! A body that may begin with the page's token.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_guard::fuzzing::form_take(bytes));
