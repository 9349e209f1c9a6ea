//! The short way over a line of which an index knows the places.
//!
//! A line that is as its format wants it has quotes, and spaces outside quotes, where the format's
//! literals and times have them, and nowhere else. So each literal is looked for where its first
//! place is, by a number that is known beforehand, and each field is what stands between two
//! literals; what the account has no use for is not looked at.
//!
//! What comes of it is what the walk finds, or nothing. The line has exactly as many places as its
//! literals and times, and each of these is compared at the places with its own numbers, from the
//! line's start to its end, none of them in bytes of another: so no field has a place in it, and what
//! ends a field, a quote or a space outside quotes, is the first such byte from the field's start on,
//! which is what the walk looks for. Where the walk looks for anything else, the walk's own step is
//! taken. A quote behind a backslash may be one that the walk passes over: such a line is left to it,
//! like any other line that does not come out.

use super::account::{Account, FOR_THE_WALK, is_count, so};
use super::reading::Reading;
use super::span::{Edge, Span};
use super::{Carried, End, Fields, Plan, Start, Step, Take};
use crate::error::LineError;
use crate::format::TimeForm;
use crate::index::{MAX_PLACES, Places, Text};
use crate::record::Line;

/// Bytes that are compared as one word.
const WORD: usize = 8;

/// How a line is read by its places.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    /// How many places a line has: the newline before it, its own, and its newline.
    count: usize,
    /// Literals that are one space each.
    spaces: Box<[u8]>,
    /// Of all other literals, up to eight bytes at a time.
    words: Box<[Word]>,
    /// Quotes that a backslash before them could hide.
    hideable: Box<[Edge]>,
    /// Fields of which two literals could share bytes, if they were of less than none.
    apart: Box<[Span]>,
    fields: Box<[Field]>,
    /// The same, where all that is asked of a line is what the account is kept from.
    account: Option<Account>,
    /// Where the last literal ends, if the line ends there.
    end: Option<Edge>,
}

/// Bytes of a literal.
#[derive(Debug, Clone)]
struct Word {
    start: Edge,
    bytes: u64,
    /// Which of the eight are the literal's.
    mask: u64,
}

/// What is done between two literals.
#[derive(Debug, Clone)]
struct Field {
    span: Span,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Take(Take),
    /// Digits and dashes, of no use.
    Count,
    /// These steps of the walk. They end so many bytes behind the field.
    Steps {
        steps: std::ops::Range<usize>,
        literal: usize,
    },
}

impl Placed {
    /// Reads a line. Any error means that this is for the walk to do.
    #[inline(always)]
    pub(super) fn read<'l>(
        &self,
        plan: &Plan,
        fields: &Fields,
        text: Text<'l>,
        carried: &mut Carried,
    ) -> Result<Line<'l>, LineError> {
        if text.count() != self.count {
            return Err(FOR_THE_WALK);
        }
        let places = &text.places();
        // It may be blank, or end in a CR that is no part of it.
        let begins_blank = text.bytes().first().is_none_or(u8::is_ascii_whitespace);
        if begins_blank || text.bytes().ends_with(b"\r") {
            return Err(FOR_THE_WALK);
        }
        // Places are those of the chunk, so that none has to be moved.
        let line = so(text.up_to_end())?;
        let mut differs = 0;
        for &space in &self.spaces {
            differs |= u64::from(*so(line.get(places.edge(space, 0)))? ^ b' ');
        }
        for word in &self.words {
            differs |= (so(places.word(word.start.of(places)))? ^ word.bytes) & word.mask;
        }
        for quote in &self.hideable {
            let before = so(quote.of(places).checked_sub(1))?;
            differs |= u64::from(*so(line.get(before))? == b'\\');
        }
        for span in &self.apart {
            so(span.of(line, places))?;
        }
        if differs != 0 || self.end.is_some_and(|end| end.of(places) != line.len()) {
            return Err(FOR_THE_WALK);
        }
        match &self.account {
            Some(account) => account.read(plan, line, places, carried),
            None => so(self.read_fields(plan, fields, line, places, carried)),
        }
    }

    /// Field after field, as the walk would.
    #[inline(never)]
    fn read_fields<'l>(
        &self,
        plan: &Plan,
        fields: &Fields,
        line: &'l [u8],
        places: &Places<'_>,
        carried: &mut Carried,
    ) -> Option<Line<'l>> {
        let mut reading = Reading::new(plan, carried);
        for field in &self.fields {
            let (start, end) = field.span.of(line, places)?;
            match &field.what {
                What::Take(take) => reading.take(take, line, start, end).ok()?,
                What::Count => is_count(&line[start..end]).then_some(())?,
                What::Steps { steps, literal } => {
                    let mut at = start;
                    for step in &fields.steps[steps.clone()] {
                        at = step.walk(line, at, &mut reading).ok()?;
                    }
                    (at == end + literal).then_some(())?;
                }
            }
        }
        reading.put_together(plan, fields).ok()?;
        Some(reading.line(plan))
    }

    /// For lines of these steps; `None` where nobody can say how many places a line has, or where
    /// most of it would be steps of the walk all the same.
    pub(super) fn compile(first: &[u8], steps: &[Step]) -> Option<Self> {
        // It would be found in what stands before the line, or behind it.
        let mut literals = steps.iter().flat_map(Step::literals).chain([first]);
        if literals.any(|literal| literal.contains(&b'\n')) {
            return None;
        }
        let mut compiler = Compiler::default();
        compiler.words(Edge::BEGIN, first);
        compiler.at = Edge::BEGIN.behind(first.len());
        compiler.pass(first);
        let mut index = 0;
        while index < steps.len() {
            index = compiler.step(steps, index)?;
        }
        let count = usize::from(compiler.next) + 1;
        let is_short = compiler.steps_taken * 2 <= steps.len() && count < MAX_PLACES;
        let fields = compiler.fields.iter();
        let takes = fields.map(|field| match &field.what {
            What::Take(take) => Some((take, field.span)),
            What::Count => Some((&Take::Skip, field.span)),
            What::Steps { .. } => None,
        });
        let account = takes.collect::<Option<Vec<_>>>();
        let account = account.and_then(|takes| Account::of(&takes));
        is_short.then(|| Self {
            account,
            count,
            spaces: compiler.spaces.into(),
            words: compiler.words.into(),
            hideable: compiler.hideable.into(),
            apart: compiler.apart.into(),
            fields: compiler.fields.into(),
            end: (!compiler.is_at_end).then_some(compiler.at),
        })
    }
}

struct Compiler {
    /// Where the next field begins.
    at: Edge,
    /// The last field went to the line's end.
    is_at_end: bool,
    /// The next place.
    next: u8,
    in_quotes: bool,
    spaces: Vec<u8>,
    words: Vec<Word>,
    hideable: Vec<Edge>,
    apart: Vec<Span>,
    fields: Vec<Field>,
    /// Steps that the walk has to take.
    steps_taken: usize,
}

impl Default for Compiler {
    fn default() -> Self {
        Self {
            at: Edge::BEGIN,
            is_at_end: false,
            next: 1,
            in_quotes: false,
            spaces: Vec::new(),
            words: Vec::new(),
            hideable: Vec::new(),
            apart: Vec::new(),
            fields: Vec::new(),
            steps_taken: 0,
        }
    }
}

/// One field and the literal behind it, as the places tell them apart.
struct Told<'s> {
    take: &'s Take,
    literal: &'s [u8],
    is_count: bool,
    can_be_hidden: bool,
}

impl Compiler {
    /// Takes the step with this number, and those that cannot be told from it by their places; the
    /// number of the next one.
    fn step(&mut self, steps: &[Step], index: usize) -> Option<usize> {
        // A literal without a place: where it stands is known to the walk alone.
        let mut last = index;
        while last + 1 < steps.len() && self.places_in(&steps[last].literal) == 0 {
            self.times(&steps[last])?;
            last += 1;
        }
        // Nor is it known where a literal without a place ends a line.
        let is_alone = last == index
            && (steps[last].literal.is_empty() || self.places_in(&steps[last].literal) > 0);
        let told = is_alone.then(|| self.tell(&steps[index])).flatten();
        match told {
            Some(told) => {
                for told in told {
                    let spaces = self.times_of(told.take)?;
                    self.next = self.next.saturating_add(spaces);
                    // A duration may have a point, which no count has.
                    if told.is_count && matches!(told.take, Take::Duration { .. }) {
                        self.field(What::Count, told.literal);
                    }
                    let what = match told.take {
                        Take::Skip if told.is_count => Some(What::Count),
                        Take::Skip => None,
                        take => Some(What::Take(take.clone())),
                    };
                    self.end(what, told.literal, told.can_be_hidden);
                }
            }
            None => {
                self.times(&steps[last])?;
                self.steps_taken += last + 1 - index;
                let literal = &*steps[last].literal;
                let is_placed = self.places_in(literal) > 0;
                let what = What::Steps {
                    steps: index..last + 1,
                    literal: if is_placed { literal.len() } else { 0 },
                };
                self.end(Some(what), literal, false);
            }
        }
        Some(last + 1)
    }

    /// The fields of a step, if the walk finds each of them by a place.
    fn tell<'s>(&self, step: &'s Step) -> Option<Vec<Told<'s>>> {
        let literal = &*step.literal;
        let anchored = |byte: u8| byte == b'"' || byte == b' ' && !self.in_quotes;
        let alone = |is_count: bool, can_be_hidden: bool| {
            Some(vec![Told {
                take: &step.take,
                literal,
                is_count,
                can_be_hidden,
            }])
        };
        match &step.end {
            End::Byte(anchor) => {
                let can_be_hidden = anchor.escaped && anchor.index == 0;
                let is_told = anchored(anchor.byte);
                is_told.then(|| alone(false, can_be_hidden)).flatten()
            }
            End::Count => alone(true, false),
            End::Time | End::Line => alone(false, false),
            End::Run(_) => None,
            End::Region(region) => {
                let is_anchored = region.anchor.is_none_or(|anchor| anchored(anchor.byte));
                let are_told = region.behind.iter().all(|field| {
                    let by_start = match field.start {
                        Start::Width(_) => true,
                        Start::Byte { byte, .. } => byte == b' ',
                    };
                    by_start && self.places_in(&field.literal) > 0
                });
                // In quotes a space is no place, and where a quote stands inside is not known.
                let is_plain = !self.in_quotes
                    && region
                        .behind
                        .iter()
                        .all(|field| !field.literal.contains(&b'"'));
                if !(is_anchored && are_told && is_plain) {
                    return None;
                }
                let mut takes = vec![&step.take];
                takes.extend(region.behind.iter().rev().map(|field| &field.take));
                let mut literals: Vec<&[u8]> = region
                    .behind
                    .iter()
                    .rev()
                    .map(|field| &*field.literal)
                    .collect();
                literals.push(literal);
                let escaped = region
                    .anchor
                    .is_some_and(|anchor| anchor.escaped && anchor.index == 0);
                let last = literals.len() - 1;
                let told = takes.into_iter().zip(literals).enumerate();
                Some(
                    told.map(|(index, (take, literal))| Told {
                        take,
                        literal,
                        is_count: false,
                        can_be_hidden: escaped && index == last,
                    })
                    .collect(),
                )
            }
        }
    }

    /// A field ends, and this stands behind it. Only the last literal may be without a place.
    fn end(&mut self, what: Option<What>, literal: &[u8], can_be_hidden: bool) {
        if let Some(what) = what {
            self.field(what, literal);
        }
        let end = self.edge_before(literal);
        // A literal that begins with a place begins behind all that was compared before.
        if literal.first().is_some_and(|&byte| !self.is_place(byte)) {
            let start = self.at;
            self.apart.push(Span { start, end });
        }
        self.is_at_end = self.places_in(literal) == 0;
        if self.is_at_end {
            return;
        }
        if can_be_hidden {
            self.hideable.push(end);
        }
        if literal == b" " {
            self.spaces.push(self.next);
        } else {
            self.words(end, literal);
        }
        self.at = end.behind(literal.len());
        self.pass(literal);
    }

    /// What is done with the field that ends before this.
    fn field(&mut self, what: What, literal: &[u8]) {
        let (start, end) = (self.at, self.edge_before(literal));
        let span = Span { start, end };
        self.fields.push(Field { span, what });
    }

    /// Where a literal begins that has the next place, or the line's end.
    fn edge_before(&self, literal: &[u8]) -> Edge {
        let first = literal.iter().position(|&byte| self.is_place(byte));
        Edge::before(self.next, first.unwrap_or(0))
    }

    fn words(&mut self, start: Edge, literal: &[u8]) {
        for (index, part) in literal.chunks(WORD).enumerate() {
            let (mut bytes, mut mask) = ([0; WORD], [0; WORD]);
            bytes[..part.len()].copy_from_slice(part);
            mask[..part.len()].fill(u8::MAX);
            self.words.push(Word {
                start: start.behind(index * WORD),
                bytes: u64::from_le_bytes(bytes),
                mask: u64::from_le_bytes(mask),
            });
        }
    }

    fn is_place(&self, byte: u8) -> bool {
        byte == b'"' || byte == b' ' && !self.in_quotes
    }

    fn places_in(&self, literal: &[u8]) -> usize {
        literal.iter().filter(|&&byte| self.is_place(byte)).count()
    }

    fn pass(&mut self, literal: &[u8]) {
        for &byte in literal {
            self.next = self.next.saturating_add(u8::from(self.is_place(byte)));
            self.in_quotes ^= byte == b'"';
        }
    }

    /// Passes the places of a step's times.
    fn times(&mut self, step: &Step) -> Option<()> {
        let mut spaces = self.times_of(&step.take)?;
        if let End::Region(region) = &step.end {
            for field in &region.behind {
                spaces = spaces.saturating_add(self.times_of(&field.take)?);
            }
        }
        self.next = self.next.saturating_add(spaces);
        Some(())
    }

    /// How many places a field has. Only times have spaces of their own.
    fn times_of(&self, take: &Take) -> Option<u8> {
        let Take::Time { form, optional, .. } = take else {
            return Some(0);
        };
        let spaces = match form {
            TimeForm::Clf { .. } => 1,
            TimeForm::Pattern(pattern) => u8::try_from(pattern.spaces()?).ok()?,
            TimeForm::Iso8601
            | TimeForm::EpochWithFraction
            | TimeForm::Epoch { .. }
            | TimeForm::Fraction { .. } => 0,
        };
        match spaces {
            0 => Some(0),
            _ if *optional => None,
            _ if self.in_quotes => Some(0),
            spaces => Some(spaces),
        }
    }
}
