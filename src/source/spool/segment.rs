//! The segment that a writer appends to.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;

use memchr::memrchr;

use super::folder::Folder;

/// An open segment. Whole records are in it, and the lock is ours.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    name: String,
    pub(super) bytes: u64,
    /// Whether it holds more than losses.
    pub(super) has_messages: bool,
    /// When it was begun, in seconds since 1970.
    pub(super) begun: i64,
    is_synced: bool,
    is_name_synced: bool,
}

/// How far an append came.
#[derive(Debug)]
pub(super) struct Appended {
    /// Bytes of whole records that are in the segment.
    pub(super) bytes: usize,
    /// Why not all are.
    pub(super) error: Option<io::Error>,
    /// Something else than whole records may be in the segment: begin another.
    pub(super) is_torn: bool,
}

impl Segment {
    /// Begins one. It has its name only once it is locked, so that nobody takes it for one that is
    /// over.
    pub(super) fn begin(folder: &Folder, name: String, now: i64) -> io::Result<Self> {
        let unlocked = format!("{name}.new");
        let file = folder.create(&unlocked)?;
        let locked = file.try_lock().map_err(io::Error::from);
        if let Err(error) = locked.and_then(|()| folder.rename(&unlocked, &name)) {
            let _ = folder.remove(&unlocked);
            return Err(error);
        }
        Ok(Self {
            file,
            name,
            bytes: 0,
            has_messages: false,
            begun: now,
            is_synced: true,
            is_name_synced: false,
        })
    }

    /// Appends records, as many as the system takes.
    pub(super) fn append(&mut self, records: &[u8]) -> Appended {
        let mut done = 0;
        let mut error = None;
        while done < records.len() && error.is_none() {
            match self.file.write(&records[done..]) {
                Ok(0) => error = Some(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(interrupted) if interrupted.kind() == io::ErrorKind::Interrupted => {}
                Err(refused) => error = Some(refused),
            }
        }
        let whole = memrchr(b'\n', &records[..done]).map_or(0, |newline| newline + 1);
        self.bytes += whole as u64;
        self.is_synced &= done == 0;
        let is_torn = done > whole && self.file.set_len(self.bytes).is_err();
        Appended {
            bytes: whole,
            error,
            is_torn,
        }
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&mut self, folder: &Folder) -> io::Result<()> {
        if !self.is_synced {
            self.file.sync_data()?;
            self.is_synced = true;
        }
        if !self.is_name_synced {
            folder.sync()?;
            self.is_name_synced = true;
        }
        Ok(())
    }

    /// Whether somebody has taken it away while we write to it.
    pub(super) fn is_deleted(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Ends it. One in which nothing is goes away.
    pub(super) fn end(mut self, folder: &Folder) -> io::Result<()> {
        if self.bytes == 0 {
            // If it stays, it is read as an empty one.
            let _ = folder.remove(&self.name);
            return Ok(());
        }
        self.sync(folder)
    }
}
