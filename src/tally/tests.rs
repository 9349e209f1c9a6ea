//! Watched accounts: what is told of them, and what of it stands in the rows of minutes.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono_tz::Tz;
use tollkeeper_parsers::format::Spec;

use super::*;
use crate::account::balance::Balance;
use crate::account::class::Classes;
use crate::account::day;
use crate::account::delta::{Delta, Deltas};
use crate::account::fold::Folding;
use crate::account::growth::{Growth, KnownNames};
use crate::account::watched::{Watch, Watched};
use crate::config::{Class, Layer, Users};

mod full;
mod sums;

/// nginx vouches for nobody, unless the operator does.
const NGINX: &str = "nginx:log_format tk '$msec $status $request_length $bytes_sent $host $remote_addr \"$remote_user\"';";
/// Apache does. There is no zone in its times here.
const APACHE: &str = "apache:%{%Y-%m-%d %H:%M:%S}t %>s %I %O %v %a \"%u\"";
/// 2024-06-15 23:58 in Warsaw.
const BEGIN: i64 = 1_718_488_680;
const NOW: i64 = BEGIN + 86_400;

const TOLD: Watch = Watch {
    told: true,
    by_minute: false,
    classes_by_minute: false,
};
const BY_MINUTE: Watch = Watch {
    told: true,
    by_minute: true,
    classes_by_minute: false,
};
const ALL: Watch = Watch {
    told: true,
    by_minute: true,
    classes_by_minute: true,
};

fn rules(watched: Watched) -> Rules {
    let network = "192.0.2.0/24".parse().expect("a network");
    Rules {
        zone: Tz::Europe__Warsaw,
        folding: Folding::default(),
        classes: Classes::new(&[Class {
            name: "campus".to_owned(),
            networks: vec![network],
        }]),
        watched: Arc::new(watched),
    }
}

fn source(format: &str, users: Option<Users>) -> SourceRules {
    let spec = Spec::parse(format).expect("a format");
    SourceRules::new(&[spec], users, None, &Folding::default()).expect("a plan")
}

fn growth(max_vhosts: u64) -> Growth {
    Growth::new(KnownNames::default(), [], max_vhosts, 9)
}

fn read(tally: &mut Tally, rules: &Rules, source: &SourceRules, text: &str) {
    let mut progress = Progress::default();
    let outcome = tally.read(rules, source, &mut progress, text.as_bytes(), 0, NOW);
    let mut counted = Balance::default();
    outcome
        .balance
        .iter()
        .for_each(|(_, balance)| counted.add(balance));
    assert_eq!(counted.counted.lines, text.lines().count() as u64, "{text}");
}

/// All that is told of a log that is read at once, with its rows.
fn told(
    watched: Watched,
    source: &SourceRules,
    growth: &mut Growth,
    text: &str,
) -> (Vec<Spent>, Deltas) {
    let rules = rules(watched);
    let mut tally = Tally::telling(&rules);
    read(&mut tally, &rules, source, text);
    let spent = tally.take_spent(growth);
    assert!(tally.take_spent(growth).is_empty(), "told once");
    (spent, tally.ledger.take(growth, &rules.classes).0)
}

fn line(time: i64, host: &str, user: &str) -> String {
    format!("{time}.000 200 1 10 {host} 192.0.2.1 \"{user}\"\n")
}

fn shown(spent: &[Spent]) -> Vec<String> {
    let name = |name: &Option<Arc<str>>| name.as_deref().unwrap_or("-").to_owned();
    let shown = |one: &Spent| {
        let (user, class) = (name(&one.user), name(&one.class));
        let (minute, requests) = (one.minute - BEGIN / 60, one.amount.requests);
        format!(
            "{} {user} {class} {} {minute} {requests}",
            one.vhost,
            day::date(one.day)
        )
    };
    spent.iter().map(shown).collect()
}

fn minutes(deltas: &Deltas) -> Vec<String> {
    let shown = |row: &crate::account::delta::MinuteDelta| {
        let minute = row.minute - BEGIN / 60;
        let (vhost, part, requests) = (&row.vhost, &row.part, row.amount.requests);
        format!(
            "{vhost} {:?} {part} {} {minute} {requests}",
            row.of, row.day
        )
    };
    deltas.minutes.iter().map(shown).collect()
}

fn vhosts(watched: &[(&str, Watch)]) -> Watched {
    Watched {
        vhosts: watched
            .iter()
            .map(|(name, watch)| ((*name).to_owned(), *watch))
            .collect(),
        ..Watched::default()
    }
}

fn every_user(watch: Watch) -> Watched {
    Watched {
        all_users: watch,
        ..Watched::default()
    }
}

#[test]
fn what_is_watched_is_told_and_nothing_else() {
    let mut watched = vhosts(&[("told.example", TOLD), ("all.example", ALL)]);
    watched.users.insert("alice".to_owned(), BY_MINUTE);
    let log = [
        line(BEGIN, "told.example", "-"),
        line(BEGIN + 59, "told.example", "bob"),
        line(BEGIN + 60, "all.example", "-"),
        line(BEGIN + 120, "all.example", "alice"),
        line(BEGIN + 120, "else.example", "alice"),
        line(BEGIN, "else.example", "bob"),
        line(BEGIN, "told.example", "-").replace("192.0.2.1", "198.51.100.1"),
    ]
    .concat();
    let source = source(NGINX, Some(Users::Verified));
    let (spent, deltas) = told(watched, &source, &mut growth(9), &log);
    assert_eq!(
        shown(&spent),
        [
            "told.example - campus 2024-06-15 0 2",
            "all.example - campus 2024-06-15 1 1",
            "all.example alice campus 2024-06-16 2 1",
            "else.example alice campus 2024-06-16 2 1",
            "told.example - - 2024-06-15 0 1",
        ]
    );
    assert_eq!(
        minutes(&deltas),
        [
            "all.example Vhost  2024-06-15 1 1",
            "all.example Vhost  2024-06-16 2 1",
            "all.example User alice 2024-06-16 2 1",
            "all.example Class campus 2024-06-15 1 1",
            "all.example Class campus 2024-06-16 2 1",
            "else.example User alice 2024-06-16 2 1",
        ]
    );
    assert!(deltas.claimed.is_empty());
    assert_eq!(deltas.users.len(), 4);
}

#[test]
fn whether_a_server_vouches_is_said_by_the_operator_or_by_the_server() {
    let nginx = line(BEGIN, "a.example", "alice");
    let apache = "2024-06-15 23:58:00 200 1 10 a.example 192.0.2.1 \"alice\"\n".to_owned();
    for (format, log, users, is_vouched) in [
        (NGINX, &nginx, None, false),
        (NGINX, &nginx, Some(Users::Claimed), false),
        (NGINX, &nginx, Some(Users::Verified), true),
        (APACHE, &apache, None, true),
        (APACHE, &apache, Some(Users::Claimed), false),
    ] {
        let source = source(format, users);
        let (spent, deltas) = told(every_user(BY_MINUTE), &source, &mut growth(9), log);
        assert_eq!(deltas.users.len(), 1);
        let (claimed, rows): (&[Delta], &[&str]) = match is_vouched {
            true => (&[], &["a.example User alice 2024-06-15 0 1"]),
            false => (&deltas.users, &[]),
        };
        assert_eq!(deltas.claimed, claimed, "{format} {users:?}");
        assert_eq!(minutes(&deltas), rows, "{format} {users:?}");
        assert_eq!(spent.len(), usize::from(is_vouched), "{format} {users:?}");
    }
    let (_, deltas) = told(
        every_user(BY_MINUTE),
        &source(NGINX, Some(Users::None)),
        &mut growth(9),
        &nginx,
    );
    assert!(deltas.users.is_empty() && deltas.claimed.is_empty() && deltas.minutes.is_empty());
}

/// Each line is judged by the plan that reads it.
#[test]
fn two_formats_in_one_log() {
    let specs = [NGINX, APACHE].map(|format| Spec::parse(format).expect("a format"));
    let source = SourceRules::new(&specs, None, None, &Folding::default()).expect("plans");
    let log = line(BEGIN, "a.example", "alice")
        + "2024-06-15 23:59:00 200 1 10 a.example 192.0.2.1 \"alice\"\n";
    let (spent, deltas) = told(every_user(TOLD), &source, &mut growth(9), &log);
    assert_eq!(shown(&spent), ["a.example alice campus 2024-06-15 1 1"]);
    assert_eq!(deltas.users[0].amount.requests, 2);
    assert_eq!(deltas.claimed[0].amount.requests, 1);
}

#[test]
fn an_answer_that_checks_no_password_spends_nothing_of_a_user() {
    let log = line(BEGIN, "a.example", "alice").replace(" 200 ", " 401 ");
    let source = source(NGINX, Some(Users::Verified));
    let (spent, _) = told(every_user(ALL), &source, &mut growth(9), &log);
    assert!(spent.is_empty());
}

#[test]
fn a_layer_behind_the_edge_is_never_told() {
    let mut watched = every_user(ALL);
    watched.all_vhosts = ALL;
    let mut source = source(NGINX, Some(Users::Verified));
    source.layer = serde_json::from_str::<Layer>("\"php\"").expect("a layer");
    let log = line(BEGIN, "a.example", "alice");
    let (spent, deltas) = told(watched, &source, &mut growth(9), &log);
    assert!(spent.is_empty() && deltas.minutes.is_empty());
    assert_eq!(deltas.layers.len(), 1);
}

#[test]
fn special_rows_are_not_weighed_and_users_there_are() {
    let mut watched = every_user(BY_MINUTE);
    watched.all_vhosts = ALL;
    let source = source(NGINX, Some(Users::Verified));
    let long = "x".repeat(300);
    // No host can be called so; and a name that is too long shares a row with others.
    let log = line(BEGIN, "..", "alice") + &line(BEGIN, "..", "-") + &line(BEGIN, "..", &long);
    let (spent, deltas) = told(watched, &source, &mut growth(9), &log);
    let vhost = deltas.vhosts[0].vhost.to_string();
    assert!(name::is_special(&vhost), "{vhost}");
    assert_eq!(
        shown(&spent),
        [format!("{vhost} alice campus 2024-06-15 0 1")]
    );
    assert_eq!(
        minutes(&deltas),
        [format!("{vhost} User alice 2024-06-15 0 1")]
    );
}

/// Forged hosts that fit a watched suffix, far beyond the cap of the day.
#[test]
fn a_flood_of_forged_hosts_makes_no_accounts() {
    let source = source(NGINX, Some(Users::Verified));
    let mut watched = Watched {
        suffixes: vec![(".a.example".to_owned(), ALL)],
        ..Watched::default()
    };
    watched.users.insert("alice".to_owned(), ALL);
    watched.never_capped.insert("real.a.example".to_owned());
    watched.vhosts.insert("real.a.example".to_owned(), ALL);
    let mut growth = growth(5);
    watched.let_in(&mut growth);
    let mut log: String = (0..500)
        .map(|n| line(BEGIN, &format!("f{n}.a.example"), "-"))
        .collect();
    log += &line(BEGIN, "f600.a.example", "alice");
    log += &line(BEGIN, "real.a.example", "-");
    let (spent, deltas) = told(watched, &source, &mut growth, &log);

    let mut names: Vec<String> = (0..5).map(|n| format!("f{n}.a.example")).collect();
    // What alice spends is weighed wherever she spends it, but nobody gets an account of it.
    names.extend(["_overflow".to_owned(), "real.a.example".to_owned()]);
    let of_spent: Vec<&str> = spent.iter().map(|spent| &*spent.vhost).collect();
    assert_eq!(of_spent, names);
    assert_eq!(spent[5].user.as_deref(), Some("alice"));
    let of_minutes: BTreeSet<&str> = deltas.minutes.iter().map(|row| &*row.vhost).collect();
    assert_eq!(of_minutes, names.iter().map(String::as_str).collect());
    let capped = minutes(&deltas);
    let capped: Vec<&String> = capped.iter().filter(|row| row.starts_with('_')).collect();
    assert_eq!(capped, ["_overflow User alice 2024-06-15 0 1"]);
}

#[test]
fn a_user_beyond_the_cap_is_nobody() {
    let source = source(NGINX, Some(Users::Verified));
    let mut watched = every_user(BY_MINUTE);
    watched.vhosts.insert("told.example".to_owned(), TOLD);
    let mut growth = Growth::new(KnownNames::default(), [], 9, 1);
    let log = ["told.example", "else.example"]
        .map(|host| line(BEGIN, host, "alice") + &line(BEGIN, host, "bob"))
        .concat();
    let (spent, deltas) = told(watched, &source, &mut growth, &log);
    assert_eq!(
        shown(&spent),
        [
            "told.example alice campus 2024-06-15 0 1",
            "told.example - campus 2024-06-15 0 1",
            "else.example alice campus 2024-06-15 0 1",
        ]
    );
    assert_eq!(
        minutes(&deltas),
        [
            "else.example User alice 2024-06-15 0 1",
            "told.example User alice 2024-06-15 0 1",
        ]
    );
}

/// Somebody else was faster: all that was not committed is forgotten, and read again.
#[test]
fn what_is_read_again_is_told_again() {
    let source = source(NGINX, Some(Users::Verified));
    let mut growth = growth(9);
    let log = line(BEGIN, "a.example", "alice") + &line(BEGIN + 60, "b.example", "-");
    let mut watched = every_user(ALL);
    watched.all_vhosts = ALL;
    let (spent, deltas) = told(watched.clone(), &source, &mut growth, &log);
    growth.renew(KnownNames::default());
    let (again, rows) = told(watched, &source, &mut growth, &log);
    assert_eq!(spent.len(), 2);
    assert_eq!(spent, again);
    assert_eq!((deltas.minutes.len(), &deltas.minutes), (5, &rows.minutes));
}

#[test]
fn nothing_is_kept_for_nobody() {
    let rules = rules(vhosts(&[("a.example", ALL)]));
    let mut tally = Tally::new(&rules);
    read(
        &mut tally,
        &rules,
        &source(NGINX, None),
        &line(BEGIN, "a.example", "-"),
    );
    assert!(tally.take_spent(&mut growth(9)).is_empty());
    assert_eq!(
        tally
            .ledger
            .take(&mut growth(9), &rules.classes)
            .0
            .minutes
            .len(),
        2
    );
}

/// The names keep their numbers where others are watched from now on, and get others where the ledger
/// has forgotten them.
#[test]
fn other_rules_hold_from_the_next_chunk_on() {
    let (before, after) = (
        rules(vhosts(&[("a.example", TOLD)])),
        rules(vhosts(&[("b.example", TOLD)])),
    );
    let source = source(NGINX, None);
    let log = line(BEGIN, "a.example", "-") + &line(BEGIN, "b.example", "-");
    let mut tally = Tally::telling(&before);
    let mut growth = growth(9);
    for (rules, forgets, expected) in [
        (&before, false, "a.example"),
        (&after, false, "b.example"),
        (&rules(Watched::default()), false, ""),
        (&before, true, "a.example"),
    ] {
        if forgets {
            tally.ledger = Ledger::default();
            tally.ledger.name("b.example");
            tally.forget_names();
        }
        read(&mut tally, rules, &source, &log);
        let spent = tally.take_spent(&mut growth);
        let of: Vec<&str> = spent.iter().map(|spent| &*spent.vhost).collect();
        assert_eq!(
            of,
            Vec::from_iter(Some(expected).filter(|name| !name.is_empty()))
        );
    }
}

/// A clock without a zone: each minute as it was, on the day that the line names.
#[test]
fn nights_in_which_the_clock_changes() {
    let source = source(APACHE, None);
    let line = |time: &str| format!("{time} 200 1 10 a.example 192.0.2.1 \"-\"\n");
    for (time, expected) in [
        ("2024-03-31 01:59:59", "2024-03-31 00:59"),
        // There is no such time.
        ("2024-03-31 02:00:00", "2024-03-31 01:00"),
        ("2024-03-31 03:00:00", "2024-03-31 01:00"),
        // Twice.
        ("2023-10-29 02:59:59", "2023-10-29 00:59"),
        ("2023-10-29 03:00:00", "2023-10-29 02:00"),
        ("2023-10-29 00:00:00", "2023-10-28 22:00"),
    ] {
        let watched = vhosts(&[("a.example", BY_MINUTE)]);
        let (spent, deltas) = told(watched, &source, &mut growth(9), &line(time));
        let minute = chrono::DateTime::from_timestamp(spent[0].minute * 60, 0).expect("a time");
        assert_eq!(
            minute.format("%Y-%m-%d %H:%M").to_string(),
            expected,
            "{time}"
        );
        assert_eq!(day::date(spent[0].day).to_string(), time[..10]);
        let row = &deltas.minutes[0];
        assert_eq!(
            (row.minute, row.day),
            (spent[0].minute, day::date(spent[0].day))
        );
    }
}
