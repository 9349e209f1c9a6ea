//! The W3C's extended log format, as IIS and CloudFront write it.
//!
//! A line of the log itself, `#Fields: date time …`, names the columns of the lines behind it, until
//! the next such line. So a format of this kind says only whose log it is; what its columns mean is
//! found in the log. <https://www.w3.org/TR/WD-logfile.html>
//!
//! Can a client write a `#Fields` line, or a column? As documented, neither server writes a newline or
//! a separator that a client sent: IIS refuses control bytes in a URL and writes spaces as `+`,
//! CloudFront percent-encodes all up to the space. What remains is the start of a line. A header whose first column holds what clients choose is refused,
//! so no line that a client had a part in begins with `#`.

use std::ops::Range;

use super::quoting::error;
use super::{Format, Layout, Server};
use crate::error::FormatError;

/// What a line begins with that names columns.
pub const FIELDS: &[u8] = b"#Fields:";
/// Columns that a header may name: IIS has 22 of its own, CloudFront 33.
pub const MAX_COLUMNS: usize = 256;
/// Bytes that a header may have.
pub const MAX_HEADER_BYTES: usize = 16 << 10;

/// The columns that a `#Fields` line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The line, without white space at its end.
    pub line: String,
    /// Its columns, in their order; their spans are in the line.
    pub columns: Vec<Column>,
    /// Whether tabs stand between the names.
    pub by_tabs: bool,
}

/// A column of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// What it means.
    pub means: Means,
    /// Where its name stands.
    pub span: Range<usize>,
}

/// What a column means to the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Means {
    /// Nothing that accounting needs.
    Nothing,
    /// The date, UTC.
    Date,
    /// The time of day, UTC.
    Time,
    /// Bytes received, heads included (`cs-bytes`).
    In,
    /// Bytes sent, heads included (`sc-bytes`).
    Out,
    /// The site; of several, the one with the lowest rank is taken.
    Vhost {
        /// The order of preference.
        rank: u8,
    },
    /// The user.
    User,
    /// The client's address.
    Client,
    /// The status.
    Status,
    /// How long it took: milliseconds in IIS, seconds in CloudFront.
    Duration,
    /// The method.
    Method,
    /// The path, without its query.
    Path,
}

/// The rank of `s-sitename`, which is no host's name but IIS's own of a site (`W3SVC1`): it gives way
/// to a name that the operator sets.
pub const SITE_NAME_RANK: u8 = 3;

/// Why a `#Fields` line is no header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderFault {
    /// The bytes of the line that are at fault.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: &'static str,
}

/// Reads a `#Fields` line, without its newline.
///
/// # Errors
/// With the place in the line.
pub fn read_header(line: &[u8]) -> Result<Header, HeaderFault> {
    let fault = |span, message| Err(HeaderFault { span, message });
    let line = line.trim_ascii_end();
    if !line.starts_with(FIELDS) {
        let end = line.len().min(FIELDS.len());
        return fault(0..end, "a header begins with #Fields:");
    }
    if line.len() > MAX_HEADER_BYTES {
        return fault(
            MAX_HEADER_BYTES..line.len(),
            "the header is longer than 16 KiB",
        );
    }
    let by_tabs = line[FIELDS.len()..].trim_ascii_start().contains(&b'\t');
    let mut columns: Vec<Column> = Vec::new();
    let mut at = FIELDS.len();
    while at < line.len() {
        if matches!(line[at], b' ' | b'\t') {
            at += 1;
            continue;
        }
        let is_name = |byte: &&u8| !matches!(**byte, b' ' | b'\t');
        let end = at + line[at..].iter().take_while(is_name).count();
        let name = &line[at..end];
        if !name.iter().all(u8::is_ascii_graphic) {
            return fault(at..end, "this is no column's name");
        }
        if columns.is_empty() && !is_written_by_server(name) {
            let message = "the first column must be one that the server writes (date, say), or clients could begin lines of their own";
            return fault(at..end, message);
        }
        if name.eq_ignore_ascii_case(b"x-event") {
            return fault(
                at..end,
                "lines of events are no requests: each has the bytes so far",
            );
        }
        if columns.len() == MAX_COLUMNS {
            return fault(at..end, "a header names at most 256 columns");
        }
        let means = means(name);
        let is_twice = columns.iter().any(|column| column.means == means);
        if means != Means::Nothing && is_twice {
            return fault(at..end, "the header names this column twice");
        }
        let span = at..end;
        columns.push(Column { means, span });
        at = end;
    }
    if columns.is_empty() {
        return fault(0..line.len(), "the header names no column");
    }
    Ok(Header {
        // Names are ASCII, and so is all that stands between them.
        line: String::from_utf8_lossy(line).into_owned(),
        columns,
        by_tabs,
    })
}

impl Header {
    /// The name of a column, as written.
    #[must_use]
    pub fn name(&self, column: &Column) -> &str {
        self.line.get(column.span.clone()).unwrap_or_default()
    }

    /// Whether it has such a column.
    #[must_use]
    pub fn has(&self, means: Means) -> bool {
        self.columns.iter().any(|column| column.means == means)
    }

    /// The column that names the site, and its rank.
    #[must_use]
    pub fn vhost(&self) -> Option<(usize, u8)> {
        let columns = self.columns.iter().enumerate();
        let named = columns.filter_map(|(index, column)| match column.means {
            Means::Vhost { rank } => Some((index, rank)),
            _ => None,
        });
        named.min_by_key(|(_, rank)| *rank)
    }

    /// Whether it is CloudFront's.
    #[must_use]
    pub fn is_cloudfront(&self) -> bool {
        let mut columns = self.columns.iter();
        columns.any(|column| self.name(column).starts_with("x-edge-"))
    }
}

/// Names are compared as the W3C's draft has them, but for their case.
fn means(name: &[u8]) -> Means {
    let known: [(&str, Means); 14] = [
        ("date", Means::Date),
        ("time", Means::Time),
        ("cs-bytes", Means::In),
        ("sc-bytes", Means::Out),
        // CloudFront: what the viewer asked for, where cs(Host) is the distribution's domain.
        ("x-host-header", Means::Vhost { rank: 0 }),
        ("cs-host", Means::Vhost { rank: 1 }),
        ("cs(Host)", Means::Vhost { rank: 2 }),
        (
            "s-sitename",
            Means::Vhost {
                rank: SITE_NAME_RANK,
            },
        ),
        ("cs-username", Means::User),
        ("c-ip", Means::Client),
        ("sc-status", Means::Status),
        ("time-taken", Means::Duration),
        ("cs-method", Means::Method),
        ("cs-uri-stem", Means::Path),
    ];
    let found = known
        .into_iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
    found.map_or(Means::Nothing, |(_, means)| means)
}

/// Whether clients have no part in what the column begins with.
fn is_written_by_server(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let is_one_of = matches!(
        &*name,
        b"date"
            | b"time"
            | b"time-taken"
            | b"c-ip"
            | b"c-port"
            | b"cs-bytes"
            | b"sc-bytes"
            | b"bytes"
            | b"sc-status"
            | b"sc-substatus"
            | b"sc-win32-status"
            | b"timestamp"
            | b"timestamp(ms)"
    );
    let is_servers = name.starts_with(b"s-") || name.starts_with(b"x-edge-");
    is_one_of || is_servers
}

/// A preset: its logs bring their headers with them.
pub(super) fn preset(server: Server, name: &'static str) -> Format {
    Format {
        preset: Some(name),
        ..format(server, None, 0..0)
    }
}

/// What stands behind `w3c:` or `cloudfront:`: the header of a log that has lost its own.
pub(super) fn parse(server: Server, written: &[u8], start: usize) -> Result<Format, FormatError> {
    let trimmed = written.trim_ascii_start();
    let start = start + written.len() - trimmed.len();
    let header = read_header(trimmed).map_err(|fault| {
        error(
            start + fault.span.start..start + fault.span.end,
            fault.message,
            "write the #Fields line as it stands in the log: w3c:#Fields: date time …".to_owned(),
        )
    })?;
    let span = start..start + header.line.len();
    Ok(format(server, Some(header), span))
}

fn format(server: Server, header: Option<Header>, span: Range<usize>) -> Format {
    Format {
        server,
        text: String::new(),
        layout: Layout::Columns(header),
        preset: None,
        forgeable: false,
        envelope: None,
        span,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        let header =
            read_header(b"#Fields: date time c-ip  cs(HOST) sc-bytes \r").expect("a header");
        let names: Vec<&str> = header.columns.iter().map(|it| header.name(it)).collect();
        assert_eq!(names, ["date", "time", "c-ip", "cs(HOST)", "sc-bytes"]);
        assert_eq!(header.vhost(), Some((3, 2)));
        assert!(header.has(Means::Out) && !header.has(Means::In) && !header.by_tabs);
        let tabs = read_header(b"#Fields:\tdate\ttime\tx-edge-location").expect("a header");
        assert!(tabs.by_tabs && tabs.is_cloudfront());
        assert!(!read_header(b"#Fields: date").expect("a header").by_tabs);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let many = format!("#Fields: date{}", " x".repeat(MAX_COLUMNS));
        let long = format!("#Fields: date {}", "x".repeat(MAX_HEADER_BYTES));
        let cases: &[(&[u8], &str)] = &[
            (b"#Fields", "begins with"),
            (b"#fields: date", "begins with"),
            (b"", "begins with"),
            (b"#Fields:", "no column"),
            (b"#Fields: \t", "no column"),
            (b"#Fields: cs-method date time", "first column"),
            (b"#Fields: cs(User-Agent)", "first column"),
            (b"#Fields: date time sc-bytes time", "twice"),
            (b"#Fields: date time \xff", "no column's name"),
            (b"#Fields: date time a\x01b", "no column's name"),
            (b"#Fields: date time x-event sc-bytes", "events"),
            (many.as_bytes(), "at most 256"),
            (long.as_bytes(), "16 KiB"),
        ];
        for (line, expected) in cases {
            let fault = read_header(line).expect_err("no header");
            assert!(fault.message.contains(expected), "{}", fault.message);
            assert!(fault.span.start <= fault.span.end && fault.span.end <= line.len());
        }
        // What means nothing may stand there twice.
        assert!(read_header(b"#Fields: date x x").is_ok());
    }
}
