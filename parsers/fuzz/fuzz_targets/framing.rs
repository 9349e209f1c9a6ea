//! Every byte of a chunk is in one line or in the rest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::framing::{Framed, Lines, Rest};

fuzz_target!(|chunk: &[u8]| {
    let mut lines = Lines::new(chunk);
    let mut count = 0;
    for framed in lines.by_ref() {
        count += 1 + match framed {
            Framed::Line { bytes, .. } => bytes.len(),
            Framed::TooLong { length, .. } => length,
        };
        let (Framed::Line { end, .. } | Framed::TooLong { end, .. }) = framed;
        assert_eq!(end, count);
    }
    let (Rest::Partial(&[]) | Rest::TooLong(0)) = lines.rest() else {
        let rest = match lines.rest() {
            Rest::Partial(rest) => rest.len(),
            Rest::TooLong(length) => length,
        };
        assert_eq!(count + rest, chunk.len());
        return;
    };
    assert_eq!(count, chunk.len());
});
