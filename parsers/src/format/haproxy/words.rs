//! The words of a line of haproxy.cfg: quotes, backslashes and comments undone (its documentation,
//! section 2.2).

use super::super::quoting::{self, Text};
use super::VARIABLES;
use crate::error::FormatError;

/// A word, and whether any of it stood in quotes.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) text: Text,
    is_quoted: bool,
}

/// The words of the first line of `text`, and the line's length with its newline.
pub(super) fn line(text: &[u8], at: usize) -> Result<(Vec<Word>, usize), FormatError> {
    let mut words = Vec::new();
    let mut index = 0;
    loop {
        match text.get(index) {
            None => return Ok((words, index)),
            Some(b'\n') => return Ok((words, index + 1)),
            Some(b'#') => {
                index += memchr::memchr(b'\n', &text[index..]).unwrap_or(text.len() - index);
            }
            Some(b' ' | b'\t' | b'\r') => index += 1,
            Some(_) => {
                let (word, length) = word(&text[index..], at + index)?;
                words.push(word);
                index += length;
            }
        }
    }
}

/// A format string without its line: in quotes as in the config, with the backslashes of one that
/// stood there, or as it is.
pub(super) fn bare(text: &[u8], at: usize) -> Result<Text, FormatError> {
    if matches!(text.first(), Some(b'"' | b'\'')) {
        let (words, length) = line(text, at)?;
        if let ([word], true) = (words.as_slice(), length == text.len())
            && word.is_quoted
        {
            return Ok(word.text.clone());
        }
    }
    let has = |needle: &[u8]| memchr::memmem::find(text, needle).is_some();
    if has(b"\\ ") {
        let (words, length) = line(text, at)?;
        if let ([word], true) = (words.as_slice(), length == text.len()) {
            return Ok(word.text.clone());
        }
    }
    if has(b"\\\"") {
        // The inside of a string in double quotes, pasted without them.
        let mut inside = Text::at(at);
        let mut index = 0;
        while index < text.len() {
            index += in_double_quotes(text, index, at, &mut inside)?;
        }
        return Ok(inside);
    }
    Ok(Text::verbatim(text, at))
}

fn word(text: &[u8], at: usize) -> Result<(Word, usize), FormatError> {
    let mut word = Word {
        text: Text::at(at),
        is_quoted: false,
    };
    let mut index = 0;
    while let Some(&byte) = text.get(index) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b'#' => break,
            b'\'' => {
                let inside = &text[index + 1..];
                let length = memchr::memchr(b'\'', inside).ok_or_else(|| unclosed(at + index))?;
                word.text
                    .append(&Text::verbatim(&inside[..length], at + index + 1));
                word.is_quoted = true;
                index += length + 2;
            }
            b'"' => {
                let open = index;
                index += 1;
                word.is_quoted = true;
                loop {
                    match text.get(index) {
                        None => return Err(unclosed(at + open)),
                        Some(b'"') => break,
                        Some(_) => index += in_double_quotes(text, index, at, &mut word.text)?,
                    }
                }
                index += 1;
            }
            b'\\' => index += escape(text, index, at, &mut word.text),
            _ => {
                word.text.push(byte, at + index);
                index += 1;
            }
        }
    }
    Ok((word, index))
}

fn unclosed(at: usize) -> FormatError {
    quoting::error(
        at..at + 1,
        "the string's closing quote is missing",
        super::EXAMPLE,
    )
}

/// Takes what stands at `index`, inside double quotes; how many bytes that is.
fn in_double_quotes(
    text: &[u8],
    index: usize,
    at: usize,
    word: &mut Text,
) -> Result<usize, FormatError> {
    match text[index] {
        b'\\' => Ok(escape(text, index, at, word)),
        b'$' => variable(text, index, at, word),
        byte => {
            word.push(byte, at + index);
            Ok(1)
        }
    }
}

/// A backslash and what it hides; how many bytes that is.
fn escape(text: &[u8], index: usize, at: usize, word: &mut Text) -> usize {
    let hex = |range| {
        let digits = std::str::from_utf8(text.get(range)?).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    let (meant, length) = match text.get(index + 1) {
        // The line goes on.
        Some(b'\n') => return 2,
        Some(b'\r') if text.get(index + 2) == Some(&b'\n') => return 3,
        Some(b'n') => (b'\n', 2),
        Some(b'r') => (b'\r', 2),
        Some(b't') => (b'\t', 2),
        Some(b'x') => match hex(index + 2..index + 4) {
            Some(byte) => (byte, 4),
            None => (b'\\', 1),
        },
        Some(&byte @ (b' ' | b'#' | b'\\' | b'"' | b'\'' | b'$' | b'\t')) => (byte, 2),
        _ => (b'\\', 1),
    };
    word.push(meant, at + index + length - 1);
    length
}

/// A variable of the environment; of those that HAProxy sets itself, what they hold.
fn variable(text: &[u8], index: usize, at: usize, word: &mut Text) -> Result<usize, FormatError> {
    let braced = text.get(index + 1) == Some(&b'{');
    let start = index + 1 + usize::from(braced);
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    let rest = text.get(start..).unwrap_or_default();
    let name = &rest[..rest.iter().take_while(is_name).count()];
    let end = start + name.len();
    let end = end + usize::from(braced && text.get(end) == Some(&b'}'));
    match VARIABLES.iter().find(|(known, _)| *known == name) {
        Some((_, value)) => {
            value.bytes().for_each(|byte| word.push(byte, at + index));
            Ok(end - index)
        }
        None => Err(quoting::error(
            at + index..at + end,
            format!(
                "{} is a variable of HAProxy's environment",
                String::from_utf8_lossy(&text[index..end])
            ),
            "write what it stands for; for a literal dollar sign write \\$",
        )),
    }
}
