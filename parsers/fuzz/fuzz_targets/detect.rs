//! Any sample is judged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::format::detect;

fuzz_target!(|sample: &[u8]| {
    let lines: Vec<&[u8]> = sample.split(|&byte| byte == b'\n').collect();
    detect(&lines);
});
