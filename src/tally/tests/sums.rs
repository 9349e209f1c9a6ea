//! What any log comes to, compared with adding up its lines one by one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::account::delta::PartOf;

/// Lines, with what of them may be summed: time, host, user, whether the answer was to a checked name.
type Lines = Vec<(i64, u8, Option<u8>, bool)>;
/// By vhost, part, which part, day and minute.
type Sums = BTreeMap<(String, PartOf, String, i64), u64>;

/// Of what is told: vhosts, users, and classes of vhosts, each by minute.
fn by_account(spent: &[Spent], watched: &Watched) -> Sums {
    let mut sums = Sums::new();
    for one in spent {
        let mut add = |of, part: &str| {
            let key = (one.vhost.to_string(), of, part.to_owned(), one.minute);
            *sums.entry(key).or_default() += one.amount.requests;
        };
        if watched.vhost(&one.vhost).told {
            add(PartOf::Vhost, "");
            one.class.iter().for_each(|class| add(PartOf::Class, class));
        }
        one.user.iter().for_each(|user| add(PartOf::User, user));
    }
    sums
}

fn one_by_one(lines: &Lines, watched: &Watched, which: impl Fn(Watch, PartOf) -> bool) -> Sums {
    let mut sums = Sums::new();
    for (time, host, user, is_checked) in lines {
        let host = format!("{host}.example");
        let mut add = |watch: Watch, of, part: &str| {
            if which(watch, of) {
                let key = (
                    host.clone(),
                    of,
                    part.to_owned(),
                    (BEGIN + time).div_euclid(60),
                );
                *sums.entry(key).or_default() += 1;
            }
        };
        let watch = watched.vhost(&host);
        add(watch, PartOf::Vhost, "");
        add(watch, PartOf::Class, "campus");
        if let Some(user) = user.filter(|_| *is_checked) {
            let user = format!("user{user}");
            add(watched.user(&user), PartOf::User, &user);
        }
    }
    sums
}

fn watch() -> impl Strategy<Value = Watch> {
    any::<[bool; 3]>().prop_map(|[told, by_minute, classes_by_minute]| Watch {
        told,
        by_minute,
        classes_by_minute,
    })
}

proptest! {
    /// However a log is cut into chunks, whatever of it is watched, and wherever it is flushed.
    #[test]
    fn sums_are_those_of_the_lines(
        lines in proptest::collection::vec(
            (0..400_i64, 0..4_u8, proptest::option::of(0..3_u8), any::<bool>()),
            0..40,
        ),
        ends in proptest::collection::vec((any::<bool>(), any::<bool>()), 40),
        watches in (watch(), watch(), watch(), watch()),
    ) {
        let watched = Watched {
            vhosts: [("0.example".to_owned(), watches.0)].into(),
            suffixes: vec![("1.example".to_owned(), TOLD), (".none".to_owned(), ALL)],
            all_vhosts: if watches.1 == ALL { TOLD } else { Watch::default() },
            users: [("user0".to_owned(), watches.2)].into(),
            all_users: if watches.3 == ALL { BY_MINUTE } else { Watch::default() },
            ..Watched::default()
        };
        let quiet = rules(Watched::default());
        let rules = rules(watched.clone());
        let source = source(NGINX, Some(Users::Verified));
        let mut growth = growth(99);
        let (mut tally, mut plain) = (Tally::telling(&rules), Tally::new(&quiet));
        let (mut spent, mut rows) = (Vec::new(), Sums::new());
        let mut chunk = String::new();
        for ((time, host, user, is_checked), (ends, flushes)) in lines.iter().zip(ends) {
            let user = user.map_or("-".to_owned(), |user| format!("user{user}"));
            let line = line(BEGIN + time, &format!("{host}.example"), &user);
            chunk += &if *is_checked { line } else { line.replace(" 200 ", " 404 ") };
            if !ends {
                continue;
            }
            let chunk = std::mem::take(&mut chunk);
            read(&mut tally, &rules, &source, &chunk);
            read(&mut plain, &quiet, &source, &chunk);
            spent.extend(tally.take_spent(&mut growth));
            if flushes {
                take(&mut tally, &mut plain, &mut growth, &rules, &mut rows)?;
            }
        }
        read(&mut tally, &rules, &source, &chunk);
        read(&mut plain, &quiet, &source, &chunk);
        spent.extend(tally.take_spent(&mut growth));
        take(&mut tally, &mut plain, &mut growth, &rules, &mut rows)?;

        let is_told = |watch: Watch, _| watch.told;
        prop_assert_eq!(by_account(&spent, &watched), one_by_one(&lines, &watched, is_told));
        let has_rows = |watch: Watch, of| match of {
            PartOf::Class => watch.classes_by_minute,
            PartOf::Vhost | PartOf::User => watch.by_minute,
        };
        prop_assert_eq!(rows, one_by_one(&lines, &watched, has_rows));
    }
}

/// Rows of minutes are added to `rows`; the others are the same as where nothing is watched.
fn take(
    tally: &mut Tally,
    plain: &mut Tally,
    growth: &mut Growth,
    rules: &Rules,
    rows: &mut Sums,
) -> Result<(), TestCaseError> {
    let deltas = tally.ledger.take(growth, &rules.classes).0;
    for row in &deltas.minutes {
        let key = (
            row.vhost.to_string(),
            row.of,
            row.part.to_string(),
            row.minute,
        );
        *rows.entry(key).or_default() += row.amount.requests;
    }
    let without = Deltas {
        minutes: Vec::new(),
        new_names: BTreeMap::new(),
        ..deltas
    };
    let mut growth = Growth::new(KnownNames::default(), [], 99, 9);
    let plain = plain.ledger.take(&mut growth, &rules.classes).0;
    prop_assert_eq!(
        without,
        Deltas {
            new_names: BTreeMap::new(),
            ..plain
        }
    );
    Ok(())
}
