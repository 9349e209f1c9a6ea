//! A walk over lines: each is counted, or named; runs that do not parse are held, then given up.

use std::sync::Arc;

use chrono_tz::Tz;
use proptest::prelude::*;
use tollkeeper::account::balance::Balance;
use tollkeeper::account::class::Classes;
use tollkeeper::account::fold::Folding;
use tollkeeper::account::{Rules, SourceRules, Unattributed};
use tollkeeper::tally::{MAX_UNPARSED_AT_START, MAX_UNPARSED_IN_A_ROW, Outcome, Progress, Tally};
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::framing::MAX_LINE_BYTES;

const GOOD: &str =
    "127.0.0.1 - - [21/Nov/2026:12:00:00 +0000] \"GET / HTTP/1.1\" 200 100 \"-\" \"-\"\n";
/// 2026-11-22 12:00 UTC.
const NOW: i64 = 1_795_348_800;

fn rules() -> Rules {
    Rules {
        zone: Tz::UTC,
        folding: Folding::default(),
        classes: Classes::default(),
        watched: Arc::default(),
    }
}

fn source() -> SourceRules {
    let spec = Spec::parse("combined").expect("a preset");
    SourceRules::new(&[spec], None, None, &Folding::default()).expect("a plan")
}

fn read(progress: &mut Progress, text: &[u8], base: u64) -> Outcome {
    let rules = rules();
    Tally::new(&rules).read(&rules, &source(), progress, text, base, NOW)
}

fn all(outcome: &Outcome) -> Balance {
    let mut all = Balance::default();
    for (_, balance) in &outcome.balance {
        all.add(balance);
    }
    all
}

fn lines(balance: &Balance) -> [u64; 4] {
    [
        balance.counted.lines,
        balance.unparsed.lines,
        balance.ignored.lines,
        balance.unattributed.lines,
    ]
}

#[test]
fn lines_are_counted_or_named() {
    let long = "x".repeat(MAX_LINE_BYTES + 1);
    let ahead = GOOD.replace("21/Nov/2026", "24/Nov/2026");
    let claims = GOOD.replace(" 100 ", " 1125899906842625 ");
    let beyond = GOOD.replace(" 100 ", " 99999999999999999999999 ");
    for (what, text, expected) in [
        ("nothing", String::new(), [0, 0, 0, 0]),
        ("a request", GOOD.to_owned(), [1, 0, 0, 0]),
        (
            "blank lines and comments",
            format!("\n \n#c\n{GOOD}"),
            [1, 0, 3, 0],
        ),
        ("garbage before", format!("garbage\n{GOOD}"), [1, 1, 0, 0]),
        ("a line too long", format!("{GOOD}{long}\n"), [1, 1, 0, 0]),
        ("a CR at the end", GOOD.replace('\n', "\r\n"), [1, 0, 0, 0]),
        ("more than a day ahead", ahead, [0, 0, 0, 1]),
        ("more than 2^50 bytes", claims, [0, 0, 0, 1]),
        ("more than 64 bits", beyond, [0, 0, 0, 1]),
        ("no newline", GOOD.trim_end().to_owned(), [1, 0, 0, 0]),
    ] {
        let outcome = read(&mut Progress::default(), text.as_bytes(), 0);
        let balance = all(&outcome);
        assert_eq!(lines(&balance), expected, "{what}");
        assert_eq!(balance.read().bytes, text.len() as u64, "{what}");
        assert!(outcome.held.is_none(), "{what}");
    }
    let ahead = GOOD.replace("21/Nov/2026", "24/Nov/2026");
    let outcome = read(&mut Progress::default(), ahead.as_bytes(), 0);
    assert_eq!(outcome.unattributed, Some((0, Unattributed::Ahead)));
}

#[test]
fn garbage_at_the_end_is_held_until_somebody_decides() {
    let text = format!("{GOOD}bad\n\nworse\n");
    let mut progress = Progress::default();
    let mut outcome = read(&mut progress, text.as_bytes(), 1_000);
    assert_eq!(lines(&all(&outcome)), [1, 0, 0, 0]);
    let held = outcome.held.clone().expect("a run at the end");
    assert_eq!(held.start, 1_000 + GOOD.len() as u64);
    assert_eq!(lines(&held.balance), [0, 2, 1, 0]);
    outcome.accept_held(progress.last_day);
    assert_eq!(lines(&all(&outcome)), [1, 2, 1, 0]);
    assert_eq!(all(&outcome).read().bytes, text.len() as u64);
    let ranges: Vec<_> = outcome
        .unparsed
        .iter()
        .map(|range| (range.start - held.start, range.end - held.start))
        .collect();
    assert_eq!(ranges, [(0, 4), (5, 11)]);
}

#[test]
fn a_format_that_does_not_fit_is_given_up() {
    let start = "bad\n".repeat(MAX_UNPARSED_AT_START as usize - 1);
    assert!(
        read(&mut Progress::default(), start.as_bytes(), 0)
            .does_not_fit
            .is_none()
    );
    let start = start + "bad\n";
    let outcome = read(&mut Progress::default(), start.as_bytes(), 0);
    assert_eq!(outcome.does_not_fit, Some(0));
    assert_eq!(
        lines(&all(&outcome)),
        [0, 0, 0, 0],
        "nothing of it is booked"
    );

    let row = "bad\n".repeat(MAX_UNPARSED_IN_A_ROW as usize);
    let text = format!("{GOOD}{row}{GOOD}");
    let outcome = read(&mut Progress::default(), text.as_bytes(), 0);
    assert_eq!(outcome.does_not_fit, Some(GOOD.len() as u64));
    assert_eq!(lines(&all(&outcome)), [1, 0, 0, 0]);

    // Clients can make lines too long: such lines say nothing about the format.
    let long = format!("{}\n", "x".repeat(MAX_LINE_BYTES + 1)).repeat(150);
    let outcome = read(&mut Progress::default(), long.as_bytes(), 0);
    assert_eq!(outcome.does_not_fit, None);
    assert_eq!(lines(&all(&outcome)), [0, 150, 0, 0]);
}

#[test]
fn lines_without_a_day_take_that_of_the_line_before() {
    let next = GOOD.replace("21/Nov", "22/Nov");
    let text = format!("bad\n{GOOD}bad\n{next}#c\n");
    let outcome = read(&mut Progress::default(), text.as_bytes(), 0);
    let days: Vec<_> = outcome
        .balance
        .iter()
        .map(|(day, balance)| {
            let day = day.map(|day| tollkeeper::account::day::date(day).to_string());
            (day.unwrap_or_default(), lines(balance))
        })
        .collect();
    assert_eq!(
        days,
        [
            (String::new(), [0, 1, 0, 0]),
            ("2026-11-21".to_owned(), [1, 1, 0, 0]),
            ("2026-11-22".to_owned(), [1, 0, 1, 0]),
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// However the lines are cut into chunks: the same sums, and every byte in the balance.
    #[test]
    fn chunks_do_not_matter(kinds in proptest::collection::vec(0_u8..6, 0..60), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5)) {
        let texts: Vec<String> = kinds.iter().map(|kind| match kind {
            0 => "bad\n".to_owned(),
            1 => "\n".to_owned(),
            2 => "# c\n".to_owned(),
            3 => GOOD.replace("21/Nov", "20/Nov"),
            _ => GOOD.to_owned(),
        }).collect();
        let whole = texts.concat();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(texts.len() + 1)).collect();
        ends.push(texts.len());
        ends.sort_unstable();
        let rules = rules();
        let mut tally = Tally::new(&rules);
        let mut progress = Progress::default();
        let mut balance = Balance::default();
        let (mut done, mut base) = (0, 0);
        for end in ends {
            let chunk = texts[done..end].concat();
            let mut outcome = tally.read(&rules, &source(), &mut progress, chunk.as_bytes(), base, NOW);
            outcome.accept_held(progress.last_day);
            balance.add(&all(&outcome));
            base += chunk.len() as u64;
            done = end;
        }
        let counted = kinds.iter().filter(|kind| **kind >= 3).count() as u64;
        let unparsed = kinds.iter().filter(|kind| **kind == 0).count() as u64;
        prop_assert_eq!(lines(&balance), [counted, unparsed, kinds.len() as u64 - counted - unparsed, 0]);
        prop_assert_eq!(balance.read().bytes, whole.len() as u64);
        prop_assert_eq!(tally.ledger.total().requests, counted);
        prop_assert_eq!(tally.ledger.total().bytes_out, counted * 100);
    }
}
