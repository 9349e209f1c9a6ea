//! Sets of bytes: what a field of a log line can contain.

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// No byte.
    pub const EMPTY: Self = Self([0; 4]);
    /// Every byte.
    pub const ALL: Self = Self([u64::MAX; 4]);
    /// `0` to `9`.
    pub const DIGITS: Self = Self::EMPTY.range(b'0', b'9');
    /// A number, or `-` where there is none.
    pub const COUNT: Self = Self::DIGITS.with(b'-');
    /// A number with a fraction, or `-` where there is none.
    pub const DECIMAL: Self = Self::COUNT.with(b'.');
    /// What a Common Log Format or ISO 8601 time is made of.
    pub const CLOCK: Self = Self::DIGITS
        .range(b'A', b'Z')
        .range(b'a', b'z')
        .with(b'/')
        .with(b':')
        .with(b' ')
        .with(b'+')
        .with(b'-')
        .with(b'[')
        .with(b']');
    /// Printable ASCII.
    pub const PRINTABLE: Self = Self::EMPTY.range(b' ', b'~');
    /// Printable ASCII without a space.
    pub const WORD: Self = Self::EMPTY.range(b'!', b'~');
    /// A space.
    pub const SPACE: Self = Self::EMPTY.with(b' ');
    /// What RFC 1738 calls safe in a URL, and `%`: what Squid leaves of a value that it escapes so.
    pub const URL: Self = Self::WORD
        .without(b'"')
        .without(b'#')
        .without(b'\'')
        .without(b'<')
        .without(b'>')
        .without(b'[')
        .without(b'\\')
        .without(b']')
        .without(b'^')
        .without(b'`')
        .without(b'{')
        .without(b'|')
        .without(b'}')
        .without(b'~');
    /// All but the control characters below the space.
    pub const ABOVE_CONTROLS: Self = Self::EMPTY.range(b' ', 0xff);

    /// The set and all bytes from `first` to `last`.
    #[must_use]
    pub const fn range(mut self, first: u8, last: u8) -> Self {
        let mut byte = first;
        loop {
            self = self.with(byte);
            if byte >= last {
                return self;
            }
            byte += 1;
        }
    }

    /// The set and one byte.
    #[must_use]
    pub const fn with(mut self, byte: u8) -> Self {
        self.0[(byte >> 6) as usize] |= 1 << (byte & 63);
        self
    }

    /// The set but one byte.
    #[must_use]
    pub const fn without(mut self, byte: u8) -> Self {
        self.0[(byte >> 6) as usize] &= !(1 << (byte & 63));
        self
    }

    /// Whether a byte is in the set.
    #[must_use]
    pub const fn contains(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] & (1 << (byte & 63)) != 0
    }

    /// All bytes of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a | e, b | f, c | g, d | h])
    }

    /// Whether no byte is in both sets.
    #[must_use]
    pub const fn is_disjoint(&self, other: &Self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        (a & e) | (b & f) | (c & g) | (d & h) == 0
    }
}

impl std::fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: Vec<u8> = (0..=u8::MAX).filter(|&byte| self.contains(byte)).collect();
        write!(f, "ByteSet({})", bytes.escape_ascii())
    }
}
