//! What the kernel drops before anybody can read it.
//!
//! SO_MEMINFO would say it for one socket, and SO_RXQ_OVFL with the next datagram, but neither can
//! be asked for without unsafe code. The table of UDP sockets has the same counter, and lies
//! below `/proc/self`, which a unit with `ProcSubset=pid` still sees. On unix sockets the sender is
//! told, and nobody counts.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::net::sockopt::socket_cookie;

/// Datagrams dropped at each UDP socket of our network since it was made, by the socket's inode.
///
/// # Errors
/// As the system says.
pub(super) fn udp_drops() -> io::Result<HashMap<u64, u64>> {
    let mut drops = HashMap::new();
    for table in ["/proc/self/net/udp", "/proc/self/net/udp6"] {
        match fs::read_to_string(table) {
            Ok(table) => drops.extend(table.lines().filter_map(drops_of)),
            // A machine without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(drops)
}

/// By what the table knows a socket.
///
/// # Errors
/// As the system says.
pub(super) fn inode(socket: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(socket)?.st_ino)
}

/// What is booked of the drops of sockets that outlive a process: a file in the state directory,
/// from one orderly end to the next start. After another end nobody knows it, and what was
/// dropped since is not booked.
#[derive(Debug, Default)]
pub(super) struct Booked {
    /// By the cookie, which no other socket ever has while the machine runs.
    by_cookie: HashMap<u64, u64>,
}

impl Booked {
    /// What the process before has left, which is taken away.
    pub(super) fn take(state_dir: &Path) -> Self {
        let file = Self::file(state_dir);
        let text = fs::read_to_string(&file).unwrap_or_default();
        // Where it cannot be removed, what is booked twice is a count of losses.
        let _ = fs::remove_file(file);
        let lines = text.lines().filter_map(|line| {
            let (cookie, drops) = line.split_once(' ')?;
            Some((cookie.parse().ok()?, drops.parse().ok()?))
        });
        Self {
            by_cookie: lines.collect(),
        }
    }

    /// So much is booked of a socket, of which the kernel has dropped so much in all.
    pub(super) fn of(&self, socket: impl AsFd, dropped: u64) -> u64 {
        let booked = socket_cookie(socket).ok();
        let booked = booked.and_then(|cookie| self.by_cookie.get(&cookie).copied());
        // More than there are is of another life of the machine.
        booked
            .filter(|booked| *booked <= dropped)
            .unwrap_or(dropped)
    }

    pub(super) fn note(&mut self, socket: impl AsFd, drops: u64) {
        if let Ok(cookie) = socket_cookie(socket) {
            self.by_cookie.insert(cookie, drops);
        }
    }

    /// Leaves it for the next process.
    pub(super) fn leave(&self, state_dir: &Path) {
        let mut text = String::new();
        for (cookie, drops) in &self.by_cookie {
            // Nothing fails that writes into a string.
            let _ = writeln!(text, "{cookie} {drops}");
        }
        if let Err(error) = fs::write(Self::file(state_dir), text) {
            tracing::warn!("what is dropped until the next start will not be booked: {error}");
        }
    }

    fn file(state_dir: &Path) -> PathBuf {
        state_dir.join("syslog-drops")
    }
}

/// Inode and drops of a line: the tenth and the last of its fields. The heading has none.
fn drops_of(line: &str) -> Option<(u64, u64)> {
    const INODE: usize = 9;
    const AFTER_INODE: usize = 2;
    let mut fields = line.split_ascii_whitespace();
    let inode = fields.nth(INODE)?.parse().ok()?;
    let drops = fields.nth(AFTER_INODE)?.parse().ok()?;
    Some((inode, drops))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_table_is_understood() {
        for (line, expected) in [
            (
                "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                 uid  timeout inode ref pointer drops             ",
                None,
            ),
            (
                "  511: 0100007F:158A 00000000:0000 07 00000000:00000000 00:00000000 00000000     \
                 0        0 18034 2 0000000000000000 42        ",
                Some((18034, 42)),
            ),
            ("", None),
        ] {
            assert_eq!(drops_of(line), expected, "{line}");
        }
    }

    #[test]
    fn a_socket_nobody_reads_drops_and_is_found() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4096).expect("a small buffer");
        let address = socket.local_addr().expect("an address");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for _ in 0..100 {
            sender.send_to(&[b'x'; 1000], address).expect("it is sent");
        }
        let mut arrived = 0;
        socket.set_nonblocking(true).expect("a socket");
        while socket.recv(&mut [0; 2000]).is_ok() {
            arrived += 1;
        }
        let drops = udp_drops().expect("the table");
        let inode = inode(&socket).expect("an inode");
        assert_eq!(drops.get(&inode), Some(&(100 - arrived)));
    }
}
