//! Lines that stand in a syslog envelope.

use super::{EnvelopeVhost, Plan};
use crate::error::{Expected, LineError};
use crate::record::{Ignored, Line, Logged, Record};
use crate::syslog::{Envelope, Message};
use crate::text::Escape;

/// Takes the envelope off a line, and reads what stands in it. Apart from the walk, so that lines
/// without an envelope pay for nothing of it.
#[inline(never)]
pub(super) fn read<'l>(
    plan: &Plan,
    envelope: Envelope,
    line: &'l [u8],
    read_text: impl FnOnce(&'l [u8]) -> Result<Line<'l>, LineError>,
) -> Result<Line<'l>, LineError> {
    let Some(message) = envelope.open(line) else {
        return without_envelope(line);
    };
    // The text is the end of the line.
    let before = line.len() - message.text.len();
    let read = read_text(message.text).map_err(|error| LineError {
        at: before + error.at,
        ..error
    })?;
    Ok(match read {
        Line::Record(record) if !plan.reads.vhost => Line::Record(Record {
            vhost: vhost(plan.envelope_vhost, &message),
            ..record
        }),
        read => read,
    })
}

fn vhost<'l>(from: EnvelopeVhost, message: &Message<'l>) -> Option<Logged<'l>> {
    let bytes = match from {
        EnvelopeVhost::None => None,
        EnvelopeVhost::Host => message.host,
        EnvelopeVhost::Tag => message.tag,
    };
    let escape = Escape::None;
    Some(Logged {
        bytes: bytes?,
        escape,
    })
    .filter(|logged| logged.bytes != b"-")
}

fn without_envelope(line: &[u8]) -> Result<Line<'_>, LineError> {
    if line.trim_ascii().is_empty() {
        Ok(Line::Ignored(Ignored::Blank))
    } else if line.first() == Some(&b'#') {
        Ok(Line::Ignored(Ignored::Comment))
    } else {
        Err(LineError {
            at: 0,
            expected: Expected::Envelope,
        })
    }
}
