//! Where strings end and what keys begin with, eight bytes at a time.

/// Bytes of a word.
pub(super) const WIDTH: usize = 8;

const LOWEST_BITS: u64 = u64::from_le_bytes([1; WIDTH]);
const HIGHEST_BITS: u64 = u64::from_le_bytes([0x80; WIDTH]);

/// The index of the word's first byte that is a quote, a backslash or a control character: all that
/// is special in a string.
#[inline(always)]
pub(super) fn special(word: [u8; WIDTH]) -> Option<usize> {
    let word = u64::from_le_bytes(word);
    // 0x22 is the quote; with that bit turned it stands right above the control characters, and
    // those stay below 0x20. Bytes behind the first that is found may be marked wrongly, by what is
    // borrowed from them.
    let turned = word ^ (LOWEST_BITS * 0x02);
    let low = turned.wrapping_sub(LOWEST_BITS * 0x21) & !turned;
    let differs = word ^ (LOWEST_BITS * u64::from(b'\\'));
    let backslash = differs.wrapping_sub(LOWEST_BITS) & !differs;
    let marks = (low | backslash) & HIGHEST_BITS;
    (marks != 0).then(|| marks.trailing_zeros() as usize / WIDTH)
}

/// The first eight bytes of `line[start..start + length]`, zeros where it is shorter.
#[inline(always)]
pub(super) fn key_word(line: &[u8], start: usize, length: usize) -> u64 {
    let used = length.min(WIDTH);
    let Some(word) = line.get(start..).and_then(<[u8]>::first_chunk) else {
        return short_key_word(line, start, used);
    };
    // The shift is less than 64 unless the key is empty.
    let unused = 8 * (WIDTH - used);
    match u64::MAX.checked_shr(u32::try_from(unused).unwrap_or(u32::MAX)) {
        Some(mask) => u64::from_le_bytes(*word) & mask,
        None => 0,
    }
}

/// One bit of 64 for what a key begins with.
#[inline(always)]
pub(super) fn mark(word: u64) -> u64 {
    // The golden ratio's bits, as Fibonacci hashing has them; the highest six are a bit's number.
    1 << (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

/// [`key_word`] at the very end of the line.
#[inline(never)]
fn short_key_word(line: &[u8], start: usize, used: usize) -> u64 {
    let mut word = [0; WIDTH];
    let key = line.get(start..start + used).unwrap_or_default();
    word[..key.len()].copy_from_slice(key);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_special_is_found(
            bytes in proptest::collection::vec(prop_oneof![
                6 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => 0x1e_u8..0x24,
            ], WIDTH),
        ) {
            let word: [u8; WIDTH] = bytes[..].try_into().expect("a word");
            let is_special = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
            prop_assert_eq!(special(word), bytes.iter().position(is_special));
        }

        #[test]
        fn keys_begin_so_wherever_they_stand(
            before in 0..10_usize, key in proptest::collection::vec(any::<u8>(), 0..12), after in 0..10_usize,
        ) {
            let line = [vec![b'x'; before], key.clone(), vec![b'y'; after]].concat();
            let mut word = [0; WIDTH];
            let used = key.len().min(WIDTH);
            word[..used].copy_from_slice(&key[..used]);
            prop_assert_eq!(key_word(&line, before, key.len()), u64::from_le_bytes(word));
        }
    }
}
