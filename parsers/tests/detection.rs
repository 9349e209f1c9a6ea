//! `auto` on every log that a real server wrote: each window of twenty lines, wherever it begins.
//!
//! New logs are taken up by themselves: those under `fixtures/servers` with a `.preset` beside them.

use std::fs;
use std::path::{Path, PathBuf};

use tollkeeper_parsers::format::{Certainty, Detected, Spec, detect};
use tollkeeper_parsers::host::{Host, fold};
use tollkeeper_parsers::plan::{Carried, Plan};
use tollkeeper_parsers::record::Line;

/// Lines of a window.
const WINDOW: usize = 20;

/// Says what stands in the lines behind it: a window begins with the last one before it.
fn is_heading(line: &[u8]) -> bool {
    line.starts_with(b"#Fields:")
}

/// As many lines behind the one at `begin` as it takes, headings between them included.
fn window<'l>(lines: &[&'l [u8]], begin: usize) -> Vec<&'l [u8]> {
    let heading = lines[..begin].iter().rev().find(|line| is_heading(line));
    let (mut window, mut count) = (Vec::from_iter(heading.copied()), 0);
    for line in &lines[begin..] {
        if count == WINDOW {
            break;
        }
        count += usize::from(line.first() != Some(&b'#'));
        window.push(*line);
    }
    window
}

struct Fixture {
    log: PathBuf,
    preset: String,
    lines: Vec<Vec<u8>>,
}

fn fixtures() -> Vec<Fixture> {
    let servers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/servers");
    let mut found = Vec::new();
    for server in fs::read_dir(servers).expect("the fixtures") {
        for entry in fs::read_dir(server.expect("a folder").path()).expect("a folder") {
            let preset = entry.expect("a file").path();
            if preset
                .extension()
                .is_none_or(|extension| extension != "preset")
            {
                continue;
            }
            let log = preset.with_extension("");
            let content = fs::read(&log).expect("a log");
            let lines = content.split(|&byte| byte == b'\n').map(<[u8]>::to_vec);
            found.push(Fixture {
                preset: fs::read_to_string(&preset)
                    .expect("a name")
                    .trim()
                    .to_owned(),
                lines: lines.filter(|line| !line.is_empty()).collect(),
                log,
            });
        }
    }
    found.sort_by(|a, b| a.log.cmp(&b.log));
    found
}

/// What a format adds to the rows, line by line.
fn rows(format: &str, window: &[&[u8]]) -> Vec<String> {
    let Ok(Spec::Format(parsed)) = Spec::parse(format) else {
        panic!("{format} is no format");
    };
    let plan = Plan::compile(&parsed).expect("a plan");
    let (mut carried, mut buffer) = (Carried::default(), Vec::new());
    let mut rows = Vec::new();
    for line in window {
        rows.push(match plan.read_for_account(*line, &mut carried) {
            Ok(Line::Record(record)) => {
                let vhost = record.vhost.map(|vhost| vhost.decode()).unwrap_or_default();
                let vhost = match fold(&vhost, &mut buffer) {
                    Host::Folded(name) | Host::Unicode(name) => name.to_owned(),
                    other => format!("{other:?}"),
                };
                let credits = matches!(record.status, Some(200..=299 | 304));
                let user = record.user.filter(|_| credits).map(|user| user.decode());
                format!(
                    "{vhost} {user:?} {:?} {:?} {:?}",
                    record.time, record.bytes_in, record.bytes_out
                )
            }
            Ok(Line::Ignored(_)) => "ignored".to_owned(),
            Err(_) => "unparsed".to_owned(),
        });
    }
    rows
}

#[test]
fn every_window_of_every_log_is_detected() {
    let (mut windows, mut sure, mut unreadable) = (0_usize, 0_usize, 0_usize);
    let mut wrong = Vec::new();
    let fixtures = fixtures();
    assert!(fixtures.len() > 20, "{} logs", fixtures.len());
    for fixture in &fixtures {
        let lines: Vec<&[u8]> = fixture.lines.iter().map(Vec::as_slice).collect();
        let last = lines.len().saturating_sub(WINDOW);
        let samples = (0..=last).map(|begin| window(&lines, begin));
        for sample in samples.chain([lines.clone()]) {
            let own = rows(&fixture.preset, &sample);
            let data = sample
                .iter()
                .filter(|line| line.first() != Some(&b'#'))
                .count();
            if own.iter().filter(|row| *row == "unparsed").count() * 2 >= data {
                // Lines behind a #Fields line that is refused are in no format.
                unreadable += 1;
                continue;
            }
            windows += 1;
            let problem = match detect(&sample) {
                Detected::Preset(choice) => {
                    sure += usize::from(choice.certainty == Certainty::Certain);
                    let is_right =
                        choice.name == fixture.preset || rows(choice.name, &sample) == own;
                    (!is_right).then_some(choice.why)
                }
                Detected::Ambiguous { why, .. } | Detected::Nothing { why } => Some(why),
            };
            wrong.extend(problem.map(|why| format!("{}: {why}", fixture.log.display())));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {windows} windows are wrong, such as {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(20)]
    );
    assert!(unreadable * 20 < windows, "{unreadable} windows");
    // A word that hardly ever says certain would say nothing.
    assert!(sure * 2 > windows, "{sure} of {windows} are certain");
}
