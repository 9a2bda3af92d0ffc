//! The head of a CGI program's answer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vestibule_guard::fuzzing::cgi_head(bytes));
