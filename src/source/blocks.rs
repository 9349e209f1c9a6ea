//! A stream of bytes into blocks of whole lines, each with the fingerprint of all that came before
//! its end.

use std::io::{self, Read};

use memchr::memrchr;

use super::content::{Fingerprint, Hasher};

/// Bytes that one block aims at. Longer lines are passed over without being held in memory.
pub const BLOCK_AIM_BYTES: usize = 4 << 20;
/// Bytes asked for in one read.
const READ_BYTES: usize = 256 << 10;

/// What stands at the end of a stream without a newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLine {
    /// Is a line: the stream is complete.
    Counts,
    /// Is not finished yet.
    Waits,
}

/// Whole lines.
#[derive(Debug)]
pub struct Block {
    /// Where in the stream it begins.
    pub base: u64,
    /// The lines; empty for one line that is too long to be held.
    pub bytes: Vec<u8>,
    /// Bytes of the stream that the block covers.
    pub covers: u64,
    /// As it stood where the block begins.
    pub before: Hasher,
    /// Of the stream up to the block's end.
    pub print: Fingerprint,
}

/// Cuts a stream into blocks.
pub struct Blocks<R> {
    stream: R,
    hasher: Hasher,
    last_line: LastLine,
    aim: usize,
    /// Bytes read behind the last whole line.
    carry: Vec<u8>,
    ended: bool,
}

impl<R: Read> Blocks<R> {
    /// `hasher` stands where the stream begins.
    pub fn new(stream: R, hasher: Hasher, last_line: LastLine) -> Self {
        Self { stream, hasher, last_line, aim: BLOCK_AIM_BYTES, carry: Vec::new(), ended: false }
    }

    /// Bytes at the end of the stream that are no line yet. To be asked once the blocks have ended.
    #[must_use]
    pub fn partial(&self) -> u64 {
        self.carry.len() as u64
    }

    /// Behind the last block.
    #[must_use]
    pub fn into_hasher(self) -> Hasher {
        self.hasher
    }

    /// Of all blocks so far.
    #[must_use]
    pub fn print(&self) -> Fingerprint {
        self.hasher.fingerprint()
    }

    /// The next block; `None` at the end. `spare` is memory to use again.
    ///
    /// # Errors
    /// What reading the stream says.
    pub fn next(&mut self, mut spare: Vec<u8>) -> io::Result<Option<Block>> {
        spare.clear();
        spare.append(&mut self.carry);
        let mut bytes = spare;
        while !self.ended && bytes.len() < self.aim {
            self.ended = read_some(&mut self.stream, &mut bytes)? == 0;
        }
        match memrchr(b'\n', &bytes) {
            Some(last) => {
                if self.ended && self.last_line == LastLine::Counts {
                    return Ok(Some(self.block(bytes)));
                }
                self.carry.extend_from_slice(&bytes[last + 1..]);
                bytes.truncate(last + 1);
                Ok(Some(self.block(bytes)))
            }
            None if !self.ended => self.pass_over(bytes),
            None if bytes.is_empty() => Ok(None),
            None if self.last_line == LastLine::Counts => Ok(Some(self.block(bytes))),
            None => {
                self.carry = bytes;
                Ok(None)
            }
        }
    }

    fn block(&mut self, bytes: Vec<u8>) -> Block {
        let before = self.hasher.clone();
        self.hasher.update(&bytes);
        Block { base: before.offset(), covers: bytes.len() as u64, bytes, before, print: self.hasher.fingerprint() }
    }

    /// Reads to the end of a line that is longer than a block, keeping only its hash.
    fn pass_over(&mut self, mut bytes: Vec<u8>) -> io::Result<Option<Block>> {
        let before = self.hasher.clone();
        let mut hasher = before.clone();
        let mut rest = Vec::new();
        loop {
            hasher.update(&bytes);
            bytes.clear();
            if read_some(&mut self.stream, &mut bytes)? == 0 {
                self.ended = true;
                if self.last_line == LastLine::Waits {
                    return Ok(None);
                }
                break;
            }
            if let Some(end) = memchr::memchr(b'\n', &bytes) {
                hasher.update(&bytes[..=end]);
                rest.extend_from_slice(&bytes[end + 1..]);
                break;
            }
        }
        self.hasher = hasher;
        self.carry = rest;
        let (base, print) = (before.offset(), self.hasher.fingerprint());
        Ok(Some(Block { base, bytes: Vec::new(), covers: print.offset - base, before, print }))
    }
}

fn read_some(stream: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let before = bytes.len();
    bytes.resize(before + READ_BYTES, 0);
    loop {
        match stream.read(&mut bytes[before..]) {
            Ok(read) => {
                bytes.truncate(before + read);
                return Ok(read);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                bytes.truncate(before);
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &[u8], aim: usize, last_line: LastLine) -> (Vec<(u64, u64, Vec<u8>)>, u64) {
        let mut blocks = Blocks::new(text, Hasher::new(1), last_line);
        blocks.aim = aim;
        let mut all = Vec::new();
        while let Some(block) = blocks.next(Vec::new()).expect("a slice reads") {
            let mut hasher = Hasher::new(1);
            hasher.update(&text[..(block.base + block.covers) as usize]);
            assert_eq!(hasher.fingerprint().content, block.print.content);
            all.push((block.base, block.covers, block.bytes));
        }
        (all, blocks.partial())
    }

    #[test]
    fn blocks_hold_whole_lines() {
        let (all, partial) = blocks(b"one\ntwo\nthr", 1, LastLine::Waits);
        assert_eq!(all, [(0, 8, b"one\ntwo\n".to_vec())]);
        assert_eq!(partial, 3);
        let (all, partial) = blocks(b"one\ntwo\nthr", 1, LastLine::Counts);
        assert_eq!(all, [(0, 11, b"one\ntwo\nthr".to_vec())]);
        assert_eq!(partial, 0);
        assert_eq!(blocks(b"", 1, LastLine::Counts), (vec![], 0));
        assert_eq!(blocks(b"x", 1, LastLine::Waits), (vec![], 1));
        assert_eq!(blocks(b"x", 1, LastLine::Counts), (vec![(0, 1, b"x".to_vec())], 0));
    }

    #[test]
    fn a_line_longer_than_a_block_is_passed_over() {
        let mut text = b"a\n".to_vec();
        text.extend(vec![b'x'; 2 * READ_BYTES]);
        text.extend(b"\nb\n");
        let (all, _) = blocks(&text, 4, LastLine::Waits);
        let lengths: Vec<(u64, u64, usize)> = all.iter().map(|(base, covers, bytes)| (*base, *covers, bytes.len())).collect();
        assert_eq!(lengths, [(0, 2, 2), (2, 2 * READ_BYTES as u64 + 1, 0), (2 * READ_BYTES as u64 + 3, 2, 2)]);
        let unfinished = &text[..text.len() - 3];
        assert_eq!(blocks(unfinished, 4, LastLine::Waits).0.len(), 1);
        assert_eq!(blocks(unfinished, 4, LastLine::Counts).0.len(), 2);
    }
}
