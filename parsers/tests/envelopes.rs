//! Messages and lines as real servers and syslog daemons wrote them; recorded/README.md has the list.

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::frames::{Frame, Frames};
use tollkeeper_parsers::plan::Plan;
use tollkeeper_parsers::record::{Line, Record};
use tollkeeper_parsers::syslog::Envelope;
use tollkeeper_parsers::time::Time;

const RECORDED: &str = include_str!("recorded/syslog.tsv");

const STREAMS: &[(&str, &[u8], usize)] = &[
    (
        "logger",
        include_bytes!("recorded/stream-logger-rfc5424"),
        1,
    ),
    (
        "logger --octet-count",
        include_bytes!("recorded/stream-logger-octet"),
        1,
    ),
    (
        "rsyslog",
        include_bytes!("recorded/stream-rsyslog-traditional"),
        10,
    ),
    (
        "rsyslog, octet-counted",
        include_bytes!("recorded/stream-rsyslog-octet"),
        10,
    ),
    (
        "syslog-ng network()",
        include_bytes!("recorded/stream-syslog-ng-network"),
        6,
    ),
    (
        "syslog-ng syslog()",
        include_bytes!("recorded/stream-syslog-ng-syslog"),
        6,
    ),
];

/// What the servers logged: the lines of HAProxy begin with the numbers.
const FORMATS: [&str; 3] = [
    "lighttpd",
    "combined",
    r#"nginx:$msec $status $request_length $bytes_sent $host "$request""#,
];

fn plans(envelope: Envelope) -> Vec<Plan> {
    let compiled = FORMATS.iter().map(|format| match Spec::parse(format) {
        Ok(Spec::Format(parsed)) => Plan::compile(&parsed).map(|plan| plan.within(envelope)),
        other => panic!("{format}: {other:?}"),
    });
    compiled.map(|plan| plan.expect("a plan")).collect()
}

/// Bytes sent, where all that the line says is what was logged.
fn bytes_out(record: &Record<'_>) -> Option<u64> {
    let user = record.user.map(|user| user.bytes);
    let is_ours = matches!(user, None | Some(b"alice"))
        && record.client.is_none_or(|client| client == b"127.0.0.1")
        && matches!(
            record.time,
            Some(Time::Instant(1_795_692_717..=1_795_692_718))
        )
        && record.status == Some(200);
    record.bytes_out.filter(|_| is_ours)
}

#[test]
fn recorded_envelopes_are_taken_off() {
    for recorded in RECORDED.lines() {
        let fields: Vec<&str> = recorded.splitn(5, '\t').collect();
        let [sender, kind, host, tag, line] = fields[..] else {
            panic!("{recorded}");
        };
        let envelope = match kind {
            "wire" => Envelope::Wire,
            "written" => Envelope::Written,
            _ => panic!("{recorded}"),
        };
        let read: Vec<u64> = plans(envelope)
            .iter()
            .filter_map(|plan| match plan.read(line.as_bytes()) {
                Ok(Line::Record(record)) => Some(bytes_out(&record).expect(line)),
                Ok(Line::Ignored(ignored)) => panic!("{ignored:?}: {line}"),
                Err(_) => None,
            })
            .collect();
        if host == "?" {
            // Where the line begins cannot be told, or its beginning is lost.
            assert!(read.is_empty(), "{sender}: {line}");
            continue;
        }
        assert!(
            read.first()
                .is_some_and(|bytes| [5, 76, 232].contains(bytes)),
            "{sender}: {line}"
        );
        let message = envelope.open(line.as_bytes()).expect(line);
        let shown = |name: Option<&[u8]>| match name {
            Some(name) => String::from_utf8_lossy(name).into_owned(),
            None => "-".to_owned(),
        };
        assert_eq!(shown(message.host), host, "{sender}: {line}");
        assert_eq!(shown(message.tag), tag, "{sender}: {line}");
        assert_eq!(
            message.facility.is_some(),
            line.starts_with('<'),
            "{sender}: {line}"
        );
    }
}

#[test]
fn recorded_streams_are_told_into_messages() {
    for &(sender, stream, count) in STREAMS {
        let (mut frames, mut at, mut messages) = (Frames::new(), 0, Vec::new());
        while at < stream.len() {
            let consumed = match frames.next(&stream[at..]) {
                Frame::Message { bytes, consumed } => {
                    messages.push(&stream[at..][bytes]);
                    consumed
                }
                Frame::Passed { consumed } => consumed,
                other => panic!("{sender}: {other:?}: {}", stream[at..].escape_ascii()),
            };
            at += consumed;
        }
        assert_eq!(messages.len(), count, "{sender}");
        for message in messages {
            assert!(
                message.starts_with(b"<"),
                "{sender}: {}",
                message.escape_ascii()
            );
            assert!(
                message.ends_with(b"\""),
                "{sender}: {}",
                message.escape_ascii()
            );
        }
    }
}
