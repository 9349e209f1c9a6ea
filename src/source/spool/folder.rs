//! The folder of a spool: made where it is missing, and entered without being led elsewhere.
//!
//! Piped loggers of web servers often run as root, and write into a folder of the daemon's user.
//! Therefore neither `spool` nor the folder in it may be a symbolic link, and what is asked of them
//! is asked of what was opened, never of a path again. The folders on the way are passed through
//! and not read, so that their owner can let a web server's user through without more.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

/// Whoever is in the group of the folder may write segments; they get its group.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o2770);
/// Where nobody has made the state directory yet.
const STATE_MODE: Mode = Mode::from_raw_mode(0o750);
const SEGMENT_MODE: Mode = Mode::from_raw_mode(0o640);

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    /// To whom segments are given: root writes for the owner of the folder.
    owner: Option<(Uid, Gid)>,
}

impl Folder {
    /// Enters `STATE/spool/NAME`, and makes what is missing of it.
    pub(super) fn enter(path: &Path) -> io::Result<Self> {
        let too_short =
            || io::Error::other("a spool lies in the folder spool of a state directory");
        let spools = path.parent().ok_or_else(too_short)?;
        let state = spools.parent().ok_or_else(too_short)?;
        let state = match open_state(state) {
            Err(Errno::NOENT) => {
                make_state(state)?;
                open_state(state)?
            }
            opened => opened?,
        };
        let name_of = |path: &Path| match path.components().next_back() {
            Some(Component::Normal(name)) => Ok(name.to_owned()),
            _ => Err(too_short()),
        };
        let spools = step(&state, &name_of(spools)?, OFlags::PATH)?;
        let fd = step(&spools, &name_of(path)?, OFlags::RDONLY)?;
        let owner = match is_root() {
            true => {
                let stat = fs::fstat(&fd)?;
                Some((Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)))
            }
            false => None,
        };
        Ok(Self { fd, owner })
    }

    /// A new file, with the owner and the mode of a segment.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
        let file = fs::openat(&self.fd, name, flags, SEGMENT_MODE)?;
        let given = match self.owner {
            Some((user, group)) => fs::fchown(&file, Some(user), Some(group)),
            None => Ok(()),
        };
        // Whatever the umask says.
        if let Err(error) = given.and_then(|()| fs::fchmod(&file, SEGMENT_MODE)) {
            let _ = self.remove(name);
            return Err(error.into());
        }
        Ok(File::from(file))
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Makes names durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.fd)?)
    }

    /// How much the file system can hold, and how much of that is free for others than root.
    pub(super) fn disk(&self) -> io::Result<(u64, u64)> {
        let disk = fs::fstatvfs(self.fd.as_fd())?;
        Ok((
            disk.f_blocks.saturating_mul(disk.f_frsize),
            disk.f_bavail.saturating_mul(disk.f_frsize),
        ))
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn open_state(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty())
}

fn make_state(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(STATE_MODE.as_raw_mode());
    builder.create(path)
}

/// Enters a folder in a folder, and makes it first if need be.
fn step(parent: &OwnedFd, name: &OsStr, access: OFlags) -> io::Result<OwnedFd> {
    let open = |access: OFlags| {
        let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(parent, name, flags, Mode::empty())
    };
    match open(access) {
        Err(Errno::NOENT) => {}
        opened => return Ok(opened?),
    }
    match fs::mkdirat(parent, name, FOLDER_MODE) {
        Ok(()) => {}
        // Somebody else was faster.
        Err(Errno::EXIST) => return Ok(open(access)?),
        Err(error) => return Err(error.into()),
    }
    let folder = open(OFlags::RDONLY)?;
    if is_root() {
        let stat = fs::fstat(parent)?;
        let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        fs::fchown(&folder, Some(user), Some(group))?;
    }
    fs::fchmod(&folder, FOLDER_MODE)?;
    Ok(folder)
}
