//! One line of hostile or faulty text, made printable and cut to a width, with carets below.
//!
//! Nothing below 0x20 leaves this module, nor any other character that moves a terminal's cursor
//! or turns its writing around.

use std::fmt::Write as _;
use std::ops::Range;

use unicode_width::UnicodeWidthChar as _;

/// A line as it can be shown, and the carets for the line below it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Excerpt {
    /// The printable part of the line around the span.
    pub text: String,
    /// Spaces, then one `^` for every column of the span.
    pub carets: String,
}

/// Shows `line` around the bytes `span`, in about `max_columns` columns.
///
/// Bytes that are no UTF-8, control characters and the like become `\xhh`. A span that is empty or
/// lies behind the end gets one caret. Where the line is cut stands `…`.
#[must_use]
pub fn excerpt(line: &[u8], span: Range<usize>, max_columns: usize) -> Excerpt {
    let cells = cells(line);
    let marked = |cell: &Cell| {
        cell.bytes.start < span.end.max(span.start.saturating_add(1)) && span.start < cell.bytes.end
    };
    let first_marked = cells.iter().position(marked).unwrap_or(cells.len());
    let total: usize = cells.iter().map(|cell| cell.width).sum();

    // A line that fits is shown whole; otherwise a third of the room is for what stands before.
    let mut start = 0;
    if total > max_columns {
        let mut room = max_columns / 3;
        start = first_marked;
        while start > 0 && cells[start - 1].width <= room {
            room -= cells[start - 1].width;
            start -= 1;
        }
        // Near the start of the line there is nothing to cut on the left.
        let before: usize = cells[..first_marked].iter().map(|cell| cell.width).sum();
        if before <= max_columns / 3 * 2 {
            start = 0;
        }
    }

    let mut shown = Excerpt {
        text: String::new(),
        carets: String::new(),
    };
    let mut columns = 0;
    if start > 0 {
        shown.text.push('…');
        shown.carets.push(' ');
        columns = 1;
    }
    let mut carets = 0;
    for cell in &cells[start..] {
        if columns + cell.width > max_columns && total > max_columns {
            shown.text.push('…');
            break;
        }
        columns += cell.width;
        shown.text.push_str(&cell.text);
        let caret = marked(cell);
        carets += usize::from(caret);
        let mark = if caret { '^' } else { ' ' };
        shown.carets.extend(std::iter::repeat_n(mark, cell.width));
    }
    shown.carets.truncate(shown.carets.trim_end().len());
    if carets == 0 {
        shown.carets = " ".repeat(columns);
        shown.carets.push('^');
    }
    shown
}

/// Makes a name or a message safe for a terminal, as [`excerpt`] does for a line.
#[must_use]
pub fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.chars().all(is_printable) {
        return text.into();
    }
    cells(text.as_bytes())
        .into_iter()
        .map(|cell| cell.text)
        .collect::<String>()
        .into()
}

/// What one character or one bad byte of the line looks like.
struct Cell {
    bytes: Range<usize>,
    text: String,
    width: usize,
}

fn cells(line: &[u8]) -> Vec<Cell> {
    let mut cells = Vec::with_capacity(line.len());
    let mut at = 0;
    for chunk in line.utf8_chunks() {
        for char in chunk.valid().chars() {
            let bytes = at..at + char.len_utf8();
            at = bytes.end;
            let mut text = String::new();
            if is_printable(char) {
                text.push(char);
            } else {
                let mut buffer = [0; 4];
                for byte in char.encode_utf8(&mut buffer).bytes() {
                    let _ = write!(text, "\\x{byte:02x}");
                }
            }
            let width = match is_printable(char) {
                true => char.width().unwrap_or(0),
                false => text.len(),
            };
            cells.push(Cell { bytes, text, width });
        }
        for byte in chunk.invalid() {
            cells.push(Cell {
                bytes: at..at + 1,
                text: format!("\\x{byte:02x}"),
                width: 4,
            });
            at += 1;
        }
    }
    cells
}

/// Neither a control character nor one that reorders or hides its neighbours.
fn is_printable(char: char) -> bool {
    !char.is_control()
        && !matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_below_their_bytes() {
        for (line, span, text, carets) in [
            (&b"abc"[..], 1..2, "abc", " ^"),
            (b"abc", 1..3, "abc", " ^^"),
            (b"abc", 3..3, "abc", "   ^"),
            (b"abc", 9..12, "abc", "   ^"),
            (b"abc", 0..0, "abc", "^"),
            (b"", 0..0, "", "^"),
            (b"a\x1b[2Jb", 5..6, "a\\x1b[2Jb", "        ^"),
            (b"\xff\xfeb", 1..2, "\\xff\\xfeb", "    ^^^^"),
            ("wół".as_bytes(), 4..5, "wół", "  ^"),
            ("日本!".as_bytes(), 3..6, "日本!", "  ^^"),
            (
                "\u{202e}x".as_bytes(),
                3..4,
                "\\xe2\\x80\\xaex",
                "            ^",
            ),
        ] {
            let shown = excerpt(line, span, 80);
            assert_eq!((shown.text.as_str(), shown.carets.as_str()), (text, carets));
        }
    }

    #[test]
    fn long_lines_are_cut_around_the_span() {
        let line = "0123456789".repeat(30);
        for at in [0, 5, 19, 20, 50, 150, 290, 299, 300] {
            let shown = excerpt(line.as_bytes(), at..at + 1, 30);
            assert!(shown.text.chars().count() <= 32, "{at}: {}", shown.text);
            let caret = shown.carets.len() - 1;
            if at < 300 {
                let digit = shown.text.chars().nth(caret);
                assert_eq!(digit, line.chars().nth(at), "{at}: {shown:?}");
            }
        }
    }

    #[test]
    fn names_are_made_printable() {
        assert_eq!(printable("a.example"), "a.example");
        assert_eq!(printable("a\nb\u{7f}"), "a\\x0ab\\x7f");
    }
}
