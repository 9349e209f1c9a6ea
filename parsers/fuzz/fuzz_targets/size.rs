//! Sizes fit what a store can hold; errors point into the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::size;

fuzz_target!(|text: &str| {
    for read in [size::bytes(text), size::bytes_per_second(text)] {
        match read {
            Ok(size) => assert!(i64::try_from(size).is_ok()),
            Err(error) => assert!(text.get(error.span).is_some()),
        }
    }
});
