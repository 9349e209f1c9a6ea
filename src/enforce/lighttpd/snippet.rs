//! What to put into the config of lighttpd, and the script of mod_magnet.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use ipnet::IpNet;

use crate::config::gate::LighttpdGate;
use crate::enforce::Consequences;
use crate::enforce::folder::{RETRY_AFTER, by_severity, kibibytes, plain_path, what};
use crate::enforce::networks::ranges;
use crate::quota::rule::Consequence;

/// What works on the flags; the folder, the consequences and the networks stand before it.
const BODY: &str = include_str!("gate.lua");

pub(super) fn config(script: &Path, consequences: &Consequences) -> String {
    let Some(script) = plain_path(script) else {
        return "# The script has no path that can stand here: use letters, digits and /._+-,@:=~\n"
            .to_owned();
    };
    let mut text = format!(
        "# tollkeeper: whose gate is closed. Behind mod_auth, and before mod_proxy and all others that\n\
         # pass requests on.\n\
         server.modules += ( \"mod_magnet\" )\n\
         magnet.attract-raw-url-to = ( \"{script}\" )\n"
    );
    let mut slow = String::new();
    for consequence in by_severity(consequences) {
        if let Consequence::Slow { bytes_per_second } = consequence {
            let _ = writeln!(
                slow,
                "$REQUEST_HEADER[\"X-Tollkeeper\"] == \"{}\" {{ connection.kbytes-per-second = {} }}",
                what(&consequence),
                kibibytes(bytes_per_second)
            );
        }
    }
    if !slow.is_empty() {
        text.push_str(
            "# Set by the script, whatever a client says. HTTP/2 is not slowed down by it.\n",
        );
        text.push_str(&slow);
    }
    text
}

pub(super) fn script(
    gate: &LighttpdGate,
    consequences: &Consequences,
    classes: &BTreeMap<String, Vec<IpNet>>,
) -> String {
    let Some(folder) = plain_path(&gate.flags) else {
        return "-- The gate has no path that can stand here: use letters, digits and /._+-,@:=~\n"
            .to_owned();
    };
    let mut text = format!(
        "-- tollkeeper: whose gate is closed.\nlocal folder = \"{folder}/\"\nlocal retry_after = \"{RETRY_AFTER}\"\n"
    );
    text.push_str(
        "-- The worst first: the folder of flags, and the status.\nlocal consequences = {\n",
    );
    for consequence in by_severity(consequences).iter().rev() {
        let status = match consequence {
            Consequence::Deny { status } => *status,
            Consequence::Redirect { .. } => 302,
            Consequence::Slow { .. } => 0,
        };
        let _ = writeln!(text, "  {{ \"{}\", {status} }},", what(consequence));
    }
    text.push_str("}\n-- The first address of each range, and its class.\nlocal ranges = {\n");
    if !classes.is_empty() {
        for (first, class) in ranges(classes) {
            // Other names have no flags.
            let class = class.filter(|class| crate::enforce::is_plain_user(class));
            let class = class.map_or("false".to_owned(), |class| format!("\"{class}\""));
            let _ = writeln!(text, "  {{ \"{first:032x}\", {class} }},");
        }
    }
    text.push_str("}\n");
    text.push_str(BODY);
    text
}
