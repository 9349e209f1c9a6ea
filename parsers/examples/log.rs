//! How long the lines of a log take, with and without an index:
//! `cargo run --release -p tollkeeper-parsers --example log FORMAT LOG [WHICH]`.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::index::Index;
use tollkeeper_parsers::plan::{Carried, Plan};

/// What a chunk of a followed log may be.
const CHUNK: usize = 32 << 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (format, log) = (arguments.next(), arguments.next());
    let (Some(format), Some(log)) = (format, log) else {
        return Err("FORMAT LOG".into());
    };
    let Spec::Format(format) = Spec::parse(&format)? else {
        return Err("a format, not auto".into());
    };
    let plan = Plan::compile(&format)?;
    let log = std::fs::read(log)?;
    let lines = memchr::memchr_iter(b'\n', &log).count();
    let mut output = std::io::stdout();
    let only = arguments.next();
    for (name, how) in [("index alone", 0_u8), ("with an index", 1), ("without", 2)] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let start = Instant::now();
        let fit = walk(&plan, &log, how);
        let nanoseconds = start.elapsed().as_nanos() / lines.max(1) as u128;
        writeln!(
            output,
            "{nanoseconds:4} ns a line {name}, {fit} of {lines} fit"
        )?;
    }
    Ok(())
}

fn walk(plan: &Plan, log: &[u8], how: u8) -> usize {
    let (mut index, mut carried) = (Index::default(), Carried::default());
    let (mut fit, mut begin) = (0, 0);
    while begin < log.len() {
        let most = (begin + CHUNK).min(log.len());
        let end = memchr::memrchr(b'\n', &log[begin..most]).map_or(most, |at| begin + at + 1);
        let chunk = &log[begin..end];
        begin = end;
        let lines = match how {
            0 => {
                black_box(index.lines(chunk));
                continue;
            }
            1 => index.lines(chunk),
            _ => Index::none(chunk),
        };
        for line in lines {
            fit += usize::from(black_box(plan.read_for_account(line, &mut carried)).is_ok());
        }
    }
    fit
}
