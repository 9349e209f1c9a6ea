//! Lines that are in one of several layouts.

use super::{Alternative, Alternatives, Fields};
use crate::error::{Expected, LineError};
use crate::record::{Ignored, Line, Logged, Record};
use crate::text::Escape;

/// Reads a line by the first layout that fits. Where none does, the error is of the one that got
/// furthest.
#[inline(never)]
pub(super) fn read<'l>(
    several: &Alternatives,
    line: &'l [u8],
    mut read_as: impl FnMut(&Fields) -> Result<Line<'l>, LineError>,
) -> Result<Line<'l>, LineError> {
    let mut furthest: Option<LineError> = None;
    let mut is_comment = false;
    for layout in &several.layouts {
        match read_as(&layout.fields) {
            Ok(Line::Record(record)) => {
                let vhost = record
                    .vhost
                    .map(|vhost| of_list(vhost, several.host_in_list));
                return Ok(Line::Record(Record {
                    vhost: vhost.filter(|vhost| !matches!(vhost.bytes, b"" | b"-")),
                    ..record
                }));
            }
            // Where the line starts with `#`, and does not fit this layout.
            Ok(Line::Ignored(Ignored::Comment)) => is_comment = true,
            Ok(ignored) => return Ok(ignored),
            Err(error) if furthest.is_none_or(|furthest| error.at > furthest.at) => {
                furthest = Some(in_whole(error, layout));
            }
            Err(_) => {}
        }
    }
    if is_comment {
        return Ok(Line::Ignored(Ignored::Comment));
    }
    let mut furthest = furthest.unwrap_or(LineError {
        at: 0,
        expected: Expected::End,
    });
    if line.get(furthest.at) == Some(&b'+') {
        // `option logasap`: the line was written before the answer was sent.
        furthest.expected = Expected::FinishedRequest;
    }
    Err(furthest)
}

/// The error, with the directive as the format counts it.
fn in_whole(error: LineError, layout: &Alternative) -> LineError {
    let expected = match error.expected {
        Expected::Literal(after) => {
            let own = after.checked_sub(1).map(usize::from);
            let whole = own.and_then(|own| layout.in_whole.get(own));
            Expected::Literal(whole.map_or(0, |whole| whole.saturating_add(1)))
        }
        other => other,
    };
    LineError { expected, ..error }
}

/// Of captured headers, the one that is the host.
fn of_list(vhost: Logged<'_>, index: usize) -> Logged<'_> {
    if !matches!(vhost.escape, Escape::Hash | Escape::HashAndBackslash) {
        return vhost;
    }
    let header = vhost.bytes.split(|&byte| byte == b'|').nth(index);
    Logged {
        bytes: header.unwrap_or_default(),
        ..vhost
    }
}
