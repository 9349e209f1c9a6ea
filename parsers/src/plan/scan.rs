//! Where a byte stands, and what a number is, for fields that are mostly short.
//!
//! memchr reads long runs faster than anything else does, but a call of it takes as long as looking
//! at thirty bytes in place. So the first words of a field are looked at here, and the rest there.

use memchr::{memchr, memchr2};

/// Bytes of a word.
const WIDTH: usize = 8;
/// Addresses and host names end within so many words.
const WORDS_BEFORE_ONE: usize = 3;
/// A quoted field is `-`, or long.
const WORDS_BEFORE_EITHER: usize = 1;

const LOWEST_BITS: u64 = u64::from_le_bytes([1; WIDTH]);
const HIGHEST_BITS: u64 = u64::from_le_bytes([0x80; WIDTH]);

/// The index of the first such byte.
#[inline]
pub(super) fn one(byte: u8, bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    for word in 0..WORDS_BEFORE_ONE {
        let Some((head, tail)) = rest.split_first_chunk() else {
            break;
        };
        if let Some(index) = first(equal(*head, byte)) {
            return Some(word * WIDTH + index);
        }
        rest = tail;
    }
    Some(bytes.len() - rest.len() + memchr(byte, rest)?)
}

/// The index of the first byte that is one of the two.
#[inline]
pub(super) fn either(a: u8, b: u8, bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    for word in 0..WORDS_BEFORE_EITHER {
        let Some((head, tail)) = rest.split_first_chunk() else {
            break;
        };
        if let Some(index) = first(equal(*head, a) | equal(*head, b)) {
            return Some(word * WIDTH + index);
        }
        rest = tail;
    }
    Some(bytes.len() - rest.len() + memchr2(a, b, rest)?)
}

/// The highest bit of each byte that equals `byte`, where the first such byte is concerned: bytes
/// behind it may be marked wrongly, by what is borrowed from them.
#[inline]
fn equal(word: [u8; WIDTH], byte: u8) -> u64 {
    let differs = u64::from_le_bytes(word) ^ (LOWEST_BITS * u64::from(byte));
    differs.wrapping_sub(LOWEST_BITS) & !differs & HIGHEST_BITS
}

#[inline]
fn first(marks: u64) -> Option<usize> {
    (marks != 0).then(|| marks.trailing_zeros() as usize / WIDTH)
}

/// The number that a word begins with, and its length, if another byte stands behind it.
#[inline]
pub(super) fn leading_number(word: [u8; WIDTH]) -> Option<(u64, usize)> {
    let values = digit_values(word);
    let length = first(not_digits(values)).filter(|&length| length > 0)?;
    Some((number(values << (8 * (WIDTH - length))), length))
}

/// The number that the last `length` bytes of a word are.
#[inline(always)]
pub(super) fn trailing_number(word: [u8; WIDTH], length: usize) -> Option<u64> {
    if !(1..=WIDTH).contains(&length) {
        return None;
    }
    let before = 8 * (WIDTH - length);
    let values = digit_values(word) >> before << before;
    (not_digits(values) == 0).then(|| number(values))
}

/// What each byte is worth as a digit.
#[inline]
fn digit_values(word: [u8; WIDTH]) -> u64 {
    u64::from_le_bytes(word) ^ (LOWEST_BITS * u64::from(b'0'))
}

/// The highest bit of each byte that is worth ten or more, where the first such byte is concerned.
#[inline]
fn not_digits(values: u64) -> u64 {
    (values.wrapping_add(LOWEST_BITS * (0x80 - 10)) | values) & HIGHEST_BITS
}

/// Eight digits into one number: first pairs, then fours, then all.
#[inline]
fn number(values: u64) -> u64 {
    let pairs = (values.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_read(
            bytes in proptest::collection::vec(prop_oneof![
                8 => b'0'..=b'9', 1 => Just(b'/'), 1 => Just(b':'), 1 => any::<u8>(),
            ], WIDTH),
            length in 0..=WIDTH + 1,
        ) {
            let word: [u8; WIDTH] = bytes[..].try_into().expect("a word");
            let parse = |digits: &[u8]| -> Option<u64> {
                let are_digits = digits.iter().all(u8::is_ascii_digit);
                let text = std::str::from_utf8(digits).ok().filter(|_| are_digits)?;
                text.parse().ok()
            };
            let leading = bytes.iter().position(|byte| !byte.is_ascii_digit());
            let expected = leading.and_then(|length| Some((parse(&bytes[..length])?, length)));
            prop_assert_eq!(leading_number(word), expected);
            let tail = WIDTH.checked_sub(length).map(|start| &bytes[start..]);
            prop_assert_eq!(trailing_number(word, length), tail.and_then(parse));
        }

        #[test]
        fn the_first_is_found(
            bytes in proptest::collection::vec(prop_oneof![0_u8..4, 0x7e_u8..0x82, 0xfe_u8..=0xff], 0..60),
            a in prop_oneof![0_u8..4, 0x7e_u8..0x82, 0xfe_u8..=0xff],
            b in prop_oneof![0_u8..4, 0x7e_u8..0x82, 0xfe_u8..=0xff],
        ) {
            prop_assert_eq!(one(a, &bytes), bytes.iter().position(|&byte| byte == a));
            prop_assert_eq!(
                either(a, b, &bytes),
                bytes.iter().position(|&byte| byte == a || byte == b)
            );
        }
    }
}
