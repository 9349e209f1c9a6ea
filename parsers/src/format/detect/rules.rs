//! What is known of presets whose lines look alike.

use super::{Candidate, Site};

/// The keys of `json` are guesses; a log that names its columns is told by that.
pub(super) const NOT_TRIED: &[&str] = &["json", "w3c", "cloudfront"];

/// Each line of the first fits the second too, which makes something else of it; a log of the second
/// seldom fits the first. So the first is taken where both fit equally many lines.
const ASKS_MORE: &[(&str, &str)] = &[
    // The site and its port as the client, the client as the identd name, `- -` as the user.
    ("vhost_combined", "combined"),
    ("vhost_combined", "lighttpd"),
];

pub(super) fn asks_more(more: &str, less: &str) -> bool {
    ASKS_MORE.contains(&(more, less))
}

/// What the values say about presets that fit the same lines.
pub(super) enum Told {
    /// It is this one.
    One {
        name: &'static str,
        because: &'static str,
    },
    /// They say nothing.
    Nothing,
    /// They contradict one another.
    Doubt { because: &'static str },
}

/// Looks at the values that the best candidates read.
pub(super) fn tell(best: &[&Candidate]) -> Told {
    let named = |name: &str| best.iter().find(|one| one.name == name);
    // Its lines have the shape of `combined`, and it fits none without a whole URL.
    if named("varnishncsa").is_some() {
        return Told::One {
            name: "varnishncsa",
            because: "and their requests have whole URLs, which others write for forward proxies alone",
        };
    }
    if let (Some(_), Some(lighttpd)) = (named("combined"), named("lighttpd")) {
        return combined_or_lighttpd(lighttpd);
    }
    Told::Nothing
}

/// `combined` and `lighttpd` have one shape. Its second word is the identd name in one, nearly always
/// `-`, and the vhost in the other. lighttpd writes `-` for a request without a good Host, nearly all of
/// which it refuses.
fn combined_or_lighttpd(lighttpd: &Candidate) -> Told {
    let (mut dashes, mut hosts, mut others) = (0_usize, 0_usize, 0_usize);
    for line in lighttpd.charged() {
        let is_refused = line.status.is_some_and(|status| status >= 400);
        match &line.site {
            Site::Missing if is_refused => {}
            Site::Missing => dashes += 1,
            Site::Named(name) if name == "localhost" || name.contains(['.', ':']) => hosts += 1,
            Site::Invalid { has_dot: true } => hosts += 1,
            Site::Named(_) | Site::Invalid { has_dot: false } => others += 1,
        }
    }
    match () {
        () if hosts + others == 0 => Told::One {
            name: "combined",
            because: "and their second word is always -",
        },
        // Ten hosts for each word that could be either: a client may call the host anything.
        () if others * 10 <= hosts && hosts > dashes => Told::One {
            name: "lighttpd",
            because: "and their second word is a host, where combined has an identd name",
        },
        () => Told::Doubt {
            because: "their second word could be a host or an identd name",
        },
    }
}

/// What a reader of the choice should know.
pub(super) fn remark(name: &str) -> Option<&'static str> {
    Some(match name {
        "combined" => {
            "where Debian's Apache logs wire bytes, upstream's and nginx bodies alone, so the lower grade is assumed"
        }
        "common" | "vhost_combined" => "its byte counts may be bodies alone",
        _ => return None,
    })
}

/// Who writes a preset's lines.
pub(super) fn writers(name: &str) -> &'static str {
    match name {
        "common" | "combined" => "nginx or Apache",
        "vhost_combined" | "combinedio" => "Apache",
        "lighttpd" => "lighttpd",
        "squid" => "Squid",
        "w3c" => "IIS",
        "cloudfront" => "CloudFront",
        "haproxy" => "HAProxy",
        "caddy" => "Caddy",
        "traefik" => "Traefik",
        "varnishncsa" => "Varnish",
        _ => "what its name says",
    }
}
