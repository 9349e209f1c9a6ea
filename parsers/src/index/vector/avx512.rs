//! By AVX-512, with the instructions for bytes that Intel's servers have since Ice Lake, and AMD's since
//! Zen 4: a comparison is a mask by itself, and the places of a mask's bits are put together at once.

#![allow(unsafe_code)]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m512i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_set1_epi8,
    _mm512_add_epi32, _mm512_castsi512_si128, _mm512_cmpeq_epi8_mask, _mm512_cvtepu8_epi32,
    _mm512_extracti32x4_epi32, _mm512_loadu_si512, _mm512_maskz_compress_epi8, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_storeu_si512,
};

use super::{BLOCK, Index, Masks};

/// Places that are written down at once.
const TOGETHER: usize = 16;

/// Which byte of a block each one is.
static NUMBERS: [u8; BLOCK] = {
    let mut numbers = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        numbers[at] = at as u8;
        at += 1;
    }
    numbers
};

/// Indexes a chunk of less than 4 GiB; false where the processor is not up to it.
pub(super) fn index(index: &mut Index, chunk: &[u8]) -> bool {
    let has_all = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi2")
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

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,bmi1,bmi2,pclmulqdq,popcnt")]
fn index_fast(index: &mut Index, chunk: &[u8]) {
    index.of(
        chunk,
        |block| masks(block),
        |marks, base, places| write_down(marks, base, places),
    );
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,bmi1,bmi2,pclmulqdq,popcnt")]
#[inline]
fn load(block: &[u8; BLOCK]) -> __m512i {
    // SAFETY: a block has 64 bytes, and this load asks for no alignment.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,bmi1,bmi2,pclmulqdq,popcnt")]
#[inline]
fn masks(block: &[u8; BLOCK]) -> Masks {
    let block = load(block);
    let marks = |byte: u8| _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(byte.cast_signed()));
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

/// The places of the marks, behind `base`. Most blocks have few: sixteen are written at once, whether
/// they are there or not.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,bmi1,bmi2,pclmulqdq,popcnt")]
#[inline]
fn write_down(marks: u64, base: u32, places: &mut [u32; BLOCK]) {
    let numbers = _mm512_maskz_compress_epi8(marks, load(&NUMBERS));
    let base = _mm512_set1_epi32(base.cast_signed());
    let sixteen = |part: usize| {
        _mm512_cvtepu8_epi32(match part {
            0 => _mm512_castsi512_si128(numbers),
            1 => _mm512_extracti32x4_epi32::<1>(numbers),
            2 => _mm512_extracti32x4_epi32::<2>(numbers),
            _ => _mm512_extracti32x4_epi32::<3>(numbers),
        })
    };
    let count = marks.count_ones() as usize;
    for (part, room) in places.as_chunks_mut::<TOGETHER>().0.iter_mut().enumerate() {
        let places = _mm512_add_epi32(base, sixteen(part));
        // SAFETY: there is room for 16 places of 4 bytes, and this store asks for no alignment.
        unsafe { _mm512_storeu_si512(room.as_mut_ptr().cast(), places) };
        if count <= (part + 1) * TOGETHER {
            break;
        }
    }
}
