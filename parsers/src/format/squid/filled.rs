//! What stands in a line for a code: its value, as it is escaped, cut and padded.

use super::codes::{Code, Holds};
use super::{Modifiers, Style};
use crate::error::FormatError;
use crate::format::apache::time_form;
use crate::format::quoting::Text;
use crate::format::{ByteSet, Meaning, Moment, TimeForm};
use crate::text::Escape;

/// What a code is filled with, as it is escaped, cut and padded.
pub(super) struct Filled {
    pub(super) meaning: Meaning,
    pub(super) bytes: ByteSet,
    pub(super) escaped: bool,
    pub(super) escape: Escape,
    /// Whether spaces may stand before it.
    pub(super) is_padded: bool,
}

impl Filled {
    pub(super) fn new(
        text: &Text,
        span: std::ops::Range<usize>,
        code: Code,
        style: Style,
        modifiers: &Modifiers<'_>,
    ) -> Result<Self, FormatError> {
        let (meaning, holds) = code.means(modifiers.argument, modifiers.precision);
        let (meaning, holds) = match code {
            Code::LocalTime | Code::Gmt => time(text, code, modifiers)?,
            _ => (meaning, holds),
        };
        let escaping = escaping(style, holds);
        let is_counted = matches!(
            meaning,
            Meaning::Bytes { .. } | Meaning::Status { .. } | Meaning::Duration { .. }
        );
        let is_needed = matches!(
            meaning,
            Meaning::Vhost { .. }
                | Meaning::User
                | Meaning::Client { .. }
                | Meaning::Bytes { .. }
                | Meaning::Status { .. }
                | Meaning::Time { .. }
        );
        let refuse = |message: &str, help: &str| {
            let written = text.written(span.clone());
            Err(text.error(span.clone(), format!("{written} {message}"), help))
        };
        if is_needed && style == Style::Shell && !is_counted {
            return refuse(
                "is quoted now and then, as a shell would have it",
                "use [ instead: its escapes can always be undone",
            );
        }
        // Numbers are never cut.
        let is_cut = modifiers.precision.is_some() && !is_counted && !code.takes_precision();
        if is_needed && is_cut {
            return refuse("cuts what it logs", "leave the precision out");
        }
        let is_wide = modifiers.width > 1;
        let pads_with_zeros = modifiers.is_zero && matches!(holds, Holds::Number | Holds::Time(_));
        let is_padded = is_wide && !pads_with_zeros;
        if is_padded && is_needed && (modifiers.is_left || meaning == Meaning::User) {
            return refuse(
                "puts spaces around what it logs, which cannot be told from what the value holds",
                "leave the width out",
            );
        }
        // A fraction in its own number of digits, and times in one shape, are never padded.
        let is_padded = is_padded && !matches!(meaning, Meaning::Time { .. });
        let keeps_spaces = is_padded && !is_needed && !is_counted;
        Ok(Self {
            bytes: if keeps_spaces || (is_padded && modifiers.is_left) {
                escaping.bytes.with(b' ')
            } else {
                escaping.bytes
            },
            meaning: if is_padded && modifiers.is_left {
                Meaning::Skipped
            } else {
                meaning
            },
            escaped: escaping.escaped,
            escape: escaping.escape,
            is_padded: is_padded && !keeps_spaces && !modifiers.is_left,
        })
    }
}

/// What becomes of a value.
struct Escaping {
    bytes: ByteSet,
    escaped: bool,
    escape: Escape,
}

fn escaping(style: Style, holds: Holds) -> Escaping {
    let raw = holds.bytes();
    let as_is = Escaping {
        bytes: raw,
        escaped: false,
        escape: Escape::None,
    };
    let is_plain = matches!(
        holds,
        Holds::Number | Holds::Word | Holds::Address | Holds::Time(_)
    );
    if is_plain {
        return as_is;
    }
    match (style, holds.is_escaped_by_itself()) {
        (Style::Raw, _) | (Style::Own, false) => as_is,
        // The percent sign stays, so that `%20` may have been one already: it is a URL's all the same.
        (Style::Own, true) | (Style::Url, _) => Escaping {
            bytes: ByteSet::URL,
            escaped: false,
            escape: Escape::PercentAndBackslash,
        },
        (Style::Quotes, _) => Escaping {
            bytes: raw.without(b'\t').with(b'\\'),
            escaped: true,
            escape: Escape::Backslash,
        },
        (Style::Brackets, _) => {
            let printable = if raw.contains(b' ') {
                ByteSet::PRINTABLE
            } else {
                ByteSet::WORD
            };
            Escaping {
                bytes: printable.without(b'[').without(b']'),
                escaped: false,
                escape: Escape::PercentAndBackslash,
            }
        }
        (Style::Shell, _) => Escaping {
            bytes: raw.with(b'\\').with(b'"'),
            escaped: false,
            escape: Escape::None,
        },
    }
}

/// `%tl` and `%tg`, with strftime's conversions or without.
fn time(
    text: &Text,
    code: Code,
    modifiers: &Modifiers<'_>,
) -> Result<(Meaning, Holds), FormatError> {
    let moment = Moment::End;
    if modifiers.argument.is_empty() && code == Code::LocalTime {
        let form = TimeForm::Clf { brackets: false };
        return Ok((Meaning::Time { form, moment }, Holds::Time(ByteSet::CLOCK)));
    }
    let (pattern, at) = match modifiers.argument {
        b"" => (&b"%d/%b/%Y:%H:%M:%S"[..], 0),
        argument => (argument, modifiers.argument_at),
    };
    // The names that Apache has for units of time are text to Squid.
    let (form, bytes) = match pattern {
        pattern if pattern.contains(&b'%') => time_form(text, pattern, at)?,
        _ => return Ok((Meaning::Skipped, Holds::Text)),
    };
    let has_zone = [&b"%z"[..], b"%s"]
        .iter()
        .any(|zone| memchr::memmem::find(pattern, zone).is_some());
    // Greenwich time without a zone would be taken for local time.
    let meaning = if code == Code::Gmt && !has_zone {
        Meaning::Skipped
    } else {
        Meaning::Time { form, moment }
    };
    Ok((meaning, Holds::Time(bytes)))
}
