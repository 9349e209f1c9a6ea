//! A stream of bytes into blocks of whole lines, each with the fingerprint of all that came before
//! its end.

use std::io::{self, Read};

use memchr::{memchr, memrchr};

use super::content::{Fingerprint, Hasher};
use super::open;

/// Bytes of a block that is handed from thread to thread.
pub const LARGE_BLOCK_BYTES: usize = 2 << 20;
/// Bytes of a block that is walked where it was read: it stays in the processor's cache, and lines
/// that are longer than any server writes still fit.
pub const SMALL_BLOCK_BYTES: usize = 512 << 10;

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
    /// Memory that the block lies in, all of it initialised so that it can be read into again.
    buffer: Vec<u8>,
    /// Bytes of the buffer that are lines; none for one line that is too long to be held.
    length: usize,
    /// Bytes of the stream that the block covers.
    pub covers: u64,
    /// As it stood where the block begins.
    pub before: Hasher,
    /// Of the stream up to the block's end.
    pub print: Fingerprint,
}

impl Block {
    /// The lines; empty for one line that is too long to be held.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// The memory, to be read into again.
    #[must_use]
    pub fn into_spare(self) -> Vec<u8> {
        self.buffer
    }
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
    /// Offsets that end a block, if lines end there; rising.
    stops: Vec<u64>,
    /// Bytes of a line that is too long to be held and has no end.
    unfinished: u64,
}

impl<R: Read> Blocks<R> {
    /// `hasher` stands where the stream begins; `aim` is the size of a block in bytes. Longer lines are
    /// passed over without being held in memory.
    pub fn new(stream: R, hasher: Hasher, last_line: LastLine, aim: usize) -> Self {
        Self {
            stream,
            hasher,
            last_line,
            aim,
            carry: Vec::new(),
            ended: false,
            stops: Vec::new(),
            unfinished: 0,
        }
    }

    /// Blocks are to end at these offsets, which rise, where lines end there.
    pub fn stop_at(&mut self, offsets: Vec<u64>) {
        self.stops = offsets;
    }

    /// Bytes at the end of the stream that are no line yet. To be asked once the blocks have ended.
    #[must_use]
    pub fn partial(&self) -> u64 {
        self.unfinished.max(self.carry.len() as u64)
    }

    /// As it stands behind the last block.
    #[must_use]
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
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
    pub fn next(&mut self, spare: Vec<u8>) -> io::Result<Option<Block>> {
        let mut buffer = spare;
        let wanted = self.aim.max(self.carry.len());
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        let mut length = self.carry.len();
        buffer[..length].copy_from_slice(&self.carry);
        self.carry.clear();
        while !self.ended && length < self.aim {
            let read = read_some(&mut self.stream, &mut buffer[length..self.aim])?;
            self.ended = read == 0;
            length += read;
        }
        if let Some(end) = self.stop_within(length)
            && buffer[end - 1] == b'\n'
        {
            self.carry.extend_from_slice(&buffer[end..length]);
            return Ok(Some(self.block(buffer, end)));
        }
        match memrchr(b'\n', &buffer[..length]) {
            Some(_) if self.ended && self.last_line == LastLine::Counts => {
                Ok(Some(self.block(buffer, length)))
            }
            Some(last) => {
                self.carry.extend_from_slice(&buffer[last + 1..length]);
                Ok(Some(self.block(buffer, last + 1)))
            }
            None if !self.ended => self.pass_over(buffer, length),
            None if length == 0 => Ok(None),
            None if self.last_line == LastLine::Counts => Ok(Some(self.block(buffer, length))),
            None => {
                self.carry.extend_from_slice(&buffer[..length]);
                Ok(None)
            }
        }
    }

    /// The next stop, if it lies within so many bytes.
    fn stop_within(&self, length: usize) -> Option<usize> {
        let base = self.hasher.offset();
        let stop = self.stops.iter().find(|stop| **stop > base)?;
        usize::try_from(stop - base)
            .ok()
            .filter(|end| *end <= length)
    }

    fn block(&mut self, buffer: Vec<u8>, length: usize) -> Block {
        let before = self.hasher.clone();
        self.hasher.update(&buffer[..length]);
        let print = self.hasher.fingerprint();
        Block {
            base: before.offset(),
            covers: length as u64,
            buffer,
            length,
            before,
            print,
        }
    }

    /// Reads to the end of a line that is longer than a block, keeping only its hash.
    fn pass_over(&mut self, mut buffer: Vec<u8>, mut length: usize) -> io::Result<Option<Block>> {
        let before = self.hasher.clone();
        let mut hasher = before.clone();
        loop {
            hasher.update(&buffer[..length]);
            length = read_some(&mut self.stream, &mut buffer)?;
            if length == 0 {
                self.ended = true;
                if self.last_line == LastLine::Waits {
                    self.unfinished = hasher.offset() - before.offset();
                    return Ok(None);
                }
                break;
            }
            if let Some(end) = memchr(b'\n', &buffer[..length]) {
                hasher.update(&buffer[..=end]);
                self.carry.extend_from_slice(&buffer[end + 1..length]);
                break;
            }
        }
        self.hasher = hasher;
        let (base, print) = (before.offset(), self.hasher.fingerprint());
        Ok(Some(Block {
            base,
            buffer,
            length: 0,
            covers: print.offset - base,
            before,
            print,
        }))
    }
}

fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let came_back = stream.read(buffer);
        open::read_is_done();
        match came_back {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &[u8], aim: usize, last_line: LastLine) -> (Vec<(u64, u64, Vec<u8>)>, u64) {
        let mut blocks = Blocks::new(text, Hasher::new(1), last_line, aim);
        let mut all = Vec::new();
        while let Some(block) = blocks.next(Vec::new()).expect("a slice reads") {
            let mut hasher = Hasher::new(1);
            hasher.update(&text[..(block.base + block.covers) as usize]);
            assert_eq!(hasher.fingerprint().content, block.print.content);
            all.push((block.base, block.covers, block.lines().to_vec()));
        }
        (all, blocks.partial())
    }

    #[test]
    fn blocks_hold_whole_lines() {
        let (all, partial) = blocks(b"one\ntwo\nthr", 100, LastLine::Waits);
        assert_eq!(all, [(0, 8, b"one\ntwo\n".to_vec())]);
        assert_eq!(partial, 3);
        let (all, partial) = blocks(b"one\ntwo\nthr", 100, LastLine::Counts);
        assert_eq!(all, [(0, 11, b"one\ntwo\nthr".to_vec())]);
        assert_eq!(partial, 0);
        assert_eq!(blocks(b"", 100, LastLine::Counts), (vec![], 0));
        assert_eq!(blocks(b"x", 100, LastLine::Waits), (vec![], 1));
        assert_eq!(
            blocks(b"x", 100, LastLine::Counts),
            (vec![(0, 1, b"x".to_vec())], 0)
        );
    }

    #[test]
    fn a_line_longer_than_a_block_is_passed_over() {
        let mut text = b"a\n".to_vec();
        text.extend(vec![b'x'; 200]);
        text.extend(b"\nb\n");
        let (all, _) = blocks(&text, 16, LastLine::Waits);
        let lengths: Vec<(u64, u64, usize)> = all
            .iter()
            .map(|(base, covers, bytes)| (*base, *covers, bytes.len()))
            .collect();
        assert_eq!(lengths, [(0, 2, 2), (2, 201, 0), (203, 2, 2)]);
        let (all, _) = blocks(b"one\ntwo\nthree\nfour\n", 8, LastLine::Waits);
        assert_eq!(all.len(), 3);
        let unfinished = &text[..text.len() - 3];
        assert_eq!(blocks(unfinished, 16, LastLine::Waits).0.len(), 1);
        assert_eq!(blocks(unfinished, 16, LastLine::Counts).0.len(), 2);
    }
}
