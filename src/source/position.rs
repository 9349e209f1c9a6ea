//! How far a file has been read, and by what it will be known again.

use chrono::NaiveDate;

use super::content::Fingerprint;

/// Where a living file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Device number.
    pub device: u64,
    /// Inode number; reused within seconds once a file is gone.
    pub inode: u64,
    /// Nanoseconds since 1970 at which the inode was made, where the file system says so.
    pub birth: Option<i64>,
}

impl Place {
    /// Of an open file.
    #[must_use]
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let birth = metadata
            .created()
            .ok()
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
            .and_then(|since| i64::try_from(since.as_nanos()).ok());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            birth,
        }
    }

    /// Whether both speak of one inode. Device numbers change at a reboot (NFS, LVM), inode numbers
    /// are reused: an equal birth outweighs the device, an unequal one everything.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.inode == other.inode
            && match (self.birth, other.birth) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => self.device == other.device,
            }
    }
}

/// Whether a file is still read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A daemon follows it.
    Living,
    /// Read to its end: an import, or a rotated file that went quiet.
    Finished,
    /// Truncated or overwritten in place: its bytes are gone, the identity stays.
    Replaced,
}

/// A position as the store has it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its row.
    pub id: i64,
    /// Who follows the file.
    pub node: String,
    /// Which source's balance its lines are in.
    pub source: String,
    /// The vhost that it was read for, else empty. Content is looked up within one scope.
    pub scope: String,
    /// Where it was last seen.
    pub path: String,
    /// `None`: an archive, or a stream.
    pub place: Option<Place>,
    /// Of the bytes committed.
    pub print: Fingerprint,
    /// The day of the last line that had one: lines without a day take it.
    pub last_day: Option<NaiveDate>,
    /// Whether it is still read.
    pub state: State,
    /// When it was last committed, in seconds since 1970.
    pub updated: i64,
}
