//! `tollkeeper check`: what a config, a format and a log mean to the account, explained.
//!
//! What was found is a value, [`CheckReport`]; here it becomes text or JSON and an exit code.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::{Serialize, Serializer};
use tollkeeper_parsers::error::LineError;
use tollkeeper_parsers::plan::{Grade, Plan};
use unicode_width::UnicodeWidthStr as _;

use super::args::Output;
use super::{Failure, print};
use crate::config::Layer;
use crate::excerpt::{Excerpt, excerpt, printable};

/// Columns that a line which did not parse may take.
const MAX_EXCERPT_COLUMNS: usize = 76;

/// Columns that a directive is aligned to; longer ones push the rest to the right.
const MAX_DIRECTIVE_COLUMNS: usize = 32;

/// What was found. As JSON: one object of these fields.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckReport {
    /// The config, where one was read; it is correct.
    pub config: Option<String>,
    /// The log, where one was read.
    pub log: Option<String>,
    /// Which layer of servers it is of, where it was read as a source of the config.
    pub layer: Option<Layer>,
    /// The format that was used for most lines, or the first one.
    pub format: Option<String>,
    /// How exact the numbers are: the least exact of the formats that lines fitted.
    #[serde(serialize_with = "grade")]
    pub grade: Option<Grade>,
    /// Lines read. `lines = counted + unparsed + ignored + unattributed`.
    pub lines: u64,
    /// Lines that count.
    pub counted: u64,
    /// Lines that no format fits.
    pub unparsed: u64,
    /// Lines that carry no request.
    pub ignored: u64,
    /// Lines without a usable time or count.
    pub unattributed: u64,
    /// Every format, explained.
    pub formats: Vec<FormatReport>,
    /// The first lines, as understood.
    pub samples: Vec<Sample>,
    /// The first lines that did not parse.
    pub failures: Vec<FailedLine>,
    /// What else the operator should know.
    pub notes: Vec<String>,
}

/// A format, explained.
#[derive(Debug, Clone, Serialize)]
pub struct FormatReport {
    /// Its name: a preset's, or the one in the directive.
    pub name: String,
    /// The format string.
    pub text: String,
    /// How exact it can be.
    #[serde(serialize_with = "grade")]
    pub grade: Option<Grade>,
    /// What each directive means to the account.
    pub directives: Vec<DirectiveReport>,
    /// Footnotes on this server's numbers.
    pub notes: Vec<String>,
    /// The line to paste into the server's config to do better.
    pub better: Option<String>,
}

/// A directive, explained.
#[derive(Debug, Clone, Serialize)]
pub struct DirectiveReport {
    /// As it stands in the format.
    pub text: String,
    /// What it means to the account, such as `bytes out`.
    pub meaning: String,
    /// What to know about it.
    pub note: Option<String>,
}

/// A line as understood.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Its number, from 1.
    pub line: u64,
    /// The site that is billed, or such as `_none`.
    pub vhost: Option<String>,
    /// The user who is credited.
    pub user: Option<String>,
    /// When it was served, with the zone of the days.
    pub time: Option<String>,
    /// Bytes received.
    #[serde(rename = "in")]
    pub bytes_in: Option<u64>,
    /// Bytes sent.
    #[serde(rename = "out")]
    pub bytes_out: Option<u64>,
    /// The status of the answer.
    pub status: Option<u16>,
}

/// A line that did not parse.
#[derive(Debug, Clone, Serialize)]
pub struct FailedLine {
    /// Its number, from 1.
    pub line: u64,
    /// The byte of the line, from 0, that does not fit.
    pub byte: usize,
    /// What the format wants there.
    pub expected: String,
    /// The line around that byte, printable, and a caret below it.
    #[serde(flatten)]
    pub excerpt: Excerpt,
}

impl FailedLine {
    /// Cuts the line and makes it printable; `plan` says what it wanted.
    #[must_use]
    pub fn new(number: u64, line: &[u8], error: &LineError, plan: &Plan) -> Self {
        let described = plan.describe(error);
        let expected = described.split_once("expected ");
        Self {
            line: number,
            byte: error.at,
            expected: expected
                .map_or(&*described, |(_, expected)| expected)
                .to_owned(),
            excerpt: excerpt(line, error.at..error.at, MAX_EXCERPT_COLUMNS),
        }
    }
}

impl CheckReport {
    /// 1 when over 1 % of the lines, or all that could have counted, do not parse; else 0.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(!self.is_good()))
    }

    fn is_good(&self) -> bool {
        let few = u128::from(self.unparsed) * 100 <= u128::from(self.lines);
        let all = self.unparsed > 0 && self.counted == 0 && self.unattributed == 0;
        few && !all
    }

    /// Prints it and gives the exit code.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub fn print(&self, output: Output) -> Result<ExitCode, Failure> {
        match output {
            Output::Table => print(&self.to_text())?,
            Output::Json => print(&(self.to_json()? + "\n"))?,
        }
        Ok(self.exit_code())
    }

    /// One object.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_json(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|error| Failure::Failed(error.into()))
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        if let Some(config) = &self.config {
            line(
                &mut text,
                format_args!("config {}: correct", printable(config)),
            );
        }
        for format in &self.formats {
            if !text.is_empty() {
                text.push('\n');
            }
            format.explain(&mut text);
        }
        if self.log.is_some() || self.lines > 0 {
            if !text.is_empty() {
                text.push('\n');
            }
            self.explain_lines(&mut text);
        }
        for note in &self.notes {
            line(&mut text, format_args!("note: {}", printable(note)));
        }
        text
    }

    fn explain_lines(&self, text: &mut String) {
        let log = self.log.as_deref().unwrap_or("standard input");
        line(
            text,
            format_args!(
                "log {}: {} lines, {} counted, {} unparsed ({}), {} ignored, {} unattributed",
                printable(log),
                self.lines,
                self.counted,
                self.unparsed,
                share(self.unparsed, self.lines),
                self.ignored,
                self.unattributed
            ),
        );
        if let Some(format) = &self.format {
            let grade = grade_text(self.grade);
            line(
                text,
                format_args!("  read as {}: {grade}", printable(format)),
            );
        }
        if let Some(layer) = self.layer.as_ref().and_then(Layer::inner) {
            line(
                text,
                format_args!("  layer {layer}: {}", super::inspect::COUNTED_APART),
            );
        }
        for sample in &self.samples {
            line(text, format_args!("  {}", sample.describe()));
        }
        for failed in &self.failures {
            line(
                text,
                format_args!(
                    "  line {}, byte {}: expected {}\n    {}\n    {}",
                    failed.line,
                    failed.byte,
                    printable(&failed.expected),
                    failed.excerpt.text,
                    failed.excerpt.carets
                ),
            );
        }
        let shown = self.failures.len() as u64;
        if shown > 0 && self.unparsed > shown {
            line(
                text,
                format_args!("  and {} more that do not parse", self.unparsed - shown),
            );
        }
    }
}

impl FormatReport {
    fn explain(&self, text: &mut String) {
        let grade = grade_text(self.grade);
        line(
            text,
            format_args!("format {}: {grade}", printable(&self.name)),
        );
        if !self.text.is_empty() {
            for part in self.text.lines() {
                line(text, format_args!("  {}", printable(part)));
            }
        }
        let width = |directive: &DirectiveReport| printable(&directive.text).width();
        let widest = self.directives.iter().map(width).max().unwrap_or(0);
        let column = widest.min(MAX_DIRECTIVE_COLUMNS);
        for directive in &self.directives {
            let gap = column.saturating_sub(width(directive));
            let mut explained = format!(
                "{}{:gap$}  {}",
                printable(&directive.text),
                "",
                printable(&directive.meaning)
            );
            if let Some(note) = &directive.note {
                let _ = write!(explained, " ({})", printable(note));
            }
            line(text, format_args!("    {explained}"));
        }
        for note in &self.notes {
            line(text, format_args!("  note: {}", printable(note)));
        }
        if let Some(better) = &self.better {
            line(
                text,
                format_args!("  to do better, paste this into the server's config:"),
            );
            for part in better.lines() {
                line(text, format_args!("    {}", printable(part)));
            }
        }
    }
}

impl Sample {
    fn describe(&self) -> String {
        let name = |name: &Option<String>| match name {
            Some(name) => printable(name).into_owned(),
            None => "-".to_owned(),
        };
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |n| n.to_string());
        format!(
            "line {}: vhost {}, user {}, {}, in {}, out {}, status {}",
            self.line,
            name(&self.vhost),
            name(&self.user),
            self.time.as_deref().map_or("no time".into(), printable),
            number(self.bytes_in),
            number(self.bytes_out),
            number(self.status.map(u64::from)),
        )
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(line);
    text.push('\n');
}

fn grade_text(grade: Option<Grade>) -> String {
    grade.map_or_else(|| "no grade".to_owned(), |grade| grade.to_string())
}

/// A share in per cent with two decimals; what is not nothing is never printed as nothing.
fn share(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    match (hundredths, part) {
        (0, 1..) => "under 0.01 %".to_owned(),
        _ => format!("{}.{:02} %", hundredths / 100, hundredths % 100),
    }
}

#[expect(clippy::ref_option, reason = "serde's shape")]
fn grade<S: Serializer>(grade: &Option<Grade>, serializer: S) -> Result<S::Ok, S::Error> {
    grade.map(|grade| grade.to_string()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeeper_parsers::format::Spec;

    /// What a format of a vhost and a number makes of a bad line.
    fn failed_line(line: &[u8]) -> FailedLine {
        let Ok(Spec::Format(format)) = Spec::parse("nginx:$host $msec $bytes_sent") else {
            panic!("a good format");
        };
        let plan = Plan::compile(&format).expect("a good format");
        let error = plan.read(line).expect_err("a bad line");
        FailedLine::new(17, line, &error, &plan)
    }

    fn report() -> CheckReport {
        CheckReport {
            config: Some("/etc/tollkeeper/tollkeeper.toml".into()),
            log: Some("access.log".into()),
            layer: Some(Layer::EDGE),
            format: Some("main".into()),
            grade: Some(Grade::OutOnly),
            lines: 1000,
            counted: 990,
            unparsed: 2,
            ignored: 7,
            unattributed: 1,
            formats: vec![FormatReport {
                name: "main".into(),
                text: "$host $bytes_sent".into(),
                grade: Some(Grade::OutOnly),
                directives: vec![
                    DirectiveReport {
                        text: "$host".into(),
                        meaning: "vhost".into(),
                        note: None,
                    },
                    DirectiveReport {
                        text: "$bytes_sent".into(),
                        meaning: "bytes out".into(),
                        note: Some("on the wire".into()),
                    },
                ],
                notes: vec!["aborted downloads count too much".into()],
                better: Some("log_format main '$host $request_length $bytes_sent';".into()),
            }],
            samples: vec![Sample {
                line: 1,
                vhost: Some("a.example".into()),
                user: None,
                time: Some("2026-11-21 10:00:00 CET".into()),
                bytes_in: Some(0),
                bytes_out: Some(123),
                status: None,
            }],
            failures: vec![failed_line(b"a.example 1.000 \x1b[2J")],
            notes: vec!["users are not logged".into()],
        }
    }

    #[test]
    fn the_text_explains() {
        assert_eq!(
            report().to_text(),
            "config /etc/tollkeeper/tollkeeper.toml: correct\n\
             \n\
             format main: out only\n  \
               $host $bytes_sent\n    \
                 $host        vhost\n    \
                 $bytes_sent  bytes out (on the wire)\n  \
               note: aborted downloads count too much\n  \
               to do better, paste this into the server's config:\n    \
                 log_format main '$host $request_length $bytes_sent';\n\
             \n\
             log access.log: 1000 lines, 990 counted, 2 unparsed (0.20 %), 7 ignored, 1 unattributed\n  \
               read as main: out only\n  \
               line 1: vhost a.example, user -, 2026-11-21 10:00:00 CET, in 0, out 123, status -\n  \
               line 17, byte 16: expected a number\n    \
                 a.example 1.000 \\x1b[2J\n                    \
                                 ^^^^\n  \
               and 1 more that do not parse\n\
             note: users are not logged\n"
        );
    }

    #[test]
    fn the_json_has_what_scripts_read() {
        let json = report().to_json().expect("text");
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        for (key, expected) in [
            ("lines", 1000),
            ("counted", 990),
            ("unparsed", 2),
            ("ignored", 7),
            ("unattributed", 1),
        ] {
            assert_eq!(value[key], expected, "{key}");
        }
        assert_eq!(value["grade"], "out only");
        assert_eq!(value["format"], "main");
        assert_eq!(value["samples"][0]["out"], 123);
        assert_eq!(value["failures"][0]["text"], "a.example 1.000 \\x1b[2J");
        assert!(!json.contains('\n'));
    }

    #[test]
    fn over_one_per_cent_is_bad() {
        for (lines, counted, unparsed, good) in [
            (0, 0, 0, true),
            (1000, 990, 10, true),
            (1000, 989, 11, false),
            (99, 98, 1, false),
            (100, 99, 1, true),
            (1, 0, 1, false),
            // All that could have counted: the rest are comments.
            (1000, 0, 1, false),
            (1000, 0, 0, true),
        ] {
            let report = CheckReport {
                lines,
                counted,
                unparsed,
                ignored: lines - counted - unparsed,
                ..CheckReport::default()
            };
            assert_eq!(report.is_good(), good, "{lines} {counted} {unparsed}");
        }
    }

    #[test]
    fn shares_are_never_rounded_to_nothing() {
        for (part, whole, expected) in [
            (0, 0, "0.00 %"),
            (1, 3, "33.33 %"),
            (1, 1, "100.00 %"),
            (1, 1_000_000, "under 0.01 %"),
        ] {
            assert_eq!(share(part, whole), expected);
        }
    }
}
