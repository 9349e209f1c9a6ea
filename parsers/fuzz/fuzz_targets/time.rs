//! Times of any bytes, by any strftime format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::time::{self, Parts, Pattern};

fuzz_target!(|input: (&[u8], &[u8])| {
    let (format, text) = input;
    let _ = (time::clf(text), time::iso8601(text), time::epoch(text));
    let _ = time::epoch_in_units(text, 1000);
    match Pattern::parse(format) {
        Ok(pattern) => {
            let mut parts = Parts::default();
            if let Some(length) = pattern.read(text, &mut parts) {
                assert!(text[..length].iter().all(|&byte| pattern.can_hold(byte)));
                assert!(pattern.width().is_none_or(|width| width == length));
            }
            let _ = parts.time();
        }
        Err(error) => assert!(error.at + error.length <= format.len()),
    }
});
