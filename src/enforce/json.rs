//! All closed gates as JSON, for anything else.
//!
//! ```json
//! {"closed":[
//! {"kind":"class","vhost":"a.org","names":["a.org"],"user":null,"class":"campus",
//!  "consequence":{"deny":429},"quota":"month","until":1798761600,"until_time":"2027-01-01T00:00:00Z"}
//! ]}
//! ```
//!
//! `kind` is `vhost`, `class` or `user`; a `consequence` has one of `deny` (a status), `redirect` (a
//! URL) and `speed` (bytes a second); `until` is the end of the period in seconds since 1970, `null`
//! where there is none. Each gate stands on a line of its own.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::{Hosts, MapSet};
use crate::quota::rule::Consequence;
use crate::quota::verdict::{Closed, Subject, Verdicts};

const START: &str = "{\"closed\":[\n";
const END: &str = "]}\n";

/// A line for each, by what it is of. Nothing is refused.
#[must_use]
pub fn map(verdicts: &Verdicts, hosts: &Hosts) -> MapSet {
    let lines = verdicts.iter().map(|(subject, closed)| {
        let gate = gate(subject, closed, hosts);
        (key(&gate), gate.to_string())
    });
    MapSet {
        entries: lines.collect(),
        refused: Vec::new(),
    }
}

/// What tells a gate from all others.
fn key(gate: &Value) -> String {
    json!([gate["kind"], gate["vhost"], gate["class"], gate["user"]]).to_string()
}

fn gate(subject: &Subject, closed: &Closed, hosts: &Hosts) -> Value {
    let (kind, class) = match subject {
        Subject::Vhost(_) => ("vhost", None),
        Subject::Class { class, .. } => ("class", Some(class)),
        Subject::User { .. } => ("user", None),
    };
    let names = subject.vhost().map(|vhost| hosts.names_of(vhost));
    let names = names.map(|names| [names.exact, names.wildcards].concat());
    let until = closed
        .until
        .and_then(|until| DateTime::from_timestamp(until, 0));
    json!({
        "kind": kind,
        "vhost": subject.vhost(),
        "names": names.unwrap_or_default(),
        "class": class,
        "user": subject.user(),
        "consequence": consequence(&closed.consequence),
        "quota": closed.quota,
        "until": until.map(|until| until.timestamp()),
        "until_time": until.map(|until| until.to_rfc3339_opts(SecondsFormat::Secs, true)),
    })
}

/// `{"deny":429}`, `{"redirect":"https://…"}`, or `{"speed":125000}` in bytes a second.
#[must_use]
pub fn consequence(consequence: &Consequence) -> Value {
    match consequence {
        Consequence::Deny { status } => json!({ "deny": status }),
        Consequence::Redirect { url } => json!({ "redirect": url }),
        Consequence::Slow { bytes_per_second } => json!({ "speed": bytes_per_second }),
    }
}

/// The file.
#[must_use]
pub fn write(set: &MapSet) -> Vec<u8> {
    let lines: Vec<&str> = set.entries.values().map(String::as_str).collect();
    let end = if lines.is_empty() { "" } else { "\n" };
    [START, &lines.join(",\n"), end, END].concat().into_bytes()
}

/// The gates in a file; none of one that was written by somebody else.
#[must_use]
pub fn read(bytes: &[u8]) -> BTreeMap<String, String> {
    let Ok(mut file) = serde_json::from_slice::<Value>(bytes) else {
        return BTreeMap::new();
    };
    let gates = match file["closed"].take() {
        Value::Array(gates) => gates,
        _ => Vec::new(),
    };
    let lines = gates.iter().map(|gate| (key(gate), gate.to_string()));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_closed_is_told_and_read_again() {
        let closed = |consequence, until| Closed {
            consequence,
            quota: "a \"month\"".to_owned(),
            until,
        };
        let verdicts = Verdicts::of([
            (
                Subject::Vhost("a.org".to_owned()),
                closed(Consequence::Deny { status: 429 }, Some(1_798_761_600)),
            ),
            (
                Subject::User {
                    user: "evil\\x0a\"".to_owned(),
                    vhost: None,
                },
                closed(
                    Consequence::Slow {
                        bytes_per_second: 9,
                    },
                    None,
                ),
            ),
        ]);
        let set = map(&verdicts, &Hosts::default());
        let bytes = write(&set);
        assert_eq!(read(&bytes), set.entries);
        let file: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(file["closed"].as_array().map(Vec::len), Some(2));
        let by = |kind: &str| {
            let mut gates = file["closed"].as_array().expect("an array").iter();
            gates.find(|gate| gate["kind"] == kind).expect("a gate")
        };
        assert_eq!(by("vhost")["until_time"], "2027-01-01T00:00:00Z");
        assert_eq!(by("vhost")["names"], json!(["a.org"]));
        assert_eq!(by("user")["user"], "evil\\x0a\"");
        assert_eq!(by("user")["vhost"], Value::Null);
        assert_eq!(by("user")["consequence"], json!({ "speed": 9 }));
        // Of nothing, it is JSON all the same.
        let nothing = write(&MapSet::default());
        assert!(read(&nothing).is_empty());
        assert!(serde_json::from_slice::<Value>(&nothing).is_ok());
        assert!(read(b"deny all;").is_empty());
    }
}
