//! Periods against a second program: `periods.py` computes them from Python's zoneinfo.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use chrono_tz::Tz;
use serde_json::Value;
use tollkeeper::quota::period::{Span, at, opened};
use tollkeeper::quota::rule::Period;

#[test]
fn a_second_program_says_the_same() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/periods.py");
    let run = Command::new("python3")
        .arg(script)
        .output()
        .expect("python3, with tzdata");
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let text = String::from_utf8(run.stdout).expect("text");

    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let (mut sliced, mut wrong) = (0, Vec::new());
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("a case");
        let zone: Tz = case["zone"]
            .as_str()
            .expect("a zone")
            .parse()
            .expect("known");
        let now = case["now"].as_i64().expect("an instant");
        let period = period(&case["period"]);
        let slice = case["slice"].as_u64().map(|minutes| minutes as u32);
        let limit = case["limit"].as_u64().expect("a limit");

        let span = Span {
            begins: case["begins"].as_i64().expect("an instant"),
            ends: case["ends"].as_i64(),
            first_whole_day: case["first_whole_day"].as_i64().expect("a day") as i32,
        };
        let open = (
            case["opened"].as_u64().expect("an amount"),
            case["next"].as_i64(),
        );
        let ours = (
            at(&period, zone, now),
            opened(&period, slice, limit, zone, now),
        );
        if ours != (span, open) {
            wrong.push(format!("{line}\n  {ours:?}"));
        }
        let kind = case["period"][0].as_str().expect("a kind");
        *kinds.entry(format!("{kind} {zone}")).or_default() += 1;
        sliced += usize::from(open.1.is_some());
    }
    let cases: usize = kinds.values().sum();
    assert!(
        wrong.is_empty(),
        "{} of {cases}, such as\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    // All six kinds in all fifteen zones, and many in which a slice is still to open.
    assert!(cases > 8_000 && sliced > 1_500, "{cases}, {sliced}");
    assert_eq!(kinds.len(), 6 * 15, "{kinds:?}");
}

/// `["month", 31]`
fn period(value: &Value) -> Period {
    let number = |at: usize| value[at].as_u64().expect("a number") as u32;
    match value[0].as_str().expect("a kind") {
        "day" => Period::Day,
        "week" => Period::Week,
        "month" => Period::Month { day: number(1) },
        "year" => Period::Year {
            month: number(1),
            day: number(2),
        },
        "minutes" => {
            let anchor = value[2].as_str().expect("an anchor");
            let anchor = anchor.parse().or_else(|_| format!("{anchor}:00").parse());
            Period::Minutes {
                minutes: number(1),
                anchor: anchor.expect("a time"),
            }
        }
        "rolling" => Period::Rolling { minutes: number(1) },
        other => panic!("{other}"),
    }
}
