//! What comes over sockets, into messages.
//!
//! In a stream each message says how long it is (RFC 6587's octet count) or ends in a newline,
//! which is told apart for each message. Some senders end theirs with a zero byte: syslog(3) on a
//! stream socket. A datagram holds one message, or several lines of a sender that knows no syslog.
//!
//! Every byte belongs to one message, to what separates it from others, or to what is passed over.
//! No message is longer than [`MAX_MESSAGE_BYTES`]; a longer one is reported once and then passed
//! over piece by piece, so that no sender makes a caller hold more than that.

use std::ops::Range;

use memchr::{memchr, memchr2};

use crate::framing::MAX_LINE_BYTES;
use crate::syslog;

/// The longest message, in bytes: with what a spool writes before it, it is still a line.
pub const MAX_MESSAGE_BYTES: usize = MAX_LINE_BYTES - 256;

/// Digits of an octet count.
const MAX_COUNT_DIGITS: usize = 6;

/// What stands at the start of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A whole message.
    Message {
        /// Where it stands in the buffer, without what ends it; never empty.
        bytes: Range<usize>,
        /// So much of the buffer is done with.
        consumed: usize,
    },
    /// A message beyond [`MAX_MESSAGE_BYTES`] begins here. It may go on: what follows of it is
    /// [`Frame::Passed`].
    TooLong {
        /// So much of the buffer is done with.
        consumed: usize,
    },
    /// Nothing to keep: more of a message that is too long, or an end of line without a line.
    Passed {
        /// So much of the buffer is done with.
        consumed: usize,
    },
    /// More bytes are needed to tell.
    Incomplete,
}

/// Where the messages of a stream end. Call [`Frames::next`] with what is unread, and again behind
/// what it consumed, until it wants more bytes.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    passing: Passing,
}

/// What is left of a message that is too long.
#[derive(Debug, Clone, Copy, Default)]
enum Passing {
    #[default]
    Nothing,
    Bytes(usize),
    ToEndOfLine,
}

impl Frames {
    /// At the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a message that is too long goes on.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        !matches!(self.passing, Passing::Nothing)
    }

    /// The message at the buffer's start. A buffer of [`MAX_MESSAGE_BYTES`] and 8 more is never
    /// [`Frame::Incomplete`].
    pub fn next(&mut self, buffer: &[u8]) -> Frame {
        if buffer.is_empty() {
            return Frame::Incomplete;
        }
        match self.passing {
            Passing::Nothing => {}
            Passing::Bytes(left) => {
                let consumed = self.pass(left, buffer.len());
                return Frame::Passed { consumed };
            }
            Passing::ToEndOfLine => {
                let end = end_of_line(buffer);
                if end.is_some() {
                    self.passing = Passing::Nothing;
                }
                let consumed = end.map_or(buffer.len(), |end| end + 1);
                return Frame::Passed { consumed };
            }
        }
        match count(buffer) {
            Count::Is { header, length } => self.counted(buffer, header, length),
            Count::None => self.line(buffer),
            Count::Incomplete => Frame::Incomplete,
        }
    }

    /// A stream has ended within this; the message, if it is one: a last line without its end.
    #[must_use]
    pub fn last(&self, buffer: &[u8]) -> Option<Range<usize>> {
        let is_line = !self.is_passing() && matches!(count(buffer), Count::None);
        let message = 0..trimmed(buffer).len();
        (is_line && (1..=MAX_MESSAGE_BYTES).contains(&message.len())).then_some(message)
    }

    fn counted(&mut self, buffer: &[u8], header: usize, length: usize) -> Frame {
        let whole = header + length;
        if length > MAX_MESSAGE_BYTES {
            let consumed = self.pass(whole, buffer.len());
            return Frame::TooLong { consumed };
        }
        match buffer.get(header..whole) {
            Some(message) => Frame::Message {
                bytes: header..header + trimmed(message).len(),
                consumed: whole,
            },
            None => Frame::Incomplete,
        }
    }

    fn line(&mut self, buffer: &[u8]) -> Frame {
        // A carriage return may stand before the end.
        const MAX_LENGTH: usize = MAX_MESSAGE_BYTES + 1;
        let Some(end) = end_of_line(buffer) else {
            if buffer.len() <= MAX_LENGTH {
                return Frame::Incomplete;
            }
            self.passing = Passing::ToEndOfLine;
            let consumed = buffer.len();
            return Frame::TooLong { consumed };
        };
        let consumed = end + 1;
        let message = trimmed(&buffer[..end]).len();
        // Whatever the cuts: of more than this, the end may not have been seen yet.
        if end > MAX_LENGTH || message > MAX_MESSAGE_BYTES {
            return Frame::TooLong { consumed };
        }
        match message {
            0 => Frame::Passed { consumed },
            _ => Frame::Message {
                bytes: 0..message,
                consumed,
            },
        }
    }

    /// Passes over so many bytes, of which so many are here.
    fn pass(&mut self, left: usize, here: usize) -> usize {
        let consumed = left.min(here);
        self.passing = match left - consumed {
            0 => Passing::Nothing,
            left => Passing::Bytes(left),
        };
        consumed
    }
}

/// An octet count at a buffer's start.
enum Count {
    Is { header: usize, length: usize },
    None,
    Incomplete,
}

/// Digits, a space, and the `<` that every message with a count begins with.
fn count(buffer: &[u8]) -> Count {
    let head = &buffer[..buffer.len().min(MAX_COUNT_DIGITS)];
    let digits = head.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if head.first().is_none_or(|first| matches!(first, b'0')) {
        return Count::None;
    }
    match buffer[digits..] {
        _ if digits == 0 => Count::None,
        [b' ', b'<', ..] => Count::Is {
            header: digits + 1,
            length: head[..digits].iter().fold(0, |length, digit| {
                length * 10 + usize::from(digit.wrapping_sub(b'0'))
            }),
        },
        [] | [b' '] => Count::Incomplete,
        _ => Count::None,
    }
}

fn end_of_line(buffer: &[u8]) -> Option<usize> {
    memchr2(b'\n', 0, buffer)
}

/// Without what ends it.
fn trimmed(mut message: &[u8]) -> &[u8] {
    while let [before @ .., b'\n' | b'\r' | 0] = message {
        message = before;
    }
    message
}

/// The messages of a datagram: one with an envelope is one, unless each of its lines has an
/// envelope; one without is as many as it has lines.
#[must_use]
pub fn datagram(bytes: &[u8]) -> Datagram<'_> {
    let rest = trimmed(bytes);
    let has_envelope = |line: &[u8]| line.is_empty() || syslog::has_priority(line);
    let mut lines = rest.split(|&byte| byte == b'\n');
    let splits = !syslog::has_priority(rest) || lines.all(has_envelope);
    Datagram { rest, splits }
}

/// See [`datagram`].
#[derive(Debug, Clone)]
pub struct Datagram<'d> {
    rest: &'d [u8],
    /// Whether each line is a message.
    splits: bool,
}

impl<'d> Iterator for Datagram<'d> {
    type Item = &'d [u8];

    fn next(&mut self) -> Option<&'d [u8]> {
        while !self.rest.is_empty() {
            let newline = memchr(b'\n', self.rest).filter(|_| self.splits);
            let end = newline.unwrap_or(self.rest.len());
            let message = trimmed(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !message.is_empty() {
                return Some(message);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of a stream that comes in one piece, and what is left of it.
    fn messages(stream: &[u8]) -> (Vec<&[u8]>, &[u8]) {
        let (mut frames, mut found, mut at) = (Frames::new(), Vec::new(), 0);
        loop {
            match frames.next(&stream[at..]) {
                Frame::Message { bytes, consumed } => {
                    found.push(&stream[at..][bytes]);
                    at += consumed;
                }
                Frame::Passed { consumed } => at += consumed,
                Frame::TooLong { consumed } => {
                    found.push(b"too long");
                    at += consumed;
                }
                Frame::Incomplete => return (found, &stream[at..]),
            }
        }
    }

    #[test]
    fn streams() {
        type Case<'c> = (&'c [u8], &'c [&'c [u8]], &'c [u8]);
        let cases: &[Case<'_>] = &[
            (b"", &[], b""),
            (b"<13>a\n<13>b\n<13>", &[b"<13>a", b"<13>b"], b"<13>"),
            (b"<13>a\r\n\n<13>b\0\n", &[b"<13>a", b"<13>b"], b""),
            (b"<13>a\0<13>b\0", &[b"<13>a", b"<13>b"], b""),
            (b"5 <13>a5 <13>b", &[b"<13>a", b"<13>b"], b""),
            (b"6 <13>a\n6 <13>b\n", &[b"<13>a", b"<13>b"], b""),
            // A newline behind a count, and one within.
            (b"5 <13>a\n7 <13>b\nc", &[b"<13>a", b"<13>b\nc"], b""),
            (
                b"5 <13>a<13>b\n5 <13>c",
                &[b"<13>a", b"<13>b", b"<13>c"],
                b"",
            ),
            // No counts.
            (
                b"200 GET\n0 <13>\n05 <13>\n",
                &[b"200 GET", b"0 <13>", b"05 <13>"],
                b"",
            ),
            (b"1234567 <13>a\n12 \n", &[b"1234567 <13>a", b"12 "], b""),
            (b"1795335791.214 200\n", &[b"1795335791.214 200"], b""),
            // Not yet told.
            (b"5", &[], b"5"),
            (b"5 ", &[], b"5 "),
            (b"5 <13>", &[], b"5 <13>"),
            (b"123456", &[], b"123456"),
        ];
        for &(stream, expected, rest) in cases {
            assert_eq!(messages(stream), (expected.to_vec(), rest), "{stream:?}");
        }
    }

    #[test]
    fn the_last_line_of_a_stream_needs_no_end() {
        assert_eq!(Frames::new().last(b"<13>a\r"), Some(0..5));
        assert_eq!(Frames::new().last(b"\r"), None);
        assert_eq!(Frames::new().last(b"6 <13>a"), None);
        assert_eq!(Frames::new().last(b"6 "), None);
        let too_long = vec![b'x'; MAX_MESSAGE_BYTES + 1];
        assert_eq!(
            Frames::new().last(&too_long[1..]),
            Some(0..MAX_MESSAGE_BYTES)
        );
        assert_eq!(Frames::new().last(&too_long), None);
    }

    #[test]
    fn messages_that_are_too_long_are_reported_once() {
        let longest = vec![b'x'; MAX_MESSAGE_BYTES];
        let stream = [&longest, &b"\r\n<13>b\n"[..]].concat();
        assert_eq!(messages(&stream), (vec![&longest[..], b"<13>b"], &b""[..]));
        let stream = [&longest, &b"x\n<13>b\n"[..]].concat();
        assert_eq!(
            messages(&stream),
            (vec![&b"too long"[..], b"<13>b"], &b""[..])
        );

        // In pieces its end would not be seen in time.
        let stream = [&longest, &b"\r\r\n<13>b\n"[..]].concat();
        assert_eq!(
            messages(&stream),
            (vec![&b"too long"[..], b"<13>b"], &b""[..])
        );

        let counted = [&b"999999 <"[..], &[b'\n'; 999_998], b"5 <13>b"].concat();
        assert_eq!(
            messages(&counted),
            (vec![&b"too long"[..], b"<13>b"], &b""[..])
        );

        let mut frames = Frames::new();
        let long = vec![b'x'; MAX_MESSAGE_BYTES + 2];
        let consumed = long.len();
        assert_eq!(frames.next(&long[1..]), Frame::Incomplete);
        assert_eq!(frames.next(&long), Frame::TooLong { consumed });
        assert!(frames.is_passing());
        assert_eq!(frames.next(b"xx"), Frame::Passed { consumed: 2 });
        assert_eq!(frames.next(b"x\n<"), Frame::Passed { consumed: 2 });
        assert!(!frames.is_passing());
    }

    #[test]
    fn datagrams() {
        let cases: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b"\n\0", &[]),
            (b"<13>a\n", &[b"<13>a"]),
            (b"<13>a\0", &[b"<13>a"]),
            (b"<13>a\nb", &[b"<13>a\nb"]),
            (b"<13>a\n<13>b\nc\n", &[b"<13>a\n<13>b\nc"]),
            (b"<13>a\n\n<13>b\r\n", &[b"<13>a", b"<13>b"]),
            // Squid sends as many lines as fit.
            (b"1 a\n2 b\n", &[b"1 a", b"2 b"]),
            (b"1 a\n<13>b", &[b"1 a", b"<13>b"]),
        ];
        for &(bytes, expected) in cases {
            assert_eq!(datagram(bytes).collect::<Vec<_>>(), expected, "{bytes:?}");
        }
    }
}
