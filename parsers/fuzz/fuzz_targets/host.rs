//! A folded name is one that folds to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::host::{Host, fold, is_folded};

fuzz_target!(|logged: &[u8]| {
    let (mut buffer, mut again) = (Vec::new(), Vec::new());
    if let Host::Folded(folded) = fold(logged, &mut buffer) {
        assert!(folded.is_ascii() && folded.len() <= 253);
        assert!(!folded.starts_with('_') || folded.contains('.'));
        assert_eq!(fold(folded.as_bytes(), &mut again), Host::Folded(folded));
    }
    if is_folded(logged) {
        let text = std::str::from_utf8(logged).expect("ASCII");
        assert_eq!(fold(logged, &mut again), Host::Folded(text));
    }
});
