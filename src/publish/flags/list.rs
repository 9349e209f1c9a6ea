//! What stands in a folder of flags, and whether somebody else has been there since.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::publish::file::is_unfinished;

/// Ours are `deny-429/HOST` or `class-deny-429/CLASS/HOST`; whatever lies deeper is somebody else's.
const MOST_FOLDERS_DEEP: usize = 3;
/// More than any flag of ours holds.
const MAX_CONTENT_BYTES: u64 = 64 << 10;
/// Stands for the content of a flag that cannot be read: no flag of ours has it, so that writing it is
/// tried, and told of if it fails, while the others go on.
const UNREADABLE: &str = "\0";
/// So many folders are looked at each time; there are more only where many sites have flags of single
/// users.
const MOST_LOOKS: usize = 1000;

/// Which folder, and when a name in it was last made or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    seconds: i64,
    nanoseconds: u64,
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            seconds: stat.st_mtime,
            nanoseconds: stat.st_mtime_nsec,
        }
    }

    fn at(root: &OwnedFd, path: &str) -> Option<Self> {
        let stat = match path {
            "" => fs::fstat(root),
            path => fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW),
        };
        stat.ok().map(|stat| Self::of(&stat))
    }
}

/// How the folders looked when we had last touched them.
#[derive(Debug, Default)]
pub(super) struct Stamps(BTreeMap<String, Stamp>);

impl Stamps {
    /// Whether nobody else has made or removed a name since. What happens in the same tick of the
    /// clock as something of ours is not seen.
    pub(super) fn hold(&self, root: &OwnedFd) -> bool {
        !self.0.is_empty()
            && self
                .0
                .iter()
                .take(MOST_LOOKS)
                .all(|(path, stamp)| Stamp::at(root, path) == Some(*stamp))
    }

    /// We have made or removed names in this folder, and perhaps the folder itself.
    pub(super) fn renew(&mut self, root: &OwnedFd, path: &str) {
        let mut path = Some(path);
        while let Some(this) = path {
            match Stamp::at(root, this) {
                Some(stamp) => drop(self.0.insert(this.to_owned(), stamp)),
                None => drop(self.0.remove(this)),
            }
            path = match this {
                "" => None,
                _ => Some(this.rsplit_once('/').map_or("", |(above, _)| above)),
            };
        }
    }
}

/// All flags below a folder with their contents, and how the folders look. What a kill has left
/// unfinished is removed.
pub(super) fn list(
    root: &OwnedFd,
    is_ours: fn(&str) -> bool,
) -> io::Result<(BTreeMap<String, String>, Stamps)> {
    let mut walk = Walk {
        is_ours,
        flags: BTreeMap::new(),
        stamps: Stamps::default(),
    };
    walk.folder(root, "", MOST_FOLDERS_DEEP)?;
    Ok((walk.flags, walk.stamps))
}

struct Walk {
    is_ours: fn(&str) -> bool,
    flags: BTreeMap<String, String>,
    stamps: Stamps,
}

impl Walk {
    fn folder(&mut self, folder: &OwnedFd, path: &str, deep: usize) -> io::Result<()> {
        // Before its names, so that none is missed that comes in the meantime.
        let stamp = Stamp::of(&fs::fstat(folder)?);
        self.stamps.0.insert(path.to_owned(), stamp);
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") {
                continue;
            }
            if is_unfinished(name.as_bytes()) {
                // One that cannot be removed does no harm.
                let _ = fs::unlinkat(folder, name, AtFlags::empty());
                continue;
            }
            let below = match path {
                "" => name.to_owned(),
                _ => format!("{path}/{name}"),
            };
            // Some file systems do not say what it is.
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
                    stat.map_or(FileType::Unknown, |stat| {
                        FileType::from_raw_mode(stat.st_mode)
                    })
                }
                kind => kind,
            };
            match kind {
                FileType::Directory if deep > 1 => self.below(folder, name, &below, deep - 1)?,
                FileType::RegularFile if (self.is_ours)(&below) => {
                    let content = content(folder, name);
                    let content = content.unwrap_or_else(|_| UNREADABLE.to_owned());
                    self.flags.insert(below, content);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn below(&mut self, folder: &OwnedFd, name: &str, path: &str, deep: usize) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(folder, name, flags, Mode::empty()) {
            Ok(opened) => self.folder(&opened, path, deep),
            // Somebody else's, and none of ours can be in it.
            Err(Errno::NOENT | Errno::ACCESS | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn content(folder: &OwnedFd, name: &str) -> io::Result<String> {
    match fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if stat.st_size == 0 => return Ok(String::new()),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::openat(folder.as_fd(), name, flags, Mode::empty())?;
    let mut bytes = Vec::new();
    File::from(file)
        .take(MAX_CONTENT_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
