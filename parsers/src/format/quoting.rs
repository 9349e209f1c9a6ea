//! Text out of a config file: what it says once its quotes are undone, and where each byte stood.

use std::ops::Range;

use crate::error::FormatError;

/// A format string without its config's quoting. Every byte knows where it stood, so that an error
/// can point at what the operator wrote.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    origins: Vec<usize>,
    end: usize,
}

impl Text {
    /// Text that starts at `end` and holds nothing yet.
    pub(crate) fn at(end: usize) -> Self {
        Self {
            end,
            ..Self::default()
        }
    }

    /// Text that stands as it is, `at` bytes into what the operator wrote.
    pub(crate) fn verbatim(bytes: &[u8], at: usize) -> Self {
        let end = at + bytes.len();
        Self {
            bytes: bytes.to_vec(),
            origins: (at..end).collect(),
            end,
        }
    }

    /// Adds a byte that was written at `origin`.
    pub(crate) fn push(&mut self, byte: u8, origin: usize) {
        self.bytes.push(byte);
        self.origins.push(origin);
        self.end = origin + 1;
    }

    /// Adds all of `other`.
    pub(crate) fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes);
        self.origins.extend_from_slice(&other.origins);
        self.end = other.end;
    }

    /// The text without its first bytes.
    pub(crate) fn without(&self, bytes: usize) -> Self {
        Self {
            bytes: self.bytes.get(bytes..).unwrap_or_default().to_vec(),
            origins: self.origins.get(bytes..).unwrap_or_default().to_vec(),
            end: self.end,
        }
    }

    /// Where a part of the text was written.
    pub(crate) fn span(&self, part: Range<usize>) -> Range<usize> {
        let start = self.origins.get(part.start).copied().unwrap_or(self.end);
        let last = part.end.checked_sub(1).filter(|&last| last >= part.start);
        start
            ..last
                .and_then(|last| self.origins.get(last))
                .map_or(start, |origin| origin + 1)
    }

    /// A part of the text as a string.
    pub(crate) fn written(&self, part: Range<usize>) -> String {
        String::from_utf8_lossy(self.bytes.get(part).unwrap_or_default()).into_owned()
    }

    /// Where the character at `at` ends, so that no error cuts one in two.
    pub(crate) fn end_of_character(&self, at: usize) -> usize {
        let rest = self.bytes.get(at + 1..).unwrap_or_default();
        let continued = rest.iter().take_while(|&&byte| byte & 0xc0 == 0x80).count();
        (at + 1 + continued).min(self.bytes.len())
    }

    /// An error that points at a part of the text.
    pub(crate) fn error(
        &self,
        part: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> FormatError {
        FormatError {
            span: self.span(part),
            message: message.into(),
            help: Some(help.into()),
        }
    }
}

/// An error at `span`.
pub(crate) fn error(
    span: Range<usize>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> FormatError {
    FormatError {
        span,
        message: message.into(),
        help: Some(help.into()),
    }
}

/// If the whole of `text` is one string in double quotes, its inside; a backslash hides a quote.
pub(crate) fn inside_quotes(text: &[u8]) -> Option<&[u8]> {
    let (&quote, rest) = text.split_first()?;
    let (&last, inside) = rest.split_last()?;
    if quote != b'"' && quote != b'\'' || last != quote {
        return None;
    }
    let mut at = 0;
    while let Some(&byte) = inside.get(at) {
        if byte == quote {
            return None;
        }
        at += if byte == b'\\' { 2 } else { 1 };
    }
    // A backslash before the last quote would have hidden it.
    (at == inside.len()).then_some(inside)
}
