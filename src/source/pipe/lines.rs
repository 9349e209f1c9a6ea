//! Whole lines from what is read, without a copy of them.

use memchr::{memchr, memrchr};
use tollkeeper_parsers::framing::MAX_LINE_BYTES;

const FIRST_BYTES: usize = 64 << 10;

/// A buffer that is read into. What stands in it is the beginning of a line.
#[derive(Debug)]
pub(super) struct Lines {
    /// Never all filled.
    buffer: Vec<u8>,
    filled: usize,
    /// The line is too long: its beginning is dropped, its end is still to come.
    is_passing_over: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            buffer: vec![0; FIRST_BYTES],
            filled: 0,
            is_passing_over: false,
        }
    }
}

impl Lines {
    /// Where to read to.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// So many bytes were read. Hands on the lines that have ended with them, each with its
    /// newline, and how many were too long.
    pub(super) fn read(&mut self, bytes: usize, hand_on: impl FnOnce(&[u8], u64)) {
        let read = &self.buffer[..self.filled + bytes];
        let start = match self.is_passing_over {
            true => memchr(b'\n', read).map(|newline| newline + 1),
            false => Some(0),
        };
        let Some(start) = start else {
            self.filled = 0;
            return;
        };
        let too_long = u64::from(self.is_passing_over);
        self.is_passing_over = false;
        let end = memrchr(b'\n', read).map_or(start, |newline| newline + 1);
        if end > 0 {
            hand_on(&read[start..end], too_long);
        }
        let read = read.len();
        self.buffer.copy_within(end..read, 0);
        self.filled = read - end;
        if self.filled < self.buffer.len() {
            return;
        }
        if self.filled < MAX_LINE_BYTES {
            self.buffer.resize(self.filled * 2, 0);
        } else {
            self.is_passing_over = true;
            self.filled = 0;
        }
    }

    /// Nothing more comes: what stands there is a line.
    pub(super) fn end(mut self, hand_on: impl FnOnce(&[u8], u64)) {
        if self.is_passing_over {
            hand_on(b"", 1);
        } else if self.filled > 0 {
            self.buffer[self.filled] = b'\n';
            hand_on(&self.buffer[..=self.filled], 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out if it is read in pieces of these sizes, over and over.
    fn pass(input: &[u8], pieces: &[usize]) -> (Vec<u8>, u64) {
        let mut lines = Lines::default();
        let (mut output, mut too_long) = (Vec::new(), 0);
        let mut hand_on = |whole: &[u8], more| {
            assert!(whole.is_empty() || whole.ends_with(b"\n"));
            output.extend_from_slice(whole);
            too_long += more;
        };
        let mut rest = input;
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let space = lines.space();
            let bytes = (*piece).min(rest.len()).min(space.len());
            space[..bytes].copy_from_slice(&rest[..bytes]);
            rest = &rest[bytes..];
            lines.read(bytes, &mut hand_on);
        }
        lines.end(&mut hand_on);
        (output, too_long)
    }

    #[test]
    fn the_last_line_needs_no_newline() {
        for (input, expected) in [
            (&b""[..], &b""[..]),
            (b"\n", b"\n"),
            (b"a", b"a\n"),
            (b"a\nb", b"a\nb\n"),
            (b"a\n\nb\n", b"a\n\nb\n"),
        ] {
            for piece in [1, 2, 100] {
                assert_eq!(pass(input, &[piece]), (expected.to_vec(), 0));
            }
        }
    }

    #[test]
    fn lines_too_long_are_passed_over_and_counted() {
        let long = vec![b'x'; MAX_LINE_BYTES];
        let longest = &long[1..];
        for (input, expected, too_long) in [
            (
                [longest, b"\nb\n"].concat(),
                [longest, b"\nb\n"].concat(),
                0,
            ),
            ([longest].concat(), [longest, b"\n"].concat(), 0),
            ([&long[..], b"\nb\n"].concat(), b"b\n".to_vec(), 1),
            ([&long[..]].concat(), Vec::new(), 1),
            (
                [b"a\n", &long[..], &long, &long, b"\n", &long, &long, b"\nb"].concat(),
                b"a\nb\n".to_vec(),
                2,
            ),
        ] {
            for piece in [997, 1 << 20] {
                let passed = pass(&input, &[piece]);
                assert!(passed == (expected.clone(), too_long), "{}", passed.1);
            }
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_it_is_read(
            input in "[a\n]{0,200}",
            pieces in prop::collection::vec(1..30usize, 1..10),
        ) {
            let mut expected = input.clone().into_bytes();
            if !input.is_empty() && !input.ends_with('\n') {
                expected.push(b'\n');
            }
            prop_assert_eq!(pass(input.as_bytes(), &pieces), (expected, 0));
        }
    }
}
