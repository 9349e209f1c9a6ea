//! Directives into a plan, with the proof that the walk is unambiguous.
//!
//! A field F and the literal L behind it: the byte at index j of L is an *anchor* if F cannot hold
//! it and L has it nowhere before j. From F's start, the first such byte is then L's: an earlier
//! one would stand in F, or in L before j. Where a quote can stand in F behind a backslash only,
//! the search skips backslashes with the byte behind them.
//!
//! A field without an anchor is *loose*. The nearest later literal with a byte that no field and no
//! literal from F on can hold is found forward, by the same proof; at the latest that is the end of
//! the line. From there the walk goes back: each field has a fixed width, or lacks a byte of the
//! literal before it, whose last occurrence is then the literal's. What remains is F. A second field
//! that cannot be told so is refused if the account needs it or F, and else left unread.

use std::collections::VecDeque;

use super::placed::Placed;
use super::{
    Anchor, Behind, Body, End, EnvelopeVhost, Fields, Note, Plan, Reads, Region, Start, Step, Take,
    Used,
};
use crate::error::FormatError;
use crate::format::{ByteSet, Directive, Format, Layout, Meaning, Piece, Server, TimeForm};

mod alternatives;
mod choose;

use alternatives::alternatives;
use choose::choose;

/// A directive, or several that are read as one, with the literal behind.
struct Field {
    take: Take,
    first_directive: u16,
    directive: u16,
    bytes: ByteSet,
    escaped: bool,
    empty_is_quotes: bool,
    /// The width, if there is but one; a time's shape ends it.
    width: Option<usize>,
    /// A time that is read by its shape; what may follow is none of its bytes, if it has no end.
    ends_itself: Option<bool>,
    literal: Vec<u8>,
}

pub(super) fn compile(format: &Format) -> Result<Plan, FormatError> {
    let (body, reads, notes) = match &format.layout {
        Layout::Pieces(pieces) => {
            let one = pieces_of(format, pieces)?;
            (Body::Fields(one.fields), one.reads, one.notes)
        }
        Layout::OneOf(one_of) => alternatives(format, one_of)?,
        Layout::Json(json) => return super::json::compile(format, json),
        Layout::Columns(header) => return super::columns::compile(format, header.as_ref()),
    };
    let mut notes = notes;
    // A preset that several servers write may be lighttpd's too; no other server answers with 100 alone.
    let is_lighttpd = matches!(format.server, Server::Lighttpd | Server::Either);
    let tells_http2 = is_lighttpd && reads.request && reads.status;
    if format.server == Server::Lighttpd && !tells_http2 {
        notes.push(Note::Http2CountedTwice);
    }
    Ok(Plan {
        body,
        tells_http2,
        reads,
        notes,
        envelope_vhost: EnvelopeVhost::None,
        format: format.clone(),
    })
}

/// Which of several bytes that would do becomes the anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preferred {
    /// A quote: it holds even for values that older servers let through.
    Quote,
    /// The first: where there are several layouts, it is the field's end in all that have the field.
    First,
}

/// What one layout compiles to.
struct Compiled {
    fields: Fields,
    reads: Reads,
    notes: Vec<Note>,
}

fn directives_of(pieces: &[Piece]) -> Vec<&Directive> {
    let directives = pieces.iter().filter_map(|piece| match piece {
        Piece::Literal(_) => None,
        Piece::Directive(directive) => Some(directive),
    });
    directives.collect()
}

fn pieces_of(format: &Format, pieces: &[Piece]) -> Result<Compiled, FormatError> {
    let directives = directives_of(pieces);
    let too_many = directives.len() > usize::from(u16::MAX) - 1;
    if too_many {
        return Err(whole(
            format,
            "the format has too many directives",
            "leave some out",
        ));
    }
    let chosen = choose(format, &directives)?;
    let (first, mut fields) = fields(pieces, chosen.takes);
    let mut notes = chosen.notes;
    join_adjacent(&mut fields, &directives, &mut notes)?;
    let preferred = match format.layout {
        Layout::OneOf(_) => Preferred::First,
        Layout::Pieces(_) | Layout::Json(_) | Layout::Columns(_) => Preferred::Quote,
    };
    let mut steps = Vec::new();
    let mut rest = VecDeque::from(fields);
    while let Some(field) = rest.pop_front() {
        steps.push(step(field, &mut rest, preferred, &directives, &mut notes)?);
    }
    let takes = |wanted: fn(&Take) -> bool| any_take(&steps, wanted);
    let reads = Reads {
        vhost: takes(|take| matches!(take, Take::Vhost(_))),
        user: takes(|take| matches!(take, Take::User { .. })),
        status: takes(|take| matches!(take, Take::Status)),
        request: takes(|take| matches!(take, Take::Request(_) | Take::Method(_))),
        ..chosen.reads
    };
    let placed = Placed::compile(&first, &steps);
    Ok(Compiled {
        fields: Fields {
            first: first.into_boxed_slice(),
            steps,
            composes_time: chosen.composes_time,
            placed,
        },
        reads,
        notes,
    })
}

fn any_take(steps: &[Step], wanted: fn(&Take) -> bool) -> bool {
    steps.iter().any(|step| {
        let behind = match &step.end {
            End::Region(region) => region.behind.iter().any(|field| wanted(&field.take)),
            _ => false,
        };
        behind || wanted(&step.take)
    })
}

/// An error that is about all of the format.
fn whole(format: &Format, message: impl Into<String>, help: impl Into<String>) -> FormatError {
    FormatError {
        span: format.span.clone(),
        message: message.into(),
        help: Some(help.into()),
    }
}

/// The literal at the line's start, and the fields with the literals behind them.
fn fields(pieces: &[Piece], takes: Vec<Take>) -> (Vec<u8>, Vec<Field>) {
    let mut first = Vec::new();
    let mut fields: Vec<Field> = Vec::new();
    let mut takes = takes.into_iter();
    for piece in pieces {
        match piece {
            Piece::Literal(bytes) => match fields.last_mut() {
                Some(field) => field.literal.extend_from_slice(bytes),
                None => first.extend_from_slice(bytes),
            },
            Piece::Directive(directive) => {
                let index = u16::try_from(fields.len()).unwrap_or(u16::MAX);
                let (width, ends_itself) = shape(directive);
                fields.push(Field {
                    take: takes.next().unwrap_or(Take::Skip),
                    first_directive: index,
                    directive: index,
                    bytes: directive.bytes,
                    escaped: directive.escaped,
                    empty_is_quotes: directive.empty_is_quotes,
                    width,
                    ends_itself,
                    literal: Vec::new(),
                });
            }
        }
    }
    (first, fields)
}

/// A time's one width, and whether its shape ends it (`Some(false)`: all but its last part).
fn shape(directive: &Directive) -> (Option<usize>, Option<bool>) {
    let Meaning::Time { form, .. } = &directive.meaning else {
        return (None, None);
    };
    let (width, ends_itself) = match form {
        TimeForm::Clf { brackets } => (Some(if *brackets { 28 } else { 26 }), Some(true)),
        TimeForm::Iso8601 => (Some(25), Some(true)),
        TimeForm::EpochWithFraction | TimeForm::Epoch { .. } => (None, None),
        TimeForm::Fraction { digits } => (Some(*digits), Some(true)),
        TimeForm::Pattern(pattern) => (pattern.width(), Some(!pattern.is_open_ended())),
    };
    (width.filter(|_| !directive.optional), ends_itself)
}

/// Fields with nothing between them: each must end itself, or at the first byte of the next.
/// Others are read as one, if the account can do without telling them apart.
fn join_adjacent(
    fields: &mut Vec<Field>,
    directives: &[&Directive],
    notes: &mut Vec<Note>,
) -> Result<(), FormatError> {
    let mut index = 0;
    while index + 1 < fields.len() {
        let (left, right) = (&fields[index], &fields[index + 1]);
        // The right field may be empty; then what follows it ends the left one.
        let follows = right.literal.first().copied();
        let is_padding = directives[usize::from(left.directive)].meaning == Meaning::Padding;
        let is_told = left.ends_itself == Some(true)
            || is_padding && left.bytes.is_disjoint(&right.bytes)
            || left.bytes.is_disjoint(&right.bytes)
                && (right.ends_itself.is_some()
                    || follows
                        .map_or(index + 2 == fields.len(), |byte| !left.bytes.contains(byte)));
        if !left.literal.is_empty() || is_told {
            index += 1;
            continue;
        }
        let right = fields.remove(index + 1);
        let left = &mut fields[index];
        let take = match (&left.take, &right.take) {
            (Take::Path(escape), Take::Skip) if is_query(directives, &right) => {
                Some(Take::Path(*escape))
            }
            (left, right) if is_dropped(left) && is_dropped(right) => Some(Take::Skip),
            _ => None,
        };
        let Some(take) = take else {
            let (a, b) = (
                directives[usize::from(left.directive)],
                directives[usize::from(right.first_directive)],
            );
            return Err(FormatError {
                span: a.span.start..b.span.end.max(a.span.end),
                message: format!("where {} ends and {} begins cannot be told", a.written, b.written),
                help: Some("put something between them that neither can hold: a space, or quotes around each".into()),
            });
        };
        note_dropped(&left.take, &take, left.directive, directives, notes);
        if !is_query(directives, &right) {
            note_dropped(&right.take, &take, right.directive, directives, notes);
        }
        left.join(right, take);
    }
    Ok(())
}

fn is_query(directives: &[&Directive], field: &Field) -> bool {
    directives[usize::from(field.first_directive)..=usize::from(field.directive)]
        .iter()
        .all(|directive| directive.meaning == Meaning::Query)
}

/// Whether the account can do without a field.
fn is_dropped(take: &Take) -> bool {
    match take {
        Take::Skip
        | Take::Method(_)
        | Take::Path(_)
        | Take::Duration { .. }
        | Take::Time { used: Used::No, .. } => true,
        Take::Vhost(_)
        | Take::User { .. }
        | Take::Client
        | Take::Time { .. }
        | Take::Bytes { .. }
        | Take::Status
        | Take::Request(_) => false,
    }
}

fn note_dropped(
    before: &Take,
    now: &Take,
    directive: u16,
    directives: &[&Directive],
    notes: &mut Vec<Note>,
) {
    let was_read = matches!(
        before,
        Take::Method(_) | Take::Path(_) | Take::Duration { .. }
    );
    if was_read && matches!(now, Take::Skip) {
        notes.push(Note::NotRead(
            directives[usize::from(directive)].written.clone(),
        ));
    }
}

impl Field {
    /// Makes one field of two and of what stands between them.
    fn join(&mut self, right: Self, take: Take) {
        let is_plain = |bytes: &ByteSet| !bytes.contains(b'"') && !bytes.contains(b'\\');
        let hides_quotes = |field: &Self| field.escaped || is_plain(&field.bytes);
        let between = self
            .literal
            .iter()
            .fold(ByteSet::EMPTY, |set, &byte| set.with(byte));
        let both_hide = hides_quotes(self) && hides_quotes(&right) && is_plain(&between);
        self.escaped = both_hide && (self.escaped || right.escaped);
        // Two bare quotes in the middle of a field would not be seen.
        self.escaped &= !right.empty_is_quotes;
        self.bytes = self.bytes.union(right.bytes).union(between);
        self.take = take;
        self.directive = right.directive;
        self.width = None;
        self.ends_itself = None;
        self.literal = right.literal;
    }

    /// Whether the byte can stand in the field without a backslash before it. `first`: the search
    /// starts at this field, and has seen to an empty user's two quotes.
    fn holds_bare(&self, byte: u8, first: bool) -> bool {
        let hidden = self.escaped && byte == b'"' && (first || !self.empty_is_quotes);
        self.bytes.contains(byte) && !hidden
    }
}

/// The step that reads `field`, with as many of `rest` as it takes to tell it from them.
fn step(
    mut field: Field,
    rest: &mut VecDeque<Field>,
    preferred: Preferred,
    directives: &[&Directive],
    notes: &mut Vec<Note>,
) -> Result<Step, FormatError> {
    if let Some(closed) = field.ends_itself {
        if !closed
            && field
                .literal
                .first()
                .is_some_and(|&byte| field.bytes.contains(byte))
        {
            return Err(FormatError {
                span: directives[usize::from(field.directive)].span.clone(),
                message: "where the time ends cannot be told".into(),
                help: Some("put a byte behind it that it cannot hold, such as a space".into()),
            });
        }
        return Ok(field.ends(End::Time));
    }
    if field.literal.is_empty() {
        // `join_adjacent` has seen to it that a run of its bytes ends where the next field starts.
        let end = if rest.is_empty() {
            End::Line
        } else {
            End::Run(field.bytes)
        };
        return Ok(field.ends(end));
    }
    let is_count = field.bytes == ByteSet::COUNT && !field.bytes.contains(field.literal[0]);
    if is_count {
        return Ok(field.ends(End::Count));
    }
    loop {
        let (behind, anchor) = nearest_anchor(&field, rest, preferred);
        if behind == 0 {
            return Ok(field.ends(anchor.map_or(End::Line, End::Byte)));
        }
        let fields = || std::iter::once(&field).chain(rest.iter());
        let starts: Vec<Option<Start>> = fields()
            .zip(rest.iter().take(behind))
            .map(|(before, field)| start(field, &before.literal))
            .collect();
        // The last field that cannot be told from behind; it and all before it are one.
        let Some(loose) = starts.iter().rposition(Option::is_none) else {
            return Ok(region(
                field,
                rest.drain(..behind).zip(starts.into_iter().flatten()),
                anchor,
            ));
        };
        let is_unneeded = fields()
            .take(loose + 2)
            .all(|field| is_dropped(&field.take));
        if !is_unneeded {
            return Err(two_loose(&field, &rest[loose], directives));
        }
        note_dropped(&field.take, &Take::Skip, field.directive, directives, notes);
        for right in rest.drain(..=loose) {
            note_dropped(&right.take, &Take::Skip, right.directive, directives, notes);
            field.join(right, Take::Skip);
        }
    }
}

impl Field {
    fn ends(self, end: End) -> Step {
        Step {
            take: self.take,
            directive: self.directive,
            empty_is_quotes: self.empty_is_quotes,
            end,
            literal: self.literal.into_boxed_slice(),
        }
    }
}

/// The nearest field behind which the literal can be found from the first field's start: how many
/// fields after the first it is, and the anchor; none: the line's end, which serves any fields.
fn nearest_anchor(
    first: &Field,
    rest: &VecDeque<Field>,
    preferred: Preferred,
) -> (usize, Option<Anchor>) {
    let mut region: Vec<&Field> = Vec::with_capacity(rest.len() + 1);
    for (behind, last) in std::iter::once(first).chain(rest).enumerate() {
        let between: Vec<u8> = region
            .iter()
            .flat_map(|field| &field.literal)
            .copied()
            .collect();
        region.push(last);
        let is_free = |byte: u8, index: usize| {
            let in_field = region
                .iter()
                .enumerate()
                .any(|(at, field)| field.holds_bare(byte, at == 0));
            !in_field && !between.contains(&byte) && !last.literal[..index].contains(&byte)
        };
        // Where backslashes hide bytes, every backslash on the way must be such a one.
        let backslash_is_clear = |index: usize| {
            let in_field = region
                .iter()
                .any(|field| !field.escaped && field.bytes.contains(b'\\'));
            !in_field && !between.contains(&b'\\') && !last.literal[..=index].contains(&b'\\')
        };
        let mut best: Option<Anchor> = None;
        for (index, &byte) in last.literal.iter().enumerate() {
            let escaped = region
                .iter()
                .any(|field| field.escaped && field.bytes.contains(byte));
            if !is_free(byte, index) || (escaped && !backslash_is_clear(index)) {
                continue;
            }
            if best.is_none() || (byte == b'"' && preferred == Preferred::Quote) {
                best = Some(Anchor {
                    byte,
                    index,
                    escaped,
                });
            }
        }
        if best.is_some() {
            return (behind, best);
        }
    }
    (rest.len(), None)
}

/// `first` and the fields behind it that are found from the region's end.
fn region(
    first: Field,
    others: impl Iterator<Item = (Field, Start)>,
    anchor: Option<Anchor>,
) -> Step {
    let Field {
        take,
        directive,
        empty_is_quotes,
        mut literal,
        ..
    } = first;
    let mut behind = Vec::new();
    for (field, start) in others {
        let before = std::mem::replace(&mut literal, field.literal);
        behind.push(Behind {
            take: field.take,
            directive: field.directive,
            start,
            literal: before.into_boxed_slice(),
        });
    }
    behind.reverse();
    let end = End::Region(Box::new(Region {
        anchor,
        behind: behind.into_boxed_slice(),
    }));
    Step {
        take,
        directive,
        empty_is_quotes,
        end,
        literal: literal.into_boxed_slice(),
    }
}

/// How a field's start is found from its end, if the literal before it is `literal`.
fn start(field: &Field, literal: &[u8]) -> Option<Start> {
    if let Some(width) = field.width {
        return Some(Start::Width(width));
    }
    let index = literal
        .iter()
        .rposition(|&byte| !field.bytes.contains(byte))?;
    Some(Start::Byte {
        byte: literal[index],
        from_end: literal.len() - index,
    })
}

fn two_loose(first: &Field, second: &Field, directives: &[&Directive]) -> FormatError {
    let first = directives[usize::from(first.directive)];
    let second = directives[usize::from(second.directive)];
    FormatError {
        span: first.span.start..second.span.end.max(first.span.end),
        message: format!(
            "where {} ends and {} begins cannot be told",
            first.written, second.written
        ),
        help: Some(format!(
            "both may contain spaces, and clients choose them; put quotes around each (\"{}\" \"{}\"), or the numbers first",
            first.written, second.written
        )),
    }
}
