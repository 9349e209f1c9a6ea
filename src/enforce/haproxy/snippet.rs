//! What to paste into the config of HAProxy.

use std::fmt::Write as _;

use super::networks_path;
use crate::config::gate::HaproxyGate;
use crate::enforce::Consequences;
use crate::quota::rule::Consequence;

/// What a snippet has to be prepared for.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Whether sites have aliases such as `*.example.org`.
    pub wildcards: bool,
    /// Whether there are client classes.
    pub classes: bool,
    /// Whether users are limited.
    pub users: bool,
    /// All that can follow. Statuses that come later are answered with 429 until it is pasted anew.
    pub consequences: Consequences,
}

/// The folded host, as the accounts have it: no port, no final dot, no brackets, lower case, the short
/// form of an IPv6 address. Of a request that names its host in its URL alone, that one.
const HOST: &str = "\
    http-request set-var(txn.tk_host) req.fhdr(host,1)
    http-request set-var(txn.tk_host) url,field(3,/),field(1,?),field(-1,@) unless { var(txn.tk_host) -m len gt 0 }
    http-request set-var(txn.tk_ipv6) var(txn.tk_host),field(2,[),field(1,]),ipmask(32,128) if { var(txn.tk_host) -m beg [ }
    http-request set-var(txn.tk_host) var(txn.tk_host),field(1,:),rtrim(.),lower unless { var(txn.tk_host) -m beg [ }
    http-request set-var(txn.tk_host) var(txn.tk_ipv6) if { var(txn.tk_ipv6) -m found }
";
/// So many labels of a name are looked at where there are wildcard aliases.
const MOST_LABELS: usize = 12;
/// Letters outside ASCII are billed to the site whose name in punycode they are, and what begins with the
/// name of a site, such as `a.example/` or `a.example,b`, is sent on to it by `hdr_dom(host)` and
/// `hdr_beg(host)`. No browser sends either.
const RAW: &str = "\
    http-request return status 400 if { var(txn.tk_host) -m reg [^a-z0-9._:-] }
";
/// A name is a user's only where HAProxy has checked the password, and where it is plain.
const USER: &str = "\
    # Users: `members` is your userlist.
    http-request set-var(txn.tk_user) http_auth_user if { http_auth(members) } { http_auth_user -m reg ^[A-Za-z0-9_@][A-Za-z0-9._@-]{0,63}$ }
";

/// What to paste into each frontend (`mode http`), before rules that answer, route or cache.
#[must_use]
pub fn snippet(gate: &HaproxyGate, needs: &Needs) -> String {
    let map = gate.map.display();
    let mut gates = vec!["tk_vhost"];
    let mut text = format!("    # tollkeeper: which gates are closed.\n{HOST}{RAW}");
    let mut look_up = |text: &mut String, gate, key: &str, when: &str| {
        gates.push(gate);
        line(
            text,
            &format!("http-request set-var(txn.{gate}) str({key}),map({map}){when}"),
        );
    };
    if needs.wildcards {
        wildcards(&mut text, &map.to_string());
    }
    line(
        &mut text,
        &format!("http-request set-var(txn.tk_vhost) str(vhost/),concat(,txn.tk_host),map({map})"),
    );
    if needs.classes {
        let networks = networks_path(&gate.map);
        let networks = networks.display();
        line(
            &mut text,
            &format!("http-request set-var(txn.tk_class) src,map_ip({networks})"),
        );
        let key = "class/),concat(,txn.tk_class,/),concat(,txn.tk_host";
        let when = " if { var(txn.tk_class) -m found }";
        look_up(&mut text, "tk_of_class", key, when);
    }
    if needs.users {
        text.push_str(USER);
        let when = " if { var(txn.tk_user) -m found }";
        look_up(&mut text, "tk_of_user", "user/),concat(,txn.tk_user", when);
        let key = "user/),concat(,txn.tk_user,/),concat(,txn.tk_host";
        look_up(&mut text, "tk_of_user_here", key, when);
    }
    answers(&mut text, &gates, needs);
    text
}

/// From a name below a wildcard alias to its site: the longest wildcard counts, and before it the name
/// itself. What has more labels than are looked at is no name that anybody serves.
fn wildcards(text: &mut String, map: &str) {
    let deepest = MOST_LABELS + 1;
    for rule in [
        format!("return status 400 if {{ var(txn.tk_host),field({deepest},.) -m len gt 0 }}"),
        format!("set-var(txn.tk_site) str(alias/),concat(,txn.tk_host),map({map})"),
        "set-var(txn.tk_above) var(txn.tk_host)".to_owned(),
    ] {
        line(text, &format!("http-request {rule}"));
    }
    for _ in 1..MOST_LABELS {
        for rule in [
            "set-var(txn.tk_above) var(txn.tk_above),field(2,.,0)".to_owned(),
            format!(
                "set-var(txn.tk_site) str(alias/*.),concat(,txn.tk_above),map({map}) \
                 unless {{ var(txn.tk_site) -m found }}"
            ),
        ] {
            line(text, &format!("http-request {rule}"));
        }
    }
    line(
        text,
        "http-request set-var(txn.tk_host) var(txn.tk_site) if { var(txn.tk_site) -m found }",
    );
}

/// The worst first: refusing, sending elsewhere, slowing down.
fn answers(text: &mut String, gates: &[&str], needs: &Needs) {
    let mut acls = String::new();
    let mut rules = String::new();
    let mut acl = |name: &str, how: &str, value: &str| {
        for gate in gates {
            line(
                &mut acls,
                &format!("acl {name} var(txn.{gate}) -m {how} {value}"),
            );
        }
    };
    for consequence in &needs.consequences {
        if let Consequence::Deny { status } = consequence {
            acl(
                &format!("tk_deny_{status}"),
                "str",
                &format!("deny-{status}"),
            );
            deny(&mut rules, *status, &format!("tk_deny_{status}"));
        }
    }
    acl("tk_deny", "beg", "deny-");
    deny(&mut rules, 429, "tk_deny");
    let mut slow = String::new();
    for consequence in &needs.consequences {
        if let Consequence::Slow { bytes_per_second } = consequence {
            let name = format!("tk_slow_{bytes_per_second}");
            acl(&name, "str", &format!("slow-{bytes_per_second}"));
            let limit = format!("default-limit {bytes_per_second} default-period 1s");
            line(&mut slow, &format!("filter bwlim-out {name} {limit}"));
            line(
                &mut slow,
                &format!("http-response set-bandwidth-limit {name} if {name}"),
            );
        }
    }
    for gate in gates {
        line(
            &mut rules,
            &format!(
                "http-request set-var(txn.tk_to) var(txn.{gate}) if {{ var(txn.{gate}) -m beg http }}"
            ),
        );
    }
    line(
        &mut rules,
        "http-request return status 302 hdr location \"%[var(txn.tk_to)]\" hdr cache-control no-store if { var(txn.tk_to) -m found }",
    );
    text.push_str(&acls);
    text.push_str(&rules);
    if !slow.is_empty() {
        // Read by HAProxy 2.5 and newer: what stands between is not even looked at by an older one.
        text.push_str("    .if version_atleast(2.7)\n");
        text.push_str(&slow);
        text.push_str("    .endif\n");
    }
}

fn deny(rules: &mut String, status: u16, acl: &str) {
    line(
        rules,
        &format!(
            "http-request return status {status} content-type text/plain string \"quota exceeded\\n\" \
             hdr retry-after 3600 hdr cache-control no-store if {acl}"
        ),
    );
}

fn line(text: &mut String, rule: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "    {rule}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_one_does_not_know_is_kept_from_it() {
        let gate = HaproxyGate {
            map: "/gate/haproxy.map".into(),
            sockets: Vec::new(),
        };
        let slow = Consequence::Slow {
            bytes_per_second: 125_000,
        };
        let needs = Needs {
            consequences: [slow].into(),
            ..Needs::default()
        };
        let text = snippet(&gate, &needs);
        let (before, newer) = text
            .split_once("    .if version_atleast(2.7)\n")
            .expect("a part for newer ones");
        let expected = "    filter bwlim-out tk_slow_125000 default-limit 125000 default-period 1s\n    \
             http-response set-bandwidth-limit tk_slow_125000 if tk_slow_125000\n    .endif\n";
        assert_eq!(newer, expected);
        let acl = "acl tk_slow_125000 var(txn.tk_vhost) -m str slow-125000\n";
        assert!(before.contains(acl), "{before}");
        // What is not needed is not there.
        for word in ["tk_user", "tk_class", "tk_site", "bwlim"] {
            assert!(!before.contains(word), "{word}");
        }
    }
}
