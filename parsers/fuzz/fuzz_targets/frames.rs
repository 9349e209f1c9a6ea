//! The messages of a stream are the same however it is cut, and those of a datagram lie in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::frames::{Frame, Frames, datagram};

/// Where the messages stand, as far as they come in pieces of such a length; what was consumed.
fn messages(stream: &[u8], piece: usize) -> (Vec<(usize, usize)>, usize) {
    let (mut frames, mut at, mut here, mut found) = (Frames::new(), 0, 0, Vec::new());
    while here < stream.len() {
        here = stream.len().min(here + piece);
        loop {
            let buffer = &stream[at..here];
            at += match frames.next(buffer) {
                Frame::Message { bytes, consumed } => {
                    assert!(bytes.start < bytes.end && bytes.end <= consumed);
                    found.push((at + bytes.start, at + bytes.end));
                    consumed
                }
                Frame::TooLong { consumed } | Frame::Passed { consumed } => {
                    assert!(consumed > 0);
                    consumed
                }
                Frame::Incomplete => break,
            };
            assert!(at <= here);
        }
    }
    (found, at)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = messages(bytes, bytes.len().max(1));
    assert_eq!(messages(bytes, usize::from(piece) + 1), whole);
    let mut end = 0;
    for message in datagram(bytes) {
        let start = message.as_ptr().addr() - bytes.as_ptr().addr();
        assert!(!message.is_empty() && start >= end);
        assert!(
            bytes[end..start]
                .iter()
                .all(|byte| b"\r\n\0".contains(byte))
        );
        end = start + message.len();
    }
    assert!(bytes[end..].iter().all(|byte| b"\r\n\0".contains(byte)));
});
