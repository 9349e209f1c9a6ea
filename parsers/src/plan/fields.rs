//! What a compiled format is made of.

use memchr::memmem::Finder;

use super::Body;
use super::placed::Placed;
use crate::format::TimeForm;
use crate::text::Escape;

/// Several layouts; a line is in the first that fits.
#[derive(Debug, Clone)]
pub(super) struct Alternatives {
    pub(super) layouts: Box<[Alternative]>,
    /// Which of several captured headers the vhost is.
    pub(super) host_in_list: usize,
}

/// One of several layouts.
#[derive(Debug, Clone)]
pub(super) struct Alternative {
    pub(super) fields: Fields,
    /// Which of the format's directives each of its own is.
    pub(super) in_whole: Box<[u16]>,
    /// Literals that its lines have, and those of other layouts may lack.
    pub(super) marks: Box<[Finder<'static>]>,
}

/// What a line is made of.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    /// What every line starts with.
    pub(super) first: Box<[u8]>,
    pub(super) steps: Vec<Step>,
    /// Whether the time is put together from several fields.
    pub(super) composes_time: bool,
    /// The short way, for lines of which an index knows the places.
    pub(super) placed: Option<Placed>,
}

/// Which meanings a plan reads.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reads {
    pub(super) vhost: bool,
    pub(super) user: bool,
    pub(super) status: bool,
    /// The request line or the method.
    pub(super) request: bool,
    pub(super) wire_in: bool,
    pub(super) wire_out: bool,
    /// Received and sent together: one of them is what the other leaves of it.
    pub(super) both: bool,
    /// The vhost is the host of the URL in the request line, which the walk takes for the vhost.
    pub(super) vhost_in_request: bool,
}

impl Reads {
    /// What either reads.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            vhost: self.vhost || other.vhost,
            user: self.user || other.user,
            status: self.status || other.status,
            request: self.request || other.request,
            vhost_in_request: self.vhost_in_request || other.vhost_in_request,
            wire_in: self.wire_in || other.wire_in,
            wire_out: self.wire_out || other.wire_out,
            both: self.both || other.both,
        }
    }
}

/// One field, and what follows it.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) take: Take,
    /// Which of the format's directives it is; of several that are read as one, the last.
    pub(super) directive: u16,
    /// Whether two quotes at its start are the whole of it.
    pub(super) empty_is_quotes: bool,
    pub(super) end: End,
    /// What stands behind it.
    pub(super) literal: Box<[u8]>,
}

impl Step {
    /// What stands in each line that has it.
    pub(super) fn literals(&self) -> impl Iterator<Item = &[u8]> {
        let behind = match &self.end {
            End::Region(region) => &*region.behind,
            _ => &[],
        };
        let behind = behind.iter().map(|field| &*field.literal);
        behind.chain([&*self.literal])
    }
}

/// What is done with a field. Which it is stands in a byte of its own, not among the values of
/// some field, since each line asks for each step.
#[derive(Debug, Clone)]
#[repr(u8)]
pub(super) enum Take {
    Skip,
    Vhost(Escape),
    User {
        escape: Escape,
        empty_is_quotes: bool,
    },
    Client,
    /// A time; one that is not used is checked all the same, since its shape is what ends it.
    Time {
        form: TimeForm,
        optional: bool,
        used: Used,
    },
    Bytes {
        count: crate::format::Count,
        dash_is_zero: bool,
    },
    Status,
    Duration {
        per_second: u64,
    },
    Request(Escape),
    Method(Escape),
    Path(Escape),
}

/// What a time is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Used {
    /// It is the line's time.
    Whole,
    /// It is a part of the line's time.
    Part,
    No,
}

/// How a field's end is found.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// A time has a shape of its own.
    Time,
    /// It is as long as its bytes are of this set.
    Run(crate::format::ByteSet),
    /// It is digits, or a dash.
    Count,
    /// The first such byte, which stands at this index of the literal, ends it.
    Byte(Anchor),
    /// It ends before the literal at the end of the line.
    Line,
    /// It holds bytes of the literal itself: what follows is found from behind.
    Region(Box<Region>),
}

/// A byte that no field before it can hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchor {
    pub(super) byte: u8,
    /// Its index in the literal.
    pub(super) index: usize,
    /// Whether one that a backslash hides does not count.
    pub(super) escaped: bool,
}

/// A field that can only be told from its neighbours from behind.
#[derive(Debug, Clone)]
pub(super) struct Region {
    /// The byte in the literal after the region's last field; none: that literal ends the line.
    pub(super) anchor: Option<Anchor>,
    /// The other fields, the last one first.
    pub(super) behind: Box<[Behind]>,
}

#[derive(Debug, Clone)]
pub(super) struct Behind {
    pub(super) take: Take,
    pub(super) directive: u16,
    pub(super) start: Start,
    /// What stands before it.
    pub(super) literal: Box<[u8]>,
}

/// How a field's start is found from its end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    Width(usize),
    /// The last such byte; so many bytes of the literal stand from it to the field.
    Byte {
        byte: u8,
        from_end: usize,
    },
}

impl Body {
    /// What can stand behind a directive of the format, or at the start.
    pub(super) fn literals_after(&self, directive: Option<u16>) -> Vec<&[u8]> {
        let mut literals: Vec<&[u8]> = match (self, directive) {
            (Self::Fields(fields), None) => vec![&fields.first],
            (Self::Fields(fields), Some(directive)) => {
                fields.literal_after(directive).into_iter().collect()
            }
            (Self::Alternatives(several), None) => several
                .layouts
                .iter()
                .map(|one| &*one.fields.first)
                .collect(),
            (Self::Alternatives(several), Some(directive)) => several
                .layouts
                .iter()
                .filter_map(|one| one.fields.literal_after(one.own(directive)?))
                .collect(),
            (Self::Json(_) | Self::Columns(_), _) => Vec::new(),
        };
        literals.sort_unstable();
        literals.dedup();
        literals
    }
}

impl Alternative {
    /// Which of its own directives one of the format's is.
    pub(super) fn own(&self, directive: u16) -> Option<u16> {
        let index = self.in_whole.iter().position(|&whole| whole == directive)?;
        u16::try_from(index).ok()
    }
}

impl Fields {
    /// What stands in each line.
    pub(super) fn literals(&self) -> impl Iterator<Item = &[u8]> {
        let of_steps = self.steps.iter().flat_map(Step::literals);
        of_steps.chain([&*self.first])
    }

    pub(super) fn literal_after(&self, directive: u16) -> Option<&[u8]> {
        self.steps.iter().find_map(|step| {
            if let End::Region(region) = &step.end {
                // A literal of `behind` stands before its field, so behind the field before that.
                let before = region.behind.iter().skip(1).map(|field| field.directive);
                let before = before.chain([step.directive]);
                for (field, directive_before) in region.behind.iter().zip(before) {
                    if directive_before == directive {
                        return Some(&*field.literal);
                    }
                }
                let last = region
                    .behind
                    .first()
                    .map_or(step.directive, |field| field.directive);
                return (last == directive).then_some(&*step.literal);
            }
            (step.directive == directive).then_some(&*step.literal)
        })
    }
}
