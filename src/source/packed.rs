//! What a packed file holds: gzip, zstd, bzip2 and xz, told by their first bytes, never by a name.
//!
//! Every member of an archive is read, also where several were glued together. One that is cut
//! short, is damaged, or has other bytes behind its end is an error, never a quiet end: what was
//! unpacked before the error is not to be counted. Zeros behind a gzip member are padding (tapes
//! leave it), and so are those that xz itself allows; nothing else is.
//!
//! Memory stays bounded whatever is packed: a few blocks on their way between two threads, and the
//! window that a packing asks for, up to [`MAX_WINDOW_BYTES`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::open::{read_full_at, read_is_done};

/// Memory that an archive may ask for to be unpacked: what `xz -9` and `zstd --long` need, and the
/// tools themselves grant.
pub const MAX_WINDOW_BYTES: u64 = 1 << WINDOW_LOG_MAX;
const WINDOW_LOG_MAX: u32 = 27;
/// The endings of packed files' names.
pub const ENDINGS: [&str; 4] = ["gz", "zst", "bz2", "xz"];

/// Bytes of a block between the two threads, and blocks that are on their way.
const AHEAD_BYTES: usize = 256 << 10;
const AHEAD_BLOCKS: usize = 4;

/// How the bytes of a file are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// zstd, with or without skippable frames.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
}

impl Packing {
    /// As people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// Unpacks without our limit.
    fn remedy(self) -> &'static str {
        match self {
            Self::Plain => "cat",
            Self::Gzip => "gzip -dc",
            Self::Zstd => "zstd -dc --long=31",
            Self::Bzip2 => "bzip2 -dc",
            Self::Xz => "xz -dc",
        }
    }
}

/// How a file is packed, by its first bytes.
///
/// # Errors
/// As the system says.
pub fn packing(file: &File) -> io::Result<Packing> {
    let mut start = [0; 10];
    let length = read_full_at(file, &mut start, 0)?;
    Ok(packing_of(&start[..length]))
}

fn packing_of(start: &[u8]) -> Packing {
    // What follows the level in a bzip2 stream: the first block, or the end of an empty one. A name
    // of a host may well begin with the rest.
    const BLOCK: &[u8] = b"\x31\x41\x59\x26\x53\x59";
    const EMPTY: &[u8] = b"\x17\x72\x45\x38\x50\x90";
    match start {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
        [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..]
            if BLOCK.starts_with(rest) || EMPTY.starts_with(rest) =>
        {
            Packing::Bzip2
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
        _ => Packing::Plain,
    }
}

/// The content of a file from an offset on, unpacked on the caller's thread; `read` counts the
/// file's own bytes.
///
/// # Errors
/// What reading up to the offset says.
pub fn content(
    file: File,
    packing: Packing,
    offset: u64,
    read: Arc<AtomicU64>,
) -> io::Result<Box<dyn Read + Send>> {
    if packing == Packing::Plain {
        read.fetch_add(offset, Ordering::Relaxed);
        let at = offset;
        return Ok(Box::new(Bytes { file, at, read }));
    }
    behind(unpacked(file, packing, read)?, offset)
}

/// As [`content`], but archives are unpacked on a thread of their own, which runs a few blocks
/// ahead and ends when the stream is dropped.
///
/// # Errors
/// As [`content`]; and where there can be no further thread.
pub fn content_ahead(
    file: File,
    packing: Packing,
    offset: u64,
    read: Arc<AtomicU64>,
) -> io::Result<Box<dyn Read + Send>> {
    if packing == Packing::Plain {
        return content(file, packing, offset, read);
    }
    behind(
        Box::new(Ahead::new(unpacked(file, packing, read)?)?),
        offset,
    )
}

/// A stream that stands behind so many of its bytes.
fn behind(stream: Box<dyn Read + Send>, offset: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut stream = stream;
    let skipped = io::copy(&mut (&mut stream).take(offset), &mut io::sink())?;
    if skipped < offset {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(stream)
}

fn unpacked(
    file: File,
    packing: Packing,
    read: Arc<AtomicU64>,
) -> io::Result<Box<dyn Read + Send>> {
    let bytes = BufReader::with_capacity(AHEAD_BYTES, Bytes { file, at: 0, read });
    let inner: Box<dyn Read + Send> = match packing {
        Packing::Plain => Box::new(bytes),
        Packing::Gzip => Box::new(GzipMembers::Between(bytes)),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        Packing::Bzip2 => Box::new(MultiBzDecoder::new(bytes)),
        Packing::Xz => {
            let stream = Stream::new_stream_decoder(MAX_WINDOW_BYTES, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(bytes, stream))
        }
    };
    Ok(Box::new(Named { inner, packing }))
}

/// The bytes of a file as they are. It reads at an offset of its own: copies of one open file share
/// theirs, and several of these may be at work.
struct Bytes {
    file: File,
    at: u64,
    read: Arc<AtomicU64>,
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The members of a gzip archive, one behind the other, and zeros behind the last.
enum GzipMembers<R> {
    Between(R),
    In(Box<GzDecoder<R>>),
    Ended,
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(self, Self::Ended) {
                Self::Ended => return Ok(0),
                Self::In(mut member) => {
                    let read = member.read(buffer)?;
                    if read > 0 {
                        *self = Self::In(member);
                        return Ok(read);
                    }
                    let mut bytes = member.into_inner();
                    match fill(&mut bytes)?.first() {
                        None => {}
                        Some(0) => only_zeros(&mut bytes)?,
                        Some(0x1f) => *self = Self::Between(bytes),
                        Some(_) => return Err(other_bytes()),
                    }
                }
                Self::Between(bytes) => *self = Self::In(Box::new(GzDecoder::new(bytes))),
            }
        }
    }
}

fn fill(bytes: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match bytes.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Asked again, because the borrow of the first answer would outlive the loop.
            Ok(_) => return bytes.fill_buf(),
            Err(error) => return Err(error),
        }
    }
}

fn only_zeros(bytes: &mut impl BufRead) -> io::Result<()> {
    loop {
        let padding = fill(bytes)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(other_bytes());
        }
        let length = padding.len();
        if length == 0 {
            return Ok(());
        }
        bytes.consume(length);
    }
}

fn other_bytes() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "other bytes behind its end")
}

/// Says what is wrong with an archive in one way, however its decoder says it: cut short is
/// [`io::ErrorKind::UnexpectedEof`], damaged is [`io::ErrorKind::InvalidData`], and
/// [`io::ErrorKind::Unsupported`] what needs more memory than we grant.
struct Named {
    inner: Box<dyn Read + Send>,
    packing: Packing,
}

impl Read for Named {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        read_is_done();
        let error = match read {
            Err(error) => error,
            read => return read,
        };
        // The system's own errors are about the disk, not about the archive.
        if error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
            return Err(error);
        }
        let name = self.packing.name();
        let asks_too_much = matches!(
            error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<liblzma::stream::Error>()),
            Some(liblzma::stream::Error::MemLimit | liblzma::stream::Error::Mem)
        ) || error.to_string().contains("too much memory");
        if asks_too_much {
            let (most, remedy) = (MAX_WINDOW_BYTES >> 20, self.packing.remedy());
            let message = format!(
                "needs more than {most} MiB to be unpacked; {remedy} FILE | tollkeeper import -"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let kind = match error.kind() {
            io::ErrorKind::UnexpectedEof => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Err(io::Error::new(kind, format!("{name}: {error}")))
    }
}

/// A stream that another thread reads, a few blocks ahead.
struct Ahead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    spare: SyncSender<Vec<u8>>,
    block: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Ahead {
    fn new(stream: Box<dyn Read + Send>) -> io::Result<Self> {
        let (give, blocks) = sync_channel(AHEAD_BLOCKS);
        let (spare, take_spare) = sync_channel::<Vec<u8>>(AHEAD_BLOCKS + 2);
        std::thread::Builder::new()
            .name("unpack".to_owned())
            .spawn(move || read_ahead(stream, &give, &take_spare))?;
        Ok(Self {
            blocks,
            spare,
            block: Vec::new(),
            at: 0,
            ended: false,
        })
    }
}

/// Reads until the end, an error, or until nobody takes the blocks any more. An empty block is the
/// end: a thread that ends without one has failed.
fn read_ahead(
    mut stream: Box<dyn Read + Send>,
    give: &SyncSender<io::Result<Vec<u8>>>,
    spare: &Receiver<Vec<u8>>,
) {
    loop {
        let mut block = spare.try_recv().unwrap_or_default();
        block.resize(AHEAD_BYTES, 0);
        let mut length = 0;
        let mut failed = None;
        while length < block.len() {
            match stream.read(&mut block[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let ended = length < block.len();
        block.truncate(length);
        if length > 0 && give.send(Ok(block)).is_err() {
            return;
        }
        if ended {
            // Nobody may be there to be told.
            let _ = give.send(failed.map_or(Ok(Vec::new()), Err));
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            if self.ended {
                return Ok(0);
            }
            let next = self.blocks.recv();
            let next =
                next.map_err(|_| io::Error::other("the thread that unpacks it failed"))??;
            // No room for it: then it is not needed.
            let _ = self
                .spare
                .try_send(std::mem::replace(&mut self.block, next));
            self.at = 0;
            self.ended = self.block.is_empty();
        }
        let length = buffer.len().min(self.block.len() - self.at);
        buffer[..length].copy_from_slice(&self.block[self.at..][..length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const PACKED: [Packing; 4] = [Packing::Gzip, Packing::Zstd, Packing::Bzip2, Packing::Xz];

    fn pack(packing: Packing, content: &[u8]) -> Vec<u8> {
        let packed = match packing {
            Packing::Plain => Ok(content.to_vec()),
            Packing::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(content).and_then(|()| encoder.finish())
            }
            Packing::Zstd => {
                let checked = zstd::stream::write::Encoder::new(Vec::new(), 1);
                checked.and_then(|mut encoder| {
                    encoder.include_checksum(true)?;
                    encoder.write_all(content)?;
                    encoder.finish()
                })
            }
            Packing::Bzip2 => {
                let mut encoder =
                    bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(content).and_then(|()| encoder.finish())
            }
            Packing::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
                encoder.write_all(content).and_then(|()| encoder.finish())
            }
        };
        packed.expect("memory takes all")
    }

    fn unpack(bytes: &[u8], offset: u64) -> (Packing, io::Result<Vec<u8>>) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("room");
        let found = packing(&file).expect("it reads");
        let whole = |stream: io::Result<Box<dyn Read + Send>>| {
            let mut content = Vec::new();
            stream?.read_to_end(&mut content).map(|_| content)
        };
        let again = file.try_clone().expect("a handle");
        let here = whole(content(file, found, offset, Arc::default()));
        let ahead = whole(content_ahead(again, found, offset, Arc::default()));
        let kind = |result: &io::Result<Vec<u8>>| result.as_ref().err().map(io::Error::kind);
        assert_eq!(kind(&here), kind(&ahead));
        if let (Ok(here), Ok(ahead)) = (&here, &ahead) {
            assert!(here == ahead, "both ways lead to the same bytes");
        }
        (found, ahead)
    }

    fn text(lines: usize) -> Vec<u8> {
        (0..lines)
            .flat_map(|line| format!("line {line} of a log, {}\n", line * 7919 % 1000).into_bytes())
            .collect()
    }

    #[test]
    fn all_members_are_read() {
        let (one, two) = (text(40_000), text(10));
        for packing in PACKED {
            for (members, expected) in [
                (vec![&one], one.clone()),
                (vec![&one, &two], [one.clone(), two.clone()].concat()),
                (
                    vec![&two, &vec![], &one],
                    [two.clone(), one.clone()].concat(),
                ),
                (vec![&vec![]], vec![]),
            ] {
                let packed: Vec<u8> = members
                    .iter()
                    .flat_map(|member| pack(packing, member))
                    .collect();
                let (found, content) = unpack(&packed, 0);
                assert_eq!(found, packing);
                assert!(content.expect("it is whole") == expected, "{packing:?}");
            }
            let (_, rest) = unpack(&pack(packing, &one), 1_000);
            assert!(rest.expect("it is whole") == one[1_000..], "{packing:?}");
        }
    }

    #[test]
    fn cut_anywhere_is_an_error() {
        let content = text(60);
        for packing in PACKED {
            let member = pack(packing, &content);
            let glued = [member.clone(), member.clone()].concat();
            for end in (10..glued.len()).filter(|end| *end != member.len()) {
                let (found, content) = unpack(&glued[..end], 0);
                assert_eq!(found, packing);
                let error = content.expect_err("it is cut");
                let is_named = matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
                );
                assert!(is_named, "{packing:?} cut at {end}: {error:?}");
            }
        }
    }

    #[test]
    fn a_byte_changed_is_an_error_or_changes_nothing() {
        let content = text(60);
        for packing in PACKED {
            let member = pack(packing, &content);
            for at in 10..member.len() {
                let mut damaged = member.clone();
                damaged[at] ^= 0x55;
                if let Ok(read) = unpack(&damaged, 0).1 {
                    assert!(read == content, "{packing:?} changed at {at}");
                }
            }
        }
    }

    #[test]
    fn other_bytes_behind_the_end_are_an_error() {
        let content = text(30);
        for packing in PACKED {
            for (more, is_fine) in [
                (&b"rubbish that somebody wrote"[..], false),
                (b"\x1f", false),
                (b"1", false),
                (&[0; 512], matches!(packing, Packing::Gzip | Packing::Xz)),
                (&[0; 5], packing == Packing::Gzip),
                (b"\0\0\0\0x", false),
            ] {
                let packed = [pack(packing, &content), more.to_vec()].concat();
                let (_, read) = unpack(&packed, 0);
                assert_eq!(read.is_ok(), is_fine, "{packing:?} and {more:?}: {read:?}");
            }
        }
    }

    #[test]
    fn the_first_bytes_tell() {
        for (start, expected) in [
            (&b""[..], Packing::Plain),
            (b"\x1f", Packing::Plain),
            (b"\x1f\x8b", Packing::Gzip),
            (b"BZh9.example 10.0.0.1 - -", Packing::Plain),
            (b"BZh91AY&SY", Packing::Bzip2),
            (b"\x28\xb5\x2f\xfd", Packing::Zstd),
            // pzstd begins with a skippable frame.
            (b"\x50\x2a\x4d\x18\x04\0\0\0", Packing::Zstd),
            (b"\xfd7zXZ\0", Packing::Xz),
            (b"10.0.0.1 - -", Packing::Plain),
        ] {
            assert_eq!(packing_of(start), expected, "{start:?}");
        }
    }

    #[test]
    fn an_archive_that_asks_for_too_much_memory_is_refused() {
        let options = liblzma::stream::LzmaOptions::new_preset(6).and_then(|mut options| {
            options.dict_size(256 << 20);
            let mut filters = liblzma::stream::Filters::new();
            filters.lzma2(&options);
            Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32)
        });
        let mut encoder =
            liblzma::write::XzEncoder::new_stream(Vec::new(), options.expect("options"));
        encoder.write_all(&text(10)).expect("memory takes all");
        let packed = encoder.finish().expect("memory takes all");
        let error = unpack(&packed, 0).1.expect_err("too much");
        assert!(error.to_string().contains("128 MiB"), "{error}");

        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(30).expect("a number");
        encoder.write_all(&text(10)).expect("memory takes all");
        let packed = encoder.finish().expect("memory takes all");
        let error = unpack(&packed, 0).1.expect_err("too much");
        assert!(error.to_string().contains("--long=31"), "{error}");
    }
}
