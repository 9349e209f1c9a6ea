//! A file into place: whole, or not at all.
//!
//! Written beside its target, synced, renamed over it, and the folder synced; only when it is another
//! one. Whoever reads the target meets the old content or the new one, at any moment and after any
//! kill. What a kill between writing and renaming leaves behind is removed by the next call: its name
//! holds the target's, so that nobody else's file is mistaken for it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::random::random;

/// What web servers read, whoever they run as.
pub const FILE_MODE: u32 = 0o644;
/// Folders on the way to that.
const FOLDER_MODE: u32 = 0o755;
/// More than a million closed gates take. Who reloads servers reads no more of a map either.
const MAX_BYTES: u64 = 256 << 20;
/// Ends the names of files that are not yet in place.
const ENDING: &[u8] = b".tollkeeper";
/// Hexadecimal digits in such a name, so that two writers never write into one file.
const DIGITS: usize = 16;
/// The longest name that a file can have.
const MAX_NAME_BYTES: usize = 255;

/// Puts `bytes` into place at `path`, with this mode whatever the umask is. Returns whether anything
/// had to be changed. A missing folder is made.
///
/// # Errors
/// The path is a symbolic link, a folder or anything else that is no plain file; the folder cannot be
/// written to, or the disk is full. What was there before then stands.
pub fn publish(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    let nameless = || io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name");
    let name = path.file_name().ok_or_else(nameless)?;
    let folder = enter(path.parent().ok_or_else(nameless)?)?;
    clean(folder.as_fd(), name)?;
    let changed = publish_at(folder.as_fd(), name, bytes, mode)?;
    if changed {
        fs::fsync(&folder)?;
    }
    Ok(changed)
}

/// [`publish`] in an open folder, which is not synced.
pub(super) fn publish_at(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    bytes: &[u8],
    mode: u32,
) -> io::Result<bool> {
    if is_there(folder, name, bytes, mode)? {
        return Ok(false);
    }
    let beside = beside(name);
    let written = write_new(folder, &beside, bytes, mode)
        .and_then(|()| make_newer(folder, &beside, name))
        .and_then(|()| Ok(fs::renameat(folder, &beside, folder, name)?));
    if written.is_err() {
        // The reason is in what is returned; what stays is removed next time.
        let _ = fs::unlinkat(folder, &beside, AtFlags::empty());
    }
    written.map(|()| true)
}

/// What stands at `path`, if anything does. Never waits, whatever it is.
///
/// # Errors
/// It is a symbolic link, a folder or anything else that is no plain file, it cannot be read, or it is
/// longer than [`MAX_BYTES`].
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // A FIFO would make us wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut bytes = Vec::new();
    File::from(file)
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(Some(bytes))
}

/// Opens a folder; makes it, and those above it, where they are missing.
pub(super) fn enter(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        opened => return Ok(opened?),
    }
    if let (Some(above), Some(name)) = (path.parent(), path.file_name()) {
        return step(enter(above)?.as_fd(), name);
    }
    Err(Errno::NOENT.into())
}

/// Opens a folder in a folder, and makes it if it is missing. Not through a symbolic link.
pub(super) fn step(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || fs::openat(folder, name, flags, Mode::empty());
    match open() {
        Err(Errno::NOENT) => {}
        opened => return Ok(opened?),
    }
    let mode = Mode::from_raw_mode(FOLDER_MODE);
    match fs::mkdirat(folder, name, mode) {
        Ok(()) => {}
        // Somebody else was faster.
        Err(Errno::EXIST) => return Ok(open()?),
        Err(error) => return Err(error.into()),
    }
    let made = open()?;
    // Whatever the umask says.
    fs::fchmod(&made, mode)?;
    Ok(made)
}

/// Whether a name is one that a file has while it is not yet in place.
pub(super) fn is_unfinished(name: &[u8]) -> bool {
    let Some(rest) = name.strip_suffix(ENDING) else {
        return false;
    };
    let digits = rest.len().saturating_sub(DIGITS);
    name[0] == b'.'
        && rest[digits..].len() == DIGITS
        && rest[digits..].iter().all(u8::is_ascii_hexdigit)
}

/// Removes what an earlier life was killed over.
fn clean(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let start = start_of(name);
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let found = entry.file_name().to_bytes();
        let is_ours = found.len() == start.len() + DIGITS + ENDING.len()
            && found.starts_with(&start)
            && is_unfinished(found);
        if is_ours && entry.file_type() != FileType::Directory {
            // One that cannot be removed does no harm.
            let _ = fs::unlinkat(folder, entry.file_name(), AtFlags::empty());
        }
    }
    Ok(())
}

/// `.NAME.0123456789abcdef.tollkeeper`
fn beside(name: &OsStr) -> OsString {
    let mut beside = start_of(name);
    beside.extend_from_slice(format!("{:0DIGITS$x}", random()).as_bytes());
    beside.extend_from_slice(ENDING);
    OsString::from_vec(beside)
}

/// A point, as much of the name as there is room for, and a point.
fn start_of(name: &OsStr) -> Vec<u8> {
    let room = MAX_NAME_BYTES - DIGITS - ENDING.len() - 2;
    let name = name.as_bytes();
    [b".", &name[..name.len().min(room)], b"."].concat()
}

/// Whether these bytes stand there already.
///
/// # Errors
/// Something stands there that is not to be replaced, or that cannot be read.
fn is_there(folder: BorrowedFd<'_>, name: &OsStr, bytes: &[u8], mode: u32) -> io::Result<bool> {
    // A FIFO would make us wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let refused = |what: &str| {
        let message = format!("{what} stands there, which is not replaced");
        Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
    };
    let file = match fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(false),
        Err(Errno::LOOP) => return refused("a symbolic link"),
        Err(Errno::NXIO) => return refused("a socket"),
        Err(error) => return Err(error.into()),
    };
    let stat = fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return refused("a folder"),
        _ => return refused("something that is no file"),
    }
    let differs = Mode::from_raw_mode(stat.st_mode) != Mode::from_raw_mode(mode)
        || u64::try_from(stat.st_size) != Ok(bytes.len() as u64);
    if differs {
        return Ok(false);
    }
    let mut stands = Vec::with_capacity(bytes.len());
    File::from(file)
        .take(bytes.len() as u64 + 1)
        .read_to_end(&mut stands)?;
    Ok(stands == bytes)
}

/// A new file that is on disk when this returns.
fn write_new(folder: BorrowedFd<'_>, name: &OsStr, bytes: &[u8], mode: u32) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
    // Whatever the umask says.
    fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.sync_all()
}

/// Sees to it that a file is newer than the one whose place it takes. Apache reads a map again only
/// when its time is another one, and the clock of file systems ticks in milliseconds.
fn make_newer(folder: BorrowedFd<'_>, new: &OsStr, old: &OsStr) -> io::Result<()> {
    let micros = |stat: &fs::Stat| (stat.st_mtime, stat.st_mtime_nsec / 1000);
    let old = match fs::statat(folder, old, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => micros(&stat),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let stat = fs::statat(folder, new, AtFlags::SYMLINK_NOFOLLOW)?;
    if micros(&stat) > old {
        return Ok(());
    }
    let (seconds, micros) = match old {
        (seconds, 999_999) => (seconds + 1, 0),
        (seconds, micros) => (seconds, micros + 1),
    };
    let later = fs::Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(micros * 1000).unwrap_or_default(),
    };
    let times = fs::Timestamps {
        last_access: later,
        last_modification: later,
    };
    Ok(fs::utimensat(
        folder,
        new,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("our own folder")
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_takes_a_place_is_newer() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map");
        let modified = || {
            let metadata = std::fs::metadata(&path).expect("it is there");
            let since = metadata.modified().expect("a time");
            since
                .duration_since(std::time::UNIX_EPOCH)
                .expect("now")
                .as_micros()
        };
        let mut before = 0;
        for n in 0..50 {
            publish(&path, format!("{n}").as_bytes(), FILE_MODE).expect("written");
            assert!(modified() > before);
            before = modified();
        }
        // The clock has been put back.
        let ahead = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
        let file = File::options().write(true).open(&path).expect("ours");
        file.set_modified(ahead).expect("ours");
        before = modified();
        publish(&path, b"after", FILE_MODE).expect("written");
        assert_eq!(modified(), before + 1);
    }

    #[test]
    fn only_what_is_another_one_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b/map");
        assert!(publish(&path, b"one", FILE_MODE).expect("written"));
        let first = std::fs::metadata(&path).expect("it is there");
        assert_eq!(first.permissions().mode() & 0o7777, FILE_MODE);
        let above = std::fs::metadata(folder.path().join("a")).expect("it is there");
        assert_eq!(above.permissions().mode() & 0o7777, FOLDER_MODE);

        assert!(!publish(&path, b"one", FILE_MODE).expect("it stands"));
        let again = std::fs::metadata(&path).expect("it is there");
        let inode = std::os::unix::fs::MetadataExt::ino;
        assert_eq!(inode(&first), inode(&again));

        assert!(publish(&path, b"two", FILE_MODE).expect("written"));
        assert_eq!(std::fs::read(&path).expect("it is there"), b"two");
        assert_eq!(names(&folder.path().join("a/b")), ["map"]);
    }

    #[test]
    fn a_kill_between_writing_and_renaming_leaves_the_target_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map");
        publish(&path, b"before", FILE_MODE).expect("written");
        // As a kill leaves it: written, and not yet renamed.
        let open = enter(folder.path()).expect("our own folder");
        let left = beside(OsStr::new("map"));
        write_new(open.as_fd(), &left, b"hal", FILE_MODE).expect("written");
        let others = [".map.0123.tollkeeper", ".map2.0123456789abcdef.tollkeeper"];
        for other in others {
            std::fs::write(folder.path().join(other), "").expect("a new file");
        }
        assert_eq!(std::fs::read(&path).expect("it stands"), b"before");

        assert!(!publish(&path, b"before", FILE_MODE).expect("it stands"));
        assert_eq!(names(folder.path()), [others[0], others[1], "map"]);
    }

    #[test]
    fn what_is_no_plain_file_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, "theirs").expect("a new file");
        symlink(&elsewhere, folder.path().join("link")).expect("a new link");
        symlink("nowhere", folder.path().join("dangling")).expect("a new link");
        std::fs::create_dir(folder.path().join("folder")).expect("a new folder");
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket"));
        let before = names(folder.path());
        for name in ["link", "dangling", "folder", "socket"] {
            let error = publish(&folder.path().join(name), b"ours", FILE_MODE);
            let error = error.expect_err(name);
            assert_eq!(
                error.kind(),
                io::ErrorKind::AlreadyExists,
                "{name}: {error}"
            );
        }
        assert_eq!(names(folder.path()), before);
        assert_eq!(std::fs::read(&elsewhere).expect("it stands"), b"theirs");
    }

    #[test]
    fn what_is_read_is_a_plain_file_that_is_not_too_long() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "ours").expect("a new file");
        std::fs::create_dir(path("folder")).expect("a new folder");
        symlink("file", path("link")).expect("a new link");
        let mode = Mode::from_raw_mode(0o600);
        fs::mknodat(fs::CWD, path("fifo"), FileType::Fifo, mode, 0).expect("a new FIFO");
        let giant = File::create(path("giant")).expect("a new file");
        giant.set_len(1 << 40).expect("it takes no room");

        let stands = read(&path("file")).expect("it is there");
        assert_eq!(stands.as_deref(), Some(&b"ours"[..]));
        assert_eq!(read(&path("none")).expect("nothing is"), None);
        for name in ["folder", "link", "fifo", "giant"] {
            read(&path(name)).expect_err(name);
        }
    }

    #[test]
    fn long_names_have_room_beside_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("n".repeat(MAX_NAME_BYTES));
        assert!(publish(&path, b"x", FILE_MODE).expect("written"));
        assert!(publish(&path, b"y", FILE_MODE).expect("written"));
    }
}
