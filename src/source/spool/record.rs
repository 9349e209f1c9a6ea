//! One record of a segment: a line with a check, so that a torn one is told from a whole one.
//!
//! ```text
//! <check, 8 hex> <- of all that follows, up to the newline
//!         <number, 16 hex> <kind><origin> <message>\n
//! 0f1e2d3c00a1b2c3d4000007 m192.0.2.1 GET / HTTP/1.1
//! 5a6b7c8d00a1b2c3d4000008 l- 29716983 17 spool full
//! ```
//!
//! The check is the low half of XXH3. The number makes each record of a spool different from all
//! others, so that two messages with the same bytes are two. A message (`m`) has whoever sent it as
//! its origin, `-` where nobody is named. A loss (`l`) says in which minute since 1970 so many
//! messages (`?`: nobody knows how many) did not get into the spool, and why.

use std::io::Write as _;
use std::net::IpAddr;

use memchr::{memchr, memchr_iter};
use tollkeeper_parsers::framing::MAX_LINE_BYTES;
use xxhash_rust::xxh3::xxh3_64;

const CHECK_BYTES: usize = 8;
const NUMBER_BYTES: usize = 16;
/// The longest address in text.
const MAX_ORIGIN_BYTES: usize = 39;
/// Check, number, a space, kind, origin, a space.
const MAX_HEADER_BYTES: usize = CHECK_BYTES + NUMBER_BYTES + 1 + 1 + MAX_ORIGIN_BYTES + 1;

/// The longest message that becomes a record: no record is longer than a line may be.
pub const MAX_MESSAGE_BYTES: usize = MAX_LINE_BYTES - MAX_HEADER_BYTES;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'r> {
    /// Something was sent.
    Message {
        /// The text of the sender's address, where it has one.
        origin: Option<&'r [u8]>,
        /// What was sent; without a newline.
        text: &'r [u8],
    },
    /// Something was sent and did not get here.
    Loss {
        /// When, in minutes since 1970.
        minute: i64,
        /// How many messages, where that is known.
        messages: Option<u64>,
        /// Why.
        reason: &'r str,
    },
}

/// Why a line is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is not as it was written.
    #[error("a torn record")]
    Torn,
    /// It is as it was written, by whom we do not understand: a later version.
    #[error("a record of an unknown kind")]
    Unknown,
}

/// Reads a line of a segment, without its newline.
///
/// # Errors
/// [`Broken`], for anything that is no whole record.
#[inline]
pub fn decode(line: &[u8]) -> Result<Record<'_>, Broken> {
    let (check, checked) = line.split_at_checked(CHECK_BYTES).ok_or(Broken::Torn)?;
    if hex(xxh3_64(checked) & 0xffff_ffff, CHECK_BYTES)[..CHECK_BYTES] != *check {
        return Err(Broken::Torn);
    }
    body(checked).ok_or(Broken::Unknown)
}

fn body(checked: &[u8]) -> Option<Record<'_>> {
    let (number, rest) = checked.split_at_checked(NUMBER_BYTES)?;
    if !number.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let rest = rest.strip_prefix(b" ")?;
    let (kind, rest) = rest.split_first()?;
    let space = memchr(b' ', rest)?;
    let (origin, text) = (&rest[..space], &rest[space + 1..]);
    match kind {
        b'm' => Some(Record::Message {
            origin: (origin != b"-").then_some(origin),
            text,
        }),
        b'l' => loss(std::str::from_utf8(text).ok()?),
        _ => None,
    }
}

fn loss(text: &str) -> Option<Record<'_>> {
    let (minute, rest) = text.split_once(' ')?;
    let (messages, reason) = rest.split_once(' ')?;
    Some(Record::Loss {
        minute: minute.parse().ok()?,
        messages: match messages {
            "?" => None,
            messages => Some(messages.parse().ok()?),
        },
        reason,
    })
}

/// Appends the record of a message, which may be no longer than [`MAX_MESSAGE_BYTES`].
pub(super) fn message(into: &mut Vec<u8>, number: u64, origin: Option<IpAddr>, text: &[u8]) {
    debug_assert!(text.len() <= MAX_MESSAGE_BYTES);
    let start = begin(into, number, b'm');
    match origin {
        Some(address) => append(into, format_args!("{address} ")),
        None => into.extend_from_slice(b"- "),
    }
    let text_start = into.len();
    into.extend_from_slice(text);
    for at in memchr_iter(b'\n', text) {
        into[text_start + at] = b' ';
    }
    seal(into, start);
}

/// Appends the record of a loss. The reason is a few words of ours, without a newline.
pub(super) fn lost(
    into: &mut Vec<u8>,
    number: u64,
    minute: i64,
    messages: Option<u64>,
    reason: &str,
) {
    debug_assert!(!reason.contains('\n'));
    let start = begin(into, number, b'l');
    match messages {
        Some(messages) => append(into, format_args!("- {minute} {messages} {reason}")),
        None => append(into, format_args!("- {minute} ? {reason}")),
    }
    seal(into, start);
}

/// Begins a record; returns where.
fn begin(into: &mut Vec<u8>, number: u64, kind: u8) -> usize {
    let start = into.len();
    into.extend_from_slice(&[0; CHECK_BYTES]);
    into.extend_from_slice(&hex(number, NUMBER_BYTES));
    into.extend_from_slice(&[b' ', kind]);
    start
}

/// Ends the record that begins there.
fn seal(into: &mut Vec<u8>, start: usize) {
    let check = xxh3_64(&into[start + CHECK_BYTES..]) & 0xffff_ffff;
    into[start..start + CHECK_BYTES].copy_from_slice(&hex(check, CHECK_BYTES)[..CHECK_BYTES]);
    into.push(b'\n');
}

fn append(into: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Memory takes all.
    let _ = into.write_fmt(text);
}

/// The lowest digits of a number; what stands behind them is zeros.
fn hex(number: u64, digits: usize) -> [u8; NUMBER_BYTES] {
    let mut text = [b'0'; NUMBER_BYTES];
    let mut rest = number;
    for digit in text[..digits].iter_mut().rev() {
        *digit = b"0123456789abcdef"[(rest & 0xf) as usize];
        rest >>= 4;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(number: u64, origin: Option<IpAddr>, text: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        message(&mut line, number, origin, text);
        assert_eq!(line.pop(), Some(b'\n'));
        line
    }

    fn encoded_loss(minute: i64, messages: Option<u64>, reason: &str) -> Vec<u8> {
        let mut line = Vec::new();
        lost(&mut line, 7, minute, messages, reason);
        assert_eq!(line.pop(), Some(b'\n'));
        line
    }

    #[test]
    fn the_form_is_the_one_that_older_segments_have() {
        let address = "2001:db8::1".parse().expect("an address");
        for (line, expected) in [
            (
                encoded(0x00a1_b2c3_d400_0007, None, b"GET / 200"),
                "75b0967900a1b2c3d4000007 m- GET / 200",
            ),
            (
                encoded(1, Some(address), b""),
                "e559120b0000000000000001 m2001:db8::1 ",
            ),
            (
                encoded_loss(29_716_983, Some(17), "spool full"),
                "6545df7a0000000000000007 l- 29716983 17 spool full",
            ),
        ] {
            assert_eq!(String::from_utf8_lossy(&line), expected);
        }
    }

    #[test]
    fn no_record_is_longer_than_a_line() {
        let longest: IpAddr = "2001:1db8:1234:5678:9abc:def0:1234:5678"
            .parse()
            .expect("an address");
        let line = encoded(u64::MAX, Some(longest), &[b'x'; MAX_MESSAGE_BYTES]);
        assert_eq!(line.len(), MAX_LINE_BYTES);
    }

    #[test]
    fn what_a_later_version_writes_is_unknown_and_not_torn() {
        for kind in [b'x', b' '] {
            let mut line = Vec::new();
            let start = begin(&mut line, 1, kind);
            line.extend_from_slice(b"- text");
            seal(&mut line, start);
            assert_eq!(decode(&line[..line.len() - 1]), Err(Broken::Unknown));
        }
    }

    #[test]
    fn nothing_else_is_a_record() {
        for line in [
            &b""[..],
            b"0",
            b"192.0.2.1 - - [21/Nov/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 5",
            &[0; 100],
        ] {
            assert_eq!(decode(line), Err(Broken::Torn));
        }
    }

    #[test]
    fn a_record_that_is_torn_or_damaged_anywhere_is_seen() {
        for whole in [
            encoded(99, None, b"a message of some length"),
            encoded_loss(1, None, "no room"),
        ] {
            for length in 0..whole.len() {
                assert_eq!(decode(&whole[..length]), Err(Broken::Torn), "{length}");
                let mut zeros_behind = whole.clone();
                zeros_behind[length..].fill(0);
                assert_eq!(decode(&zeros_behind), Err(Broken::Torn), "{length}");
                let mut flipped = whole.clone();
                flipped[length] ^= 1;
                assert_eq!(decode(&flipped), Err(Broken::Torn), "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn messages_come_back(
            number: u64,
            origin: Option<IpAddr>,
            text in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let line = encoded(number, origin, &text);
            prop_assert!(!line.contains(&b'\n'));
            let as_text = origin.map(|origin| origin.to_string());
            let in_one_line: Vec<u8> =
                text.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
            prop_assert_eq!(decode(&line), Ok(Record::Message {
                origin: as_text.as_ref().map(String::as_bytes),
                text: &in_one_line,
            }));
        }

        #[test]
        fn losses_come_back(minute: i64, messages: Option<u64>, reason in "[a-z ]{0,30}") {
            let line = encoded_loss(minute, messages, &reason);
            prop_assert_eq!(
                decode(&line),
                Ok(Record::Loss { minute, messages, reason: &reason })
            );
        }

        #[test]
        fn any_bytes_can_be_decoded(line in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&line), Err(Broken::Torn));
        }
    }
}
