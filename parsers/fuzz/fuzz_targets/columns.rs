//! A log that names its columns: any header and any line is read or refused, a line has the columns
//! that are named, and passing a log in blocks leaves what reading its lines does.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::format::w3c::read_header;
use tollkeeper_parsers::plan::{Carried, Plan};
use tollkeeper_parsers::record::Line;

static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
    ["w3c", "cloudfront", "w3c:#Fields: date time sc-bytes cs-host"]
        .iter()
        .map(|format| match Spec::parse(format) {
            Ok(Spec::Format(format)) => Plan::compile(&format).expect("a plan"),
            _ => panic!("{format}"),
        })
        .collect()
});

fuzz_target!(|log: &[u8]| {
    for plan in PLANS.iter() {
        let (mut carried, mut passed) = (Carried::default(), Carried::default());
        for line in log.split_inclusive(|byte| *byte == b'\n') {
            let header = carried.header().map(str::to_owned);
            passed.pass(line);
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            match plan.read_for_account(line, &mut carried) {
                Ok(Line::Record(record)) => {
                    let logged = [record.vhost, record.user, record.method, record.path];
                    for field in logged.into_iter().flatten() {
                        field.decode();
                        assert!(line.as_ptr_range().contains(&field.bytes.as_ptr()));
                    }
                    // Without quotes there are as many columns as names.
                    if let Some(header) = &header
                        && !line.contains(&b'"')
                    {
                        let named = read_header(header.as_bytes()).expect("it was read before");
                        let separators: &[u8] = match (plan.format().preset, named.by_tabs) {
                            (Some("cloudfront"), _) | (_, true) => b"\t",
                            _ => b" ",
                        };
                        let line = line.trim_ascii_end();
                        let found = line.iter().filter(|byte| separators.contains(byte)).count();
                        assert!(found < named.columns.len());
                    }
                }
                Ok(Line::Ignored(_)) => {}
                Err(error) => {
                    assert!(error.at <= line.len());
                    let _ = plan.describe(&error);
                }
            }
            assert_eq!(carried.header(), passed.header());
        }
        let mut whole = Carried::default();
        whole.pass(log);
        assert_eq!(carried.header(), whole.header());
        if let Some(header) = carried.header() {
            let with = plan.with_columns(header.as_bytes()).expect("it was read before");
            with.explain();
            with.notes();
        }
    }
});
