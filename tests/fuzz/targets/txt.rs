#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| qrdrop::net::oracle::txt(bytes));
