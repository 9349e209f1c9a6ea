//! The pass over one line.

use super::scan::{self, WIDTH};
use super::value::{self, Value};
use super::{Child, Keys, Leaf, MAX_DEPTH, Node, Requests, SLOTS, Take};
use crate::error::{Expected, LineError, Syntax};
use crate::plan::Carried;
use crate::record::{Ignored, Line, Logged, Record};
use crate::text::Escape;

/// What has been read of a line.
struct Reading<'l, 'm> {
    line: &'l [u8],
    record: Record<'l>,
    /// The rank of the value that each meaning has; a better one is lower.
    ranks: [u8; SLOTS],
    /// The keys that there were.
    seen: u64,
    /// Whether there was an escape in a string since this was last cleared.
    has_escape: bool,
    /// Whether Caddy calls it a line of its access log.
    is_access: Option<bool>,
    /// Whether Caddy's message is that of an access log.
    is_handled: Option<bool>,
    /// Whether the line says how grave it is.
    has_level: bool,
    carried: &'m mut Carried,
    /// What did not fit.
    misfit: Option<LineError>,
}

/// The line does not fit; what and where is in [`Reading::misfit`], so that results fit into
/// registers.
struct Misfit;

/// Reads a line.
#[inline]
pub(super) fn read<'l>(
    keys: &Keys,
    line: &'l [u8],
    carried: &mut Carried,
) -> Result<Line<'l>, LineError> {
    let mut reading = Reading {
        line,
        record: Record {
            vhost: None,
            user: None,
            client: None,
            time: None,
            bytes_in: keys.absent_in,
            bytes_out: None,
            status: None,
            duration_us: None,
            method: None,
            path: None,
        },
        ranks: [u8::MAX; SLOTS],
        seen: 0,
        has_escape: false,
        is_access: None,
        is_handled: None,
        has_level: false,
        carried,
        misfit: None,
    };
    if let Err(Misfit) = reading.line(keys) {
        let nothing = LineError {
            at: 0,
            expected: Expected::Json(Syntax::Object),
        };
        return Err(reading.misfit.unwrap_or(nothing));
    }
    match reading.is_request(keys) {
        Some(true) => Ok(Line::Record(reading.record)),
        Some(false) => Ok(Line::Ignored(Ignored::NotARequest)),
        None => Err(LineError {
            at: line.len(),
            expected: Expected::Json(Syntax::KnownKeys),
        }),
    }
}

impl Node {
    /// The child with the key at `start..end` of the line.
    #[inline(always)]
    fn find(&self, line: &[u8], start: usize, end: usize) -> Option<&Child> {
        let length = end - start;
        let word = scan::key_word(line, start, length);
        if self.marks & scan::mark(word) == 0 {
            return None;
        }
        let is_it = |child: &&Child| {
            child.word == word
                && child.key.len() == length
                && (length <= WIDTH || child.key[WIDTH..] == line[start + WIDTH..end])
        };
        self.children.iter().find(is_it)
    }

    /// The same for a key with escapes in it.
    #[cold]
    fn find_escaped(&self, key: &[u8]) -> Option<&Child> {
        self.children
            .iter()
            .find(|child| value::is_escaped_form(key, &child.key))
    }
}

impl<'l> Reading<'l, '_> {
    fn line(&mut self, keys: &Keys) -> Result<(), Misfit> {
        let at = self.space(0);
        if self.line.get(at) != Some(&b'{') {
            return self.fail(at, Expected::Json(Syntax::Object));
        }
        let at = self.object(Some(&keys.root), at + 1, 1)?;
        let at = self.space(at);
        if at != self.line.len() {
            return self.fail(at, Expected::End);
        }
        Ok(())
    }

    /// Whether the line is about a request; `None`: the server does not write such lines.
    fn is_request(&self, keys: &Keys) -> Option<bool> {
        let has_sign = (self.seen & keys.signs != 0).then_some(true);
        match keys.requests {
            Requests::All => Some(true),
            Requests::AnyKey => {
                // Caddy's lines have a level too, but another key for the time.
                let is_own = self.has_level && self.record.time.is_some();
                has_sign.or(is_own.then_some(false))
            }
            Requests::CaddyAccess => self.is_access.or(self.is_handled).or(has_sign),
        }
    }

    #[cold]
    fn fail<T>(&mut self, at: usize, expected: Expected) -> Result<T, Misfit> {
        self.misfit = Some(LineError { at, expected });
        Err(Misfit)
    }

    #[cold]
    fn syntax<T>(&mut self, at: usize, syntax: Syntax) -> Result<T, Misfit> {
        self.fail(at, Expected::Json(syntax))
    }

    /// Behind white space, of which there mostly is none.
    #[inline(always)]
    fn space(&self, at: usize) -> usize {
        match self.line.get(at) {
            Some(byte) if *byte <= b' ' => self.long_space(at),
            _ => at,
        }
    }

    #[inline(never)]
    fn long_space(&self, at: usize) -> usize {
        let rest = self.line.get(at..).unwrap_or_default();
        let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        at + rest.iter().take_while(is_space).count()
    }

    /// Reads what stands behind an object's brace; where it ends.
    fn object(&mut self, node: Option<&Node>, at: usize, depth: u32) -> Result<usize, Misfit> {
        let mut at = self.space(at);
        if self.line.get(at) == Some(&b'}') {
            return Ok(at + 1);
        }
        loop {
            if self.line.get(at) != Some(&b'"') {
                return self.syntax(at, Syntax::Key);
            }
            let start = at + 1;
            self.has_escape = false;
            let end = self.string(start)?;
            let child = match node {
                Some(node) if self.has_escape => node.find_escaped(&self.line[start..end]),
                Some(node) => node.find(self.line, start, end),
                None => None,
            };
            at = self.space(end + 1);
            if self.line.get(at) != Some(&b':') {
                return self.syntax(at, Syntax::Colon);
            }
            at = self.space(at + 1);
            at = match child {
                Some(child) => self.wanted(child, start, at, depth)?,
                None => self.skip(at, depth)?,
            };
            at = self.space(at);
            match self.line.get(at) {
                Some(b',') => at = self.space(at + 1),
                Some(b'}') => return Ok(at + 1),
                _ => return self.syntax(at, Syntax::CommaOrEnd),
            }
        }
    }

    /// Reads what stands behind an array's bracket; where it ends.
    fn array(&mut self, at: usize, depth: u32) -> Result<usize, Misfit> {
        let mut at = self.space(at);
        if self.line.get(at) == Some(&b']') {
            return Ok(at + 1);
        }
        loop {
            at = self.skip(at, depth)?;
            at = self.space(at);
            match self.line.get(at) {
                Some(b',') => at = self.space(at + 1),
                Some(b']') => return Ok(at + 1),
                _ => return self.syntax(at, Syntax::CommaOrEnd),
            }
        }
    }

    /// Reads a value that nobody wants; where it ends.
    #[inline(always)]
    fn skip(&mut self, at: usize, depth: u32) -> Result<usize, Misfit> {
        match self.line.get(at) {
            Some(b'"') => Ok(self.string(at + 1)? + 1),
            Some(b'[' | b'{') => self.nested(None, at, depth),
            Some(b'-' | b'0'..=b'9') => self.number(at),
            _ => self.word(at),
        }
    }

    /// Reads an array, or an object that `node` has keys of; where it ends.
    fn nested(&mut self, node: Option<&Node>, at: usize, depth: u32) -> Result<usize, Misfit> {
        if depth == MAX_DEPTH {
            return self.syntax(at, Syntax::Shallower);
        }
        match self.line.get(at) {
            Some(b'[') => self.array(at + 1, depth + 1),
            _ => self.object(node, at + 1, depth + 1),
        }
    }

    /// Reads the value at `at`, whose key stands at `key`; where it ends.
    #[inline]
    fn wanted(
        &mut self,
        child: &Child,
        key: usize,
        at: usize,
        depth: u32,
    ) -> Result<usize, Misfit> {
        if let Some(leaf) = &child.leaf {
            if self.seen & leaf.bit != 0 {
                return self.syntax(key, Syntax::OtherKey);
            }
            self.seen |= leaf.bit;
        }
        let (found, end) = match self.line.get(at) {
            Some(b'"') => {
                self.has_escape = false;
                let end = self.string(at + 1)?;
                (Value::Text(&self.line[at + 1..end]), end + 1)
            }
            Some(b'-' | b'0'..=b'9') => {
                let end = self.number(at)?;
                (Value::Number(&self.line[at..end]), end)
            }
            // Of a meaning that wants one value, such a value is none.
            Some(b'[' | b'{') => return self.nested(child.below.as_ref(), at, depth),
            _ => return self.word(at),
        };
        if let Some(leaf) = &child.leaf {
            self.take(leaf, found, at)?;
        }
        Ok(end)
    }

    /// Where the string ends that starts at `at`: at its quote.
    #[inline(always)]
    fn string(&mut self, mut at: usize) -> Result<usize, Misfit> {
        loop {
            let Some(word) = self.line.get(at..).and_then(<[u8]>::first_chunk) else {
                return self.last_string(at);
            };
            let Some(index) = scan::special(*word) else {
                at += WIDTH;
                continue;
            };
            at += index;
            if word[index] == b'"' {
                return Ok(at);
            }
            at = self.escape(at)?;
        }
    }

    /// The same for what the line's last word holds.
    #[inline(never)]
    fn last_string(&mut self, mut at: usize) -> Result<usize, Misfit> {
        loop {
            match self.line.get(at) {
                Some(b'"') => return Ok(at),
                Some(b'\\' | 0..=0x1f) => at = self.escape(at)?,
                Some(_) => at += 1,
                None => return self.syntax(at, Syntax::Text),
            }
        }
    }

    /// Behind the escape at `at`; a control character is none.
    #[inline(never)]
    fn escape(&mut self, at: usize) -> Result<usize, Misfit> {
        self.has_escape = true;
        let hexadecimal = |from: usize, count: usize| {
            let digits = self.line.get(from..from + count);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        let rest = self.line.get(at..).unwrap_or_default();
        match rest {
            [
                b'\\',
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'a' | b'v' | b'e',
                ..,
            ] => Ok(at + 2),
            [b'\\', b'u', ..] if hexadecimal(at + 2, 4) => Ok(at + 6),
            [b'\\', b'x', ..] if hexadecimal(at + 2, 2) => Ok(at + 4),
            _ => self.syntax(at, Syntax::Text),
        }
    }

    /// Where the number ends that starts at `at`.
    #[inline]
    fn number(&mut self, at: usize) -> Result<usize, Misfit> {
        match value::number_end(self.line, at) {
            Ok(end) => Ok(end),
            Err(at) => self.syntax(at, Syntax::Number),
        }
    }

    /// Where `true`, `false` or `null` ends, which are no value to any meaning.
    #[inline(never)]
    fn word(&mut self, at: usize) -> Result<usize, Misfit> {
        let rest = self.line.get(at..).unwrap_or_default();
        for word in [&b"null"[..], b"true", b"false"] {
            if rest.starts_with(word) {
                return Ok(at + word.len());
            }
        }
        self.syntax(at, Syntax::Value)
    }

    /// Takes a value for what it means, unless there is a better one.
    #[inline]
    fn take(&mut self, leaf: &Leaf, found: Value<'l>, at: usize) -> Result<(), Misfit> {
        let slot = leaf.take.slot();
        let is_worse = slot.is_some_and(|slot| self.ranks[slot] <= leaf.rank);
        // Servers write these for what there is not.
        if is_worse || matches!(found, Value::Text(b"" | b"-")) {
            return Ok(());
        }
        let text = Logged {
            bytes: found.text(),
            escape: Escape::Json,
        };
        let record = &mut self.record;
        match (&leaf.take, found) {
            (Take::Vhost, _) => record.vhost = Some(text),
            (Take::User, _) => record.user = Some(text),
            (Take::Client, _) => record.client = Some(text.bytes),
            (Take::Method, _) => record.method = Some(text),
            (Take::Path, _) => record.path = Some(text),
            (_, Value::Text(_)) if self.has_escape => {
                return self.take_escaped(leaf, text, at);
            }
            _ => return self.take_number(leaf, found, at),
        }
        self.rank(leaf);
        Ok(())
    }

    /// A number or a time with escapes in it: PHP writes `22\/Nov\/2026:…`.
    #[cold]
    fn take_escaped(&mut self, leaf: &Leaf, text: Logged<'l>, at: usize) -> Result<(), Misfit> {
        self.take_number(leaf, Value::Text(&text.decode()), at)
    }

    /// Takes a value that is read at once.
    #[inline]
    fn take_number(&mut self, leaf: &Leaf, found: Value<'_>, at: usize) -> Result<(), Misfit> {
        let record = &mut self.record;
        match &leaf.take {
            Take::Time(clock) => match found.time(clock, &mut self.carried.clf) {
                Some(time) => record.time = Some(time),
                None => return self.fail(at, Expected::Time),
            },
            Take::In | Take::Out => match found.count() {
                // Below zero is no number of bytes.
                Some(None) => return Ok(()),
                Some(count) if matches!(leaf.take, Take::In) => record.bytes_in = count,
                Some(count) => record.bytes_out = count,
                None => return self.fail(at, Expected::Number),
            },
            Take::Status => match found.status() {
                Some(status) => record.status = Some(status),
                None => return self.fail(at, Expected::Status),
            },
            Take::Duration {
                unit,
                whole_is_unknown,
            } => match found.duration(*unit, *whole_is_unknown) {
                Some(None) => return Ok(()),
                Some(duration) => record.duration_us = duration,
                None => return self.fail(at, Expected::Number),
            },
            Take::Logger => {
                let access = found.text().strip_prefix(b"http.log.access");
                self.is_access = Some(access.is_some_and(|rest| matches!(rest, [] | [b'.', ..])));
            }
            Take::Level => self.has_level = true,
            Take::Message => self.is_handled = Some(found.text() == b"handled request"),
            Take::Vhost | Take::User | Take::Client | Take::Method | Take::Path => {}
        }
        self.rank(leaf);
        Ok(())
    }

    /// Notes that a meaning has this value.
    #[inline]
    fn rank(&mut self, leaf: &Leaf) {
        if let Some(slot) = leaf.take.slot() {
            self.ranks[slot] = leaf.rank;
        }
    }
}
