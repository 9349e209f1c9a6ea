//! nginx: flags that `if (-f …)` looks at, maps that it includes, and what to paste for both.
//!
//! Both key on `$host`, which nginx has folded (lower case, no port, no final dot, from the request
//! line if it stands there), and on a user only after it has been matched with
//! [`super::is_plain_user`]. The names of flags are `KIND/HOST`, `class-KIND/CLASS/HOST`,
//! `user-KIND/USER` and `at-KIND/HOST/USER`, where the kind is `deny-STATUS`, `redirect-HASH` or
//! `slow-BYTES`.

use xxhash_rust::xxh3::xxh3_64;

use super::{Refused, is_plain_user, word};
use crate::quota::rule::Consequence;
use crate::quota::verdict::{Closed, Subject};

mod flags;
mod map;
mod snippet;

pub use flags::{flags, is_flag};
pub use map::{map, read_map, write_map};
pub use snippet::{SERVER_PART, snippet};

/// The longest name of a host.
const MAX_HOST_BYTES: usize = 253;
/// The longest name of a class as it stands in a path.
const MAX_CLASS_BYTES: usize = 200;

/// A host as `$host` has it, if nginx can be told of it: lower case letters, digits, `.`, `-`, `_`, or
/// an IPv6 address, which gets its brackets back.
fn host(folded: &str) -> Option<String> {
    if let Ok(address) = folded.parse::<std::net::Ipv6Addr>() {
        return Some(format!("[{address}]"));
    }
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    let is_name = (1..=MAX_HOST_BYTES).contains(&folded.len())
        && folded.bytes().all(is_plain)
        && !folded.starts_with('.')
        && !folded.ends_with('.')
        && !folded.contains("..");
    is_name.then(|| folded.to_owned())
}

/// [`host`], or `*.` and one.
fn pattern(folded: &str) -> Option<String> {
    match folded.strip_prefix("*.") {
        Some(suffix) if !suffix.contains(':') => host(suffix).map(|suffix| format!("*.{suffix}")),
        _ => host(folded),
    }
}

/// A class as it stands in paths and maps. Names of classes are free text; what is no letter, digit or
/// `_` becomes `%XX`, but for `.` and `-` behind the first byte. So none is `.`, `..` or `-`, which
/// stands for no class.
fn class(name: &str) -> Option<String> {
    let mut written = String::with_capacity(name.len());
    for (at, &byte) in name.as_bytes().iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => written.push(char::from(byte)),
            b'.' | b'-' if at > 0 => written.push(char::from(byte)),
            _ => written.push_str(&format!("%{byte:02X}")),
        }
    }
    (1..=MAX_CLASS_BYTES)
        .contains(&written.len())
        .then_some(written)
}

/// A URL as it can stand between double quotes in nginx's config.
fn is_plain_url(url: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\<>$;{}`^|".contains(&byte);
    let has_scheme = url.starts_with("https://") || url.starts_with("http://");
    has_scheme && url.bytes().all(is_plain)
}

/// The folder of flags with this consequence; `None`: it cannot be pasted.
fn kind(closed: &Closed) -> Option<String> {
    match &closed.consequence {
        Consequence::Redirect { url } if !is_plain_url(url) => None,
        plain => Some(word(plain, |url| redirect_kind(url, &closed.quota))),
    }
}

/// nginx sees no more of a flag than that it is there, so that each quota that sends to a place has a
/// folder of its own.
fn redirect_kind(url: &str, quota: &str) -> String {
    let both = format!("{url}\0{quota}");
    format!("redirect-{:016x}", xxh3_64(both.as_bytes()))
}

fn refused(subject: &Subject, why: &str) -> Refused {
    Refused {
        subject: subject.clone(),
        why: why.to_owned(),
    }
}

const HOST_REFUSED: &str = "nginx is told of hosts of lower case letters, digits, dots, dashes and \
                            underscores alone, of at most 253 bytes";
const USER_REFUSED: &str = "nginx is told of users of letters, digits and _ @ . - alone, of at most 64 \
                            bytes, that begin with none of . and -";
const CLASS_REFUSED: &str = "the name of the class is too long for nginx: choose a shorter one";
const URL_REFUSED: &str = "nginx cannot be told of the URL of the redirect: write what is special in it \
                           as %XX";

/// A user that may be tested.
fn user(name: &str) -> Option<&str> {
    is_plain_user(name).then_some(name)
}

#[cfg(test)]
mod tests_support {
    use super::*;
    use crate::quota::verdict::Verdicts;

    pub(super) fn verdicts<const N: usize>(closed: [(Subject, Consequence); N]) -> Verdicts {
        let closed = closed.map(|(subject, consequence)| {
            let quota = "q 1".to_owned();
            let closed = Closed {
                consequence,
                quota,
                until: None,
            };
            (subject, closed)
        });
        Verdicts::of(closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nginx_takes_as_it_stands_is_written() {
        for (folded, expected) in [
            ("a.example", Some("a.example")),
            ("default", Some("default")),
            ("my_site-1.example", Some("my_site-1.example")),
            ("::1", Some("[::1]")),
            ("2001:db8::1", Some("[2001:db8::1]")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("evil\";}", None),
            ("../../etc/passwd", None),
            ("..", None),
            (".", None),
            ("", None),
            ("a..b", None),
            ("a.example\n", None),
            ("a:80", None),
            ("*", None),
            ("*.a.example", None),
            ("~^a", None),
            ("żółw.example", None),
            ("UPPER.example", None),
            ("_none", Some("_none")),
        ] {
            assert_eq!(host(folded).as_deref(), expected, "{folded:?}");
        }
        assert_eq!(host(&"a".repeat(254)), None);
        assert_eq!(pattern("*.a.example").as_deref(), Some("*.a.example"));
        assert_eq!(pattern("*.*.example"), None);
        assert_eq!(pattern("*"), None);
    }

    #[test]
    fn classes_have_names_of_their_own() {
        for (name, expected) in [
            ("campus", Some("campus")),
            ("VIP clients", Some("VIP%20clients")),
            ("-", Some("%2D")),
            ("..", Some("%2E.")),
            ("a/../b", Some("a%2F..%2Fb")),
            ("\"; }", Some("%22%3B%20%7D")),
            ("", None),
        ] {
            assert_eq!(class(name).as_deref(), expected, "{name:?}");
        }
        assert_eq!(class(&"a".repeat(201)), None);
    }

    #[test]
    fn urls_end_no_string() {
        assert!(is_plain_url("https://x.example/over?quota=1&a=%20#top"));
        for url in [
            "ftp://x",
            "//x",
            "https://x/\"",
            "https://x/$host",
            "https://x/ y",
            "https://ż",
        ] {
            assert!(!is_plain_url(url), "{url}");
        }
    }
}
