//! The folder of flags that Apache and lighttpd look into.
//!
//! | flag | closed to |
//! |---|---|
//! | `deny-429/HOST` | everybody, there |
//! | `class-deny-429/CLASS/HOST` | clients of a class, there |
//! | `user-deny-429/USER` | a user, everywhere |
//! | `at-deny-429/HOST/USER` | a user, there |
//!
//! `redirect` and `slow-125000` (bytes a second) likewise. A redirect's flag holds the whole target,
//! the others nothing.

use std::cmp::Reverse;
use std::path::Path;

use tollkeeper_parsers::host::{self, Host};

use super::{
    Consequences, FlagSet, Hosts, Refused, is_plain_user, percent_encoded, with_query, word,
};
use crate::quota::rule::Consequence;
use crate::quota::verdict::{Closed, Subject, Verdicts};

/// Seconds after which a refused client may ask again; it may be refused again then.
pub(super) const RETRY_AFTER: u32 = 3600;

/// Whom flags in a folder concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Host,
    Class,
    User,
    UserAt,
}

impl Scope {
    pub(super) const ALL: [Self; 4] = [Self::Host, Self::Class, Self::User, Self::UserAt];

    /// What the names of its folders begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Host => "",
            Self::Class => "class-",
            Self::User => "user-",
            Self::UserAt => "at-",
        }
    }
}

/// `deny-429`, `redirect`, `slow-125000`.
pub(super) fn what(consequence: &Consequence) -> String {
    word(consequence, |_| "redirect".to_owned())
}

/// What a snippet looks for, the mildest first. Redirects differ in what their flags hold, so there is
/// one of them; being refused with 429 is always among them.
pub(super) fn by_severity(consequences: &Consequences) -> Vec<Consequence> {
    let usual = Consequence::Deny { status: 429 };
    let mut all: Vec<Consequence> = consequences.iter().cloned().chain([usual]).collect();
    all.sort_by_key(|consequence| match consequence {
        Consequence::Slow { bytes_per_second } => (0, Reverse(*bytes_per_second), 0),
        Consequence::Redirect { .. } => (1, Reverse(0), 0),
        Consequence::Deny { status } => (2, Reverse(0), *status),
    });
    all.dedup_by_key(|consequence| what(consequence));
    all
}

/// A speed as Apache and lighttpd take it: KiB a second, at least one.
pub(super) fn kibibytes(bytes_per_second: u64) -> u64 {
    (bytes_per_second.saturating_add(512) / 1024).max(1)
}

/// A path that stands in the config of a server as it is, between quotes.
pub(super) fn plain_path(path: &Path) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-,@:=~".contains(&byte);
    path.to_str()
        .filter(|path| path.starts_with('/') && path.bytes().all(is_plain))
        .map(|path| path.trim_end_matches('/'))
}

/// All flags.
pub(super) fn flags(verdicts: &Verdicts, hosts: &Hosts) -> FlagSet {
    let mut set = FlagSet::default();
    for (subject, closed) in verdicts.iter() {
        let result = content(subject, closed).and_then(|content| {
            let what = what(&closed.consequence);
            let places = places(subject, hosts)?;
            for (scope, place) in places.found {
                let path = format!("{}{what}/{place}", scope.prefix());
                set.flags.insert(path, content.clone());
            }
            places.missing.map_or(Ok(()), Err)
        });
        if let Err(why) = result {
            let subject = subject.clone();
            set.refused.push(Refused { subject, why });
        }
    }
    set
}

/// Where a subject is to be looked for, and what cannot be.
pub(super) struct Places {
    pub(super) found: Vec<(Scope, String)>,
    pub(super) missing: Option<String>,
}

/// Below the folder of a scope, or behind it in the key of a map.
pub(super) fn places(subject: &Subject, hosts: &Hosts) -> Result<Places, String> {
    let (scope, site, rest) = match subject {
        Subject::Vhost(site) => (Scope::Host, site, None),
        Subject::Class { vhost, class } => {
            if !is_plain_user(class) {
                return Err(format!(
                    "the class {class:?} has a name that no flag can have: use letters, digits, \
                     `_`, `-` and `.`"
                ));
            }
            (Scope::Class, vhost, Some(class))
        }
        Subject::User { user, vhost } => {
            if !is_plain_user(user) {
                return Err(format!(
                    "the user {user:?} has a name that no flag can have: only letters, digits, \
                     `_`, `@`, `.` and `-`, at most 64, are tested against a folder"
                ));
            }
            match vhost {
                None => {
                    return Ok(Places {
                        found: vec![(Scope::User, user.clone())],
                        missing: None,
                    });
                }
                Some(site) => (Scope::UserAt, site, Some(user)),
            }
        }
    };
    let names = hosts.names_of(site);
    let (plain, others): (Vec<_>, Vec<_>) = names.exact.iter().partition(|name| is_host(name));
    let place = |host: &String| match (scope, rest) {
        (Scope::Class, Some(class)) => format!("{class}/{host}"),
        (_, Some(user)) => format!("{host}/{user}"),
        (_, None) => host.clone(),
    };
    let missing = if !others.is_empty() {
        Some(format!("no host can be called {others:?}"))
    } else if !names.wildcards.is_empty() {
        let wildcards = names.wildcards.join(", ");
        Some(format!(
            "flags are for single names, so requests to {wildcards} pass: list the names as aliases \
             one by one"
        ))
    } else if plain.is_empty() {
        Some("it is an alias of another site, which has the requests".to_owned())
    } else {
        None
    };
    Ok(Places {
        found: plain.into_iter().map(|host| (scope, place(host))).collect(),
        missing,
    })
}

/// Whether a name is a host's, folded: nothing in it has a meaning to a file system or to the grammar
/// of a server.
pub(super) fn is_host(name: &str) -> bool {
    let mut buffer = Vec::new();
    matches!(host::fold(name.as_bytes(), &mut buffer), Host::Folded(folded) if folded == name)
}

/// What a flag holds: the target of a redirect.
fn content(subject: &Subject, closed: &Closed) -> Result<String, String> {
    match &closed.consequence {
        Consequence::Redirect { url } => target(url, subject, &closed.quota),
        Consequence::Deny { status } if !(400..=599).contains(status) => {
            Err(format!("{status} is no status to refuse with"))
        }
        Consequence::Deny { .. } | Consequence::Slow { .. } => Ok(String::new()),
    }
}

/// The whole target; what there is not is empty in its query.
pub(super) fn target(url: &str, subject: &Subject, quota: &str) -> Result<String, String> {
    let (user, vhost) = (subject.user(), subject.vhost());
    let pairs = [("user", user), ("quota", Some(quota)), ("vhost", vhost)]
        .map(|(key, value)| (key, percent_encoded(value.unwrap_or_default())));
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (*key, &**value)).collect();
    let target = with_query(url, &pairs);
    if is_target(&target) {
        Ok(target)
    } else {
        Err(format!("{url:?} is no URL that can stand in a header"))
    }
}

/// Whether it is a URL that no server takes for anything else.
pub(super) fn is_target(url: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\<>`${}".contains(&byte);
    (url.starts_with("http://") || url.starts_with("https://")) && url.bytes().all(is_plain)
}

/// Whether a path below the folder is one that a flag of ours can have.
pub(super) fn is_ours(path: &str) -> bool {
    let Some((folder, place)) = path.split_once('/') else {
        return false;
    };
    let scopes = Scope::ALL.iter().rev();
    let found = scopes.copied().find_map(|scope| {
        let what = folder.strip_prefix(scope.prefix())?;
        is_what(what).then_some(scope)
    });
    match (found, place.split_once('/')) {
        (Some(Scope::Host), None) => is_host(place),
        (Some(Scope::User), None) => is_plain_user(place),
        (Some(Scope::Class), Some((class, host))) => is_plain_user(class) && is_host(host),
        (Some(Scope::UserAt), Some((host, user))) => is_host(host) && is_plain_user(user),
        _ => false,
    }
}

/// What [`what`] can say.
pub(super) fn is_what(what: &str) -> bool {
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match what.split_once('-') {
        Some(("deny", status)) => status.len() == 3 && is_number(status),
        Some(("slow", speed)) => is_number(speed),
        _ => what == "redirect",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn closed(consequence: Consequence) -> Closed {
        Closed {
            consequence,
            quota: "a quota".to_owned(),
            until: None,
        }
    }

    fn user(user: &str, vhost: Option<&str>) -> Subject {
        Subject::User {
            user: user.to_owned(),
            vhost: vhost.map(str::to_owned),
        }
    }

    fn class(vhost: &str, class: &str) -> Subject {
        Subject::Class {
            vhost: vhost.to_owned(),
            class: class.to_owned(),
        }
    }

    fn flags_of(subjects: Vec<(Subject, Consequence)>, hosts: &Hosts) -> FlagSet {
        let subjects = subjects.into_iter().map(|(s, c)| (s, closed(c)));
        flags(&Verdicts::of(subjects), hosts)
    }

    #[test]
    fn each_subject_has_its_place() {
        let deny = Consequence::Deny { status: 503 };
        let url = "https://pay.example/?x=1".to_owned();
        let slow = Consequence::Slow {
            bytes_per_second: 125_000,
        };
        let aliases = BTreeMap::from([
            ("b.example".to_owned(), "a.example".to_owned()),
            ("*.w.example".to_owned(), "w.example".to_owned()),
        ]);
        let set = flags_of(
            vec![
                (Subject::Vhost("a.example".to_owned()), deny.clone()),
                (Subject::Vhost("::1".to_owned()), slow.clone()),
                (Subject::Vhost("w.example".to_owned()), slow),
                (class("c.example", "campus"), deny.clone()),
                (user("al@x", None), Consequence::Redirect { url }),
                (user("bob", Some("a.example")), deny),
            ],
            &Hosts::new(aliases, false),
        );
        let found: Vec<(&str, &str)> = set.flags.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(
            found,
            [
                ("at-deny-503/a.example/bob", ""),
                ("at-deny-503/b.example/bob", ""),
                ("class-deny-503/campus/c.example", ""),
                ("deny-503/a.example", ""),
                ("deny-503/b.example", ""),
                ("slow-125000/::1", ""),
                ("slow-125000/w.example", ""),
                (
                    "user-redirect/al@x",
                    "https://pay.example/?x=1&user=al%40x&quota=a%20quota&vhost="
                ),
            ]
        );
        assert!(set.flags.keys().all(|path| is_ours(path)));
        assert_eq!(set.refused.len(), 1);
        assert!(set.refused[0].why.contains("*.w.example"), "{set:?}");
    }

    #[test]
    fn hostile_names_are_refused_and_listed() {
        let long = "a".repeat(300);
        for name in [
            "evil\";}",
            "../../etc/passwd",
            "a\nb",
            "*",
            "~regex",
            "żółć.example",
            "A.example",
            "",
            ".",
            "..",
            "_none",
            "a.example.",
            "a:80",
            &long,
            "a b",
            "%{x}",
            "$1",
        ] {
            let deny = || Consequence::Deny { status: 429 };
            let subjects = vec![
                (Subject::Vhost(name.to_owned()), deny()),
                (class(name, "campus"), deny()),
                (user("bob", Some(name)), deny()),
            ];
            let set = flags_of(subjects, &Hosts::default());
            assert_eq!((set.flags.len(), set.refused.len()), (0, 3), "{name:?}");
            assert!(!is_ours(&format!("deny-429/{name}")), "{name:?}");
        }
        for name in [
            "../../etc/passwd",
            "a\nb",
            "*",
            "~r",
            "żółć",
            ".",
            "..",
            "",
            "a/b",
            &long,
        ] {
            let subjects = vec![
                (user(name, None), Consequence::Deny { status: 429 }),
                (class("a.example", name), Consequence::Deny { status: 429 }),
            ];
            let set = flags_of(subjects, &Hosts::default());
            assert_eq!((set.flags.len(), set.refused.len()), (0, 2), "{name:?}");
        }
        for url in [
            "javascript:x",
            "https://x/\r\nSet-Cookie: a",
            "https://x/%{env}",
            "https://x/$1",
        ] {
            let url = url.to_owned();
            let subject = Subject::Vhost("a.example".to_owned());
            let set = flags_of(
                vec![(subject, Consequence::Redirect { url })],
                &Hosts::default(),
            );
            assert_eq!((set.flags.len(), set.refused.len()), (0, 1), "{set:?}");
        }
    }

    #[test]
    fn what_others_put_there_is_not_ours() {
        for path in [
            "README",
            "deny-429",
            "deny-42/a.example",
            "deny-429/a.example/x",
            "slow-/a",
            "class-deny-429/a.example",
            "at-deny-429/bob",
            "other/a.example",
            "-deny-429/a",
        ] {
            assert!(!is_ours(path), "{path}");
        }
    }

    #[test]
    fn the_mildest_comes_first() {
        let slow = |bytes_per_second| Consequence::Slow { bytes_per_second };
        let url = |url: &str| Consequence::Redirect {
            url: url.to_owned(),
        };
        let deny = |status| Consequence::Deny { status };
        let all = [
            slow(10),
            slow(2000),
            url("https://b/"),
            url("https://a/"),
            deny(503),
        ];
        let sorted: Vec<String> = by_severity(&all.into()).iter().map(what).collect();
        assert_eq!(
            sorted,
            ["slow-2000", "slow-10", "redirect", "deny-429", "deny-503"]
        );
        assert_eq!([0, 511, 1024, 125_000].map(kibibytes), [1, 1, 1, 122]);
    }
}
