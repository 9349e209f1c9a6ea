//! Reports as data: rows in, text out.

use super::table::{bar, human_bytes};
use super::*;
use unicode_width::UnicodeWidthStr as _;

fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, day).unwrap_or_default()
}

fn row(on: u32, vhost: &str, user: Option<&str>, numbers: [u64; 3]) -> UsageRow {
    UsageRow {
        day: day(on),
        vhost: vhost.into(),
        user: user.map(str::to_owned),
        class: None,
        layer: None,
        bytes_in: numbers[0],
        bytes_out: numbers[1],
        requests: numbers[2],
    }
}

fn by(text: &str) -> By {
    text.parse().expect(text)
}

/// The report as JSON.
fn json(keys: &str, rows: &[UsageRow]) -> String {
    let by = by(keys);
    let owners = BTreeMap::from([("bob".to_owned(), vec!["b.example".to_owned()])]);
    let mut out = Vec::new();
    write_json(&mut out, &by, &aggregate(&by, rows, &owners)).expect("memory");
    String::from_utf8(out).expect("text")
}

fn table(keys: &str, rows: &[UsageRow], layout: Layout) -> String {
    let by = by(keys);
    let owners = BTreeMap::new();
    let mut out = Vec::new();
    write_table(&mut out, &by, &aggregate(&by, rows, &owners), layout).expect("memory");
    String::from_utf8(out).expect("text")
}

#[test]
fn keys_are_understood() {
    for (text, expected) in [
        ("day,vhost", Ok("day,vhost")),
        ("user", Ok("day,vhost,user")),
        ("class", Ok("day,vhost,class")),
        ("vhost,user", Ok("vhost,user")),
        ("user,vhost", Ok("user,vhost")),
        ("owner", Ok("owner")),
        ("layer", Ok("layer")),
        ("day,vhost,layer", Ok("day,vhost,layer")),
        (
            "month,owner,vhost,user,day",
            Ok("month,owner,vhost,user,day"),
        ),
        ("", Err("unknown key")),
        ("day,", Err("unknown key")),
        ("day, vhost", Err("unknown key")),
        ("Day", Err("unknown key")),
        ("day,day", Err("twice")),
        ("user,class", Err("not of both")),
        ("day,vhost,class,user", Err("not of both")),
        ("layer,user", Err("have no users")),
        ("day,class,layer", Err("have no users")),
    ] {
        match (text.parse::<By>(), expected) {
            (Ok(by), Ok(expected)) => assert_eq!(by.to_string(), expected),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (result, _) => panic!("{text}: {result:?}"),
        }
    }
    assert_eq!(By::default().to_string(), "day,vhost");
    assert_eq!(by("day").parts(), None);
    assert_eq!(by("month,user").parts(), Some(UsageTable::Users));
    assert_eq!(by("class").parts(), Some(UsageTable::Classes));
    assert_eq!(by("layer,vhost").parts(), None);
    assert!(by("layer,vhost").has_layers() && !by("vhost").has_layers());
}

#[test]
fn layers_stand_side_by_side_and_are_not_summed() {
    let inner = |on, vhost, layer: &str, numbers| UsageRow {
        layer: Some(layer.to_owned()),
        ..row(on, vhost, None, numbers)
    };
    let rows = [
        row(21, "a.example", None, [1, 10, 1]),
        row(22, "a.example", None, [2, 20, 1]),
        inner(21, "a.example", "php", [3, 30, 2]),
        inner(21, "a.example", "backend", [4, 40, 2]),
    ];
    assert_eq!(
        json("vhost,layer", &rows),
        "[\n\
         {\"vhost\":\"a.example\",\"layer\":\"backend\",\"in\":4,\"out\":40,\"requests\":2},\n\
         {\"vhost\":\"a.example\",\"layer\":\"edge\",\"in\":3,\"out\":30,\"requests\":2},\n\
         {\"vhost\":\"a.example\",\"layer\":\"php\",\"in\":3,\"out\":30,\"requests\":2}\n]\n"
    );
    assert_eq!(
        table("layer", &rows, Layout::Plain),
        "layer    in  out  requests\n\
         backend   4   40         2\n\
         edge      3   30         2\n\
         php       3   30         2\n"
    );
    assert_eq!(
        table("day,layer", &rows[..2], Layout::Plain),
        "day         layer  in  out  requests\n\
         2026-11-21  edge    1   10         1\n\
         2026-11-22  edge    2   20         1\n\
         total               3   30         2\n"
    );
}

#[test]
fn what_no_user_has_is_left_over() {
    let totals = [
        row(1, "a.example", None, [10, 100, 5]),
        row(1, "b.example", None, [1, 2, 3]),
        row(2, "a.example", None, [7, 7, 7]),
        row(3, "a.example", None, [1, 1, 1]),
    ];
    let parts = vec![
        row(1, "a.example", Some("alice"), [4, 40, 2]),
        row(1, "a.example", Some("bob"), [1, 60, 1]),
        row(2, "a.example", Some("bob"), [7, 7, 7]),
        row(3, "a.example", Some("bob"), [2, 0, 9]),
    ];
    let mut expected = parts.clone();
    expected.push(row(1, "a.example", None, [5, 0, 2]));
    expected.push(row(1, "b.example", None, [1, 2, 3]));
    expected.push(row(3, "a.example", None, [0, 1, 0]));
    assert_eq!(remainder(&totals, parts), expected);
    assert_eq!(remainder(&[], vec![]), []);
}

#[test]
fn json_has_exactly_the_keys_in_their_order() {
    let rows = [
        row(21, "b.example", Some("alice"), [1, 2, 3]),
        row(21, "a.example", Some("alice"), [u64::MAX, 2, 1]),
        row(20, "a.example", Some("alice"), [u64::MAX, 2, 1]),
        row(21, "a.example", None, [4, 5, 6]),
    ];
    for (keys, expected) in [
        (
            "user",
            "[\n\
             {\"day\":\"2026-11-20\",\"vhost\":\"a.example\",\"user\":\"alice\",\"in\":18446744073709551615,\"out\":2,\"requests\":1},\n\
             {\"day\":\"2026-11-21\",\"vhost\":\"a.example\",\"user\":null,\"in\":4,\"out\":5,\"requests\":6},\n\
             {\"day\":\"2026-11-21\",\"vhost\":\"a.example\",\"user\":\"alice\",\"in\":18446744073709551615,\"out\":2,\"requests\":1},\n\
             {\"day\":\"2026-11-21\",\"vhost\":\"b.example\",\"user\":\"alice\",\"in\":1,\"out\":2,\"requests\":3}\n]\n",
        ),
        (
            "owner,month",
            "[\n\
             {\"owner\":null,\"month\":\"2026-11\",\"in\":36893488147419103234,\"out\":9,\"requests\":8},\n\
             {\"owner\":\"bob\",\"month\":\"2026-11\",\"in\":1,\"out\":2,\"requests\":3}\n]\n",
        ),
        (
            "vhost",
            "[\n\
             {\"vhost\":\"a.example\",\"in\":36893488147419103234,\"out\":9,\"requests\":8},\n\
             {\"vhost\":\"b.example\",\"in\":1,\"out\":2,\"requests\":3}\n]\n",
        ),
    ] {
        assert_eq!(json(keys, &rows), expected, "{keys}");
    }
    assert_eq!(json("day,vhost", &[]), "[]\n");
}

#[test]
fn json_and_csv_keep_every_name_exact() {
    let rows = [
        row(1, "a.example", Some("x,\"y\"\\x0a"), [1, 2, 3]),
        row(1, "a.example", None, [4, 5, 6]),
    ];
    assert!(json("vhost,user", &rows).contains(r#""user":"x,\"y\"\\x0a","#));

    let by = by("vhost,user");
    let owners = BTreeMap::new();
    let mut out = Vec::new();
    write_csv(&mut out, &by, &aggregate(&by, &rows, &owners)).expect("memory");
    assert_eq!(
        String::from_utf8_lossy(&out),
        "vhost,user,in,out,requests\na.example,,4,5,6\na.example,\"x,\"\"y\"\"\\x0a\",1,2,3\n"
    );
    let mut out = Vec::new();
    write_csv(&mut out, &by, &[]).expect("memory");
    assert_eq!(
        String::from_utf8_lossy(&out),
        "vhost,user,in,out,requests\n"
    );
}

#[test]
fn a_plain_table_is_exact_and_whole() {
    let rows = [
        row(1, "a.example", None, [1_234_567_890, 5, 6]),
        row(2, "long-name.b.example", None, [1, 22, 333]),
    ];
    assert_eq!(
        table("day,vhost", &rows, Layout::Plain),
        "day         vhost                        in  out  requests\n\
         2026-11-01  a.example            1234567890    5         6\n\
         2026-11-02  long-name.b.example           1   22       333\n\
         total                            1234567891   27       339\n"
    );
    assert_eq!(
        table("vhost", &[], Layout::Plain),
        "vhost  in  out  requests\ntotal   0    0         0\n"
    );
}

#[test]
fn a_table_on_a_terminal_has_units_and_bars() {
    let rows = [
        row(1, "a.example", None, [1_000_000, 1_234_567_890, 6]),
        row(2, "b.example", None, [1, 617_783_944, 333]),
    ];
    assert_eq!(
        table("day,vhost", &rows, Layout::Terminal { columns: 64 }),
        "day         vhost           in      out  requests\n\
         2026-11-01  a.example  1.00 MB  1.23 GB         6  █████████████\n\
         2026-11-02  b.example      1 B   618 MB       333  ██████▌\n\
         total                  1.00 MB  1.85 GB       339\n"
    );
}

#[test]
fn a_narrow_terminal_cuts_names() {
    let rows = [row(
        1,
        "a-rather-long-name.of-a-site.example",
        None,
        [1, 1000, 6],
    )];
    let text = table("day,vhost", &rows, Layout::Terminal { columns: 48 });
    assert!(text.lines().all(|line| line.width() <= 48), "{text}");
    assert!(text.contains('…'), "{text}");
    let text = table("day,vhost", &rows, Layout::Terminal { columns: 10 });
    assert!(text.contains("2026-11-01  a-rat…  1 B"), "{text}");
}

#[test]
fn nothing_moves_the_cursor() {
    let rows = [row(
        1,
        "a\u{1b}[2J\n.example",
        Some("\u{9b}x\u{202e}y"),
        [1, 1, 1],
    )];
    for layout in [Layout::Plain, Layout::Terminal { columns: 100 }] {
        let text = table("vhost,user", &rows, layout);
        assert!(
            text.contains("a\\x1b[2J\\x0a.example  \\xc2\\x9bx\\xe2\\x80\\xaey"),
            "{text}"
        );
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    }
}

#[test]
fn units_have_three_figures() {
    for (count, expected) in [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (1234, "1.23 kB"),
        (1235, "1.24 kB"),
        (9994, "9.99 kB"),
        (9995, "10.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (1_230_000_000, "1.23 GB"),
        (u128::from(u64::MAX), "18.4 EB"),
        (1_234_567 * 10u128.pow(24), "1234567 YB"),
    ] {
        assert_eq!(human_bytes(count), expected, "{count}");
    }
    assert!(human_bytes(u128::MAX).ends_with(" YB"));
}

#[test]
fn bars_grow_by_eighths() {
    for (part, whole, columns, expected) in [
        (8, 8, 2, "██"),
        (4, 8, 2, "█"),
        (1, 16, 2, "▏"),
        (15, 16, 2, "█▉"),
        (0, 8, 2, ""),
        (0, 0, 2, ""),
        (1, 2, 0, ""),
    ] {
        assert_eq!(bar(part, whole, columns), expected);
    }
}
