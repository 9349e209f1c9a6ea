//! Every line read is counted, or named as not counted and why.

/// Lines, and the bytes of log that they take, newlines included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Lines.
    pub lines: u64,
    /// Bytes of log.
    pub bytes: u64,
}

impl Count {
    /// One more line.
    pub fn line(&mut self, bytes: u64) {
        self.lines += 1;
        self.bytes += bytes;
    }

    /// Adds.
    pub fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.bytes += other.bytes;
    }
}

/// The closed balance: what was read is the sum of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Charged to an account, the special ones included.
    pub counted: Count,
    /// Not in the format.
    pub unparsed: Count,
    /// No request, by a rule.
    pub ignored: Count,
    /// A request without a usable time or count.
    pub unattributed: Count,
}

impl Balance {
    /// All that was read.
    #[must_use]
    pub fn read(&self) -> Count {
        let mut all = Count::default();
        for part in [self.counted, self.unparsed, self.ignored, self.unattributed] {
            all.add(part);
        }
        all
    }

    /// Adds.
    pub fn add(&mut self, other: &Self) {
        self.counted.add(other.counted);
        self.unparsed.add(other.unparsed);
        self.ignored.add(other.ignored);
        self.unattributed.add(other.unattributed);
    }

    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().lines == 0
    }
}
