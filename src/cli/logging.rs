//! Where the daemon's messages go: the journal with fields, where standard error is the journal;
//! else standard error, as text. Of each kind so many a minute, whoever causes them.

mod limits;

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use tracing::Event;
use tracing::field::{Field, Visit};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;

pub(super) use limits::Limits;

use crate::excerpt::printable;

/// Says more, or less: `debug`, or `tollkeeper=warn`.
const LOG_VARIABLE: &str = "TOLLKEEPER_LOG";

/// Fields for the journal, which text does not repeat: the message names what they say.
const JOURNAL_FIELDS: [&str; 4] = ["file", "source", "node", "kind"];

/// Begins to log. What is returned says how much was held back.
pub(super) fn start() -> Arc<Limits> {
    let filter = std::env::var(LOG_VARIABLE)
        .ok()
        .and_then(|filter| filter.parse::<Targets>().ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let in_journal = is_journal();
    let journal = in_journal.then(journal).flatten();
    let lines = journal.is_none().then(|| {
        let fields = debug_fn(|to, field: &Field, value| match field.name() {
            "message" => write!(to, "{}", printable_lines(&format!("{value:?}"))),
            name if JOURNAL_FIELDS.contains(&name) => Ok(()),
            name => write!(to, " {name}={}", printable(&format!("{value:?}"))),
        });
        let lines = tracing_subscriber::fmt::layer()
            .fmt_fields(fields)
            .with_writer(io::stderr)
            .with_target(false)
            .with_ansi(io::stderr().is_terminal());
        // The journal has the time already.
        match in_journal {
            true => lines.without_time().boxed(),
            false => lines.boxed(),
        }
    });
    let limits = Arc::new(Limits::default());
    // Fails only where a subscriber has been set already.
    let _ = tracing_subscriber::registry()
        .with(journal)
        .with(lines)
        .with(Limited(Arc::clone(&limits)))
        .with(filter)
        .try_init();
    limits
}

/// Errors of the config have several lines; nothing else in them may move a cursor.
fn printable_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// `None`: the journal does not listen.
fn journal() -> Option<tracing_journald::Layer> {
    use tracing_journald::{Priority, PriorityMappings};
    let priorities = PriorityMappings {
        info: Priority::Informational,
        ..PriorityMappings::new()
    };
    let layer = tracing_journald::layer().ok()?;
    Some(
        layer
            .with_syslog_identifier("tollkeeper".to_owned())
            .with_field_prefix(Some("TOLLKEEPER".to_owned()))
            .with_priority_mappings(priorities),
    )
}

/// Whether standard error is the journal, and not something that inherited its name: see
/// systemd.exec(5), `$JOURNAL_STREAM`.
fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Ok(there) = rustix::fs::fstat(io::stderr()) else {
        return false;
    };
    named == format!("{}:{}", there.st_dev, there.st_ino)
}

/// Lets so many messages of a kind pass.
struct Limited(Arc<Limits>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Limited {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let mut said = Said::default();
        event.record(&mut said);
        let kind = (event.metadata().callsite(), said.kind);
        self.0
            .admits(kind, &said.message, std::time::Instant::now())
    }
}

/// What limits ask about a message.
#[derive(Default)]
struct Said {
    message: String,
    kind: String,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "kind" {
            self.kind = value.to_owned();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
