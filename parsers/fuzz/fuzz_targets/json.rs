//! Whatever serde_json takes for an object is read, with the same values; nothing else is.
//!
//! The differences that are meant:
//! - strings need not be UTF-8 (serde_json is given U+FFFD in their place);
//! - the escapes `\a`, `\v`, `\e` and `\xHH` are known, and single surrogates are let through;
//! - at most 32 objects and arrays within one another;
//! - a key that is read may stand in the line but once;
//! - a value that is not what its meaning wants makes the line unreadable.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tollkeeper_parsers::error::{Expected, Syntax};
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Plan;
use tollkeeper_parsers::record::{Line, Logged, Record};
use tollkeeper_parsers::time::Time;

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let keys = "json:time:s=t,out=o,in=i,vhost=h|r.h,user=r.u,status=s,duration:us=d";
    match Spec::parse(keys) {
        Ok(Spec::Format(format)) => Plan::compile(&format).expect("a plan"),
        other => panic!("{other:?}"),
    }
});

/// An object's keys, escapes undone, with their values as they stand.
struct Entries<'l>(Vec<(String, &'l RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn entries(text: &str) -> Option<Vec<(String, &str)>> {
    let Entries(entries) = serde_json::from_str(text).ok()?;
    Some(entries.into_iter().map(|(key, value)| (key, value.get())).collect())
}

/// The values under a path, of all that there are.
fn under<'l>(entries: &[(String, &'l str)], key: &str) -> Vec<&'l str> {
    entries.iter().filter(|(other, _)| other == key).map(|(_, value)| *value).collect()
}

fn below<'l>(top: &[(String, &'l str)], key: &str) -> Vec<&'l str> {
    let objects = under(top, "r").into_iter().filter_map(self::entries);
    objects.flat_map(|entries| under(&entries, key)).collect()
}

/// What a text says, if it is one and says anything; a number as it stands.
fn text(value: &str) -> Option<String> {
    let text = match value.as_bytes()[0] {
        b'"' => serde_json::from_str(value).ok()?,
        b'-' | b'0'..=b'9' => value.to_owned(),
        _ => return None,
    };
    (!matches!(&*text, "" | "-")).then_some(text)
}

fn check_text(logged: Option<Logged<'_>>, values: &[&str]) {
    let expected = values.iter().copied().find_map(text);
    let found = logged.map(|logged| String::from_utf8_lossy(&logged.decode()).into_owned());
    // serde_json cannot make a text of a single surrogate.
    if values.iter().all(|value| !value.contains("\\u")) {
        assert_eq!(found, expected);
    }
}

fn check_count(found: Option<u64>, values: &[&str]) {
    let Some(number) = values.first().copied().and_then(text) else {
        assert_eq!(found, None);
        return;
    };
    if let Ok(exact) = number.parse::<u64>() {
        assert_eq!(found, Some(exact));
        return;
    }
    let near: f64 = number.parse().expect("a number");
    match found {
        None => assert!(near < 0.0, "{number}"),
        Some(found) => {
            let off = (found as f64 - near.min(u64::MAX as f64)).abs();
            assert!(off <= 1.0 + near * 1e-9, "{number}: {found}");
        }
    }
}

fn check(record: &Record<'_>, top: &[(String, &str)]) {
    let hosts = [under(top, "h"), below(top, "h")].concat();
    check_text(record.vhost, &hosts);
    check_text(record.user, &below(top, "u"));
    check_count(record.bytes_out, &under(top, "o"));
    check_count(record.bytes_in, &under(top, "i"));
    // Go's durations are texts that nobody else reads; their units may be written as escapes.
    let durations = under(top, "d");
    let is_of_go = |value: &&str| text(value).is_some_and(|text| text.ends_with(['s', 'm', 'h']));
    if !durations.iter().any(is_of_go) {
        check_count(record.duration_us, &durations);
    }
    let seconds = record.time.map(|time| match time {
        Time::Instant(seconds) => u64::try_from(seconds).expect("after 1970"),
        Time::Local(_) => panic!("no zone"),
    });
    check_count(seconds, &under(top, "t"));
    check_count(record.status.map(u64::from), &under(top, "s"));
}

fuzz_target!(|line: &[u8]| {
    let lossy = String::from_utf8_lossy(line);
    let top = entries(&lossy);
    // serde_json cannot make a key of a single surrogate, and there may be one in an inner object.
    let has_surrogate = lossy.contains("\\ud") || lossy.contains("\\uD");
    match PLAN.read(line) {
        Ok(Line::Record(record)) => match &top {
            Some(_) if has_surrogate => {}
            Some(top) => check(&record, top),
            None => {
                let has = |escape: &str| lossy.contains(escape);
                assert!(["\\a", "\\v", "\\e", "\\x", "\\u"].into_iter().any(has), "{lossy}");
            }
        },
        Ok(Line::Ignored(_)) => assert!(top.is_none()),
        Err(error) => {
            assert!(error.at <= line.len());
            let Some(top) = top.filter(|_| !has_surrogate) else { return };
            let wanted = |keys: &[&str]| -> Vec<&str> {
                keys.iter().flat_map(|key| under(&top, key)).collect()
            };
            match error.expected {
                Expected::Json(Syntax::OtherKey) => {
                    let once = ["t", "o", "i", "h", "s", "d"].iter().all(|key| under(&top, key).len() < 2);
                    let below_once = ["h", "u"].iter().all(|key| below(&top, key).len() < 2);
                    assert!(!once || !below_once, "{lossy}");
                }
                Expected::Json(Syntax::Shallower) => {
                    let depth = line.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
                    assert!(depth > 32, "{lossy}");
                }
                // A text that is no number, or a number out of range.
                Expected::Number => assert!(wanted(&["o", "i", "d"]).iter().any(|value| value.starts_with('"'))),
                Expected::Status => assert!(!wanted(&["s"]).is_empty()),
                Expected::Time => assert!(!wanted(&["t"]).is_empty()),
                other => panic!("{other:?} at {}: {lossy}", error.at),
            }
        }
    }
});
