//! By AVX2, which x86-64 has since 2013, and AMD's since 2015.

#![allow(unsafe_code)]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m256i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_set1_epi8,
    _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi8,
};

use super::{BLOCK, Index, Masks};

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
    index.of(chunk, |block| masks(block), write_down);
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
