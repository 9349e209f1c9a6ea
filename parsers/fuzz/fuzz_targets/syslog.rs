//! A message is the end of what it came in, and a plan within an envelope points into the line.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::{EnvelopeVhost, Plan};
use tollkeeper_parsers::record::Line;
use tollkeeper_parsers::syslog::{self, Envelope};

static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
    let plan = |format: &str| match Spec::parse(format) {
        Ok(Spec::Format(format)) => Plan::compile(&format).expect("a plan"),
        _ => panic!("{format}"),
    };
    vec![
        plan("syslog:combined").with_vhost_from(EnvelopeVhost::Host),
        plan("combined")
            .within(Envelope::Wire)
            .with_vhost_from(EnvelopeVhost::Tag),
    ]
});

fuzz_target!(|line: &[u8]| {
    let opened = [syslog::message(line), syslog::written(line)];
    for message in opened.into_iter().flatten() {
        assert!(line.ends_with(message.text));
        let before = &line[..line.len() - message.text.len()];
        for name in [message.host, message.tag].into_iter().flatten() {
            assert!(!name.is_empty());
            assert!(before.as_ptr_range().contains(&name.as_ptr()));
        }
        assert_eq!(message.facility.is_some(), syslog::has_priority(line));
    }
    for plan in PLANS.iter() {
        match plan.read(line) {
            Ok(Line::Record(record)) => {
                let vhost = record.vhost.map_or(line, |vhost| vhost.bytes);
                assert!(line.as_ptr_range().contains(&vhost.as_ptr()));
            }
            Ok(Line::Ignored(_)) => {}
            Err(error) => {
                assert!(error.at <= line.len());
                plan.describe(&error);
            }
        }
    }
});
