//! The first look at a datagram at the UDP endpoint.

#![no_main]

libfuzzer_sys::fuzz_target!(|datagram: &[u8]| vestibule_dark::fuzzing::classify(datagram));
