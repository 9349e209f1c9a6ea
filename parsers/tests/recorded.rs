//! Whole logs that real servers wrote for hostile requests, with totals counted by other tools.

use tollkeeper_parsers::format::{Choice, Detected, Spec, detect};
use tollkeeper_parsers::framing::{Framed, Lines};
use tollkeeper_parsers::host::{Host, fold};
use tollkeeper_parsers::plan::{Grade, Plan};
use tollkeeper_parsers::record::{Ignored, Line};
use tollkeeper_parsers::text;

#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    records: u64,
    http2: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// Users and folded vhosts, in the order of their first line.
    names: Vec<String>,
}

fn plan(format: &str) -> Plan {
    match Spec::parse(format) {
        Ok(Spec::Format(parsed)) => {
            Plan::compile(&parsed).unwrap_or_else(|error| panic!("{error}"))
        }
        other => panic!("{format}: {other:?}"),
    }
}

fn lines(log: &[u8]) -> Vec<&[u8]> {
    let lines = Lines::new(log).map(|framed| match framed {
        Framed::Line { bytes, .. } => bytes,
        Framed::TooLong { length, .. } => panic!("{length} bytes"),
    });
    lines.collect()
}

fn sum(plan: &Plan, log: &[u8]) -> Totals {
    let mut totals = Totals::default();
    let mut buffer = Vec::new();
    for line in lines(log) {
        let record = match plan.read(line) {
            Ok(Line::Record(record)) => record,
            Ok(Line::Ignored(Ignored::Http2Connection)) => {
                totals.http2 += 1;
                continue;
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => panic!("{}\n{}", plan.describe(&error), line.escape_ascii()),
        };
        totals.records += 1;
        totals.bytes_in += record.bytes_in.expect("a number");
        totals.bytes_out += record.bytes_out.expect("a number");
        assert!(record.time.is_some() && record.client == Some(b"127.0.0.1"));
        let vhost = record
            .vhost
            .map(|vhost| match fold(&vhost.decode(), &mut buffer) {
                Host::Folded(name) | Host::Unicode(name) => name.to_owned(),
                Host::Missing => "missing".to_owned(),
                Host::Invalid => "invalid".to_owned(),
            });
        let user = record
            .user
            .map(|user| format!("user {}", text::name(&user.decode())));
        for name in vhost.into_iter().chain(user) {
            if !totals.names.contains(&name) {
                totals.names.push(name);
            }
        }
    }
    totals
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn recommended_formats_are_exact() {
    for (name, log, expected) in [
        (
            "nginx:$msec $body_bytes_sent",
            &include_bytes!("recorded/nginx.log")[..],
            Totals {
                records: 21,
                http2: 0,
                bytes_in: 8732,
                bytes_out: 105_590,
                names: names(&[
                    "b.example",
                    "a.example",
                    "2001:db8::1",
                    "::1",
                    "user al ice] \"x",
                    "missing",
                    "invalid",
                    r"user a\x0ab",
                    "127.0.0.1",
                    "user bob",
                ]),
            },
        ),
        (
            "apache:%t %b",
            &include_bytes!("recorded/apache.log")[..],
            Totals {
                records: 19,
                http2: 0,
                bytes_in: 8989,
                bytes_out: 107_343,
                names: names(&["main.example", "user al ice] \"x", "user bob"]),
            },
        ),
        (
            "lighttpd:%t %b",
            &include_bytes!("recorded/lighttpd.log")[..],
            Totals {
                records: 20,
                http2: 2,
                bytes_in: 9189,
                bytes_out: 208_908,
                names: names(&[
                    "b.example",
                    "a.example",
                    "2001:db8::1",
                    "::1",
                    "user al ice] \"x",
                    "127.0.0.1",
                    "user bob",
                ]),
            },
        ),
    ] {
        let better = plan(name).better().expect("a better format");
        let (server, _) = name.split_once(':').expect("a server");
        let plan = plan(&format!("{server}:{better}"));
        assert_eq!(plan.grade(), Grade::Exact);
        assert_eq!(sum(&plan, log), expected, "{name}");
    }
}

#[test]
fn json_and_presets() {
    for (format, log, records, http2, bytes_in, bytes_out) in [
        (
            r#"nginx:log_format j escape=json '{"t":"$time_iso8601","h":"$host","u":"$remote_user","i":$request_length,"o":$bytes_sent,"s":$status,"r":"$request","a":"$http_referer"}';"#,
            &include_bytes!("recorded/nginx-json.log")[..],
            21,
            0,
            8732,
            105_590,
        ),
        (
            "combined",
            &include_bytes!("recorded/nginx-combined.log")[..],
            21,
            0,
            0,
            102_486,
        ),
        (
            "vhost_combined",
            &include_bytes!("recorded/apache-vhost-combined.log")[..],
            19,
            0,
            0,
            107_343,
        ),
        (
            "lighttpd",
            &include_bytes!("recorded/lighttpd-default.log")[..],
            20,
            2,
            0,
            205_646,
        ),
    ] {
        let plan = plan(format);
        if format.starts_with("nginx:") {
            // This format has no client.
            let mut totals = (0, 0, 0);
            for line in lines(log) {
                let Ok(Line::Record(record)) = plan.read(line) else {
                    panic!("{}", line.escape_ascii())
                };
                totals.0 += 1;
                totals.1 += record.bytes_in.expect("a number");
                totals.2 += record.bytes_out.expect("a number");
            }
            assert_eq!(totals, (records, bytes_in, bytes_out));
            continue;
        }
        let totals = sum(&plan, log);
        let counted = (
            totals.records,
            totals.http2,
            totals.bytes_in,
            totals.bytes_out,
        );
        assert_eq!(counted, (records, http2, bytes_in, bytes_out), "{format}");
        let Detected::Preset(Choice { name, .. }) = detect(&lines(log)) else {
            panic!("{format}: {:?}", detect(&lines(log)));
        };
        assert_eq!(name, format);
    }
}
