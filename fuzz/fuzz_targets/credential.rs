//! The local credential: file, content of layer 1, and sidecar.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_local_credential::fuzzing::credential(bytes));
