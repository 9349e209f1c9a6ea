//! What operators say in the tables, thresholds told once, and what is deleted when it is old.

use super::*;

pub(super) fn told(account: Account, begins: i64) -> Told {
    ("vhost a out 1G".to_owned(), account, begins, 80)
}

pub(super) fn a_threshold_is_told_by_one_of_many(bench: &Bench) {
    let accounts = [
        Account::Vhost("a".into()),
        Account::Vhost("A".into()),
        Account::VhostClass("a".into(), "a".into()),
        Account::Owner("a".into()),
        Account::OwnerClass("a".into(), "ż".into()),
        Account::User("a".into()),
    ];
    let all: BTreeSet<Told> = accounts
        .iter()
        .flat_map(|account| [0, NOW].map(|begins| told(account.clone(), begins)))
        .collect();
    let telling = |_: usize| {
        let mut store = bench.open();
        let all = &all;
        move || {
            let told = all
                .iter()
                .filter(|one| store.tell(one, NOW).expect("an answer"));
            told.count()
        }
    };
    let told: usize = thread::scope(|scope| {
        let tellers: Vec<_> = (0..4).map(telling).map(|tell| scope.spawn(tell)).collect();
        tellers
            .into_iter()
            .map(|t| t.join().expect("a count"))
            .sum()
    });
    assert_eq!(told, all.len(), "each by exactly one");
    let mut store = bench.open();
    assert_eq!(store.told().expect("what was told"), all);
    let one = all.first().expect("one");
    assert!(!store.tell(one, NOW).expect("an answer"));
    store.untell(one).expect("forgotten");
    store.untell(one).expect("forgotten already");
    assert_eq!(store.told().expect("what was told").len(), all.len() - 1);
    assert!(store.tell(one, NOW).expect("an answer"));
    // What somebody else wrote there is none of ours.
    let table = match bench {
        Bench::Sqlite(_) => "told",
        Bench::Mysql(_) => "tollkeeper_told",
    };
    bench.sql(&format!(
        "UPDATE {table} SET account_kind = 'x' WHERE account_kind = 'user'"
    ));
    assert_eq!(store.told().expect("what was told").len(), all.len() - 2);
}

pub(super) fn what_people_write_is_seen_and_what_makes_no_sense_is_named(bench: &Bench) {
    let mut store = bench.open();
    assert_eq!(store.said().expect("nothing"), Default::default());
    bench.sql(
        "INSERT INTO quota (vhost, amount, period, billing_day, warn) VALUES ('example.org', '100G', 'month', 15, '80, 95'); \
         INSERT INTO quota (`user`, vhosts, class, amount, rolling, report_only, exceeded) \
             VALUES ('ąlice', 'a b', '', ' 1G ', '30D', 1, NULL); \
         INSERT INTO owner VALUES ('carol', 'example.org'), ('carol', ''); \
         INSERT INTO class VALUES ('campus', '2001:db8::/32'); \
         INSERT INTO quota_grant (quota, account_kind, name, kind, amount, `at`) \
             VALUES ('q', 'Vhost', 'a', 'more', 5, 0), ('q', 'site', 'a', 'more', 5, 0), ('q', 'user', 'a', 'reset', -5, 0); \
         INSERT INTO quota_exempt (account_kind, name, class, quota) VALUES ('owner', 'carol', 'campus', ''), ('user', 'a', 'b', NULL);",
    );
    let text = |text: &str| Some(text.to_owned());
    let said = store.said().expect("what is said");
    let month = QuotaRow {
        id: 1,
        vhost: text("example.org"),
        amount: text("100G"),
        period: text("month"),
        billing_day: text("15"),
        warn: text("80, 95"),
        ..QuotaRow::default()
    };
    let rolling = QuotaRow {
        id: 2,
        user: text("ąlice"),
        vhosts: text("a b"),
        amount: text("1G"),
        rolling: text("30D"),
        report_only: true,
        ..QuotaRow::default()
    };
    assert_eq!(said.quotas, [month.clone(), rolling.clone()]);
    assert_eq!(said.owners, [("carol".into(), "example.org".into())]);
    assert_eq!(said.classes, [("campus".into(), "2001:db8::/32".into())]);
    let [grant] = said.overrides.grants.as_slice() else {
        panic!("{:?}", said.overrides);
    };
    assert_eq!(grant.account, Account::Vhost("a".into()));
    assert_eq!((grant.kind, grant.until), (GrantKind::More(5), None));
    let exempt = Exempt {
        account: Account::OwnerClass("carol".into(), "campus".into()),
        quota: None,
        until: None,
    };
    assert_eq!(said.overrides.exempt, [exempt]);
    let faults = [
        "table owner, row carol, column vhost: it is empty",
        "table quota_grant, row 2, column account_kind: \"site\" is none of vhost, user and owner",
        "table quota_grant, row 3, column amount: -5 is less than nothing",
        "table quota_exempt, row 2, column class: a user has none",
    ];
    assert_eq!(said.faults, faults);
    assert_eq!(store.said().expect("the same"), said);

    // By others, and by ourselves.
    bench.sql("UPDATE quota SET amount = '200G' WHERE id = 1; DELETE FROM quota WHERE id = 2");
    let amount = text("200G");
    assert_eq!(
        store.said().expect("the new").quotas,
        [QuotaRow { amount, ..month }]
    );
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    store
        .flush(&mut writer, "n", &Batch::default(), NOW)
        .expect("a flush");
    store.grant(&grant.clone()).expect("a grant");
    assert_eq!(store.said().expect("the new").overrides.grants.len(), 2);
}

pub(super) fn what_is_granted_and_exempted_comes_back(bench: &Bench) {
    let mut store = bench.open();
    let mut grants = Vec::new();
    for (account, kind, until) in [
        (
            Account::Vhost("a".into()),
            GrantKind::More(1 << 40),
            Some(NOW),
        ),
        (
            Account::VhostClass("a".into(), "c".into()),
            GrantKind::Reset(0),
            None,
        ),
        (
            Account::User("\\x5finvalid".into()),
            GrantKind::Reset(i64::MAX as u64),
            Some(-1),
        ),
    ] {
        let grant = Grant {
            quota: "sql:1".into(),
            account,
            kind,
            at: NOW - 5,
            until,
        };
        store.grant(&grant).expect("a grant");
        grants.push(grant);
    }
    let exempt = |quota: Option<&str>, until| Exempt {
        account: Account::Owner("carol".into()),
        quota: quota.map(str::to_owned),
        until,
    };
    let mut change = |exempt: &Exempt, is| store.exempt(exempt, is).expect("an answer");
    assert!(change(&exempt(None, None), true));
    assert!(!change(&exempt(None, None), true), "it was so already");
    assert!(change(&exempt(None, Some(NOW)), true), "another end");
    assert!(change(&exempt(Some("q"), None), true), "of one quota alone");
    let expected = Overrides {
        grants,
        exempt: vec![exempt(None, Some(NOW)), exempt(Some("q"), None)],
    };
    let mut other = bench.open();
    let mut overrides = || other.said().expect("what is said").overrides;
    assert_eq!(overrides(), expected);
    assert!(change(&exempt(None, None), false), "whatever its end");
    assert!(!change(&exempt(None, None), false), "it was gone already");
    assert_eq!(overrides().exempt, [exempt(Some("q"), None)]);
}

pub(super) fn what_is_old_is_deleted_bounded_and_nothing_else(bench: &Bench) {
    const YEAR: i64 = 400 * 86_400;
    let mut store = bench.open();
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let mut batch = Batch::default();
    // More than one statement deletes.
    for minute in 30_000_000..30_020_005 {
        let row = minute_delta("a", PartOf::Vhost, "", minute, Amount::default());
        batch.deltas.minutes.push(row);
    }
    store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
    for until in [None, Some(NOW), Some(NOW + 1)] {
        let grant = Grant {
            quota: "q".into(),
            account: Account::User("u".into()),
            kind: GrantKind::More(1),
            at: 0,
            until,
        };
        store.grant(&grant).expect("a grant");
    }
    for begins in [0, 1, 2] {
        let at = NOW + i64::from(begins == 2);
        store
            .tell(&told(Account::User("u".into()), begins), at)
            .expect("told");
    }
    store.prune(30_020_003, NOW + 1 + YEAR).expect("deleted");
    let left = bench.numbers("SELECT minute FROM bandwidth_minute ORDER BY minute");
    assert_eq!(left, [vec![Some(30_020_003)], vec![Some(30_020_004)]]);
    let grants = store.said().expect("what is said").overrides.grants;
    let untils: Vec<_> = grants.iter().map(|grant| grant.until).collect();
    assert_eq!(untils, [None, Some(NOW + 1)]);
    let begins: Vec<_> = store
        .told()
        .expect("told")
        .iter()
        .map(|told| told.2)
        .collect();
    assert_eq!(begins, [0, 2], "a window without a begin is not over");
}
