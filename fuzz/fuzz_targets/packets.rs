//! What comes over a TCP connection behind its preface.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_dark::fuzzing::packets(bytes));
