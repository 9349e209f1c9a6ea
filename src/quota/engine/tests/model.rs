//! Usage against a model that keeps every line, and adds them up anew each time.

use proptest::prelude::*;

use super::store::Committed;
use super::*;
use crate::quota::period;

const WARSAW: Tz = Tz::Europe__Warsaw;
/// 2026-10-24, 22:00 there: the clock goes back in that night.
const BEGIN: i64 = 1_792_872_000;

#[derive(Debug, Clone)]
enum Step {
    Spend(Vec<Line>),
    /// Another node; with or without rows of minutes.
    Other(Line, bool),
    Take,
    Commit,
    Ask,
    Read,
    Deliver,
    Report,
    StartOver,
    Pass(i64),
    Back(i64),
    Rules(usize),
}

#[derive(Debug, Clone)]
struct Line {
    vhost: usize,
    user: Option<usize>,
    class: Option<usize>,
    seconds_ago: i64,
    amount: Amount,
}

const VHOSTS: [&str; 4] = ["a.example", "b.example", "c.free.example", "_other"];
const USERS: [&str; 3] = ["alice", "bob", "_overflow"];
const CLASSES: [&str; 2] = ["campus", "world"];

fn line() -> impl Strategy<Value = Line> {
    let ago = prop_oneof![
        4 => -120..600_i64,
        1 => -7_200..100_000_i64,
        1 => 0..30 * DAY,
    ];
    let amount = (0..50_u64, 0..1_000_u64, 1..4_u64);
    let user = prop::option::of(0..USERS.len());
    let class = prop::option::of(0..CLASSES.len());
    (0..VHOSTS.len(), user, class, ago, amount).prop_map(
        |(vhost, user, class, seconds_ago, (bytes_in, bytes_out, requests))| Line {
            vhost,
            user,
            class,
            seconds_ago,
            amount: Amount {
                bytes_in,
                bytes_out,
                requests,
            },
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(line(), 1..4).prop_map(Step::Spend),
        3 => (line(), prop::bool::weighted(0.8)).prop_map(|(line, by)| Step::Other(line, by)),
        3 => Just(Step::Take),
        3 => Just(Step::Commit),
        2 => Just(Step::Ask),
        2 => Just(Step::Read),
        2 => Just(Step::Deliver),
        5 => Just(Step::Report),
        1 => Just(Step::StartOver),
        4 => prop_oneof![3 => 0..400_i64, 1 => 0..9_000_i64, 1 => 0..3 * DAY].prop_map(Step::Pass),
        1 => prop_oneof![1 => 0..400_i64, 1 => 0..2 * DAY].prop_map(Step::Back),
        1 => (0..RULES).prop_map(Step::Rules),
    ]
}

const RULES: usize = 4;

fn rule_set(number: usize) -> Rules {
    let with = |quota: Quota, period, measure| Quota {
        period,
        measure,
        ..quota
    };
    let class = |quota: Quota| Quota {
        class: Some("campus".to_owned()),
        ..quota
    };
    let rolling = |minutes| Period::Rolling { minutes };
    let leech = Quota {
        period: Period::Endless,
        ..quota("leech", Who::Leech("*".to_owned()))
    };
    let days = vec![
        quota("day", vhost("a.example")),
        with(
            quota("month", vhost("*")),
            Period::Month { day: 31 },
            Measure::Requests,
        ),
        with(quota("week", user("*", &[])), Period::Week, Measure::Out),
        with(quota("ever", owner("*")), Period::Endless, Measure::In),
    ];
    let short = vec![
        with(
            quota("hour", vhost("*")),
            minutes(60, "2026-01-01 00:20"),
            Measure::Out,
        ),
        with(
            quota("odd", owner("dembol")),
            minutes(1_500, "2026-01-01 10:30"),
            Measure::Both,
        ),
        class(with(
            quota("class", vhost("*")),
            minutes(2_880, "2026-01-01 12:00"),
            Measure::Both,
        )),
    ];
    let windows = vec![
        with(
            quota("roll", vhost("*.free.example")),
            rolling(90),
            Measure::Both,
        ),
        with(
            quota("roll days", user("alice", &["a.example", "b.example"])),
            rolling(4_000),
            Measure::Out,
        ),
        class(with(
            quota("roll class", owner("dembol")),
            rolling(2_880),
            Measure::Requests,
        )),
    ];
    let all = match number {
        0 => days,
        1 => [short, vec![leech]].concat(),
        2 => windows,
        _ => [days, short, windows, vec![leech]].concat(),
    };
    let mut rules = rules(all);
    let dembol = ["a.example", "b.example"].map(str::to_owned).to_vec();
    rules.owners.insert("dembol".to_owned(), dembol);
    rules
}

/// What the model knows of a line.
#[derive(Debug, Clone)]
struct Known {
    line: Committed,
    /// Whether the row of its day has been read, that of its minute, and any; of ours: always.
    day: bool,
    minute: bool,
    read: bool,
}

struct Model {
    engine: Engine,
    store: Store,
    now: i64,
    rules: Rules,
    /// All lines, of ours those, too, that are not committed.
    lines: Vec<Known>,
    current: Vec<Spent>,
    batches: Vec<(u64, Vec<Spent>)>,
    taken: u64,
    asked: Option<Needs>,
    /// With the number of lines that there were.
    read: Option<(Snapshot, usize)>,
    /// Of the last full snapshot, and the number of the last of all.
    full: Option<Needs>,
    seq: u64,
}

impl Model {
    fn new() -> Self {
        let rules = rule_set(3);
        let mut store = Store::default();
        store.leech.insert("alice".to_owned(), (77, Some(1_000)));
        Self {
            engine: Engine::new(rules.clone(), AllTold::new(), WARSAW, BEGIN),
            store,
            now: BEGIN,
            rules,
            lines: Vec::new(),
            current: Vec::new(),
            batches: Vec::new(),
            taken: 0,
            asked: None,
            read: None,
            full: None,
            seq: 0,
        }
    }

    fn spent(&self, line: &Line) -> Spent {
        let at = self.now - line.seconds_ago;
        Spent {
            vhost: VHOSTS[line.vhost].into(),
            user: line.user.map(|user| USERS[user].into()),
            class: line.class.map(|class| CLASSES[class].into()),
            day: clock::day_of(WARSAW, at),
            minute: at.div_euclid(60),
            amount: line.amount,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Spend(lines) => {
                let spent: Vec<_> = lines.iter().map(|line| self.spent(line)).collect();
                self.current.extend(spent.iter().cloned());
                self.engine.spend(spent, self.now);
            }
            Step::Other(line, by_minute) => {
                let spent = self.spent(&line);
                self.store.lines.push(Committed { spent, by_minute });
                let line = self.store.lines[self.store.lines.len() - 1].clone();
                self.lines.push(Known {
                    line,
                    day: false,
                    minute: false,
                    read: false,
                });
            }
            Step::Take => {
                self.taken += 1;
                self.engine.taken(self.taken);
                self.batches
                    .push((self.taken, std::mem::take(&mut self.current)));
            }
            Step::Commit if !self.batches.is_empty() => {
                let (seq, lines) = self.batches.remove(0);
                for spent in &lines {
                    self.lines.push(Known {
                        line: Committed {
                            spent: spent.clone(),
                            by_minute: true,
                        },
                        day: true,
                        minute: true,
                        read: true,
                    });
                }
                self.store.flush(seq, lines);
            }
            Step::Ask => {
                self.read = None;
                self.asked = self.engine.needs(self.now);
            }
            Step::Read => {
                let asked = self.asked.take();
                self.read = asked.map(|needs| (self.store.usage(&needs), self.lines.len()));
            }
            Step::Deliver => self.deliver(),
            Step::Report => {
                for step in [Step::Ask, Step::Read, Step::Deliver] {
                    self.step(step);
                }
            }
            Step::StartOver => {
                self.batches.clear();
                self.current.clear();
                self.taken = self.store.seq;
                self.engine.start_over(self.store.seq, self.now);
            }
            Step::Pass(seconds) => {
                self.now += seconds;
                self.engine.tick(self.now);
            }
            Step::Back(seconds) => {
                self.now -= seconds;
                self.engine.tick(self.now);
            }
            Step::Rules(number) => {
                self.rules = rule_set(number);
                self.engine.set_rules(self.rules.clone(), self.now);
            }
            Step::Commit => {}
        }
    }

    fn deliver(&mut self) {
        let Some((snapshot, there)) = self.read.take() else {
            return;
        };
        let (needs, seq) = (snapshot.needs.clone(), snapshot.seq);
        self.engine.snapshot(snapshot, self.now);
        let goes_on = |full: &Needs| {
            needs.recent_day <= full.recent_day
                && needs.recent_minute <= full.recent_minute
                && [needs.by_minute, needs.users, needs.classes, needs.leech]
                    >= [full.by_minute, full.users, full.classes, full.leech]
        };
        if seq < self.seq || !needs.full && !self.full.as_ref().is_some_and(goes_on) {
            return;
        }
        self.seq = seq;
        if needs.full {
            self.full = Some(needs.clone());
        }
        let Some(full) = &self.full else { return };
        for known in self.lines.iter_mut().take(there) {
            known.read = true;
            known.day |= needs.full || known.line.spent.day >= full.recent_day;
            let is_recent = known.line.spent.minute >= full.recent_minute;
            known.minute |= known.line.by_minute && (needs.full || is_recent);
        }
    }

    fn expected(&self, standing: &Standing) -> u64 {
        let quota = self
            .rules
            .quotas
            .iter()
            .find(|quota| quota.name == standing.quota);
        let quota = quota.expect("a quota");
        let ours = self
            .batches
            .iter()
            .flat_map(|(_, lines)| lines)
            .chain(&self.current);
        let ours = ours.map(|spent| Known {
            line: Committed {
                spent: spent.clone(),
                by_minute: true,
            },
            day: true,
            minute: true,
            read: true,
        });
        let all = self.lines.iter().cloned().chain(ours);
        let lines: Vec<_> = all
            .filter(|known| self.is_of(known, quota, &standing.account))
            .collect();
        let amount = |known: &Known| {
            let Amount {
                bytes_in,
                bytes_out,
                requests,
            } = known.line.spent.amount;
            match quota.measure {
                Measure::In => bytes_in,
                Measure::Out => bytes_out,
                Measure::Both => bytes_in + bytes_out,
                Measure::Requests => requests,
            }
        };
        let sum = |counts: &dyn Fn(&Known) -> bool| {
            let counting = lines.iter().filter(|known| counts(known));
            counting.map(amount).sum::<u64>()
        };
        if let Who::Leech(_) = quota.who {
            let lines = lines.iter().filter(|known| known.read);
            return 77 + lines.map(amount).sum::<u64>();
        }
        if let Period::Rolling { minutes } = quota.period {
            let step = i64::from((minutes / 288).max(1));
            let first_minute = self.now.div_euclid(60) - i64::from(minutes) + 1;
            let counts = |minute: i64| minute.div_euclid(step) * step + step > first_minute;
            let by_minutes = sum(&|known| known.minute && counts(known.line.spent.minute));
            let first_day = clock::day_of(WARSAW, first_minute.div_euclid(step) * step * 60);
            let mut rest = 0;
            let days: std::collections::BTreeSet<_> =
                lines.iter().map(|known| known.line.spent.day).collect();
            for day in days.into_iter().filter(|day| *day >= first_day) {
                let of_day = sum(&|known| known.day && known.line.spent.day == day);
                let of_minutes = sum(&|known| known.minute && known.line.spent.day == day);
                if counts(clock::day_begins(WARSAW, day + 1) / 60 - 1) {
                    rest += of_day.saturating_sub(of_minutes);
                }
            }
            return by_minutes + rest;
        }
        let span = period::at(&quota.period, WARSAW, self.now);
        sum(&|known| {
            let Spent { day, minute, .. } = known.line.spent;
            if day >= span.first_whole_day {
                return known.day;
            }
            known.minute
                && span.begins != i64::MIN
                && minute * 60 >= span.begins
                && crate::quota::watch::by_minute(&quota.period)
        })
    }

    fn is_of(&self, known: &Known, quota: &Quota, account: &Account) -> bool {
        let spent = &known.line.spent;
        let vhost = &*spent.vhost;
        let owned = |owner: &String| self.rules.owners[owner].iter().any(|had| had == vhost);
        let in_class = |class: &String| spent.class.as_deref() == Some(class.as_str());
        match account {
            Account::Vhost(name) => name == vhost,
            Account::VhostClass(name, class) => name == vhost && in_class(class),
            Account::Owner(name) => owned(name),
            Account::OwnerClass(name, class) => owned(name) && in_class(class),
            Account::User(name) => {
                let is_on = match &quota.who {
                    Who::User { vhosts, .. } => {
                        vhosts.is_empty() || vhosts.iter().any(|had| had == vhost)
                    }
                    _ => true,
                };
                spent.user.as_deref() == Some(name.as_str()) && is_on
            }
        }
    }

    fn check(&self) {
        let (engine, closed) = (&self.engine, self.engine.verdicts().closed);
        let anew = engine.gates.closed_anew(&engine.meters, &engine.quotas);
        assert_eq!(closed, anew, "a change was missed");
        if !self.engine.verdicts().complete {
            return;
        }
        for standing in self.engine.standings() {
            let expected = self.expected(&standing);
            assert_eq!(standing.used, expected, "{standing:?} at {}", self.now);
            let is_exceeded = expected >= standing.limit;
            let is_window = self.rules.quotas.iter().any(|quota| {
                quota.name == standing.quota && matches!(quota.period, Period::Rolling { .. })
            });
            if !is_window {
                assert_eq!(
                    standing.verdict == Verdict::Exceeded(100),
                    is_exceeded,
                    "{standing:?}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn usage_is_the_sum_of_all_lines_that_count(steps in prop::collection::vec(step(), 1..80)) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
            model.check();
        }
    }
}
