//! A JSON line says the same in whatever order, spacing and escaping it is written, and whatever
//! else stands in it; a line with one byte too many or too few says nothing.

use proptest::prelude::*;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Plan;
use tollkeeper_parsers::record::{Line, Logged};
use tollkeeper_parsers::time::Time;

fn plan() -> Plan {
    let keys = "json:time:ms=at,out=bytes.sent,in=bytes.received,vhost=host,user=who.user.name,status=status,duration:us=took,path=\"a b\"";
    match Spec::parse(keys) {
        Ok(Spec::Format(format)) => Plan::compile(&format).expect("a plan"),
        other => panic!("{other:?}"),
    }
}

/// JSON, as a tree that can hold the same key twice.
#[derive(Debug, Clone)]
enum Json {
    /// Anything that is written as it is: a number, `true`, `false`, `null`.
    Bare(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// How a line is written: what stands at each place where JSON leaves a choice.
struct Writer<'c> {
    choices: std::iter::Cycle<std::slice::Iter<'c, u8>>,
    line: String,
}

impl Writer<'_> {
    fn choice(&mut self) -> u8 {
        self.choices.next().copied().unwrap_or(0)
    }

    fn space(&mut self) {
        let space = ["", "", "", "", "", " ", "\t", "\r", " \n "];
        let choice = usize::from(self.choice()) % space.len();
        self.line.push_str(space[choice]);
    }

    fn text(&mut self, text: &str) {
        self.line.push('"');
        for character in text.chars() {
            let short = match character {
                '"' | '\\' | '/' => Some(character),
                '\n' => Some('n'),
                '\r' => Some('r'),
                '\t' => Some('t'),
                '\u{8}' => Some('b'),
                '\u{c}' => Some('f'),
                _ => None,
            };
            let must = (character < ' ') || matches!(character, '"' | '\\');
            match (self.choice() % 8, short) {
                (0, _) => self.units(character),
                (1..4, Some(short)) => self.line.extend(['\\', short]),
                _ if must => self.units(character),
                _ => self.line.push(character),
            }
        }
        self.line.push('"');
    }

    fn units(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            let written = if self.choice().is_multiple_of(2) {
                format!("\\u{unit:04x}")
            } else {
                format!("\\u{unit:04X}")
            };
            self.line.push_str(&written);
        }
    }

    fn list<T>(&mut self, open: char, close: char, items: &[T], one: fn(&mut Self, &T)) {
        self.line.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.line.push(',');
            }
            self.space();
            one(self, item);
            self.space();
        }
        if items.is_empty() {
            self.space();
        }
        self.line.push(close);
    }

    fn json(&mut self, json: &Json) {
        match json {
            Json::Bare(bare) => self.line.push_str(bare),
            Json::Text(text) => self.text(text),
            Json::Array(items) => self.list('[', ']', items, Self::json),
            Json::Object(entries) => self.list('{', '}', entries, |writer, (key, value)| {
                writer.text(key);
                writer.space();
                writer.line.push(':');
                writer.space();
                writer.json(value);
            }),
        }
    }
}

fn written(json: &Json, choices: &[u8]) -> String {
    let mut writer = Writer {
        choices: choices.iter().cycle(),
        line: String::new(),
    };
    writer.space();
    writer.json(json);
    writer.space();
    writer.line
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z.:]{1,20}",
        "\\PC{1,9}",
        prop::collection::vec(
            prop_oneof![any::<char>(), Just('"'), Just('\\'), Just('\u{1}')],
            1..40
        )
        .prop_map(|text| text.into_iter().collect()),
    ]
    .prop_filter("no value", |text: &String| text != "-")
}

/// What nobody reads.
fn other() -> impl Strategy<Value = Json> {
    let bare = prop::sample::select(vec![
        "true",
        "false",
        "null",
        "0",
        "-0",
        "12",
        "-1.5e+9",
        "0.25",
        "1E-7",
        "123456789012345678901",
    ]);
    let leaf = prop_oneof![
        bare.prop_map(|bare| Json::Bare(bare.to_owned())),
        text().prop_map(Json::Text),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            // Keys that are read elsewhere mean nothing here.
            prop::collection::vec((key(), inner), 0..4).prop_map(Json::Object),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => text(),
        1 => prop::sample::select(vec!["sent", "host", "status", "at", "bytes", "name", "user"])
            .prop_map(str::to_owned),
    ]
}

/// Keys of the line's object that nobody reads.
fn unread() -> impl Strategy<Value = Vec<(String, Json)>> {
    let is_read = |key: &String| {
        ["at", "bytes", "host", "who", "status", "took", "a b"].contains(&key.as_str())
    };
    let key = key().prop_filter("a key that is read", move |key| !is_read(key));
    prop::collection::vec((key, other()), 0..5)
}

/// A whole number in one of the ways that it can be written.
fn number(value: u64, way: u8) -> Json {
    match way % 5 {
        0 => Json::Text(value.to_string()),
        1 => Json::Bare(format!("{value}.0")),
        2 => Json::Bare(format!("{value}000e-3")),
        3 if value.is_multiple_of(10) && value > 0 => Json::Bare(format!("{}E1", value / 10)),
        _ => Json::Bare(value.to_string()),
    }
}

fn decoded(logged: Option<Logged<'_>>) -> Option<String> {
    logged.map(|logged| String::from_utf8_lossy(&logged.decode()).into_owned())
}

/// What a line says, and how it is written.
#[derive(Debug, Clone)]
struct Drawn {
    at: u64,
    sent: u64,
    received: u64,
    status: u16,
    took: u64,
    host: String,
    user: String,
    path: String,
    ways: [u8; 5],
    unread: Vec<(String, Json)>,
    below: Vec<(String, Json)>,
    order: prop::sample::Index,
    choices: Vec<u8>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let numbers = (
        0..253_402_300_799_999_u64,
        0..1_u64 << 60,
        0..1_u64 << 40,
        100..1000_u16,
        0..1_u64 << 50,
    );
    let texts = (text(), text(), text());
    let rest = (
        any::<[u8; 5]>(),
        unread(),
        unread(),
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<u8>(), 1..60),
    );
    (numbers, texts, rest).prop_map(
        |(
            (at, sent, received, status, took),
            (host, user, path),
            (ways, unread, below, order, choices),
        )| Drawn {
            at,
            sent,
            received,
            status,
            took,
            host,
            user,
            path,
            ways,
            unread,
            below,
            order,
            choices,
        },
    )
}

impl Drawn {
    fn json(&self) -> Json {
        let object = |entries: Vec<(&str, Json)>| {
            entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<Vec<_>>()
        };
        let mut bytes = object(vec![("sent", number(self.sent, self.ways[0]))]);
        bytes.extend(
            self.below
                .iter()
                .filter(|(key, _)| key != "sent" && key != "received")
                .cloned(),
        );
        bytes.extend(object(vec![(
            "received",
            number(self.received, self.ways[1]),
        )]));
        let name = Json::Object(object(vec![("name", Json::Text(self.user.clone()))]));
        let mut entries = object(vec![
            ("at", number(self.at, self.ways[2])),
            ("bytes", Json::Object(bytes)),
            ("status", number(u64::from(self.status), self.ways[3])),
            ("took", number(self.took, self.ways[4])),
            ("host", Json::Text(self.host.clone())),
            ("who", Json::Object(object(vec![("user", name)]))),
            ("a b", Json::Text(self.path.clone())),
        ]);
        entries.extend(self.unread.iter().cloned());
        let turned = self.order.index(entries.len());
        entries.rotate_left(turned);
        Json::Object(entries)
    }
}

proptest! {
    #[test]
    fn a_line_says_the_same_however_it_is_written(drawn in drawn()) {
        let line = written(&drawn.json(), &drawn.choices);
        let plan = plan();
        let record = match plan.read(line.as_bytes()) {
            Ok(Line::Record(record)) => record,
            other => return Err(TestCaseError::fail(format!("{line}: {other:?}"))),
        };
        let seconds = i64::try_from(drawn.at / 1000).expect("a time");
        prop_assert_eq!(record.time, Some(Time::Instant(seconds)));
        prop_assert_eq!(record.bytes_out, Some(drawn.sent));
        prop_assert_eq!(record.bytes_in, Some(drawn.received));
        prop_assert_eq!(record.status, Some(drawn.status));
        prop_assert_eq!(record.duration_us, Some(drawn.took));
        prop_assert_eq!(decoded(record.vhost), Some(drawn.host));
        prop_assert_eq!(decoded(record.user), Some(drawn.user));
        prop_assert_eq!(decoded(record.path), Some(drawn.path));
    }

    #[test]
    fn a_line_that_is_cut_says_nothing(drawn in drawn(), at in any::<prop::sample::Index>()) {
        let line = written(&drawn.json(), &drawn.choices);
        let whole = line.trim_end();
        let cut = at.index(whole.len());
        let read = plan().read(&whole.as_bytes()[..cut]);
        prop_assert!(!matches!(read, Ok(Line::Record(_))), "{}", &line.as_bytes()[..cut].escape_ascii());
        // And gone on with another.
        let torn = [&whole.as_bytes()[..cut], whole.as_bytes()].concat();
        prop_assert!(cut == 0 || whole.as_bytes()[..cut].trim_ascii().is_empty() || plan().read(&torn).is_err());
    }

    #[test]
    fn a_second_of_a_key_that_is_read_is_refused(drawn in drawn(), which in 0..7_usize) {
        let Json::Object(mut entries) = drawn.json() else { unreachable!() };
        let read = ["at", "status", "took", "host", "a b", "bytes", "who"][which];
        let again = entries.iter().find(|(key, _)| key == read).cloned();
        entries.extend(again);
        let line = written(&Json::Object(entries), &drawn.choices);
        prop_assert!(plan().read(line.as_bytes()).is_err(), "{line}");
    }
}
