//! A line is read with an index of its chunk as it is read without.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tollkeeper_parsers::error::LineError;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::index::{Index, Text, Vectors};
use tollkeeper_parsers::plan::{Carried, Plan};
use tollkeeper_parsers::record::{Line, Record};

/// Formats whose fields are told in every way that there is.
const FORMATS: &[&str] = &[
    "haproxy",
    "haproxy:option httpslog",
    r#"haproxy:log-format "%trg %ST %U %B %Ta %ci %hr %{+Q}r""#,
    "common",
    "combined",
    "vhost_combined",
    "combinedio",
    "lighttpd",
    "nginx:$msec $status $request_length $bytes_sent $request_time $remote_addr $host \"$remote_user\" \"$request\" \"$http_referer\" \"$http_user_agent\"",
    r#"nginx:escape=json '{"t":"$time_iso8601","h":"$host","u":"$remote_user","o":$bytes_sent}'"#,
    "nginx:escape=none '$msec $bytes_sent $remote_user'",
    "nginx:$time_iso8601 $bytes_sent $upstream_addr \"$http_cookie\" $uri $upstream_response_time $status]",
    "nginx:[$time_local] \"$host\" $bytes_sent \"$request_method $uri\" $request_length\"",
    r#"apache:%{%Y-%m-%dT%H:%M:%S%z}t %>s %I %O %D %a %v "%u" "%r" "%{Referer}i" "%{User-Agent}i""#,
    r#"apache:%v %h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" %I %O"#,
    r#"apache:[%{%A %d/%B/%Y:%H:%M:%S}t.%{msec_frac}t %{%z %Z}t] %S %I %{ms}T %!200u %v:%p "%{Host}i" %U"#,
    "apache:%u %t %b",
    "lighttpd:%{begin:usec}t %{nsec_frac}t%b %V %u",
    r#"lighttpd:"%{Host}i" %t "%t" %b %u"#,
    "squid",
    "squid:combined",
    "squid:logformat tk %ts.%03tu %>Hs %>st %<st %tr %>a %>rd %[un %rm %ru",
    r#"squid:[%tl] "%{Host}>h" "%un" "%rm %ru HTTP/%rv" %>Hs %>st %9<st "%{Referer}>h""#,
    "varnishncsa",
    r#"varnishncsa:%{%Y-%m-%dT%H:%M:%S%z}t %s %I %O %D %h "%{Host}i" "%u" "%r" "%{Referer}i""#,
];

fn plan(format: &str) -> Plan {
    match Spec::parse(format) {
        Ok(Spec::Format(format)) => Plan::compile(&format).expect("a plan"),
        other => panic!("{format}: {other:?}"),
    }
}

fn plans() -> Vec<Plan> {
    FORMATS.iter().map(|format| plan(format)).collect()
}

/// What the account is kept from.
fn for_account<'l>(read: Result<Line<'l>, LineError>) -> Result<Line<'l>, LineError> {
    read.map(|line| match line {
        Line::Record(record) => Line::Record(Record {
            duration_us: None,
            method: None,
            path: None,
            ..record
        }),
        ignored => ignored,
    })
}

/// With each way to make an index that this processor has.
fn check(plans: &[Plan], chunk: &[u8]) -> Result<(), TestCaseError> {
    check_with(Index::with(Vectors::Avx2), plans, chunk)?;
    check_with(Index::with(Vectors::Avx512), plans, chunk)
}

fn check_with(mut index: Index, plans: &[Plan], chunk: &[u8]) -> Result<(), TestCaseError> {
    let mut ends = Vec::new();
    let mut lines = Index::none(chunk);
    while let Some(line) = lines.next() {
        ends.push((line.bytes().to_vec(), lines.offset()));
    }
    let split: Vec<&[u8]> = chunk.split(|&byte| byte == b'\n').collect();
    let split = match split.split_last() {
        Some(([], whole)) => whole,
        _ => &split[..],
    };
    prop_assert!(
        ends.iter()
            .map(|(bytes, _)| &bytes[..])
            .eq(split.iter().copied())
    );
    for plan in plans {
        let (mut with, mut without) = (Carried::default(), Carried::default());
        let mut lines = index.lines(chunk);
        let mut known = ends.iter();
        while let Some(line) = lines.next() {
            let (bytes, end) = known.next().expect("as many lines");
            prop_assert_eq!(line.bytes(), &bytes[..]);
            prop_assert_eq!(lines.offset(), *end);
            let indexed = for_account(plan.read_for_account(line, &mut with));
            let walked = for_account(plan.read_for_account(Text::from(&bytes[..]), &mut without));
            prop_assert_eq!(indexed, walked, "{:?}", bytes.escape_ascii().to_string());
        }
        prop_assert!(known.next().is_none());
    }
    Ok(())
}

fn logs() -> Vec<PathBuf> {
    fn gather(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                gather(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "log") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    gather(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures"),
        &mut found,
    );
    found.sort();
    found
}

#[test]
fn recorded_logs_are_read_alike() {
    let logs = logs();
    assert!(logs.len() > 40, "{}", logs.len());
    let plans = plans();
    for log in logs {
        let chunk = fs::read(&log).expect("a log");
        check(&plans, &chunk).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    }
}

/// Lines of all recorded logs, a few of each.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for log in logs() {
        let chunk = fs::read(&log).expect("a log");
        let lines = chunk
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty());
        seeds.extend(lines.take(200).step_by(7).map(<[u8]>::to_vec));
    }
    seeds
}

#[derive(Debug, Clone)]
enum Change {
    Insert(prop::sample::Index, u8),
    /// Before or behind one of the quotes and spaces.
    Beside(prop::sample::Index, bool, u8),
    Remove(prop::sample::Index),
    Replace(prop::sample::Index, u8),
    Double(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index),
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => prop::sample::select(&b"\" \\\n\r-[]:#.09aZ\t"[..]),
        1 => any::<u8>(),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (index(), any::<bool>(), byte())
            .prop_map(|(at, behind, byte)| Change::Beside(at, behind, byte)),
        index().prop_map(Change::Remove),
        (index(), byte()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (index(), index()).prop_map(|(from, to)| Change::Double(from, to)),
        index().prop_map(Change::Cut),
    ]
}

fn changed(mut line: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if line.is_empty() {
            break;
        }
        let length = line.len();
        match change {
            Change::Insert(at, byte) => line.insert(at.index(length), *byte),
            Change::Beside(at, behind, byte) => {
                let is_place = |at: &usize| matches!(line[*at], b'"' | b' ');
                let places: Vec<usize> = (0..length).filter(is_place).collect();
                if !places.is_empty() {
                    line.insert(*at.get(&places) + usize::from(*behind), *byte);
                }
            }
            Change::Remove(at) => drop(line.remove(at.index(length))),
            Change::Replace(at, byte) => line[at.index(length)] = *byte,
            Change::Double(from, to) => {
                let (a, b) = (from.index(length), to.index(length));
                let part = line[a.min(b)..a.max(b)].to_vec();
                line.splice(a..a, part);
            }
            Change::Cut(at) => line.truncate(at.index(length)),
        }
    }
    line
}

#[test]
fn changed_lines_are_read_alike() {
    let (seeds, plans) = (seeds(), plans());
    let lines = prop::collection::vec(
        (
            prop::sample::select(seeds),
            prop::collection::vec(change(), 0..4),
        ),
        1..6,
    );
    let cases = ProptestConfig::with_cases(if cfg!(debug_assertions) {
        1_500
    } else {
        20_000
    });
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..cases
    });
    let ends = any::<bool>();
    let result = runner.run(&(lines, ends), |(lines, ends)| {
        let mut chunk = Vec::new();
        for (line, changes) in lines {
            chunk.extend(changed(line, &changes));
            chunk.push(b'\n');
        }
        if !ends {
            chunk.pop();
        }
        check(&plans, &chunk)
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_count_has_no_point() {
    let lines = b"1795704321.860 200 148 1320 .1 127.0.0.1 a.example - GET http://a.example/index.html
1795704321.860 200 148 1320 1.5 127.0.0.1 a.example - GET http://a.example/index.html
1795335791.215 200 512 51600 0.013 203.0.113.7 www.example.org \"-\" \"GET / HTTP/1.1\" \"-\" \"a b\"
";
    check(&plans(), lines).expect("alike");
}

#[test]
fn a_connection_line_that_does_not_fit_is_not_ignored() {
    let line =
        b"127.0.0.1 - - [22/Nov/2026:05:13:53 -0330] \"PRI * HTTP/2.0\" 100 1183\r \"-\" \"-\"\n";
    check(&plans(), line).expect("alike");
}

#[test]
fn a_quote_behind_a_backslash_may_be_hidden() {
    let line =
        br#"203.0.113.7 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "abc\\" "def"
203.0.113.7 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "abc\" "def"
203.0.113.7 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1\" 200 21 "abc" "def"
"#;
    check(&plans(), line).expect("alike");
}

/// A field that nobody asks for, between literals that could share a byte; and literals with a newline.
#[test]
fn a_literal_is_found_in_bytes_of_its_own() {
    for (format, lines) in [
        (
            "nginx:'-$uri- $host $status $bytes_sent $msec'",
            "- a.example 200 55 1600000000.123\n-/x- a.example 200 55 1600000000.123\n",
        ),
        (
            "apache:%>s -%m- %v %O %t",
            "200 - a.example 55 [22/Nov/2026:05:13:53 +0000]\n",
        ),
        (
            r#"nginx:'$uri\n"$host" $status $bytes_sent $msec'"#,
            "TLSv1.2\n\"a.example\" 200 55 1600000000.123\n",
        ),
        (
            r#"nginx:'$msec $status $bytes_sent "$request"\n$uri'"#,
            "1600000000.250 200 5512 \"GET / HTTP/1.1\"\n/some/where/else\n",
        ),
    ] {
        let alike = check(&[plan(format)], lines.as_bytes());
        alike.unwrap_or_else(|error| panic!("{format}: {error}"));
    }
}

/// Variables of nginx, alone or in quotes, and what each may come to.
const VARIABLES: &[(&str, &str)] = &[
    ("$msec", "1600000000.250"),
    ("$status", "200"),
    ("$bytes_sent", "5512"),
    ("$request_length", "321"),
    ("$host", "a.example"),
    ("\"$host\"", "\"b.example\""),
    ("\"$remote_user\"", "\"bob\""),
    ("\"$http_x\"", "\"some \\x22 thing\""),
    ("\"$request\"", "\"GET /a b HTTP/1.1\""),
    ("$request_method", "GET"),
    ("$uri", "/x/y"),
    ("$ssl_protocol", "TLSv1.3"),
    ("$request_time", "0.123"),
    ("[$time_local]", "[22/Nov/2026:05:13:53 +0000]"),
    ("$upstream_addr", "192.0.2.1:80"),
];
const BETWEEN: &[&str] = &[
    " ",
    " ",
    " ",
    " ",
    " ",
    " ",
    "- ",
    " -",
    "-",
    "\" \"",
    "\"",
    " [",
    "] ",
    "x ",
    " long literal ",
    "\\n",
    "\\n\"",
];
/// What stands where a value was expected.
const OTHERS: &[&str] = &[
    "",
    "",
    "",
    "-",
    "\"\"",
    "\"-\"",
    "\\",
    "\"a\\\"b\"",
    "-1",
    "100",
    "\"PRI * HTTP/2.0\"",
    "123456789012345678901234",
];

/// Any format, over lines that are nearly in it.
#[test]
fn any_format_reads_alike() {
    let part = (
        prop::sample::select(VARIABLES),
        prop::sample::select(BETWEEN),
    );
    // In one place of a line: another value, other bytes behind it, and so many of them cut off.
    let change = (
        0..13_usize,
        prop::option::weighted(0.7, prop::sample::select(OTHERS)),
        prop::option::weighted(0.3, prop::sample::select(BETWEEN)),
        0..3_usize,
    );
    let lines = prop::collection::vec(change, 1..5);
    let first = prop::sample::select(&["", "", "-", "\"", "["][..]);
    let parts = prop::collection::vec(part, 1..9);
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(if cfg!(debug_assertions) {
            60_000
        } else {
            300_000
        })
    });
    let indexed = Cell::new(0_u32);
    let input = (first, parts, lines, any::<bool>());
    let result = runner.run(&input, |(first, mut parts, lines, ends)| {
        // What the account cannot do without.
        parts.insert(parts.len() / 2, (VARIABLES[0], " "));
        parts.insert(0, (VARIABLES[2], " "));
        let written = parts.iter().map(|((name, _), behind)| [*name, *behind]);
        let format = written.flatten().collect::<String>();
        let Ok(Spec::Format(format)) = Spec::parse(&format!("nginx:'{first}{format}'")) else {
            return Ok(());
        };
        let Ok(plan) = Plan::compile(&format) else {
            return Ok(());
        };
        indexed.set(indexed.get() + u32::from(plan.wants_index()));
        let mut chunk = String::new();
        for (at, other, between, cut) in lines {
            chunk.push_str(first);
            for (number, ((_, value), behind)) in parts.iter().enumerate() {
                let (other, between, cut) = match number == at {
                    true => (other, between, cut),
                    false => (None, None, 0),
                };
                chunk.push_str(other.unwrap_or(value));
                let behind = between.unwrap_or(behind).replace("\\n", "\n");
                chunk.push_str(behind.get(cut..).unwrap_or_default());
            }
            chunk.push('\n');
        }
        if !ends {
            chunk.pop();
        }
        check(&[plan], chunk.as_bytes())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert!(indexed.get() > 1_000, "{}", indexed.get());
}
