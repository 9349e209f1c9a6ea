//! Decoding never fails, and a stored name is read back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::text::{Escape, name};

fuzz_target!(|bytes: &[u8]| {
    for escape in [
        Escape::None,
        Escape::Backslash,
        Escape::Json,
        Escape::Percent,
        Escape::JsonBytes,
        Escape::Hash,
        Escape::StructuredData,
        Escape::HashAndBackslash,
    ] {
        let decoded = escape.decode(bytes);
        assert!(decoded.len() <= bytes.len());
    }
    let stored = name(bytes);
    assert_eq!(&*Escape::Backslash.decode(stored.as_bytes()), bytes);
    assert!(!stored.chars().any(char::is_control));
});
