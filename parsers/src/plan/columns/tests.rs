use proptest::prelude::*;

use super::line::instant;
use super::*;
use crate::format::Spec;
use crate::plan::{Carried, Grade, Note};
use crate::record::Logged;
use crate::time::Time;

fn plan(text: &str) -> Plan {
    let Ok(Spec::Format(format)) = Spec::parse(text) else {
        panic!("{text}: no format");
    };
    Plan::compile(&format).expect("a plan")
}

/// Reads a log; for each line what it came to, in short.
fn read(format: &str, log: &str) -> Vec<String> {
    let (plan, mut carried) = (plan(format), Carried::default());
    let lines = log.lines();
    lines
        .map(|line| shown(plan.read_for_account(line.as_bytes(), &mut carried)))
        .collect()
}

fn shown(line: Result<Line<'_>, LineError>) -> String {
    let text = |logged: Option<Logged<'_>>| {
        logged.map_or("-".into(), |logged| {
            String::from_utf8_lossy(&logged.decode()).into_owned()
        })
    };
    let count = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
    match line {
        Ok(Line::Record(record)) => {
            let time = match record.time {
                Some(Time::Instant(seconds)) => seconds.to_string(),
                Some(Time::Local(_)) => "local".into(),
                None => "-".into(),
            };
            let status = count(record.status.map(u64::from));
            let (vhost, user) = (text(record.vhost), text(record.user));
            let (bytes_in, bytes_out) = (count(record.bytes_in), count(record.bytes_out));
            format!("{time} {vhost} {user} {bytes_in} {bytes_out} {status}")
        }
        Ok(Line::Ignored(why)) => format!("{why:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_header_says_what_the_columns_are() {
    // Lines as Microsoft's and others' documentation prints them.
    let log = "\
2014-01-01 02:01:09 SAMPLEWEBSITE GET / - 80 - 1.54.23.196 200 53175 871 46
#Software: Microsoft Internet Information Services 8.0
#Version: 1.0
#Date: 2014-01-01 00:00:00
#Fields: date time s-sitename cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs-host sc-status sc-substatus sc-bytes cs-bytes time-taken
2014-01-01 02:01:09 SAMPLEWEBSITE GET /a.png X=1 80 - 1.54.23.196 Mozilla/5.0+(Windows+NT+6.3) www.sample.com 200 0 53175 871 46
2014-01-01 02:01:10 SAMPLEWEBSITE GET /a.png X=1 80 CORP\\bob 1.54.23.196 \"+- www.sample.com:80 304 0 112 871 0
2014-01-01 02:01:10 SAMPLEWEBSITE GET /a.png X=1 80 - 1.54.23.196 - www.sample.com 200 0 53175 871
#Fields: date time cs-method cs-uri-stem cs-host sc-status sc-bytes

2014-01-01 24:01:10 GET / www.sample.com 200 10
2014-01-01 02:01:11 GET / www.sample.com 200 10
2014-01-01 - GET / - - 10
#Remark: nothing
#Fields: date time sc-status
2014-01-01 02:01:11 200
#Fields: cs-method date time sc-bytes
GET 2014-01-01 02:01:11 200
";
    let expected = [
        "byte 0: expected a #Fields line before it that can be read, which says what its columns mean",
        "Comment",
        "Comment",
        "Comment",
        "Comment",
        "1388541669 www.sample.com - 871 53175 200",
        "1388541670 www.sample.com:80 CORP\\bob 871 112 304",
        "byte 98: expected 16 columns, as the #Fields line before it names",
        "Comment",
        "Blank",
        "byte 11: expected a time",
        "1388541671 www.sample.com - 0 10 200",
        "- - - 0 10 -",
        "Comment",
        "Comment",
        "1388541671 - - 0 - 200",
        "byte 9: expected a #Fields line that can be read: the first column must be one that the server writes (date, say), or clients could begin lines of their own",
        "byte 0: expected a #Fields line before it that can be read, which says what its columns mean",
    ];
    assert_eq!(read("w3c", log), expected);
}

#[test]
fn cloudfront_is_by_tabs_and_percent_encoded() {
    let log = "\
#Version: 1.0
#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status x-host-header cs-bytes time-taken
2019-12-04\t21:02:31\tLAX1\t392\t192.0.2.100\tGET\td111111abcdef8.cloudfront.net\t/index.html\t200\twww.example.com\t23\t0.001
2019-12-04\t21:02:31\tLAX1\t0\t192.0.2.100\tGET\td111111abcdef8.cloudfront.net\t/a%2520b\t000\t%5B2001:db8::1%5D\t23\t0.5
2019-12-04 21:02:31 LAX1 392 192.0.2.100 GET d111111abcdef8.cloudfront.net /index.html 200 www.example.com 23 0.001
";
    let expected = [
        "Comment",
        "Comment",
        "1575493351 www.example.com - 23 392 200",
        "1575493351 [2001:db8::1] - 23 0 0",
        "byte 115: expected 12 columns, as the #Fields line before it names",
    ];
    assert_eq!(read("cloudfront", log), expected);
    // Nothing else is taken for the other one.
    assert!(read("w3c", log)[2].contains("expected 12 columns"));
}

#[test]
fn quotes_are_looked_at_only_where_there_are_more_separators() {
    let header = "#Fields: date time cs(User-Agent) cs-username cs-host sc-bytes\n";
    let after = |line: &str| read("w3c", &format!("{header}{line}")).remove(1);
    let time = "1388541669";
    for (line, expected) in [
        ("\"a b\" - h 1", format!("{time} h - 0 1 -")),
        (
            "\"a \"\"b\"\" c\" \"x \"\"y\"\"\" \"h\" \"1\"",
            format!("{time} h x \"y\" 0 1 -"),
        ),
        // IIS does not quote: what a client sends as a quote is a byte like any other.
        ("\" \" h 1", format!("{time} h \" 0 1 -")),
        ("x\" \"+\" h 1", format!("{time} h + 0 1 -")),
        (
            "\"a b\"c - h 1",
            "byte 25: expected 6 columns, as the #Fields line before it names".into(),
        ),
        (
            "\"a b - h 1",
            "byte 20: expected 6 columns, as the #Fields line before it names".into(),
        ),
        (
            "a b - h 1",
            "byte 27: expected 6 columns, as the #Fields line before it names".into(),
        ),
        (
            "\"a b\" - h 1 2",
            "byte 31: expected 6 columns, as the #Fields line before it names".into(),
        ),
        // Old versions of IIS end their lines with a space.
        ("a - h 1 ", format!("{time} h - 0 1 -")),
        (
            "a - h  ",
            "byte 25: expected 6 columns, as the #Fields line before it names".into(),
        ),
        ("a - h 1x", "byte 27: expected a number".into()),
        (
            "a - h 99999999999999999999",
            format!("{time} h - 0 {} -", u64::MAX),
        ),
    ] {
        assert_eq!(
            after(&format!("2014-01-01 02:01:09 {line}")),
            expected,
            "{line}"
        );
    }
}

#[test]
fn a_header_between_tabs_has_lines_between_tabs() {
    let log = "#Fields:\tdate\ttime\tcs(User-Agent)\tsc-bytes\n2014-01-01\t02:01:09.25\ta b\t7\n";
    assert_eq!(read("w3c", log)[1], "1388541669 - - 0 7 -");
}

#[test]
fn times_are_whole() {
    for (date, time, expected) in [
        ("2014-01-01", "02:01:09", Some(1_388_541_669)),
        ("2014-01-01", "02:01:09.123", Some(1_388_541_669)),
        ("2014-01-01", "02:01:09.", None),
        ("2014-01-01", "02:01:09x1", None),
        ("2014-01-01", "02:01", None),
        ("2014-1-1", "02:01:09", None),
        ("2014-02-30", "02:01:09", None),
        ("2014/01/01", "02:01:09", None),
        ("2014-01-01", "02.01.09", None),
    ] {
        assert_eq!(
            instant(date.as_bytes(), time.as_bytes()),
            expected,
            "{date} {time}"
        );
    }
}

#[test]
fn a_header_that_is_lost_can_be_given() {
    let given = "w3c:#Fields: date time s-sitename sc-bytes cs-bytes";
    let log = "\
2014-01-01 02:01:09 W3SVC1 7 5
#Fields: date time sc-bytes
2014-01-01 02:01:09 8
";
    let expected = [
        "1388541669 W3SVC1 - 5 7 -",
        "Comment",
        "1388541669 - - 0 8 -",
    ];
    assert_eq!(read(given, log), expected);
    let refused = |text: &str| match Spec::parse(text) {
        Ok(Spec::Format(format)) => Plan::compile(&format).expect_err("no plan").to_string(),
        Ok(other) => panic!("{other:?}"),
        Err(error) => error.to_string(),
    };
    assert!(refused("w3c: date time sc-bytes").contains("begins with #Fields:"));
    assert!(refused("w3c:#Fields: date sc-bytes").contains("the columns have no time"));
    assert!(refused("cloudfront:#Fields: date time").contains("the columns have no sc-bytes"));
    assert!(refused("w3c:#Fields: date time time").starts_with("byte 23: "));
    assert!(refused("syslog:w3c").contains("cannot be read from syslog"));
}

#[test]
fn the_grade_is_that_of_the_header() {
    let plan = plan("w3c");
    assert!(plan.is_columnar() && !plan.has_vhost());
    assert_eq!(
        (plan.grade(), plan.notes()),
        (Grade::OutOnly, vec![Note::ColumnsInLog])
    );
    let of = |line: &str| plan.with_columns(line.as_bytes()).expect("a header");
    let exact = of("#Fields: date time cs-host cs-username sc-status sc-bytes cs-bytes");
    assert_eq!(
        (exact.grade(), exact.notes(), exact.better()),
        (Grade::Exact, vec![], None)
    );
    assert!(exact.has_vhost() && exact.has_user() && exact.has_status());
    assert_eq!(exact.explain().len(), 7);
    assert_eq!(of("#Fields: date time sc-bytes").grade(), Grade::OutOnly);
    let without = of("#Fields: date time cs-bytes s-sitename");
    assert_eq!(without.grade(), Grade::BodyOnly);
    assert_eq!(
        without.notes(),
        [Note::WithoutColumn("sc-bytes"), Note::SiteName]
    );
    assert!(
        without
            .better()
            .is_some_and(|better| better.contains("BytesSent"))
    );
    assert_eq!(
        plan.with_columns(b"#Fields:").map(|plan| plan.grade()),
        None
    );
}

#[test]
fn a_site_name_gives_way() {
    let plan = plan("w3c");
    let mut carried = Carried::default();
    assert!(!plan.names_vhost(&carried));
    carried.note(b"#Fields: date time s-sitename sc-bytes");
    assert!(!plan.names_vhost(&carried));
    assert_eq!(plan.missing_column(&carried), None);
    carried.note(b"#Fields: date time s-sitename cs-host");
    assert!(plan.names_vhost(&carried));
    assert_eq!(plan.missing_column(&carried), Some("sc-bytes"));
    carried.note(b"#Fields: date date");
    assert!(!plan.names_vhost(&carried));
}

#[test]
fn an_equal_header_is_the_same_one() {
    let mut carried = Carried::default();
    carried.note(b"#Fields: date time sc-bytes\r");
    let Known::Header(first) = carried.known.clone() else {
        panic!("no header");
    };
    carried.note(b"#Fields: date time sc-bytes");
    assert!(matches!(&carried.known, Known::Header(second) if Arc::ptr_eq(&first, second)));
}

#[test]
fn blocks_are_passed_as_their_lines_are_read() {
    let long = format!("#Fields: date {}\n", "x".repeat(MAX_LINE_BYTES));
    let header = "#Fields: date time sc-bytes\n";
    let cases: &[(&str, Option<&str>)] = &[
        ("", None),
        (header, Some("#Fields: date time sc-bytes")),
        ("#Fields: date time", Some("#Fields: date time")),
        ("x #Fields: date\n", None),
        ("#Fields: date\r\nx\n#Fields: time\n", Some("#Fields: time")),
        (
            "#Fields: date\n#Fields: time\n#Fields: sc-bytes\n",
            Some("#Fields: sc-bytes"),
        ),
        ("#Fields: date\n#Fields: cs-method\n", None),
        ("#Fields: cs-method\n#Fields: date\n", Some("#Fields: date")),
        (&long, None),
        (&format!("{header}x\n{long}"), None),
        (
            &format!("{long}{header}"),
            Some("#Fields: date time sc-bytes"),
        ),
    ];
    for (block, expected) in cases {
        let mut carried = Carried::default();
        carried.pass(block.as_bytes());
        assert_eq!(carried.header(), *expected);
    }
}

proptest! {
    #[test]
    fn any_line_is_read_or_refused(
        names in proptest::collection::vec(prop_oneof![
            Just("date"), Just("time"), Just("sc-bytes"), Just("cs-bytes"), Just("cs-host"),
            Just("cs-username"), Just("time-taken"), Just("sc-status"), Just("x"), Just("s-sitename"),
        ], 0..12),
        line in proptest::collection::vec(prop_oneof![
            Just(b' '), Just(b'\t'), Just(b'"'), Just(b'-'), Just(b'#'), b'0'..=b'9', any::<u8>(),
        ], 0..80),
    ) {
        for format in ["w3c", "cloudfront"] {
            let (plan, mut carried) = (plan(format), Carried::default());
            carried.note(format!("#Fields: {}", names.join(" ")).as_bytes());
            match plan.read_for_account(&line[..], &mut carried) {
                Ok(Line::Record(_)) => prop_assert!(carried.header().is_some()),
                Ok(Line::Ignored(_)) => {}
                Err(error) => {
                    prop_assert!(error.at <= line.len());
                    let _ = plan.describe(&error);
                }
            }
        }
    }

    /// What a server writes is read back, whatever clients have put into its columns.
    #[test]
    fn what_is_written_is_read(
        order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle(),
        (sent, received) in any::<(u32, u32)>(),
        host in "[!-~]{1,12}", agent in "[!-~]{1,20}",
        by_tabs in any::<bool>(),
    ) {
        let columns = [
            ("time", "02:01:09".to_owned()), ("cs-host", host.clone()), ("cs(User-Agent)", agent),
            ("sc-bytes", sent.to_string()), ("cs-bytes", received.to_string()),
            ("x", "-".to_owned()), ("sc-status", "200".to_owned()), ("c-port", "1".to_owned()),
        ];
        let (mut names, mut values) = (vec!["date"], vec!["2014-01-01"]);
        for index in order {
            names.push(columns[index].0);
            values.push(&columns[index].1);
        }
        let separator = if by_tabs { "\t" } else { " " };
        let (plan, mut carried) = (plan("w3c"), Carried::default());
        carried.note(format!("#Fields: {}", names.join(separator)).as_bytes());
        let line = values.join(separator);
        let Ok(Line::Record(record)) = plan.read_for_account(line.as_bytes(), &mut carried) else {
            return Err(TestCaseError::fail("not read"));
        };
        prop_assert_eq!(record.time, Some(Time::Instant(1_388_541_669)));
        prop_assert_eq!(record.bytes_out, Some(u64::from(sent)));
        prop_assert_eq!(record.bytes_in, Some(u64::from(received)));
        let stripped = host.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let host = Some(stripped.unwrap_or(&host)).filter(|host| !matches!(*host, "" | "-"));
        let read = record.vhost.map(|logged| logged.decode().into_owned());
        prop_assert_eq!(read, host.map(|host| host.as_bytes().to_vec()));
    }

    /// A log that is passed in blocks and one that is read line by line know the same columns.
    #[test]
    fn passing_is_reading(
        lines in proptest::collection::vec(prop_oneof![
            Just("#Fields: date time sc-bytes"), Just("#Fields: date"), Just("#Fields: cs-method"),
            Just("#Fields:"), Just("#Fields: time\r"), Just("x #Fields: y"), Just(""), Just("#"),
        ], 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let plan = plan("w3c");
        let mut read = Carried::default();
        for line in &lines {
            let _ = plan.read_for_account(line.as_bytes(), &mut read);
        }
        let cut = cut.index(lines.len() + 1);
        let mut passed = Carried::default();
        for block in [&lines[..cut], &lines[cut..]] {
            let block: String = block.iter().map(|line| format!("{line}\n")).collect();
            passed.pass(block.as_bytes());
        }
        prop_assert_eq!(read.header(), passed.header());
    }
}
