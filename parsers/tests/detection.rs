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

/// Lines that say what stands in those behind them, as `#Fields:` does: each window has them first.
fn is_heading(line: &[u8]) -> bool {
    line.first() == Some(&b'#')
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
    let (mut windows, mut sure) = (0_usize, 0_usize);
    let mut wrong = Vec::new();
    let fixtures = fixtures();
    assert!(fixtures.len() > 20, "{} logs", fixtures.len());
    for fixture in &fixtures {
        let (headings, lines): (Vec<&[u8]>, Vec<&[u8]>) = fixture
            .lines
            .iter()
            .map(Vec::as_slice)
            .partition(|line| is_heading(line));
        let whole = [lines.as_slice()];
        for window in lines.windows(WINDOW).chain(whole) {
            let sample = [headings.as_slice(), window].concat();
            windows += 1;
            let problem = match detect(&sample) {
                Detected::Preset(choice) => {
                    sure += usize::from(choice.certainty == Certainty::Certain);
                    let is_right = choice.name == fixture.preset
                        || rows(choice.name, &sample) == rows(&fixture.preset, &sample);
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
    // A word that hardly ever says certain would say nothing.
    assert!(sure * 2 > windows, "{sure} of {windows} are certain");
}
