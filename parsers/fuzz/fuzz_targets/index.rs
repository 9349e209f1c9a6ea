//! A line is read with an index of its chunk, however that is made, as it is read without.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::error::LineError;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::index::{Index, Text, Vectors};
use tollkeeper_parsers::plan::{Carried, Plan};
use tollkeeper_parsers::record::{Line, Record};

static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
    [
        "haproxy",
        "haproxy:option httpslog",
        r#"haproxy:log-format "%trg %ST %U %B %Ta %ci %hr %{+Q}r""#,
        "common",
        "combined",
        "vhost_combined",
        "lighttpd",
        r#"nginx:$msec $status $bytes_sent $request_time $host "$remote_user" "$request""#,
        r#"nginx:escape=json '{"t":"$time_iso8601","h":"$host","u":"$remote_user","o":$bytes_sent}'"#,
        r#"apache:%{%Y-%m-%dT%H:%M:%S%z}t %>s %I %O %D %v "%u" "%r""#,
        r#"apache:%v %h %l %u %t "%r" %>s %b "%{Referer}i" %I %O"#,
        "apache:%u %t %b",
        r#"lighttpd:"%{Host}i" %t "%t" %b %u"#,
    ]
    .iter()
    .map(|format| match Spec::parse(format) {
        Ok(Spec::Format(format)) => Plan::compile(&format).expect("a plan"),
        _ => panic!("{format}"),
    })
    .collect()
});

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

fuzz_target!(|chunk: &[u8]| {
    for most in [Vectors::Avx2, Vectors::Avx512] {
        check(Index::with(most), chunk);
    }
});

fn check(mut index: Index, chunk: &[u8]) {
    for plan in PLANS.iter() {
        let (mut with, mut without) = (Carried::default(), Carried::default());
        let mut plain = Index::none(chunk);
        let mut lines = index.lines(chunk);
        while let Some(line) = lines.next() {
            let bytes = plain.next().expect("as many lines").bytes();
            assert_eq!((line.bytes(), lines.offset()), (bytes, plain.offset()));
            let indexed = for_account(plan.read_for_account(line, &mut with));
            let walked = for_account(plan.read_for_account(Text::from(bytes), &mut without));
            assert_eq!(indexed, walked);
        }
        assert!(plain.next().is_none());
    }
}
