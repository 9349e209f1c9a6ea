//! Whether the web servers can read what the gates write: each folder on the way must let their user
//! through.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::gate::Gates;

/// The users that packages of web servers make.
const SERVER_USERS: [&str; 6] = ["www-data", "nginx", "apache", "http", "lighttpd", "haproxy"];

/// A user, with all its groups.
struct User {
    name: String,
    id: u32,
    groups: BTreeSet<u32>,
}

/// What there is to say of each gate.
pub(super) fn notes(gates: &Gates) -> Vec<String> {
    let users = users(
        &std::fs::read_to_string("/etc/passwd").unwrap_or_default(),
        &std::fs::read_to_string("/etc/group").unwrap_or_default(),
    );
    // HAProxy reads its map while it is still root, and whoever reads a list or JSON is not known.
    let read_by_servers = gates
        .nginx
        .iter()
        .flat_map(|gate| [&gate.flags, &gate.map])
        .chain(
            gates
                .apache
                .iter()
                .flat_map(|gate| [&gate.flags, &gate.map]),
        )
        .flatten()
        .chain(gates.lighttpd.iter().map(|gate| &gate.flags));
    read_by_servers
        .flat_map(|path| note(path, &users))
        .collect()
}

fn note(path: &Path, users: &[User]) -> Vec<String> {
    let shown = path.display();
    if !path.exists() {
        return vec![format!(
            "gate {shown}: is not there yet; the daemon makes it"
        )];
    }
    let mut can = Vec::new();
    let mut notes = Vec::new();
    for user in users {
        match in_the_way(path, user) {
            None => can.push(user.name.as_str()),
            Some(folder) => notes.push(format!(
                "gate {shown}: {} cannot read it: {} keeps it out; chmod o+x that folder, or put the gate elsewhere",
                user.name,
                folder.display()
            )),
        }
    }
    if !can.is_empty() {
        notes.push(format!("gate {shown}: can be read by {}", can.join(", ")));
    }
    notes
}

/// The first part of a path that keeps a user from reading its last.
fn in_the_way(path: &Path, user: &User) -> Option<PathBuf> {
    const READ: u32 = 4;
    const ENTER: u32 = 1;
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut parts: Vec<&Path> = path.ancestors().collect();
    parts.reverse();
    for part in parts {
        let Ok(metadata) = part.metadata() else {
            return Some(part.to_owned());
        };
        let wanted = match (metadata.is_dir(), part == path) {
            (true, true) => READ | ENTER,
            (true, false) => ENTER,
            (false, _) => READ,
        };
        let shift = match () {
            () if metadata.uid() == user.id => 6,
            () if user.groups.contains(&metadata.gid()) => 3,
            () => 0,
        };
        if metadata.mode() >> shift & wanted != wanted {
            return Some(part.to_owned());
        }
    }
    None
}

/// Those of [`SERVER_USERS`] that there are; from the texts of passwd(5) and group(5).
fn users(passwd: &str, group: &str) -> Vec<User> {
    let mut users = Vec::new();
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let &[name, _, id, gid, ..] = fields.as_slice() else {
            continue;
        };
        let (Ok(id), Ok(gid)) = (id.parse(), gid.parse::<u32>()) else {
            continue;
        };
        if !SERVER_USERS.contains(&name) {
            continue;
        }
        let mut groups = BTreeSet::from([gid]);
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let &[_, _, gid, members] = fields.as_slice()
                && members.split(',').any(|member| member == name)
                && let Ok(gid) = gid.parse()
            {
                groups.insert(gid);
            }
        }
        users.push(User {
            name: name.to_owned(),
            id,
            groups,
        });
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_folder_that_keeps_the_server_out_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let closed = folder.path().join("closed");
        let gate = closed.join("gate");
        std::fs::create_dir_all(&gate).expect("folders");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        };
        mode(folder.path(), 0o755);
        mode(&gate, 0o755);
        let own = folder.path().metadata().expect("metadata");
        let found = users(
            "root:x:0:0::/:/bin/sh\nwww-data:x:4000033:4000033::/var/www:/sbin/nologin\nbad\n",
            "adm:x:4:syslog\nlogs:x:4000099:www-data,other\n",
        );
        let [user] = found.as_slice() else {
            panic!("one user");
        };
        assert_eq!(user.groups, BTreeSet::from([4_000_033, 4_000_099]));
        for (bits, expected) in [
            (0o755, None),
            (0o751, None),
            (0o750, Some(&closed)),
            (0o700, Some(&closed)),
        ] {
            mode(&closed, bits);
            assert_eq!(in_the_way(&gate, user).as_ref(), expected, "{bits:o}");
        }
        let owner = User {
            name: "owner".to_owned(),
            id: own.uid(),
            groups: BTreeSet::new(),
        };
        mode(&closed, 0o300);
        assert_eq!(in_the_way(&gate, &owner), None);
        mode(&closed, 0o600);
        assert_eq!(in_the_way(&gate, &owner).as_ref(), Some(&closed));
        mode(&closed, 0o755);
    }
}
