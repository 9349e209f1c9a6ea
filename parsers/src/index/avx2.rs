//! How an index is made, by AVX2, where the processor has it: 64 bytes at a time.
//!
//! The one place with unsafe code: a function that is compiled for instructions which not every
//! x86-64 has is called only once the processor has said that it has all of them. Nothing else
//! hangs on it: the function takes slices. And a block is loaded as two halves, which lie in it.

#![allow(unsafe_code)]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m256i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_set1_epi8,
    _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi8,
};

use super::{Index, MAX_PLACES};

/// Bytes that are looked at together.
const BLOCK: usize = u64::BITS as usize;

/// Indexes a chunk of less than 4 GiB; false where the processor is not up to it.
pub(super) fn index(index: &mut Index, chunk: &[u8]) -> bool {
    let has_all = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("popcnt");
    if has_all {
        // SAFETY: the processor has each feature that the function is compiled for.
        unsafe { index_fast(index, chunk) };
    }
    has_all
}

#[target_feature(enable = "avx2,bmi1,bmi2,pclmulqdq,popcnt")]
fn index_fast(index: &mut Index, chunk: &[u8]) {
    index.of(chunk, |block| masks(block));
}

/// What stands in a block; the lowest bit is its first byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Masks {
    newlines: u64,
    spaces: u64,
    quotes: u64,
    /// For each byte, whether the number of quotes up to it, itself included, is odd.
    running_parity: u64,
}

#[target_feature(enable = "avx2,bmi1,bmi2,pclmulqdq,popcnt")]
#[inline]
fn masks(block: &[u8; BLOCK]) -> Masks {
    // SAFETY: a block has twice 32 bytes, and this load asks for no alignment.
    let half = |first: usize| unsafe { _mm256_loadu_si256(block[first..].as_ptr().cast()) };
    let (low, high) = (half(0), half(BLOCK / 2));
    let marks = |byte: u8| {
        let byte = _mm256_set1_epi8(byte.cast_signed());
        let of =
            |half: __m256i| _mm256_movemask_epi8(_mm256_cmpeq_epi8(half, byte)).cast_unsigned();
        u64::from(of(low)) | u64::from(of(high)) << 32
    };
    let quotes = marks(b'"');
    // Multiplied without carries by all ones, each bit is the sum of those up to it.
    let product =
        _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, quotes.cast_signed()), _mm_set1_epi8(-1));
    Masks {
        newlines: marks(b'\n'),
        spaces: marks(b' '),
        quotes,
        running_parity: _mm_cvtsi128_si64(product).cast_unsigned(),
    }
}

impl Index {
    /// Looks at a chunk of less than 4 GiB, block by block.
    #[inline(always)]
    fn of(&mut self, chunk: &[u8], masks: impl Fn(&[u8; BLOCK]) -> Masks) {
        self.newlines.clear();
        // Room for as many places as there are bytes, so that nothing is asked for each block.
        let room = 1 + (chunk.len() / BLOCK + 1) * BLOCK + MAX_PLACES;
        if self.places.len() < room {
            self.places.resize(room, 0);
        }
        let Some((before, mut places)) = self.places.split_first_mut() else {
            return;
        };
        *before = u32::MAX; // One before the first byte.
        let mut passed = 1;
        let mut in_quotes = 0;
        let mut base = 0;
        let (blocks, rest) = chunk.as_chunks::<BLOCK>();
        let mut last = [0; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        for number in 0..=blocks.len() {
            let Masks {
                newlines,
                spaces,
                quotes,
                running_parity,
            } = masks(blocks.get(number).unwrap_or(&last));
            let mut quoted = running_parity ^ in_quotes;
            let mut open = newlines & quoted;
            // A line with an odd number of quotes: the next one begins outside.
            while open != 0 {
                quoted ^= u64::MAX << open.trailing_zeros();
                open = newlines & quoted;
            }
            // All ones, if the next block begins in quotes.
            in_quotes = 0_u64.wrapping_sub(quoted >> (BLOCK - 1));
            let marks = spaces & !quoted | quotes | newlines;
            let mut ends = newlines;
            while ends != 0 {
                let before = marks & ((ends & ends.wrapping_neg()) - 1);
                self.newlines.push(passed + before.count_ones());
                ends &= ends - 1;
            }
            let count = marks.count_ones();
            let all = std::mem::take(&mut places);
            if let Some(room) = all.first_chunk_mut() {
                write_down(marks, base, room);
            }
            places = all.get_mut(count as usize..).unwrap_or_default();
            passed += count;
            base += BLOCK as u32;
        }
    }
}

/// The places of the marks, behind `base`. Most blocks have few, so eight are written at once,
/// whether they are there or not: to ask for each would cost more.
#[inline(always)]
fn write_down(mut marks: u64, base: u32, places: &mut [u32; BLOCK]) {
    for eight in places.as_chunks_mut::<8>().0 {
        for place in eight {
            *place = base.wrapping_add(marks.trailing_zeros());
            marks &= marks.wrapping_sub(1);
        }
        if marks == 0 {
            break;
        }
    }
}
