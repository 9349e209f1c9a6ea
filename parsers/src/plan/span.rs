//! Where a field stands, told by the places that an index has of its line.

use crate::index::Places;

/// A byte of the chunk, so far from a place of the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    place: u8,
    /// May be less than nothing: it wraps.
    distance: u32,
}

/// From one byte to before another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: Edge,
    pub(super) end: Edge,
}

impl Span {
    /// Of a line with these places, and all before it.
    #[inline(always)]
    pub(super) fn of(self, line: &[u8], places: &Places<'_>) -> Option<(usize, usize)> {
        let start = self.start.of(places);
        let end = self.end.of(places);
        (start <= end && end <= line.len()).then_some((start, end))
    }
}

impl Edge {
    /// The line's first byte.
    pub(super) const BEGIN: Self = Self {
        place: 0,
        distance: 1,
    };

    pub(super) fn before(place: u8, bytes: usize) -> Self {
        Self {
            place,
            distance: 0_u32.wrapping_sub(bytes as u32),
        }
    }

    pub(super) fn behind(self, bytes: usize) -> Self {
        Self {
            distance: self.distance.wrapping_add(bytes as u32),
            ..self
        }
    }

    #[inline(always)]
    pub(super) fn of(self, places: &Places<'_>) -> usize {
        places.edge(self.place, self.distance)
    }
}
