//! Formats that go by a name.

use super::quoting::Text;
use super::{Format, Server, apache, haproxy, json, lighttpd, squid, varnish, w3c};

/// The presets' names.
pub const PRESETS: [&str; 13] = [
    "common",
    "combined",
    "vhost_combined",
    "combinedio",
    "lighttpd",
    "caddy",
    "traefik",
    "json",
    "squid",
    "varnishncsa",
    "haproxy",
    "w3c",
    "cloudfront",
];

/// A preset by its name.
///
/// `combined` and `common` are Apache's, and nginx writes the same shape. Debian's Apache writes
/// `%O` where upstream's writes `%b`; the lines look alike, so the presets claim the lesser.
pub(super) fn preset(name: &str) -> Option<Format> {
    let (name, server, format) = match name {
        "squid" => return squid::native(),
        "varnishncsa" => return varnish::default(),
        "common" => ("common", Server::Either, r#"%h %l %u %t "%r" %>s %b"#),
        "combined" => (
            "combined",
            Server::Either,
            r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
        ),
        "vhost_combined" => (
            "vhost_combined",
            Server::Apache,
            r#"%v:%p %h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
        ),
        "combinedio" => (
            "combinedio",
            Server::Apache,
            r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" %I %O"#,
        ),
        "lighttpd" => (
            "lighttpd",
            Server::Lighttpd,
            r#"%h %V %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
        ),
        "w3c" => return Some(w3c::preset(Server::W3c, "w3c")),
        "cloudfront" => return Some(w3c::preset(Server::Cloudfront, "cloudfront")),
        "caddy" | "traefik" | "json" => {
            let name = PRESETS.into_iter().find(|preset| *preset == name)?;
            let mut parsed = json::preset(name)?;
            parsed.preset = Some(name);
            return Some(parsed);
        }
        "haproxy" => ("haproxy", Server::Haproxy, haproxy::HTTP),
        _ => return None,
    };
    let mut parsed = if server == Server::Haproxy {
        haproxy::builtin(format).ok()?
    } else if server == Server::Lighttpd {
        lighttpd::parse(format.as_bytes(), 0).ok()?
    } else {
        let pieces = apache::pieces(&Text::verbatim(format.as_bytes(), 0), server).ok()?;
        Format::from_pieces(server, pieces, 0..format.len())
    };
    parsed.preset = Some(name);
    parsed.text = format.to_owned();
    Some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_presets_parse() {
        for name in PRESETS {
            assert_eq!(preset(name).and_then(|format| format.preset), Some(name));
        }
    }
}
