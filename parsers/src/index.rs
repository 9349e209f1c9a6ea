//! Where lines and fields may end in a chunk, found in one pass for all of them.
//!
//! A line has a dozen fields of a few bytes each, and to look for the end of each, one after the
//! other, costs more than all that is done with them: where a field ends is a guess that a processor
//! gets wrong. So a chunk is looked at once, 64 bytes at a time, and the places of its quotes, and of
//! its spaces outside quotes, are written down. In a line as the format wants it, the end of each
//! field is then the place with a number that is known beforehand.
//!
//! Quotes are told without looking at backslashes, and a line with an odd number of quotes ends as
//! if there were one more. So the places of a line may be wrong for its format; whoever uses them
//! makes sure that they are not, or reads the line without.

#[cfg(target_arch = "x86_64")]
mod vector;

/// Of one chunk after the other. Its memory is used again.
#[derive(Debug, Default)]
pub struct Index {
    /// Before the chunk, then quotes, spaces outside quotes, and newlines, rising; and as many more as
    /// one block may add, and as are read of one line.
    places: Vec<u32>,
    /// Which of the places are newlines.
    newlines: Vec<u32>,
    most: Vectors,
}

/// What an index is made with. Whatever it is, the index is the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vectors {
    /// There is none.
    None,
    /// AVX2.
    Avx2,
    /// AVX-512 with VBMI2.
    #[default]
    Avx512,
}

/// A line, perhaps with the places at which its fields may end.
#[derive(Debug, Clone, Copy)]
pub struct Text<'c> {
    bytes: &'c [u8],
    /// What the line stands in.
    chunk: &'c [u8],
    /// The newline before the line, its own, and its newline; behind them stand those of other lines.
    places: &'c [u32; MAX_PLACES],
    /// How many are the line's. None: it was not looked at.
    count: usize,
}

/// As many places as are read of one line: one for each number of eight bits, so that none has to be
/// checked.
pub(crate) const MAX_PLACES: usize = 1 << u8::BITS;

/// The places of one line, in its chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'c> {
    of_chunk: &'c [u32; MAX_PLACES],
    chunk: &'c [u8],
}

impl Places<'_> {
    /// Which byte of the chunk is so far from a place; the distance wraps.
    #[inline(always)]
    pub(crate) fn edge(&self, place: u8, distance: u32) -> usize {
        let place = self.of_chunk[usize::from(place)];
        place.wrapping_add(distance) as usize
    }

    /// Eight bytes from this byte of the chunk on; `None` if the chunk ends before.
    #[inline(always)]
    pub(crate) fn word(&self, at: usize) -> Option<u64> {
        let word = self.chunk.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*word))
    }
}

/// Of a line that was not looked at.
const NO_PLACES: (&[u32; MAX_PLACES], usize) = (&[0; MAX_PLACES], 0);

/// The lines of a chunk, and then what stands behind the last newline, unless that is nothing.
#[derive(Debug, Clone)]
pub struct Lines<'c> {
    chunk: &'c [u8],
    /// Where the next line begins.
    begin: usize,
    /// The place of the newline before it.
    before: usize,
    /// The places of the newlines to come, as far as there is an index.
    newlines: std::slice::Iter<'c, u32>,
    places: &'c [u32],
}

impl Index {
    /// The lines of a chunk, found without an index.
    #[must_use]
    pub fn none(chunk: &[u8]) -> Lines<'_> {
        Lines {
            chunk,
            begin: 0,
            before: 0,
            newlines: [].iter(),
            places: &[],
        }
    }

    /// One that is made with these at most, however much the processor has.
    #[must_use]
    pub fn with(most: Vectors) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    /// The lines of a chunk, with an index of it if this processor is fast at that, and if it is of
    /// less than 4 GiB.
    pub fn lines<'c>(&'c mut self, chunk: &'c [u8]) -> Lines<'c> {
        #[cfg(target_arch = "x86_64")]
        if u32::try_from(chunk.len()).is_ok() && vector::index(self, chunk) {
            return Lines {
                chunk,
                begin: 0,
                before: 0,
                newlines: self.newlines.iter(),
                places: &self.places,
            };
        }
        Self::none(chunk)
    }
}

impl<'c> Iterator for Lines<'c> {
    type Item = Text<'c>;

    #[inline]
    fn next(&mut self) -> Option<Text<'c>> {
        let begin = self.begin;
        let (end, places) = match self.newlines.next() {
            Some(&newline) => {
                let newline = newline as usize;
                let before = std::mem::replace(&mut self.before, newline);
                let places = self.places[before..].first_chunk();
                let places = places.map(|places| (places, newline + 1 - before));
                (self.places[newline] as usize, places)
            }
            None => {
                let rest = self.chunk.get(begin..).filter(|rest| !rest.is_empty())?;
                let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                (begin + length, None)
            }
        };
        self.begin = end + 1;
        let (places, count) = places.unwrap_or(NO_PLACES);
        Some(Text {
            bytes: &self.chunk[begin..end],
            chunk: self.chunk,
            places,
            count,
        })
    }
}

impl Lines<'_> {
    /// Where the next line begins: behind the newline of the last one, if it has any.
    #[inline]
    #[must_use]
    pub fn offset(&self) -> usize {
        self.begin.min(self.chunk.len())
    }
}

impl<'c> From<&'c [u8]> for Text<'c> {
    /// A line that was not looked at.
    fn from(bytes: &'c [u8]) -> Self {
        let (places, count) = NO_PLACES;
        Self {
            bytes,
            chunk: bytes,
            places,
            count,
        }
    }
}

impl<'c> Text<'c> {
    /// The bytes, without the newline.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'c [u8] {
        self.bytes
    }

    /// Whether the line was looked at.
    #[cfg(test)]
    pub(crate) fn is_indexed(&self) -> bool {
        self.count > 0
    }

    /// How many places the line has, the newline before it and its own included.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// What the line stands in, up to its end.
    #[inline(always)]
    pub(crate) fn up_to_end(&self) -> Option<&'c [u8]> {
        let newline = self.places[self.count.checked_sub(1)? % MAX_PLACES];
        self.chunk.get(..newline as usize)
    }

    /// The places of the line, if there are no more than [`MAX_PLACES`].
    #[inline(always)]
    pub(crate) fn places(&self) -> Places<'c> {
        Places {
            of_chunk: self.places,
            chunk: self.chunk,
        }
    }
}

#[cfg(test)]
mod tests;
