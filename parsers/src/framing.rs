//! Bytes into lines.
//!
//! Every byte of a chunk belongs to exactly one line or to the rest, and every line says where it
//! ends, so that a caller can go on from there. No line is longer than [`MAX_LINE_BYTES`]: a longer
//! one is reported as such, also while its end is still to come, so that no input makes a caller
//! hold more than that.

use memchr::memchr;

/// The longest line that is read, in bytes, newline not counted. Longer ones are unparsed.
///
/// Twice what a client can make a server write: request line, referer, agent and user of 8 KiB each
/// (nginx `large_client_header_buffers`, Apache `LimitRequestFieldSize`, by default), each byte
/// written as the four of `\xHH`. A shorter limit would let clients move bytes that nobody bills.
pub const MAX_LINE_BYTES: usize = 262_144;

/// A line, found in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed<'c> {
    /// A whole line.
    Line {
        /// Its bytes, without the newline.
        bytes: &'c [u8],
        /// Where the next line starts in the chunk.
        end: usize,
    },
    /// A line beyond [`MAX_LINE_BYTES`], whose end is here.
    TooLong {
        /// How long it is in this chunk, without the newline.
        length: usize,
        /// Where the next line starts in the chunk.
        end: usize,
    },
}

/// The lines of a chunk. What stands after the last newline is [`Lines::rest`].
#[derive(Debug, Clone)]
pub struct Lines<'c> {
    chunk: &'c [u8],
    at: usize,
    /// Whether the chunk starts inside a line that was already too long.
    in_too_long: bool,
}

/// What stands after a chunk's last newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest<'c> {
    /// The start of a line, perhaps empty: keep it, and read on behind it.
    Partial(&'c [u8]),
    /// The start of a line beyond [`MAX_LINE_BYTES`], of this length in this chunk: it need not be
    /// kept. Read the next chunk with [`Lines::after_too_long`].
    TooLong(usize),
}

impl<'c> Lines<'c> {
    /// The lines of a chunk that starts where a line starts.
    #[must_use]
    pub fn new(chunk: &'c [u8]) -> Self {
        Self {
            chunk,
            at: 0,
            in_too_long: false,
        }
    }

    /// The lines of a chunk that goes on with a line of which [`Rest::TooLong`] was dropped. The
    /// first item is that line's end, as [`Framed::TooLong`].
    #[must_use]
    pub fn after_too_long(chunk: &'c [u8]) -> Self {
        Self {
            chunk,
            at: 0,
            in_too_long: true,
        }
    }

    /// What stands after the last line that was returned. Once the iterator has ended, that is what
    /// stands after the last newline.
    #[must_use]
    pub fn rest(&self) -> Rest<'c> {
        let rest = &self.chunk[self.at..];
        if self.in_too_long || rest.len() > MAX_LINE_BYTES {
            Rest::TooLong(rest.len())
        } else {
            Rest::Partial(rest)
        }
    }

    /// Where the rest starts in the chunk.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }
}

impl<'c> Iterator for Lines<'c> {
    type Item = Framed<'c>;

    #[inline]
    fn next(&mut self) -> Option<Framed<'c>> {
        let rest = &self.chunk[self.at..];
        let length = memchr(b'\n', rest)?;
        self.at += length + 1;
        let end = self.at;
        if self.in_too_long || length > MAX_LINE_BYTES {
            self.in_too_long = false;
            return Some(Framed::TooLong { length, end });
        }
        Some(Framed::Line {
            bytes: &rest[..length],
            end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8], end: usize) -> Framed<'_> {
        Framed::Line { bytes, end }
    }

    #[test]
    fn lines_and_rest() {
        let cases: &[(&[u8], &[Framed<'_>], &[u8])] = &[
            (b"", &[], b""),
            (b"a", &[], b"a"),
            (b"\n", &[line(b"", 1)], b""),
            (b"a\nb\nc", &[line(b"a", 2), line(b"b", 4)], b"c"),
            (b"a\0b\r\n\n", &[line(b"a\0b\r", 5), line(b"", 6)], b""),
        ];
        for &(chunk, expected, rest) in cases {
            let mut lines = Lines::new(chunk);
            let found: Vec<_> = lines.by_ref().collect();
            assert_eq!(found, expected);
            assert_eq!(lines.rest(), Rest::Partial(rest));
            assert_eq!(lines.offset(), chunk.len() - rest.len());
        }
    }

    #[test]
    fn over_long_lines_are_named_and_dropped() {
        let long = vec![b'x'; MAX_LINE_BYTES + 1];
        let mut chunk = long.clone();
        chunk.extend(b"\nb\n");
        let found: Vec<_> = Lines::new(&chunk).collect();
        let too_long = Framed::TooLong {
            length: long.len(),
            end: long.len() + 1,
        };
        assert_eq!(found, [too_long, line(b"b", long.len() + 3)]);

        assert_eq!(Lines::new(&long).rest(), Rest::TooLong(long.len()));
        assert_eq!(Lines::new(&long[1..]).rest(), Rest::Partial(&long[1..]));

        let mut lines = Lines::after_too_long(b"xx\nb\nc");
        let found: Vec<_> = lines.by_ref().collect();
        assert_eq!(
            found,
            [Framed::TooLong { length: 2, end: 3 }, line(b"b", 5)]
        );
        assert_eq!(lines.rest(), Rest::Partial(b"c"));
        assert_eq!(Lines::after_too_long(b"xx").rest(), Rest::TooLong(2));
    }
}
