#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rusty_lsm::fuzzing::commands(input));
