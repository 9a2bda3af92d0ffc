//! The answers of a TPM, and a sealed object.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_tpm::fuzzing::tpm(bytes));
