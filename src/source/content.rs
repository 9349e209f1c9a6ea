//! What a file is known by: hashes of what has been read of it.
//!
//! A [`Fingerprint`] speaks of the bytes before one offset: their head, the last few, and all of
//! them. It can be carried on from any offset after reading again at most one block, so that a
//! restart costs nothing in proportion to the file.
//!
//! The hash is XXH3 with a seed that each store draws for itself: clients and customers choose what
//! is in a log, and without the seed they cannot make one file look like another.

use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

/// The head of a file, by which its like is looked up.
pub const HEAD_BYTES: u64 = 1024;
/// The bytes before an offset that every read verifies.
pub const TAIL_BYTES: u64 = 64;
/// What is read again, at most, to carry a hash on.
pub const BLOCK_BYTES: u64 = 65_536;

/// The hashes of the bytes before `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Bytes hashed.
    pub offset: u64,
    /// Length of the head: `offset`, at most [`HEAD_BYTES`].
    pub head_len: u64,
    /// Of the first `head_len` bytes.
    pub head: u128,
    /// Of the last [`TAIL_BYTES`] before `offset`, or fewer.
    pub tail: u128,
    /// Of the whole blocks before `offset`, chained.
    pub chain: u128,
    /// Of everything before `offset`.
    pub content: u128,
}

impl Fingerprint {
    /// Where the bytes begin that are read again to carry the hash on.
    #[must_use]
    pub fn resume_start(&self) -> u64 {
        self.block_start()
            .min(self.offset.saturating_sub(TAIL_BYTES))
    }

    fn block_start(&self) -> u64 {
        self.offset - self.offset % BLOCK_BYTES
    }
}

/// Hashes a file from its first byte on.
#[derive(Clone)]
pub struct Hasher {
    /// Whether anybody asks for more than the offset.
    hashes: bool,
    seed: u64,
    offset: u64,
    head: Vec<u8>,
    head_hash: u128,
    start: Vec<u8>,
    tail: Vec<u8>,
    chain: u128,
    block: Xxh3,
}

impl Hasher {
    /// At the start of a file.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            hashes: true,
            seed,
            offset: 0,
            head: Vec::new(),
            head_hash: xxh3_128_with_seed(&[], seed),
            start: Vec::new(),
            tail: Vec::new(),
            chain: 0,
            block: Xxh3::with_seed(seed),
        }
    }

    /// Counts bytes alone: for a file that nobody is going to know again.
    #[must_use]
    pub fn counting() -> Self {
        Self {
            hashes: false,
            ..Self::new(0)
        }
    }

    /// Carries on from a fingerprint. `recent` are the bytes from [`Fingerprint::resume_start`] to its
    /// offset, `head` the first `head_len` bytes. `None`: these bytes are not the ones it was made of.
    #[must_use]
    pub fn resume(seed: u64, from: &Fingerprint, head: &[u8], recent: &[u8]) -> Option<Self> {
        if recent.len() as u64 != from.offset - from.resume_start()
            || head.len() as u64 != from.head_len
        {
            return None;
        }
        let block = &recent[(from.block_start() - from.resume_start()) as usize..];
        let mut hasher = Self::new(seed);
        hasher.head_hash = xxh3_128_with_seed(head, seed);
        hasher.start = head[..head.len().min(TAIL_BYTES as usize)].to_vec();
        if from.head_len < HEAD_BYTES {
            hasher.head = head.to_vec();
        }
        hasher.chain = from.chain;
        hasher.block.update(block);
        hasher.offset = from.offset;
        hasher.tail = recent[recent.len().saturating_sub(TAIL_BYTES as usize)..].to_vec();
        (hasher.fingerprint() == *from).then_some(hasher)
    }

    /// Bytes hashed so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The hash of the first [`HEAD_BYTES`], once there are so many.
    #[must_use]
    pub fn head(&self) -> Option<u128> {
        (self.offset >= HEAD_BYTES).then_some(self.head_hash)
    }

    /// The first bytes hashed, at most [`TAIL_BYTES`].
    #[must_use]
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// The last bytes hashed, at most [`TAIL_BYTES`]: every read begins with them.
    #[must_use]
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        if !self.hashes {
            self.offset += bytes.len() as u64;
            return;
        }
        if self.offset < TAIL_BYTES {
            let wanted = (TAIL_BYTES - self.offset) as usize;
            self.start
                .extend_from_slice(&bytes[..bytes.len().min(wanted)]);
        }
        if self.offset < HEAD_BYTES {
            let wanted = (HEAD_BYTES - self.offset) as usize;
            self.head
                .extend_from_slice(&bytes[..bytes.len().min(wanted)]);
            self.head_hash = xxh3_128_with_seed(&self.head, self.seed);
            if self.head.len() as u64 == HEAD_BYTES {
                self.head = Vec::new();
            }
        }
        self.keep_tail(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = (BLOCK_BYTES - self.offset % BLOCK_BYTES) as usize;
            let (now, later) = rest.split_at(rest.len().min(room));
            self.block.update(now);
            self.offset += now.len() as u64;
            if self.offset.is_multiple_of(BLOCK_BYTES) {
                self.chain = chained(self.seed, self.chain, self.block.digest128());
                self.block = Xxh3::with_seed(self.seed);
            }
            rest = later;
        }
    }

    /// The hashes of all bytes so far.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            offset: self.offset,
            head_len: self.offset.min(HEAD_BYTES),
            head: self.head_hash,
            tail: xxh3_128_with_seed(&self.tail, self.seed),
            chain: self.chain,
            content: self.content(),
        }
    }

    fn content(&self) -> u128 {
        chained(self.seed, self.chain, self.block.digest128())
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        let most = TAIL_BYTES as usize;
        if bytes.len() >= most {
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - most..]);
        } else {
            let surplus = (self.tail.len() + bytes.len()).saturating_sub(most);
            self.tail.drain(..surplus);
            self.tail.extend_from_slice(bytes);
        }
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hasher")
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// The hash of `bytes` alone, as heads and tails are hashed.
#[must_use]
pub fn hash(seed: u64, bytes: &[u8]) -> u128 {
    xxh3_128_with_seed(bytes, seed)
}

fn chained(seed: u64, chain: u128, block: u128) -> u128 {
    let mut both = [0; 32];
    both[..16].copy_from_slice(&chain.to_le_bytes());
    both[16..].copy_from_slice(&block.to_le_bytes());
    xxh3_128_with_seed(&both, seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(bytes: &[u8]) -> Fingerprint {
        let mut hasher = Hasher::new(7);
        hasher.update(bytes);
        hasher.fingerprint()
    }

    #[test]
    fn a_change_anywhere_shows() {
        let bytes = vec![b'x'; 200_000];
        for at in [0, 1_023, 1_024, 65_535, 65_536, 199_999] {
            let mut other = bytes.clone();
            other[at] = b'y';
            assert_ne!(of(&bytes).content, of(&other).content, "byte {at}");
        }
        assert_ne!(of(&bytes).content, of(&bytes[..199_999]).content);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However the bytes come in pieces, and whether or not the hashing was interrupted.
        #[test]
        fn pieces_and_restarts_do_not_matter(length in 0_usize..300_000, cuts in proptest::collection::vec(0_usize..300_000, 0..6)) {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 31 % 251) as u8).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(length)).collect();
            cuts.sort_unstable();
            cuts.push(length);
            let mut hasher = Hasher::new(7);
            let mut done = 0;
            for cut in cuts {
                hasher.update(&bytes[done..cut]);
                done = cut;
                let print = hasher.fingerprint();
                let head = &bytes[..print.head_len as usize];
                hasher = Hasher::resume(7, &print, head, &bytes[print.resume_start() as usize..done]).expect("same bytes");
            }
            let (ours, whole) = (hasher.fingerprint(), of(&bytes));
            prop_assert_eq!(ours.content, whole.content);
            prop_assert_eq!(ours.head, whole.head);
        }
    }
}
