//! What the kernel drops before anybody can read it.
//!
//! SO_MEMINFO would say it for one socket, and SO_RXQ_OVFL with the next datagram, but neither can
//! be asked for without unsafe code. The table of UDP sockets has the same counter, and lies
//! below `/proc/self`, which a unit with `ProcSubset=pid` still sees. On unix sockets the sender is
//! told, and nobody counts.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;

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
