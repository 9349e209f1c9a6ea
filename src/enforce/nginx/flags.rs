//! Verdicts into flags for nginx.

use super::{CLASS_REFUSED, HOST_REFUSED, URL_REFUSED, USER_REFUSED};
use super::{class, host, kind, refused, user};
use crate::enforce::{FlagSet, Hosts};
use crate::quota::verdict::{Subject, Verdicts};

/// All flags of these verdicts: one for each name of a site.
#[must_use]
pub fn flags(verdicts: &Verdicts, hosts: &Hosts) -> FlagSet {
    let mut set = FlagSet::default();
    for (subject, closed) in verdicts.iter() {
        let Some(kind) = kind(closed) else {
            set.refused.push(refused(subject, URL_REFUSED));
            continue;
        };
        match subject {
            Subject::Vhost(site) => {
                each_host(&mut set, subject, site, hosts, |host| {
                    format!("{kind}/{host}")
                });
            }
            Subject::Class { vhost, class: name } => match class(name) {
                Some(class) => each_host(&mut set, subject, vhost, hosts, |host| {
                    format!("class-{kind}/{class}/{host}")
                }),
                None => set.refused.push(refused(subject, CLASS_REFUSED)),
            },
            Subject::User { user: name, vhost } => match (user(name), vhost) {
                (None, _) => set.refused.push(refused(subject, USER_REFUSED)),
                (Some(user), None) => {
                    set.flags
                        .insert(format!("user-{kind}/{user}"), String::new());
                }
                (Some(user), Some(site)) => each_host(&mut set, subject, site, hosts, |host| {
                    format!("at-{kind}/{host}/{user}")
                }),
            },
        }
    }
    set
}

/// Whether a path is that of a flag: what else lies in the folder is somebody else's.
#[must_use]
pub fn is_flag(path: &str) -> bool {
    let (folder, names) = path.split_once('/').unwrap_or((path, ""));
    let (kind, most_slashes) = match folder.split_once('-') {
        Some(("class" | "at", kind)) => (kind, 1),
        Some(("user", kind)) => (kind, 0),
        _ => (folder, 0),
    };
    let is_kind = match kind.split_once('-') {
        Some(("deny" | "slow", number)) => {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        }
        Some(("redirect", hash)) => {
            hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        _ => false,
    };
    is_kind && !names.is_empty() && names.matches('/').count() == most_slashes
}

fn each_host(
    set: &mut FlagSet,
    subject: &Subject,
    site: &str,
    hosts: &Hosts,
    path: impl Fn(&str) -> String,
) {
    let names = hosts.names_of(site);
    for name in &names.exact {
        match host(name) {
            Some(host) => drop(set.flags.insert(path(&host), String::new())),
            None => set.refused.push(refused(subject, HOST_REFUSED)),
        }
    }
    for wildcard in &names.wildcards {
        let why = format!(
            "a flag cannot stand for all of {wildcard}: list the names as aliases, or let nginx \
             include a map"
        );
        set.refused.push(refused(subject, &why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::nginx::tests_support::verdicts;
    use crate::quota::rule::Consequence;

    #[test]
    fn each_name_has_a_flag() {
        let aliases = [("b.example", "a.example"), ("*.c.example", "a.example")];
        let aliases = aliases.map(|(alias, site)| (alias.to_owned(), site.to_owned()));
        let hosts = Hosts::new(aliases.into(), true);
        let deny = Consequence::Deny { status: 429 };
        let slow = Consequence::Slow {
            bytes_per_second: 1000,
        };
        let url = "https://x.example/".to_owned();
        let vhost = |name: &str| Subject::Vhost(name.to_owned());
        let at = |user: &str, vhost: Option<&str>| Subject::User {
            user: user.to_owned(),
            vhost: vhost.map(str::to_owned),
        };
        let campus = Subject::Class {
            vhost: "::1".to_owned(),
            class: "on campus".to_owned(),
        };
        let set = flags(
            &verdicts([
                (vhost("a.example"), deny.clone()),
                (vhost("r.example"), Consequence::Redirect { url }),
                (campus, slow.clone()),
                (at("alice", None), slow),
                (at("bob", Some("d.example")), deny.clone()),
                (at("../../etc/passwd", None), deny.clone()),
                (at("a\nb", Some("d.example")), deny.clone()),
                (vhost("evil\";}"), deny.clone()),
                (vhost("~regex"), deny),
            ]),
            &hosts,
        );
        let paths: Vec<&str> = set.flags.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "at-deny-429/d.example/bob",
                "at-deny-429/www.d.example/bob",
                "class-slow-1000/on%20campus/[::1]",
                "deny-429/a.example",
                "deny-429/b.example",
                "deny-429/www.a.example",
                "deny-429/www.b.example",
                "redirect-eb4f6549cdab07f2/r.example",
                "redirect-eb4f6549cdab07f2/www.r.example",
                "user-slow-1000/alice",
            ]
        );
        assert!(paths.iter().all(|path| is_flag(path)));
        assert!(set.flags.values().all(String::is_empty));
        let refused: Vec<&Subject> = set.refused.iter().map(|refused| &refused.subject).collect();
        assert_eq!(
            refused,
            [
                &vhost("a.example"),
                &vhost("evil\";}"),
                &vhost("~regex"),
                &at("../../etc/passwd", None),
                &at("a\nb", Some("d.example")),
            ]
        );
        assert!(
            set.refused[0].why.contains("*.c.example"),
            "{}",
            set.refused[0].why
        );
    }

    #[test]
    fn what_is_no_flag_is_somebody_elses() {
        for path in [
            "README",
            "deny-429",
            "deny-/a",
            "deny-429/a/b",
            "deny-x/a",
            "user-deny-429/a/b",
            "class-deny-429/a",
            "redirect-1/a",
            "other/a",
        ] {
            assert!(!is_flag(path), "{path}");
        }
    }
}
