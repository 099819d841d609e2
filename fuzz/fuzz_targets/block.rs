#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shard::fuzzing::block(input));
