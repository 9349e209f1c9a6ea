//! lighttpd 1.4: flags that a script of mod_magnet looks at with each request. No reload.
//!
//! The script runs behind mod_auth and before the modules that pass requests on, so that it knows the
//! user, and only one whose password is right. It opens the flags itself: lighttpd's own way to look
//! at files remembers for seconds what it has seen.

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::IpNet;

use super::folder;
use super::{Consequences, FlagSet, Hosts};
use crate::config::gate::LighttpdGate;
use crate::quota::verdict::Verdicts;

mod snippet;

/// Where the snippet expects the script to be put.
pub const SCRIPT: &str = "/etc/lighttpd/tollkeeper.lua";

/// Verdicts into flags.
#[must_use]
pub fn flags(verdicts: &Verdicts, hosts: &Hosts) -> FlagSet {
    folder::flags(verdicts, hosts)
}

/// Whether a path below the folder of flags is one that [`flags`] can name.
#[must_use]
pub fn is_flag(path: &str) -> bool {
    folder::is_ours(path)
}

/// Both: what to put into the config, and the script that it names, each under a line that says where
/// it goes.
#[must_use]
pub fn snippet(
    gate: &LighttpdGate,
    consequences: &Consequences,
    classes: &BTreeMap<String, Vec<IpNet>>,
) -> String {
    format!(
        "# ---- /etc/lighttpd/conf-enabled/06-tollkeeper.conf ----\n{}\n\
         -- ---- {SCRIPT} ----\n{}",
        config(Path::new(SCRIPT), consequences),
        script(gate, consequences, classes)
    )
}

/// What to put into the config, behind mod_auth and before what passes requests on. `script` is where
/// the script will be, absolute.
#[must_use]
pub fn config(script: &Path, consequences: &Consequences) -> String {
    snippet::config(script, consequences)
}

/// The script. `consequences` are those that can come up; what others do later is not seen until it is
/// pasted anew. `classes`: the networks of all.
#[must_use]
pub fn script(
    gate: &LighttpdGate,
    consequences: &Consequences,
    classes: &BTreeMap<String, Vec<IpNet>>,
) -> String {
    snippet::script(gate, consequences, classes)
}
