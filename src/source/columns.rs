//! What the columns of a log mean at some place of it, for logs that name their columns themselves.
//!
//! No position stores that: the `#Fields` line that is in force at an offset stands in the log, in
//! front of it. In a plain file it is looked for from the offset backwards, which is mostly short,
//! and at worst reads the file once more; a packed one is unpacked up to there. Only files whose
//! formats need it are looked through.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use memchr::{memchr, memmem, memrchr};
use tollkeeper_parsers::format::w3c::FIELDS;
use tollkeeper_parsers::framing::MAX_LINE_BYTES;
use tollkeeper_parsers::plan::Carried;

use super::open::{read_full_at, read_is_done};
use super::packed::{self, Packing};

/// Bytes that are looked through at a time.
const BLOCK_BYTES: usize = 256 << 10;
/// A line of this length is longer than any that is read, newline or not.
const TOO_LONG_BYTES: usize = MAX_LINE_BYTES + 2;

/// What the lines of a file before the one that begins at `offset` of its content left for it.
///
/// # Errors
/// As the system says; and where the file is shorter than that.
pub fn at(file: &File, offset: u64) -> io::Result<Carried> {
    if offset == 0 {
        return Ok(Carried::default());
    }
    match packed::packing(file)? {
        Packing::Plain => backwards(file, offset, BLOCK_BYTES),
        packing => {
            let mut content = packed::content(file.try_clone()?, packing, 0, Arc::default())?;
            let mut found = at_each(&mut *content, &[offset])?;
            Ok(found.pop().unwrap_or_default())
        }
    }
}

/// The same for several offsets, which rise, of a stream that is read once from its beginning.
///
/// # Errors
/// As the stream says; and where it is shorter than the last of them.
pub fn at_each(content: &mut dyn Read, offsets: &[u64]) -> io::Result<Vec<Carried>> {
    let mut passing = Passing::default();
    let mut buffer = vec![0; BLOCK_BYTES];
    let (mut at, mut found) = (0, Vec::with_capacity(offsets.len()));
    for &offset in offsets {
        while at < offset {
            let wanted =
                usize::try_from(offset - at).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
            let read = match content.read(&mut buffer[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            read_is_done();
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            passing.pass(&buffer[..read]);
            at += read as u64;
        }
        found.push(passing.so_far());
    }
    Ok(found)
}

/// Lines that arrive in pieces.
#[derive(Default)]
struct Passing {
    carried: Carried,
    /// The start of a line whose end is still to come; not more than shows that it is too long.
    begun: Vec<u8>,
}

impl Passing {
    fn pass(&mut self, mut bytes: &[u8]) {
        if !self.begun.is_empty() {
            let end = memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline + 1);
            self.begin(&bytes[..end]);
            if bytes[..end].last() != Some(&b'\n') {
                return;
            }
            self.carried.pass(&self.begun);
            self.begun.clear();
            bytes = &bytes[end..];
        }
        let whole = memrchr(b'\n', bytes).map_or(0, |last| last + 1);
        self.carried.pass(&bytes[..whole]);
        self.begin(&bytes[whole..]);
    }

    /// A last line may have no newline.
    fn so_far(&self) -> Carried {
        let mut carried = self.carried.clone();
        carried.pass(&self.begun);
        carried
    }

    fn begin(&mut self, bytes: &[u8]) {
        let room = TOO_LONG_BYTES.saturating_sub(self.begun.len());
        self.begun
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Looks for the last header before an offset at which a line begins.
fn backwards(file: &File, offset: u64, block_bytes: usize) -> io::Result<Carried> {
    let needle = [b"\n", FIELDS].concat();
    let finder = memmem::FinderRev::new(&needle);
    // So that one that stands across the border of two blocks is seen.
    let mut buffer = vec![0; block_bytes + needle.len() - 1];
    let mut end = offset;
    while end > 0 {
        let start = end.saturating_sub(block_bytes as u64);
        let length = (end - start) as usize + needle.len() - 1;
        let length = length.min((offset - start) as usize);
        let block = &mut buffer[..length];
        if read_full_at(file, block, start)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(found) = finder.rfind(&*block) {
            return header(file, start + found as u64 + 1, offset);
        }
        if start == 0 && block.starts_with(FIELDS) {
            return header(file, 0, offset);
        }
        end = start;
    }
    Ok(Carried::default())
}

/// What the header says that begins at `at`.
fn header(file: &File, at: u64, offset: u64) -> io::Result<Carried> {
    let length =
        usize::try_from(offset - at).map_or(TOO_LONG_BYTES, |left| left.min(TOO_LONG_BYTES));
    let mut line = vec![0; length];
    let read = read_full_at(file, &mut line, at)?;
    line.truncate(read);
    if let Some(end) = memchr(b'\n', &line) {
        line.truncate(end);
    }
    let mut carried = Carried::default();
    carried.pass(&line);
    Ok(carried)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// The header in force before each line, found backwards by blocks of any size, forwards, and by
    /// passing the whole.
    fn check(lines: &[&str]) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(lines.concat().as_bytes()).expect("written");
        let mut offsets = vec![0];
        for line in lines {
            offsets.push(offsets.last().copied().unwrap_or_default() + line.len() as u64);
        }
        let whole = lines.concat();
        for piece in [1, 7, 1 << 20] {
            let mut slow = Pieces(whole.as_bytes(), piece);
            let forwards = at_each(&mut slow, &offsets).expect("read");
            for (count, (offset, forwards)) in offsets.iter().zip(forwards).enumerate() {
                let mut passed = Carried::default();
                passed.pass(lines[..count].concat().as_bytes());
                assert_eq!(forwards.header(), passed.header(), "{count} lines");
                for block_bytes in [1, 3, 10, 64, BLOCK_BYTES] {
                    if block_bytes < 10 && whole.len() > 10_000 {
                        continue;
                    }
                    let found = backwards(&file, *offset, block_bytes).expect("read");
                    assert_eq!(
                        found.header(),
                        passed.header(),
                        "{count} lines, {block_bytes}"
                    );
                }
            }
        }
    }

    struct Pieces<'b>(&'b [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let wanted = buffer.len().min(self.1);
            self.0.read(&mut buffer[..wanted])
        }
    }

    #[test]
    fn the_last_header_before_a_line_is_found() {
        check(&[]);
        check(&["a\n", "b\n"]);
        check(&["#Fields: date time\n", "a\n", "b\n"]);
        check(&[
            "#Software: x\r\n",
            "#Fields: date time sc-bytes\r\n",
            "x #Fields: date\r\n",
            "1\r\n",
            "#Fields: cs-method\r\n",
            "2\r\n",
            "#Fields: date time cs-bytes sc-bytes\r\n",
            "\r\n",
            "#Fields",
            "\r\n",
            "3\r\n",
            "#Fields: date",
        ]);
    }

    #[test]
    fn a_header_that_is_too_long_is_none() {
        let long = format!("#Fields: date {}\n", "x".repeat(MAX_LINE_BYTES));
        check(&[
            "#Fields: date time\n",
            "a\n",
            &long,
            "b\n",
            "#Fields: date\n",
            "c\n",
        ]);
        let other = format!("{}\n#Fields: x\n", "x".repeat(3 * MAX_LINE_BYTES));
        check(&["#Fields: date time\n", "a\n", &other, "b\n"]);
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"#Fields: date\n").expect("written");
        assert!(at(&file, 100).is_err());
        assert_eq!(at(&file, 14).expect("read").header(), Some("#Fields: date"));
        assert!(at_each(&mut &b"abc"[..], &[1, 4]).is_err());
    }
}
