//! Periods as tables: nights in which clocks are set, days that months do not have, slices.

use chrono::{DateTime, NaiveDateTime, SecondsFormat};
use proptest::prelude::*;
use tollkeeper_parsers::time::Time;

use super::*;
use crate::account::day::{DAY_SECONDS, Days, date};

fn seconds(instant: &str) -> i64 {
    let instant = DateTime::parse_from_rfc3339(instant);
    instant.expect("an instant").timestamp()
}

fn text(zone: Tz, instant: i64) -> String {
    let instant = DateTime::from_timestamp(instant, 0).expect("an instant");
    let instant = instant.with_timezone(&zone);
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn minutes(minutes: u32, anchor: &str) -> Period {
    let anchor = NaiveDateTime::parse_from_str(anchor, "%Y-%m-%d %H:%M").expect("a time");
    Period::Minutes { minutes, anchor }
}

/// What a period is, as the clock shows it: begin, end, and the first day that counts whole.
fn shown(period: &Period, zone: Tz, now: &str) -> [String; 3] {
    let span = at(period, zone, seconds(now));
    [
        text(zone, span.begins),
        span.ends
            .map_or_else(|| "-".to_owned(), |ends| text(zone, ends)),
        date(span.first_whole_day).to_string(),
    ]
}

#[test]
fn nights_in_which_clocks_are_set() {
    for (zone, now, begins, ends) in [
        // 23 and 25 hours.
        (
            Tz::Europe__Warsaw,
            "2024-03-31T12:00:00Z",
            "2024-03-31T00:00:00+01:00",
            "2024-04-01T00:00:00+02:00",
        ),
        (
            Tz::Europe__Warsaw,
            "2024-10-27T00:30:00Z",
            "2024-10-27T00:00:00+02:00",
            "2024-10-28T00:00:00+01:00",
        ),
        // Half an hour.
        (
            Tz::Australia__Lord_Howe,
            "2024-04-06T20:00:00Z",
            "2024-04-07T00:00:00+11:00",
            "2024-04-08T00:00:00+10:30",
        ),
        // Midnight is skipped: the day begins at one o'clock.
        (
            Tz::America__Sao_Paulo,
            "2017-10-15T12:00:00Z",
            "2017-10-15T01:00:00-02:00",
            "2017-10-16T00:00:00-02:00",
        ),
        (
            Tz::Africa__Cairo,
            "2023-04-28T12:00:00Z",
            "2023-04-28T01:00:00+03:00",
            "2023-04-29T00:00:00+03:00",
        ),
        (
            Tz::Asia__Beirut,
            "2022-03-27T12:00:00Z",
            "2022-03-27T01:00:00+03:00",
            "2022-03-28T00:00:00+03:00",
        ),
        // 23 o'clock comes twice; midnight only once.
        (
            Tz::America__Sao_Paulo,
            "2018-02-18T02:30:00Z",
            "2018-02-17T00:00:00-02:00",
            "2018-02-18T00:00:00-03:00",
        ),
        // Midnight comes twice: the first one counts.
        (
            Tz::America__Havana,
            "2023-11-05T05:30:00Z",
            "2023-11-05T00:00:00-04:00",
            "2023-11-06T00:00:00-05:00",
        ),
        // Saturday begins again after a minute of Sunday: it is Sunday from there on.
        (
            Tz::America__St_Johns,
            "2006-10-29T03:00:00Z",
            "2006-10-29T00:00:00-02:30",
            "2006-10-30T00:00:00-03:30",
        ),
        // No 30 December at all.
        (
            Tz::Pacific__Apia,
            "2011-12-30T09:59:59Z",
            "2011-12-29T00:00:00-10:00",
            "2011-12-31T00:00:00+14:00",
        ),
        (
            Tz::Pacific__Apia,
            "2011-12-30T10:00:00Z",
            "2011-12-31T00:00:00+14:00",
            "2012-01-01T00:00:00+14:00",
        ),
        (
            Tz::Asia__Kathmandu,
            "2024-02-28T18:15:00Z",
            "2024-02-29T00:00:00+05:45",
            "2024-03-01T00:00:00+05:45",
        ),
    ] {
        let [day_begins, day_ends, whole] = shown(&Period::Day, zone, now);
        assert_eq!((&*day_begins, &*day_ends), (begins, ends), "{zone} {now}");
        assert_eq!(whole, begins[..10]);
    }
}

#[test]
fn days_that_months_and_years_do_not_have() {
    let month = |day| Period::Month { day };
    let year = |month, day| Period::Year { month, day };
    for (period, now, begins, ends) in [
        (Period::Week, "2024-12-29", "2024-12-23", "2024-12-30"),
        (Period::Week, "2024-12-30", "2024-12-30", "2025-01-06"),
        (month(1), "2024-12-31", "2024-12-01", "2025-01-01"),
        (month(31), "2024-01-30", "2023-12-31", "2024-01-31"),
        (month(31), "2024-02-28", "2024-01-31", "2024-02-29"),
        (month(31), "2024-02-29", "2024-02-29", "2024-03-31"),
        (month(31), "2023-02-28", "2023-02-28", "2023-03-31"),
        (month(31), "2024-04-30", "2024-04-30", "2024-05-31"),
        (month(30), "2024-02-29", "2024-02-29", "2024-03-30"),
        (month(29), "2023-02-28", "2023-02-28", "2023-03-29"),
        (month(28), "2024-02-29", "2024-02-28", "2024-03-28"),
        (year(1, 1), "2024-06-01", "2024-01-01", "2025-01-01"),
        (year(2, 29), "2024-02-28", "2023-02-28", "2024-02-29"),
        (year(2, 29), "2024-02-29", "2024-02-29", "2025-02-28"),
        (year(2, 29), "2025-02-28", "2025-02-28", "2026-02-28"),
        (year(12, 31), "2024-12-30", "2023-12-31", "2024-12-31"),
    ] {
        let zone = Tz::Europe__Warsaw;
        let instant = format!("{now}T12:00:00Z");
        let [first, next, whole] = shown(&period, zone, &instant);
        assert_eq!(
            (&first[..10], &next[..10]),
            (begins, ends),
            "{period:?} {now}"
        );
        assert_eq!(whole, begins);
        assert!(first.contains("T00:00:00") && next.contains("T00:00:00"));
    }
}

#[test]
fn minutes_count_from_their_anchor() {
    let warsaw = Tz::Europe__Warsaw;
    for (period, now, begins, ends, whole) in [
        // Whole days from a midnight are days of the calendar, also before the anchor.
        (
            minutes(40_320, "2024-03-04 00:00"),
            "2024-04-01T00:00:00+02:00",
            "2024-04-01T00:00:00+02:00",
            "2024-04-29T00:00:00+02:00",
            "2024-04-01",
        ),
        (
            minutes(40_320, "2024-03-04 00:00"),
            "2024-03-03T23:59:59+01:00",
            "2024-02-05T00:00:00+01:00",
            "2024-03-04T00:00:00+01:00",
            "2024-02-05",
        ),
        // From noon they are time that passes: from noon to one o'clock in this night.
        (
            minutes(1_440, "2024-03-30 12:00"),
            "2024-03-31T12:59:59+02:00",
            "2024-03-30T12:00:00+01:00",
            "2024-03-31T13:00:00+02:00",
            "2024-03-31",
        ),
        // Below a day only minutes count.
        (
            minutes(60, "2024-01-01 00:00"),
            "2024-06-01T00:30:00+02:00",
            "2024-06-01T00:00:00+02:00",
            "2024-06-01T01:00:00+02:00",
            "2024-06-02",
        ),
        (
            minutes(300, "2024-06-01 22:00"),
            "2024-06-02T01:00:00+02:00",
            "2024-06-01T22:00:00+02:00",
            "2024-06-02T03:00:00+02:00",
            "2024-06-03",
        ),
        (
            minutes(120, "2024-06-01 22:00"),
            "2024-06-01T23:00:00+02:00",
            "2024-06-01T22:00:00+02:00",
            "2024-06-02T00:00:00+02:00",
            "2024-06-02",
        ),
        // An anchor that the clock skips lies as far behind the gap as it was in it; one that comes
        // twice is the first.
        (
            minutes(90, "2024-03-31 02:30"),
            "2024-03-31T03:30:00+02:00",
            "2024-03-31T03:30:00+02:00",
            "2024-03-31T05:00:00+02:00",
            "2024-04-01",
        ),
        (
            minutes(90, "2024-10-27 02:30"),
            "2024-10-27T02:30:00+01:00",
            "2024-10-27T02:30:00+02:00",
            "2024-10-27T03:00:00+01:00",
            "2024-10-28",
        ),
        // The last minutes, with the one of now.
        (
            Period::Rolling { minutes: 60 },
            "2024-06-02T10:30:59+02:00",
            "2024-06-02T09:31:00+02:00",
            "-",
            "2024-06-03",
        ),
        (
            Period::Rolling { minutes: 1_440 },
            "2024-06-02T23:59:00+02:00",
            "2024-06-02T00:00:00+02:00",
            "-",
            "2024-06-02",
        ),
    ] {
        let shown = shown(&period, warsaw, now);
        assert_eq!(shown, [begins, ends, whole], "{period:?} {now}");
    }
    let endless = at(&Period::Endless, warsaw, 0);
    assert_eq!((endless.begins, endless.ends), (i64::MIN, None));
}

#[test]
fn slices_open_share_by_share() {
    const G: u64 = 1_000_000_000;
    let four_weeks = minutes(40_320, "2024-03-04 00:00");
    let (week, day) = (Some(10_080), Some(1_440));
    for (period, slice, limit, now, open, next) in [
        // mod_cband's, over a night of 23 hours.
        (
            &four_weeks,
            week,
            100 * G,
            "2024-03-04T00:00:00+01:00",
            25 * G,
            "2024-03-11T00:00:00+01:00",
        ),
        (
            &four_weeks,
            week,
            100 * G,
            "2024-03-17T23:59:59+01:00",
            50 * G,
            "2024-03-18T00:00:00+01:00",
        ),
        (
            &four_weeks,
            week,
            100 * G,
            "2024-03-18T00:00:00+01:00",
            75 * G,
            "2024-03-25T00:00:00+01:00",
        ),
        (
            &four_weeks,
            week,
            100 * G,
            "2024-03-31T23:59:59+02:00",
            100 * G,
            "-",
        ),
        // What is left of a month is the last slice.
        (
            &Period::Month { day: 1 },
            week,
            31,
            "2024-03-28T12:00:00+01:00",
            28,
            "2024-03-29T00:00:00+01:00",
        ),
        (
            &Period::Month { day: 1 },
            week,
            31,
            "2024-03-29T00:00:00+01:00",
            31,
            "-",
        ),
        (
            &Period::Month { day: 1 },
            day,
            10,
            "2024-03-31T00:30:00+01:00",
            10,
            "-",
        ),
        (
            &Period::Month { day: 1 },
            day,
            10,
            "2024-03-30T23:30:00+01:00",
            9,
            "2024-03-31T00:00:00+01:00",
        ),
        // Parts of days are time that passes: a quarter of 24 hours is more of 23.
        (
            &Period::Day,
            Some(360),
            2300,
            "2024-03-31T00:00:00+01:00",
            600,
            "2024-03-31T07:00:00+02:00",
        ),
        (
            &Period::Day,
            Some(360),
            2300,
            "2024-03-31T23:59:59+02:00",
            2300,
            "-",
        ),
        // A slice longer than its period opens it; there is nothing to open in others.
        (&Period::Day, week, 5, "2024-03-31T12:00:00+02:00", 5, "-"),
        (
            &Period::Rolling { minutes: 600 },
            Some(60),
            5,
            "2024-03-31T12:00:00+02:00",
            5,
            "-",
        ),
        (
            &Period::Endless,
            Some(60),
            5,
            "2024-03-31T12:00:00+02:00",
            5,
            "-",
        ),
        (&four_weeks, None, 5, "2024-03-04T12:00:00+02:00", 5, "-"),
        // The largest limit, by the smallest slices.
        (
            &Period::Day,
            Some(1),
            i64::MAX as u64,
            "2024-06-01T00:00:00+02:00",
            i64::MAX as u64 / 1440,
            "2024-06-01T00:01:00+02:00",
        ),
    ] {
        let zone = Tz::Europe__Warsaw;
        let (amount, more) = opened(period, slice, limit, zone, seconds(now));
        let more = more.map_or_else(|| "-".to_owned(), |at| text(zone, at));
        assert_eq!((amount, &*more), (open, next), "{period:?} {slice:?} {now}");
    }
}

/// Around each time that a clock is set: what a line is billed to lies in the period of that day.
#[test]
fn days_agree_with_those_that_lines_are_billed_to() {
    // No clock has been set twice within as many days.
    const STEP: DayNumber = 3;
    // Older lines there are none, and some clocks were not set to whole minutes.
    let (from, to) = (number_of(1985, 1, 1), number_of(2035, 1, 1));
    let mut apart = std::collections::BTreeSet::new();
    let mut last = NaiveDate::MIN;
    for zone in chrono_tz::TZ_VARIANTS {
        let mut days = Days::new(zone);
        let offset = |day: DayNumber| clock::offset(zone, i64::from(day) * DAY_SECONDS);
        for begin in (from..to).step_by(STEP as usize) {
            if offset(begin) == offset(begin + STEP) {
                continue;
            }
            for day in begin - 1..=begin + STEP + 1 {
                // Behind its begin all is of this day or a later one, but where that is said to fail.
                let begins = day_begins(zone, day);
                let billed = days.of(Time::Instant(begins - 1));
                assert!(billed < Some(day), "{zone} {day}");
                let billed = days.of(Time::Instant(begins));
                assert!(billed >= Some(day), "{zone} {day}");
                let mut later = (1..24).map(|steps| begins + steps * 1_800 - 1);
                if later.any(|at| days.of(Time::Instant(at)) < Some(day)) {
                    apart.insert(zone.name());
                    last = last.max(date(day));
                }
            }
        }
    }
    assert_eq!(
        apart.into_iter().collect::<Vec<_>>(),
        [
            "America/Goose_Bay",
            "America/Moncton",
            "America/St_Johns",
            "Antarctica/Casey",
            "Canada/Newfoundland",
        ]
    );
    assert_eq!(number(last), number_of(2010, 11, 7));
}

fn number_of(year: i32, month: u32, day: u32) -> DayNumber {
    number(NaiveDate::from_ymd_opt(year, month, day).expect("a date"))
}

#[test]
fn instants_that_no_calendar_holds_are_its_ends() {
    let anchors = [NaiveDateTime::MIN, NaiveDateTime::MAX];
    let mut periods = vec![Period::Day, Period::Week, Period::Endless];
    periods.extend((0..=32).map(|day| Period::Month { day }));
    periods.extend((0..=13).map(|month| Period::Year { month, day: 31 }));
    for length in [0, 1, 1_440, u32::MAX, u32::MAX / 1_440 * 1_440] {
        periods.push(Period::Rolling { minutes: length });
        periods.extend(anchors.map(|anchor| Period::Minutes {
            minutes: length,
            anchor,
        }));
        let anchor = NaiveDate::MAX.and_time(NaiveTime::MIN);
        periods.push(Period::Minutes {
            minutes: length,
            anchor,
        });
    }
    for zone in [Tz::UTC, Tz::Pacific__Apia, Tz::Pacific__Honolulu] {
        for now in [
            i64::MIN,
            i64::MIN + 1,
            held(i64::MIN) + 1,
            held(i64::MAX),
            i64::MAX,
        ] {
            for period in &periods {
                let span = at(period, zone, now);
                let is_in =
                    span.begins <= held(now) && span.ends.is_none_or(|ends| held(now) < ends);
                assert!(is_in, "{period:?} {zone} {now} {span:?}");
                for slice in [None, Some(0), Some(1), Some(1_440), Some(u32::MAX)] {
                    let (_, next) = opened(period, slice, u64::MAX, zone, now);
                    assert!(next.is_none_or(|next| held(now) < next));
                }
            }
        }
    }
}

fn any_zone() -> impl Strategy<Value = Tz> {
    prop_oneof![
        proptest::sample::select(&chrono_tz::TZ_VARIANTS[..]),
        proptest::sample::select(vec![
            Tz::America__St_Johns,
            Tz::Pacific__Apia,
            Tz::Africa__Cairo,
            Tz::America__Sao_Paulo,
        ]),
    ]
}

/// Those that tile time.
fn any_period() -> impl Strategy<Value = Period> {
    let length = prop_oneof![
        1u32..3_000,
        (1u32..60).prop_map(|days| days * 1_440),
        1u32..600_000
    ];
    let anchor =
        (-9_000i64..25_000, prop_oneof![Just(0), 0i64..1_440]).prop_map(|(day, minute)| {
            let at = DateTime::from_timestamp(day * DAY_SECONDS + minute * 60, 0);
            at.expect("held").naive_utc()
        });
    prop_oneof![
        Just(Period::Day),
        Just(Period::Week),
        (1u32..=31).prop_map(|day| Period::Month { day }),
        (1u32..=12, 1u32..=31).prop_map(|(month, day)| Period::Year { month, day }),
        (length, anchor).prop_map(|(minutes, anchor)| Period::Minutes { minutes, anchor }),
    ]
}

/// From 1900 to 2100; often near a day's begin.
fn any_instant() -> impl Strategy<Value = i64> {
    let days = -25_567i64..47_482;
    prop_oneof![
        -2_208_988_800i64..4_102_444_800,
        (days, -50_400i64..50_400).prop_map(|(day, off)| day * DAY_SECONDS + off),
    ]
}

proptest! {
    #[test]
    fn spans_tile_time(period in any_period(), zone in any_zone(), now in any_instant()) {
        let span = at(&period, zone, now);
        let ends = span.ends.expect("an end");
        prop_assert!(span.begins <= now && now < ends);
        prop_assert_eq!(at(&period, zone, span.begins), span);
        prop_assert_eq!(at(&period, zone, ends - 1), span);
        prop_assert_eq!(at(&period, zone, ends).begins, ends);
        prop_assert_eq!(at(&period, zone, span.begins - 1).ends, Some(span.begins));
    }

    #[test]
    fn whole_days_begin_in_their_period(
        period in any_period(),
        rolling in proptest::option::of(1u32..100_000),
        zone in any_zone(),
        now in any_instant(),
    ) {
        let period = rolling.map_or(period, |minutes| Period::Rolling { minutes });
        let span = at(&period, zone, now);
        let day = span.first_whole_day;
        prop_assert!(day_begins(zone, day) >= span.begins);
        let is_short = span.ends.is_some_and(|ends| ends - span.begins < DAY_SECONDS)
            && matches!(period, Period::Minutes { .. });
        let from = if is_short { span.ends.unwrap_or(0) } else { span.begins };
        prop_assert!(day_begins(zone, day) >= from);
        prop_assert!(day_begins(zone, day - 1) < from || matches!(zone, Tz::Pacific__Apia));
    }

    #[test]
    fn more_and_more_is_open(
        period in any_period(),
        zone in any_zone(),
        now in any_instant(),
        slice in prop_oneof![1u32..50_000, (1u32..40).prop_map(|days| days * 1_440)],
        limit in prop_oneof![0u64..1_000, 0u64..=i64::MAX as u64],
    ) {
        let open = |at| opened(&period, Some(slice), limit, zone, at);
        let span = at(&period, zone, now);
        let ends = span.ends.expect("an end");
        prop_assert_eq!(open(ends - 1), (limit, None));
        let (amount, next) = open(now);
        prop_assert!(open(span.begins).0 <= amount && amount <= limit);
        match next {
            None => prop_assert_eq!(amount, limit),
            Some(next) => {
                prop_assert!(now < next && next < ends);
                prop_assert_eq!(open(next - 1), (amount, Some(next)));
                let (more, later) = open(next);
                prop_assert!(more >= amount && later.is_none_or(|later| later > next));
            }
        }
    }

    #[test]
    fn windows_hold_their_minutes(minutes in 1u32..600_000, now in any_instant()) {
        let span = at(&Period::Rolling { minutes }, Tz::Asia__Kathmandu, now);
        prop_assert_eq!(span.begins.rem_euclid(60), 0);
        let behind = span.begins + i64::from(minutes) * 60;
        prop_assert!(now < behind && behind - now <= 60);
    }
}
