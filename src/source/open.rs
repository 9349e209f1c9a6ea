//! Opens what an operator, or a customer who can write to a log folder, has put there: regular
//! files only, without ever blocking, links only where they cannot be a trick.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Opens a regular file.
///
/// # Errors
/// As the system says; and for anything that is no regular file.
pub fn regular(path: &Path) -> io::Result<(File, Metadata)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "is a directory; name the files in it",
        ));
    }
    if !metadata.is_file() {
        return Err(io::Error::other(
            "is not a regular file; a stream is read from standard input, with -",
        ));
    }
    Ok((file, metadata))
}

/// Opens a file that is to be followed: a symbolic link counts only if root owns it, or its owner
/// owns what it points to. So no customer can have another's log, or any other file, read as his.
///
/// # Errors
/// As [`regular`]; and for a link that is not trusted.
pub fn followed(path: &Path) -> io::Result<(File, Metadata)> {
    let open = |flags: OFlags| {
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
    };
    // Opened without following it, so that what is checked is what is read.
    let file = match open(OFlags::NOFOLLOW) {
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            let link = open(OFlags::NOFOLLOW | OFlags::PATH)?.metadata()?;
            let file = open(OFlags::empty())?;
            let owner = file.metadata()?.uid();
            let again = open(OFlags::NOFOLLOW | OFlags::PATH)?.metadata()?;
            let is_still = (again.dev(), again.ino()) == (link.dev(), link.ino());
            if !is_still || (link.uid() != 0 && link.uid() != owner) {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "is a link whose owner does not own the file that it points to",
                ));
            }
            file
        }
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    Ok((file, metadata))
}

/// Reads at an offset until the buffer is full or the file ends.
///
/// # Errors
/// As the system says.
pub fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let read = file.read_at(&mut buffer[done..], offset + done as u64);
        read_is_done();
        match read {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// How many reads of files have come back in this process: a file system that is slow is told from
/// one that hangs by whether this grows.
#[must_use]
pub fn reads_done() -> u64 {
    READS_DONE.load(Ordering::Relaxed)
}

/// A read of a file has come back, whatever it brought.
pub fn read_is_done() {
    READS_DONE.fetch_add(1, Ordering::Relaxed);
}

static READS_DONE: AtomicU64 = AtomicU64::new(0);
