//! A spool: what a stream brought, on disk, so that it has offsets like any log.
//!
//! The spool of a source is the folder `spool/NAME` of the state directory. What is in it are
//! segments, files of [`record`]s. Each [`Writer`] (a process, or the daemon) appends to segments
//! of its own, one after the other, so writers need no lock between them. While a writer appends to
//! a segment it holds an exclusive lock on it, which the system takes away however the writer ends:
//! what nobody has locked is over ([`is_over`]), and once it has been read and committed it can go.
//!
//! What is promised: a record that was written stays written if the process dies, and a second
//! later if the machine does; nothing beyond the spool's cap is written, nor where the file system
//! runs out of room; and what did not get in is counted, in a record of its own.

mod folder;
mod losses;
pub mod record;
mod room;
mod segment;
mod writer;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use losses::Loss;
pub use room::Refusal;
pub use writer::{Limits, Writer};

/// The folder of all spools in the state directory.
const SPOOLS: &str = "spool";
/// How the name of a segment ends.
const ENDING: &str = ".seg";
/// The digits of a writer in the name of a segment.
const WRITER_DIGITS: usize = 16;
/// The digits of the number of a writer's segment.
const SEQUENCE_DIGITS: usize = 8;
/// The spool of a source.
#[must_use]
pub fn folder(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join(SPOOLS).join(name)
}

/// Makes the spool of a source, where it is missing: for all who will write there.
///
/// # Errors
/// As the system says.
pub fn make(state_dir: &Path, name: &str) -> io::Result<()> {
    folder::Folder::enter(&folder(state_dir, name)).map(drop)
}

/// A segment that lies in a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
}

/// The segments of a spool, those of one writer in their order; none where there is no folder.
///
/// # Errors
/// As the system says.
pub fn segments(folder: &Path) -> io::Result<Vec<Listed>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(is_segment) {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => segments.push(Listed {
                path: entry.path(),
                bytes: metadata.len(),
            }),
            // Another kind of file is none of ours; one that is gone has been read.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    segments.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(segments)
}

/// Whether a file has the name of a segment.
#[must_use]
pub fn is_segment(name: &str) -> bool {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let Some((writer, sequence)) = name.strip_suffix(ENDING).and_then(|id| id.split_once('-'))
    else {
        return false;
    };
    writer.len() == WRITER_DIGITS
        && writer.bytes().all(is_hex)
        && sequence.len() == SEQUENCE_DIGITS
        && sequence.bytes().all(|byte| byte.is_ascii_digit())
}

fn segment_name(writer: u64, sequence: u32) -> String {
    format!("{writer:0WRITER_DIGITS$x}-{sequence:0SEQUENCE_DIGITS$}{ENDING}")
}

/// Whether nobody appends to a segment any more. Ask before reading it to its end: what is read
/// after that is all there will ever be.
///
/// # Errors
/// As the system says.
pub fn is_over(segment: &File) -> io::Result<bool> {
    match segment.try_lock_shared() {
        Ok(()) => segment.unlock().map(|()| true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_told_by_their_names() {
        assert_eq!(segment_name(0xab, 7), "00000000000000ab-00000007.seg");
        for (writer, sequence) in [(0, 0), (u64::MAX, 99_999_999)] {
            let name = segment_name(writer, sequence);
            assert!(is_segment(&name), "{name}");
        }
        for name in [
            "00000000000000ab-00000007",
            "00000000000000ab-00000007.seg.new",
            "00000000000000AB-00000007.seg",
            "00000000000000ab-0000000a.seg",
            "0000000000000ab-00000007.seg",
            "00000000000000ab00000007.seg",
            ".seg",
        ] {
            assert!(!is_segment(name), "{name}");
        }
    }
}
