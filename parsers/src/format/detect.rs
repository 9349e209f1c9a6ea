//! Which preset a sample of lines is in.
//!
//! The presets' plans match whole lines or not at all, so most formats are told apart by parsing
//! alone. `combined` and `lighttpd` have the same shape: the second word is the identd name in one
//! and the vhost in the other. It is chosen only where the sample shows which.

use super::w3c::FIELDS;
use super::{Layout, Spec};
use crate::plan::{Carried, Plan};
use crate::record::{Ignored, Line};
use crate::syslog::{self, Envelope};

/// What a sample of lines looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detected {
    /// One preset fits.
    Preset {
        /// Its name.
        name: &'static str,
        /// What its lines stand in.
        envelope: Option<Envelope>,
        /// Why, in a sentence.
        why: String,
    },
    /// Several fit and the rows would differ.
    Ambiguous {
        /// Their names.
        names: Vec<&'static str>,
        /// How to choose.
        why: String,
    },
    /// None fits.
    Nothing {
        /// The nearest preset and how far it got.
        why: String,
    },
}

/// A line of `vhost_combined` fits `combined` too: its client as the identd name, `- -` as the user.
/// So of presets that fit equally, the one that asks for more is taken.
/// `json` is not tried: its keys are guesses. Nor are logs that name their columns: they are told by that.
const SPECIFIC_FIRST: &[&str] = &[
    "caddy",
    "traefik",
    "combinedio",
    "vhost_combined",
    "combined",
    "common",
    "lighttpd",
];

/// Tries the presets on a sample of whole lines. Where most of them stand in an envelope that a syslog
/// daemon wrote, that is taken off first: some would fit a preset with it, as parts of a user's name.
#[must_use]
pub fn detect(sample: &[&[u8]]) -> Detected {
    if let Some(detected) = by_its_header(sample) {
        return detected;
    }
    let lines = || sample.iter().filter(|line| !is_ignored(line));
    let written = lines().filter(|line| syslog::written(line).is_some());
    let are_written = written.count() * 2 > lines().count();
    judge(sample, are_written.then_some(Envelope::Written))
}

/// A log that names its own columns, unless most of its lines are not in them. CloudFront's are told
/// by what only it has, and by their tabs.
fn by_its_header(sample: &[&[u8]]) -> Option<Detected> {
    let mut headers = sample.iter().filter(|line| line.starts_with(FIELDS));
    let header = headers.find_map(|line| super::w3c::read_header(line).ok())?;
    let names: [&'static str; 2] = match header.is_cloudfront() {
        true => ["cloudfront", "w3c"],
        false => ["w3c", "cloudfront"],
    };
    let lines = sample.iter().filter(|line| !is_ignored(line)).count();
    let fits = names.into_iter().filter_map(|name| {
        let Ok(Spec::Format(format)) = Spec::parse(name) else {
            return None;
        };
        let plan = Plan::compile(&format).ok()?;
        let mut carried = Carried::default();
        let is_record = |line: &&&[u8]| {
            matches!(
                plan.read_for_account(**line, &mut carried),
                Ok(Line::Record(_))
            )
        };
        Some((name, sample.iter().filter(is_record).count()))
    });
    // Of two that fit alike, the first.
    let (name, count) = fits.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    if lines > 0 && count * 2 <= lines {
        return None;
    }
    let by = match (name, header.is_cloudfront()) {
        ("w3c", _) => "",
        (_, true) => ", and has CloudFront's columns",
        (_, false) => ", and tabs stand between them",
    };
    Some(Detected::Preset {
        name,
        envelope: None,
        why: format!("its #Fields line names its columns{by}; {count} of {lines} lines fit"),
    })
}

/// As [`detect`], for lines that stand in an envelope.
#[must_use]
pub fn detect_within(envelope: Envelope, sample: &[&[u8]]) -> Detected {
    judge(sample, Some(envelope))
}

/// Blank lines and comments are left out of account; the rest may hold some garbage, but more than
/// half must fit.
fn judge(sample: &[&[u8]], envelope: Option<Envelope>) -> Detected {
    let mut plans = Vec::new();
    for &name in SPECIFIC_FIRST {
        if let Ok(Spec::Format(format)) = Spec::parse(name)
            && let Ok(plan) = Plan::compile(&format)
        {
            let plan = match envelope {
                Some(envelope) => plan.within(envelope),
                None => plan,
            };
            plans.push((name, plan));
        }
    }
    let lines: Vec<&[u8]> = sample
        .iter()
        .copied()
        .filter(|line| !is_ignored(line))
        .collect();
    if lines.is_empty() {
        return Detected::Nothing {
            why: "there are no lines to judge by".into(),
        };
    }
    let behind = match envelope {
        Some(Envelope::Written) => ", behind what a syslog daemon wrote before each,",
        Some(Envelope::Wire) | None => "",
    };
    let share = |count: usize| format!("{count} of {} lines{behind}", lines.len());
    let fits = |plan: &Plan| lines.iter().filter(|line| is_record(plan, line)).count();
    // `combined` stands before `lighttpd`; which of the two it is, is looked at below.
    let best = plans.iter().map(|(name, plan)| (*name, plan, fits(plan)));
    let best = best.reduce(|best, next| if next.2 > best.2 { next } else { best });
    let Some((name, plan, count)) = best.filter(|(.., count)| *count > 0) else {
        return Detected::Nothing {
            why: nearest(&plans, lines[0]),
        };
    };
    if count * 2 <= lines.len() {
        let why = format!("{name} comes nearest, and fits only {}", share(count));
        return Detected::Nothing { why };
    }
    match name {
        "combined" | "lighttpd" => combined_or_lighttpd(
            lines.iter().copied().filter(|line| is_record(plan, line)),
            &share(count),
            envelope,
        ),
        "common" | "vhost_combined" => {
            let why = format!(
                "{} fit {name}; its byte counts may be bodies alone",
                share(count)
            );
            Detected::Preset {
                name,
                envelope,
                why,
            }
        }
        _ => Detected::Preset {
            name,
            envelope,
            why: format!("{} fit {name}", share(count)),
        },
    }
}

fn is_ignored(line: &[u8]) -> bool {
    line.trim_ascii().is_empty() || line.first() == Some(&b'#')
}

fn is_record(plan: &Plan, line: &[u8]) -> bool {
    match plan.read(line) {
        // An object without the keys that make one of these servers' lines would do as well.
        Ok(Line::Record(record)) if matches!(plan.format().layout, Layout::Json(_)) => {
            record.time.is_some() && record.bytes_out.is_some()
        }
        Ok(Line::Record(_)) => true,
        Ok(Line::Ignored(ignored)) => ignored == Ignored::Http2Connection,
        Err(_) => false,
    }
}

/// The second word decides: always `-`, or always like a host.
fn combined_or_lighttpd<'l>(
    lines: impl Iterator<Item = &'l [u8]>,
    share: &str,
    envelope: Option<Envelope>,
) -> Detected {
    let (mut dashes, mut hosts, mut others) = (0_usize, 0_usize, 0_usize);
    for line in lines {
        let opened = envelope.and_then(|envelope| envelope.open(line));
        let text = opened.map_or(line, |message| message.text);
        match text.split(|&byte| byte == b' ').nth(1) {
            Some(b"-") => dashes += 1,
            Some(word)
                if word == b"localhost" || word.iter().any(|byte| matches!(byte, b'.' | b':')) =>
            {
                hosts += 1;
            }
            _ => others += 1,
        }
    }
    if others == 0 && hosts == 0 {
        let why = format!(
            "{share} fit combined, and their second word is always -; Debian's Apache logs wire bytes in it, upstream's and nginx bodies alone, so the lower grade is assumed"
        );
        return Detected::Preset {
            name: "combined",
            envelope,
            why,
        };
    }
    // lighttpd writes `-` for a request without a good Host.
    if others == 0 && hosts > dashes {
        let why = format!(
            "{share} fit lighttpd: their second word is a host, where combined has an identd name"
        );
        return Detected::Preset {
            name: "lighttpd",
            envelope,
            why,
        };
    }
    let prefix = match envelope {
        Some(Envelope::Written) => "syslog:",
        Some(Envelope::Wire) | None => "",
    };
    Detected::Ambiguous {
        names: vec!["combined", "lighttpd"],
        why: format!(
            "{share} fit both combined and lighttpd, and their second word could be a host or an identd name; set format = \"{prefix}combined\" for nginx or Apache, \"{prefix}lighttpd\" for lighttpd"
        ),
    }
}

/// The preset that gets furthest into the first line.
fn nearest(plans: &[(&'static str, Plan)], line: &[u8]) -> String {
    // Between tabs; the object behind it is written for people.
    if memchr::memmem::find(line, b"\thandled request\t{").is_some() {
        return "these lines are of Caddy's console encoder, which quotes nothing that clients send: write \"format json\" into the Caddyfile's log block".into();
    }
    let is_read = |plan: &Plan| matches!(plan.read(line), Ok(Line::Record(_)));
    if let Some((name, _)) = plans.iter().find(|(_, plan)| is_read(plan)) {
        return format!(
            "the lines are {name}'s, but have no usable time or no number of bytes sent: let the server log both"
        );
    }
    if line.first() == Some(&b'{') {
        return "no preset fits; the lines are JSON, with neither Caddy's keys nor Traefik's: name the keys, as in json:time=KEY,out=KEY,vhost=KEY,user=KEY,status=KEY".into();
    }
    let furthest = plans
        .iter()
        .filter_map(|(name, plan)| Some((plan.read(line).err()?, name, plan)));
    match furthest.max_by_key(|(error, ..)| error.at) {
        Some((error, name, plan)) => {
            format!(
                "no preset fits; {name} comes nearest in the first line: {}",
                plan.describe(&error)
            )
        }
        None => "no preset fits".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMBINED: &[u8] =
        br#"127.0.0.1 - alice [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "-" "curl""#;
    const COMMON: &[u8] = br#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21"#;
    const IO: &[u8] =
        br#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "-" "curl" 87 253"#;
    const VHOST: &[u8] = br#"a.example:80 127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "-" "curl""#;
    const LIGHTTPD: &[u8] =
        br#"127.0.0.1 a.example - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "-" "curl""#;
    const IDENT: &[u8] =
        br#"127.0.0.1 root - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "-" "curl""#;
    const W3C: &[u8] = b"#Fields: date time sc-bytes";
    const CLOUDFRONT: &[u8] = b"#Fields: date time x-edge-location sc-bytes";
    const H2: &[u8] =
        br#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "PRI * HTTP/2.0" 100 518 "-" "-""#;

    fn name(sample: &[&[u8]]) -> String {
        shown(detect(sample))
    }

    fn shown(detected: Detected) -> String {
        match detected {
            Detected::Preset { name, envelope, .. } => match envelope {
                None => name.to_owned(),
                Some(envelope) => format!("{envelope:?} {name}"),
            },
            Detected::Ambiguous { names, .. } => names.join("?"),
            Detected::Nothing { why } => why,
        }
    }

    #[test]
    fn envelopes_are_seen() {
        let written = |line: &[u8]| [b"Nov 21 23:59:01 h nginx: ", line].concat();
        // As a whole this fits combined too, with most of the envelope in the user's name.
        let combined = written(COMBINED);
        let plain = Plan::compile(&match Spec::parse("combined") {
            Ok(Spec::Format(format)) => format,
            other => panic!("{other:?}"),
        });
        assert!(is_record(&plain.expect("a plan"), &combined));
        let (combined, lighttpd, ident) = (&*combined, &*written(LIGHTTPD), &*written(IDENT));
        let vhost = &*[&b"1 - h www 12 - - "[..], VHOST].concat();
        let cases: &[(&[&[u8]], &str)] = &[
            (&[combined], "Written combined"),
            (&[lighttpd, lighttpd], "Written lighttpd"),
            (&[vhost], "Written vhost_combined"),
            (&[ident], "combined?lighttpd"),
            (&[combined, combined, COMBINED], "Written combined"),
            (&[combined, COMBINED, COMBINED], "combined?lighttpd"),
            (
                &[b"Nov 21 23:59:01 h cron[1]: x"],
                "no preset fits; lighttpd comes nearest in the first line: byte 28: expected \" \" after %h",
            ),
        ];
        for (sample, expected) in cases {
            assert_eq!(name(sample), *expected);
        }
        let within = |envelope, sample: &[&[u8]]| shown(detect_within(envelope, sample));
        assert_eq!(within(Envelope::Written, &[combined]), "Written combined");
        assert_eq!(
            within(Envelope::Written, &[COMBINED]),
            "no preset fits; lighttpd comes nearest in the first line: byte 0: expected what a syslog daemon writes before a line (a time, a host, and a program with a colon)"
        );
        let wire = &*[&b"<190>"[..], combined].concat();
        let local = &*[&b"<190>Nov 21 23:59:01 nginx: "[..], COMBINED].concat();
        let sample: &[&[u8]] = &[wire, local, COMBINED];
        assert_eq!(within(Envelope::Wire, sample), "Wire combined");
    }

    #[test]
    fn json_is_told_apart() {
        const CADDY: &[u8] = br#"{"ts":1,"logger":"http.log.access","msg":"handled request","request":{"host":"a"},"size":6,"status":200}"#;
        const STARTED: &[u8] =
            br#"{"level":"info","ts":1,"logger":"http.log","msg":"server running"}"#;
        const TRAEFIK: &[u8] = br#"{"DownstreamContentSize":5,"StartUTC":"2026-11-22T08:23:11Z","level":"info","msg":""}"#;
        let cases: &[(&[&[u8]], &str)] = &[
            (&[CADDY], "caddy"),
            (&[STARTED, CADDY, CADDY], "caddy"),
            (&[TRAEFIK], "traefik"),
            (
                &[STARTED, STARTED, CADDY],
                "caddy comes nearest, and fits only 1 of 3 lines",
            ),
            (
                &[br#"{"ts":1,"logger":"http.log.access","request":{"host":"a"},"status":200}"#],
                "the lines are caddy's, but have no usable time or no number of bytes sent: let the server log both",
            ),
            (
                &[br#"{"time":1,"bytes":5,"host":"a"}"#],
                "no preset fits; the lines are JSON, with neither Caddy's keys nor Traefik's: name the keys, as in json:time=KEY,out=KEY,vhost=KEY,user=KEY,status=KEY",
            ),
            (
                &[b"2026/11/26 14:20:42.570\tINFO\thttp.log.access\thandled request\t{\"request\": {}}"],
                "these lines are of Caddy's console encoder, which quotes nothing that clients send: write \"format json\" into the Caddyfile's log block",
            ),
        ];
        for (sample, expected) in cases {
            assert_eq!(name(sample), *expected);
        }
    }

    #[test]
    fn presets_are_told_apart() {
        let cases: &[(&[&[u8]], &str)] = &[
            (&[COMBINED], "combined"),
            (&[COMMON], "common"),
            (&[IO], "combinedio"),
            (&[VHOST], "vhost_combined"),
            (&[LIGHTTPD], "lighttpd"),
            (&[LIGHTTPD, H2, LIGHTTPD], "lighttpd"),
            (&[IDENT], "combined?lighttpd"),
            (&[COMBINED, LIGHTTPD], "combined?lighttpd"),
            (&[b"", b"# x", COMBINED, COMBINED, b"garbage"], "combined"),
            (
                &[COMBINED, b"x", b"y"],
                "combined comes nearest, and fits only 1 of 3 lines",
            ),
            (&[], "there are no lines to judge by"),
            (&[b"", b"#Fields: x"], "there are no lines to judge by"),
            (&[b"#Version: 1.0", W3C], "w3c"),
            (
                &[
                    W3C,
                    b"2026-11-22 08:23:11 1",
                    b"2026-11-22 08:23:11 2",
                    b"x",
                ],
                "w3c",
            ),
            (&[W3C, b"2026-11-22\t08:23:11\t1"], "cloudfront"),
            (
                &[CLOUDFRONT, b"2026-11-22\t08:23:11\tLAX1\t1"],
                "cloudfront",
            ),
            (&[CLOUDFRONT], "cloudfront"),
            (&[CLOUDFRONT, b"2026-11-22 08:23:11 LAX1 1"], "w3c"),
            // A line of a client's, in a log of another kind.
            (&[W3C, COMBINED, COMBINED], "combined"),
            (
                &[
                    b"2026-11-22 08:23:11 1",
                    W3C,
                    b"2026-11-22 08:23:11 1",
                    b"2026-11-22 08:23:11 1",
                ],
                "w3c",
            ),
        ];
        for (sample, expected) in cases {
            assert_eq!(name(sample), *expected);
        }
        let near =
            name(&[br#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 2x0 21"#]);
        assert!(
            near.starts_with("no preset fits; ") && near.contains("byte 60"),
            "{near}"
        );
    }
}
