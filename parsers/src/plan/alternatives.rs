//! Lines that are in one of several layouts.

use memchr::memmem::Finder;

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
    // A line without the marks of a layout does not fit it, whatever else it has. If it fits none, all are
    // asked: which one got furthest?
    let has = |mark: &Finder<'_>| mark.find(line).is_some();
    let can_fit = |layout: &&Alternative| layout.marks.iter().all(has);
    let likely = several.layouts.iter().filter(can_fit);
    let read = first_that_fits(several, likely, &mut read_as)
        .or_else(|_| first_that_fits(several, several.layouts.iter(), &mut read_as));
    read.map_err(|mut furthest| {
        if line.get(furthest.at) == Some(&b'+') {
            // `option logasap`: the line was written before the answer was sent.
            furthest.expected = Expected::FinishedRequest;
        }
        furthest
    })
}

fn first_that_fits<'l, 's>(
    several: &Alternatives,
    layouts: impl Iterator<Item = &'s Alternative>,
    read_as: &mut impl FnMut(&Fields) -> Result<Line<'l>, LineError>,
) -> Result<Line<'l>, LineError> {
    let mut furthest: Option<LineError> = None;
    let mut is_comment = false;
    for layout in layouts {
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
    Err(furthest.unwrap_or(LineError {
        at: 0,
        expected: Expected::End,
    }))
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
