//! What is wrong with a config, where, and what to do about it.
//!
//! ```text
//! quota.toml:9:14: log format "main": unknown directive %Z
//!   format = "%v %Z %b"
//!                ^^
//! for a literal percent sign write %%; all directives: README, "Log formats"
//! ```

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::excerpt::excerpt;

/// Columns that an excerpt may take.
const MAX_EXCERPT_COLUMNS: usize = 96;

/// Messages that one file may give rise to; a side file can have millions of lines.
const MAX_MESSAGES: usize = 50;

/// A config that cannot be used: every reason that was found, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    messages: Vec<String>,
}

impl ConfigError {
    /// An error that is not about a place in the text.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            messages: vec![message.into()],
        }
    }

    /// Each message, rendered.
    #[must_use]
    pub fn messages(&self) -> &[String] {
        &self.messages
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join("\n\n"))
    }
}

impl std::error::Error for ConfigError {}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnostic {
    /// The bytes of the file at fault.
    pub(super) span: Range<usize>,
    /// What is wrong, without a final stop.
    pub(super) message: String,
    /// What to do about it.
    pub(super) help: Option<String>,
}

/// Collects what is wrong, so that one run names it all.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Diagnostic>,
    secrets: Vec<Range<usize>>,
}

impl Findings {
    /// Notes a fault and its remedy.
    pub(super) fn report(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let help = help.into();
        self.found.push(Diagnostic {
            span,
            message: message.into(),
            help: (!help.is_empty()).then_some(help),
        });
    }

    /// How many faults were noted so far.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Keeps these bytes of the file out of every message.
    pub(super) fn hide(&mut self, span: Range<usize>) {
        self.secrets.push(span);
    }

    /// `value` if nothing was found, or everything that was, rendered in the order of the file.
    pub(super) fn into_result<T>(
        mut self,
        value: T,
        name: &str,
        text: &str,
    ) -> Result<T, ConfigError> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort_by_key(|diagnostic| diagnostic.span.start);
        let text = &without(text, &self.secrets);
        let mut messages: Vec<String> = self
            .found
            .iter()
            .take(MAX_MESSAGES)
            .map(|diagnostic| render(name, text, diagnostic))
            .collect();
        let more = self.found.len().saturating_sub(MAX_MESSAGES);
        if more > 0 {
            messages.push(format!("{name}: {more} more of these"));
        }
        Err(ConfigError { messages })
    }
}

/// `file:line:column: message`, the line, carets and the remedy. Lines and columns start at 1;
/// a column is a character, as editors count.
fn render(name: &str, text: &str, diagnostic: &Diagnostic) -> String {
    let start = floor_boundary(text, diagnostic.span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let number = text[..line_start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count() + 1;

    // A tab takes one column here, so that the carets stand right.
    let line = text[line_start..line_end].trim_end().replace('\t', " ");
    let indent = line.len() - line.trim_start().len();
    let from = (start - line_start).saturating_sub(indent);
    let to = (diagnostic.span.end.min(line_end) - line_start).saturating_sub(indent);
    let shown = excerpt(
        &line.as_bytes()[indent..],
        from..to.max(from),
        MAX_EXCERPT_COLUMNS,
    );

    let mut message = format!(
        "{name}:{number}:{column}: {}\n  {}\n  {}",
        diagnostic.message, shown.text, shown.carets
    );
    if let Some(help) = &diagnostic.help {
        message.push('\n');
        message.push_str(help);
    }
    message
}

/// The text with an asterisk for every byte of the secrets.
fn without<'t>(text: &'t str, secrets: &[Range<usize>]) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    for secret in secrets {
        if text.get(secret.clone()).is_some() {
            text.to_mut()
                .replace_range(secret.clone(), &"*".repeat(secret.len()));
        }
    }
    text
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Where in the file the bytes `inner` of a string's value stand. `literal` is the string with its
/// quotes, which starts at `at` in the file. Where that cannot be told, all of the literal.
pub(super) fn span_in_literal(
    literal: &str,
    value: &str,
    inner: Range<usize>,
    at: usize,
) -> Range<usize> {
    let whole = at..at + literal.len();
    let Some(offsets) = literal_offsets(literal, value) else {
        return whole;
    };
    let place = |byte: usize| offsets.get(byte).copied();
    match (place(inner.start), place(inner.end.min(value.len()))) {
        (Some(start), Some(end)) => at + start..at + end.max(start),
        _ => whole,
    }
}

/// For every byte of `value`, and for its end, the offset in `literal` where it was written.
fn literal_offsets(literal: &str, value: &str) -> Option<Vec<usize>> {
    let quote = literal.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let triple: String = std::iter::repeat_n(quote, 3).collect();
    let multi_line =
        literal.len() >= 6 && literal.starts_with(&triple) && literal.ends_with(&triple);
    let quotes = if multi_line { 3 } else { 1 };
    let end = literal.len().checked_sub(quotes)?;
    let mut at = quotes;
    if multi_line {
        // A newline right after the opening quotes is no part of the value.
        let body = literal.get(at..end)?;
        at += match body.as_bytes() {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            _ => 0,
        };
    }

    let mut offsets = Vec::with_capacity(value.len() + 1);
    let mut decoded = String::with_capacity(value.len());
    while at < end {
        let rest = literal.get(at..end)?;
        let (char, length) = match rest.as_bytes() {
            [b'\\', ..] if quote == '"' => escape(rest)?,
            [b'\r', b'\n', ..] => (Some('\n'), 2),
            _ => {
                let char = rest.chars().next()?;
                (Some(char), char.len_utf8())
            }
        };
        if let Some(char) = char {
            decoded.push(char);
            offsets.resize(decoded.len(), at);
        }
        at += length;
    }
    offsets.push(end);
    (decoded == value).then_some(offsets)
}

/// What an escape at the start of `rest` stands for (nothing, for one at a line's end), and its length.
fn escape(rest: &str) -> Option<(Option<char>, usize)> {
    let hex = |digits: usize| {
        let code = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok()?;
        Some((Some(char::from_u32(code)?), 2 + digits))
    };
    let one = |char| Some((Some(char), 2));
    match rest.as_bytes().get(1)? {
        b'b' => one('\u{8}'),
        b't' => one('\t'),
        b'n' => one('\n'),
        b'f' => one('\u{c}'),
        b'r' => one('\r'),
        b'e' => one('\u{1b}'),
        b'"' => one('"'),
        b'\\' => one('\\'),
        b'x' => hex(2),
        b'u' => hex(4),
        b'U' => hex(8),
        _ => {
            let gap = rest[1..].len() - rest[1..].trim_start().len();
            (gap > 0).then_some((None, 1 + gap))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_place_line_carets_and_remedy() {
        let text = "[a]\n  format = \"%v %Z %b\"\n";
        let at = text.find("%Z").unwrap_or(0);
        let rendered = render(
            "quota.toml",
            text,
            &Diagnostic {
                span: at..at + 2,
                message: "log format \"main\": unknown directive %Z".into(),
                help: Some("for a literal percent sign write %%".into()),
            },
        );
        assert_eq!(
            rendered,
            "quota.toml:2:16: log format \"main\": unknown directive %Z\n  \
             format = \"%v %Z %b\"\n               ^^\n\
             for a literal percent sign write %%"
        );
    }

    #[test]
    fn spans_behind_the_end_are_shown_at_the_end() {
        let rendered = render(
            "f",
            "a = [",
            &Diagnostic {
                span: 5..9,
                message: "unclosed".into(),
                help: None,
            },
        );
        assert_eq!(rendered, "f:1:6: unclosed\n  a = [\n       ^");
    }

    #[test]
    fn places_in_strings_are_found_in_the_file() {
        // (literal, value, span in the value, span in the literal)
        for (literal, value, inner, outer) in [
            (r#""%v %Z""#, "%v %Z", 3..5, 4..6),
            (r"'%v %Z'", "%v %Z", 3..5, 4..6),
            (r#""""%v %Z""""#, "%v %Z", 3..5, 6..8),
            ("'''\n%v %Z'''", "%v %Z", 3..5, 7..9),
            ("'''\r\n%v %Z'''", "%v %Z", 3..5, 8..10),
            (r#""\"%v\" %Z""#, "\"%v\" %Z", 5..7, 8..10),
            (r#""\u00e9 %Z""#, "é %Z", 3..5, 8..10),
            ("\"\"\"a\\\n   %Z\"\"\"", "a%Z", 1..3, 9..11),
            (r#""ab""#, "ab", 2..2, 3..3),
            // What cannot be followed is shown whole.
            (r#""\q%Z""#, "%Z", 0..2, 0..6),
            ("12", "12", 0..1, 0..2),
        ] {
            assert_eq!(
                span_in_literal(literal, value, inner, 100),
                outer.start + 100..outer.end + 100,
                "{literal}"
            );
        }
    }
}
