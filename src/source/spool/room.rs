//! How much a spool may still grow, and why it may not.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// A spool leaves this share of its file system free,
const FREE_SHARE: u64 = 20;
/// at most this much.
const MAX_FREE_BYTES: u64 = 1 << 30;

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// What all segments of the spool hold.
    pub(super) spool_bytes: u64,
    /// What its file system can hold,
    pub(super) disk_bytes: u64,
    /// and what is free of that.
    pub(super) free_bytes: u64,
}

/// Bytes that may be written, and what is in the way of more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) bytes: u64,
    pub(super) then: Refusal,
}

/// How much a spool may grow that holds no more than `max_spool_bytes`.
pub(super) fn room(found: Found, max_spool_bytes: u64) -> Room {
    let to_cap = max_spool_bytes.saturating_sub(found.spool_bytes);
    let keep_free = (found.disk_bytes / FREE_SHARE).min(MAX_FREE_BYTES);
    let to_reserve = found.free_bytes.saturating_sub(keep_free);
    match to_cap <= to_reserve {
        true => Room {
            bytes: to_cap,
            then: Refusal::SpoolFull { max_spool_bytes },
        },
        false => Room {
            bytes: to_reserve,
            then: Refusal::DiskNearlyFull { keep_free },
        },
    }
}

/// Why nothing is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The spool holds as much as it may.
    SpoolFull {
        /// How much that is.
        max_spool_bytes: u64,
    },
    /// The file system has only what is left for others.
    DiskNearlyFull {
        /// How much that is.
        keep_free: u64,
    },
    /// The system did not do what it was asked to.
    System {
        /// Its number for that.
        errno: Option<i32>,
        /// What was being done, and why it failed.
        what: String,
    },
}

impl Refusal {
    pub(super) fn system(doing: &str, error: &io::Error) -> Self {
        Self::System {
            errno: error.raw_os_error(),
            what: format!("cannot {doing}: {error}"),
        }
    }

    /// In a few words, for the record of a loss.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::SpoolFull { .. } => "spool full",
            Self::DiskNearlyFull { .. } => "disk nearly full",
            Self::System { errno, .. } => {
                let errno = errno.map(Errno::from_raw_os_error);
                match errno {
                    Some(Errno::NOSPC | Errno::DQUOT) => "disk full",
                    Some(Errno::ROFS) => "disk read-only",
                    Some(Errno::ACCESS | Errno::PERM) => "no permission",
                    _ => "disk refused",
                }
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpoolFull { max_spool_bytes } => write!(
                to,
                "the spool is full: it may hold {max_spool_bytes} bytes, and nobody has read them"
            ),
            Self::DiskNearlyFull { keep_free } => write!(
                to,
                "the file system of the spool has less than {keep_free} bytes free, which are left \
                 for others"
            ),
            Self::System { what, .. } => to.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_nearer_of_cap_and_reserve_counts() {
        let full = Refusal::SpoolFull {
            max_spool_bytes: GIB,
        };
        let reserve = |keep_free| Refusal::DiskNearlyFull { keep_free };
        for (spool_bytes, disk_bytes, free_bytes, bytes, then) in [
            (0, 100 * GIB, 50 * GIB, GIB, full.clone()),
            (GIB - 1, 100 * GIB, 50 * GIB, 1, full.clone()),
            (2 * GIB, 100 * GIB, 50 * GIB, 0, full),
            // A large disk: 1 GiB is left.
            (0, 100 * GIB, GIB + 5, 5, reserve(GIB)),
            // A small one: a twentieth.
            (0, GIB, GIB / 20 + 7, 7, reserve(GIB / 20)),
            (0, GIB, GIB / 20, 0, reserve(GIB / 20)),
            (0, GIB, 0, 0, reserve(GIB / 20)),
        ] {
            let found = Found {
                spool_bytes,
                disk_bytes,
                free_bytes,
            };
            assert_eq!(room(found, GIB), Room { bytes, then }, "{found:?}");
        }
    }

    #[test]
    fn reasons_are_few() {
        for (errno, expected) in [
            (Errno::NOSPC, "disk full"),
            (Errno::DQUOT, "disk full"),
            (Errno::ROFS, "disk read-only"),
            (Errno::ACCESS, "no permission"),
            (Errno::IO, "disk refused"),
        ] {
            let error = io::Error::from(errno);
            assert_eq!(Refusal::system("write", &error).reason(), expected);
        }
    }
}
