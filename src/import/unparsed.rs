//! Reads exactly the lines again that did not parse, with formats that may fit them now.
//!
//! What they were booked as is taken back, and what they come to now is booked, in one transaction
//! with the ranges that were read: nothing can be counted twice, or by two processes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use tollkeeper_parsers::plan::{Carried, Plan};

use super::books::{Account, SOURCE};
use super::feed::shown;
use super::{FileReport, ImportError, Input, Options, Summary};
use crate::account::balance::{Balance, Count};
use crate::account::day::{self, DayNumber};
use crate::account::delta::{Amount, Delta};
use crate::account::{Rules, SourceRules};
use crate::detect::detect_at;
use crate::recognise;
use crate::source::columns;
use crate::source::open;
use crate::source::packed::{self, Packing};
use crate::source::position::{Place, Stored};
use crate::store::{Batch, Checkpoint, FlushError, Moves, StoredRange, UnparsedRange};
use crate::tally::{Outcome, Progress, Tally};

/// Reads the unparsed ranges of the inputs again.
///
/// # Errors
/// When the store fails; a file that cannot be read is told in its report.
pub fn run(
    inputs: &[Input],
    rules: &Rules,
    options: Options,
    account: &mut Account<'_>,
) -> Result<Summary, ImportError> {
    let mut summary = Summary::default();
    for input in inputs {
        let mut report = FileReport {
            name: shown(input.path.as_ref()),
            ..FileReport::default()
        };
        match again(input, rules, options, account) {
            Ok(Done::Nothing(note)) => report.notes.push(note),
            Ok(Done::Again {
                balance,
                total,
                layers,
                lines,
            }) => {
                report
                    .notes
                    .push(format!("{lines} lines that had not parsed were read again"));
                report.balance = balance;
                summary.balance.add(&balance);
                summary.total.add(total);
                summary.add_layers(&layers);
            }
            Err(NotRead::Error(error)) => report.error = Some(error),
            Err(NotRead::Import(error)) => return Err(error),
        }
        summary.files.push(report);
    }
    Ok(summary)
}

/// What became of one file.
enum Done {
    Nothing(String),
    Again {
        balance: Balance,
        total: Amount,
        layers: Vec<Delta>,
        lines: u64,
    },
}

enum NotRead {
    Error(String),
    Import(ImportError),
}

impl From<io::Error> for NotRead {
    fn from(error: io::Error) -> Self {
        Self::Error(error.to_string())
    }
}

impl<E: Into<ImportError>> From<Wrapped<E>> for NotRead {
    fn from(error: Wrapped<E>) -> Self {
        Self::Import(error.0.into())
    }
}

/// Tells errors of the store from those of the file.
struct Wrapped<E>(E);

fn again(
    input: &Input,
    rules: &Rules,
    options: Options,
    account: &mut Account<'_>,
) -> Result<Done, NotRead> {
    let Some(path) = &input.path else {
        return Err(NotRead::Error(
            "standard input cannot be read again; name the file".to_owned(),
        ));
    };
    let (file, metadata) = open::regular(path)?;
    let packing = packed::packing(&file)?;
    let place = (packing == Packing::Plain).then(|| Place::of(&metadata));
    let content = || packed::content(file.try_clone()?, packing, 0, Arc::default());
    let scope = input.vhost.clone().unwrap_or_default();
    let positions = positions(&content, path, place, &scope, account)?;
    if positions.is_empty() {
        return Err(NotRead::Error(
            "is not a log that was counted before; import it without --unparsed".to_owned(),
        ));
    }
    // A log that was counted again has more than one.
    let (mut balance, mut total, mut lines) = (Balance::default(), Amount::default(), 0);
    let mut layers = Vec::new();
    for stored in positions {
        let ranges = account.store.unparsed(stored.id).map_err(Wrapped)?;
        if ranges.is_empty() {
            continue;
        }
        lines += ranges.iter().map(|range| range.range.lines).sum::<u64>();
        let (read, amount, apart) =
            reread(stored, ranges, &content, input, rules, options, account)?;
        layers.extend(apart);
        balance.add(&read);
        total.add(amount);
    }
    if lines == 0 {
        return Ok(Done::Nothing(
            "all of its lines have parsed; nothing to read again".to_owned(),
        ));
    }
    Ok(Done::Again {
        balance,
        total,
        layers,
        lines,
    })
}

/// Reads the ranges of one position again, and commits what they come to.
fn reread(
    stored: Stored,
    ranges: Vec<StoredRange>,
    content: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
    input: &Input,
    rules: &Rules,
    options: Options,
    account: &mut Account<'_>,
) -> Result<(Balance, Amount, Vec<Delta>), NotRead> {
    let chunks = read_ranges(&mut *content()?, &ranges)?;
    let starts: Vec<u64> = ranges.iter().map(|it| it.range.start).collect();
    let carried = || columns::at_each(&mut *content()?, &starts);
    let source = source_rules(input, rules, &chunks, &|| {
        Ok(carried()?.into_iter().next().unwrap_or_default())
    })?;
    let carried = match source.plans.iter().any(Plan::is_columnar) {
        true => carried()?,
        false => vec![Carried::default(); ranges.len()],
    };

    let mut tally = Tally::new(rules);
    let mut batch = Batch::default();
    let mut unparsed = Vec::new();
    let (mut balance, mut dropped) = (Balance::default(), 0);
    for ((range, chunk), carried) in ranges.iter().zip(&chunks).zip(carried) {
        tally.carried = carried;
        let day = day::number(range.range.day);
        let mut progress = Progress {
            last_day: Some(day),
            ..Progress::default()
        };
        let mut outcome = tally.read(
            rules,
            &source,
            &mut progress,
            chunk,
            range.range.start,
            options.now,
        );
        outcome.accept_held(progress.last_day);
        take_back(&mut batch, range);
        dropped += outcome.dropped;
        balance.add(&book(&mut batch, &outcome, day));
        unparsed.extend(outcome.unparsed.iter().map(|left| UnparsedRange {
            start: left.start,
            end: left.end,
            lines: left.lines,
            day: day::date(left.day.unwrap_or(day)),
        }));
    }
    batch.checkpoints.push(Checkpoint {
        moves: Moves::Stored {
            id: stored.id,
            from: stored.print.offset,
        },
        follows: false,
        source: stored.source,
        scope: stored.scope,
        path: stored.path,
        place: stored.place,
        print: stored.print,
        last_day: stored.last_day,
        state: stored.state,
        unparsed,
        dropped,
        reread: ranges.into_iter().map(|range| range.range).collect(),
    });
    let total = tally.ledger.total();
    batch.deltas = tally.ledger.take(&mut account.growth, &rules.classes).0;
    match account
        .store
        .flush(&mut account.writer, &account.node, &batch, options.now)
    {
        Ok(_) => Ok((balance, total, batch.deltas.layers)),
        Err(FlushError::Overtaken(what)) => Err(NotRead::Error(format!(
            "{what} was moved by another process meanwhile; nothing was counted, try again"
        ))),
        Err(FlushError::Replaced) => Err(NotRead::Import(ImportError::Replaced)),
        Err(FlushError::Store(error)) => Err(NotRead::Import(error.into())),
    }
}

/// The positions whose bytes this file begins with.
fn positions(
    content: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
    path: &Path,
    place: Option<Place>,
    scope: &str,
    account: &mut Account<'_>,
) -> Result<Vec<Stored>, NotRead> {
    let head = recognise::head(&mut *content()?)?;
    let alike = recognise::alike(account.store, scope, &head, 0, place).map_err(Wrapped)?;
    if alike.is_empty() {
        return Ok(Vec::new());
    }
    let seed = account.store.seed();
    let found = recognise::compare(seed, alike, &mut *content()?, &[path], place, false)?;
    let same = found
        .stored
        .into_iter()
        .zip(found.hashers)
        .filter(|(_, hasher)| hasher.is_some());
    Ok(same.map(|(stored, _)| stored).collect())
}

/// The bytes of each range; ranges are sorted and do not overlap.
fn read_ranges(content: &mut dyn Read, ranges: &[StoredRange]) -> io::Result<Vec<Vec<u8>>> {
    let mut at = 0;
    let mut chunks = Vec::new();
    for StoredRange { range, .. } in ranges {
        io::copy(&mut (&mut *content).take(range.start - at), &mut io::sink())?;
        let mut chunk = Vec::new();
        (&mut *content)
            .take(range.end - range.start)
            .read_to_end(&mut chunk)?;
        if chunk.len() as u64 != range.end - range.start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at = range.end;
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// `carried`: what the lines before the first chunk left, where the log names its columns.
fn source_rules(
    input: &Input,
    rules: &Rules,
    chunks: &[Vec<u8>],
    carried: &dyn Fn() -> io::Result<Carried>,
) -> Result<SourceRules, NotRead> {
    let mut formats = input.formats.clone();
    for spec in formats.iter_mut().filter(|spec| spec.is_auto()) {
        let detected = detect_at(spec, &chunks.concat(), carried);
        *spec = detected.map_err(NotRead::Error)?.0;
    }
    let mut source = SourceRules::new(
        &formats,
        input.users,
        input.vhost.as_deref(),
        &rules.folding,
    )
    .map_err(|(_, error)| NotRead::Error(format!("its format cannot be used: {error}")))?;
    source.gives_up = false;
    source.layer = input.layer.clone();
    Ok(source)
}

/// What a range was booked as is no longer so.
fn take_back(batch: &mut Batch, range: &StoredRange) {
    let StoredRange {
        range,
        node,
        source,
    } = range;
    let booked = Balance {
        unparsed: Count {
            lines: range.lines,
            bytes: range.end - range.start,
        },
        ..Balance::default()
    };
    batch
        .corrections
        .entry((node.clone(), source.clone(), range.day))
        .or_default()
        .add(&booked);
}

fn book(batch: &mut Batch, outcome: &Outcome, undated: DayNumber) -> Balance {
    let mut all = Balance::default();
    let mut days: BTreeMap<DayNumber, Balance> = BTreeMap::new();
    for (day, balance) in &outcome.balance {
        days.entry(day.unwrap_or(undated)).or_default().add(balance);
        all.add(balance);
    }
    for (day, balance) in days {
        batch
            .balance
            .entry((SOURCE.to_owned(), day::date(day)))
            .or_default()
            .add(&balance);
    }
    all
}
