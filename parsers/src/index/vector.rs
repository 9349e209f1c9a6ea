//! How an index is made where the processor can look at many bytes at once: 64 at a time.
//!
//! Two sets of instructions can do it, each with a room of its own, and these are the only places with
//! unsafe code: a function that is compiled for instructions which not every x86-64 has is called only
//! once the processor has said that it has all of them. Nothing else hangs on it: the functions take
//! slices and arrays, and load and store what lies in them.

mod avx2;
mod avx512;

use super::{Index, MAX_PLACES, Vectors};

/// Bytes that are looked at together.
const BLOCK: usize = u64::BITS as usize;

/// Indexes a chunk of less than 4 GiB; false where the processor is not up to it.
pub(super) fn index(index: &mut Index, chunk: &[u8]) -> bool {
    let most = index.most;
    most >= Vectors::Avx512 && avx512::index(index, chunk)
        || most >= Vectors::Avx2 && avx2::index(index, chunk)
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

impl Index {
    /// Looks at a chunk of less than 4 GiB, block by block: what stands in one, and then the places of
    /// its marks, behind a base, with anything in the room that is left.
    #[inline(always)]
    fn of(
        &mut self,
        chunk: &[u8],
        masks: impl Fn(&[u8; BLOCK]) -> Masks,
        write_down: impl Fn(u64, u32, &mut [u32; BLOCK]),
    ) {
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
