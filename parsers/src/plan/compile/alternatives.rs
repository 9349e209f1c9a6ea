//! Several layouts of one format.

use memchr::memmem::Finder;

use super::{Compiled, directives_of, pieces_of};
use crate::error::FormatError;
use crate::format::{Format, OneOf, Piece};
use crate::plan::{Alternative, Alternatives, Body, Note, Reads};

/// One byte alone stands in most lines.
const MIN_MARK_BYTES: usize = 2;
/// To look for more takes longer than it saves.
const MAX_MARKS: usize = 2;

/// Each of several layouts. Those beyond the needed ones are left out if there is no proof for them.
pub(super) fn alternatives(
    format: &Format,
    one_of: &OneOf,
) -> Result<(Body, Reads, Vec<Note>), FormatError> {
    let whole = directives_of(&one_of.whole);
    let (needed, others) = one_of
        .layouts
        .split_at(one_of.needed.min(one_of.layouts.len()));
    let compiled = |layouts: &[Vec<Piece>]| -> Result<Vec<Compiled>, FormatError> {
        layouts
            .iter()
            .map(|pieces| pieces_of(format, pieces))
            .collect()
    };
    let mut all = compiled(needed)?;
    let mut notes = Vec::new();
    // All of them or none: one alone would read the lines of those that are lacking.
    match compiled(others) {
        Ok(others) => all.extend(others),
        Err(_) => notes.push(Note::CookiesNotRead),
    }
    let mut reads = Reads::default();
    let mut layouts = Vec::with_capacity(all.len());
    for (one, pieces) in all.into_iter().zip(&one_of.layouts) {
        reads = reads.or(one.reads);
        for note in one.notes {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        let in_whole = directives_of(pieces).into_iter().map(|directive| {
            let index = whole.iter().position(|&other| other == directive);
            index
                .and_then(|index| u16::try_from(index).ok())
                .unwrap_or(u16::MAX)
        });
        layouts.push(Alternative {
            in_whole: in_whole.collect(),
            fields: one.fields,
            marks: Box::default(),
        });
    }
    let marks: Vec<_> = layouts
        .iter()
        .map(|layout| marks(layout, &layouts))
        .collect();
    for (layout, marks) in layouts.iter_mut().zip(marks) {
        layout.marks = marks;
    }
    let alternatives = Alternatives {
        layouts: layouts.into_boxed_slice(),
        host_in_list: one_of.host_in_list,
    };
    Ok((Body::Alternatives(alternatives), reads, notes))
}

/// The literals of a layout that fewest others have.
fn marks(of: &Alternative, all: &[Alternative]) -> Box<[Finder<'static>]> {
    let shared_by = |literal: &[u8]| {
        let has = |other: &&Alternative| other.fields.literals().any(|one| one == literal);
        all.iter().filter(has).count()
    };
    let literals = of.fields.literals();
    let counted = literals.map(|literal| (shared_by(literal), literal));
    let mut marks: Vec<_> = counted
        .filter(|(shared, literal)| *shared < all.len() && literal.len() >= MIN_MARK_BYTES)
        .collect();
    marks.sort_unstable();
    marks.dedup();
    let finders = marks.into_iter().take(MAX_MARKS);
    finders
        .map(|(_, mark)| Finder::new(mark).into_owned())
        .collect()
}
