//! Path patterns of sources, and what their wildcards matched.
//!
//! `*` and `?` stay within one folder, `**` stands for any number of whole folders (or none),
//! `{a,b}` for one of several choices, `[a-z]` for one character of a set, `\` takes the next
//! character as it is. Each `*`, `?`, `**` and `{…}` is a capture, numbered from the left; what
//! stands inside braces has no number of its own. Where several ways of matching exist, each
//! wildcard from the left takes as little as it can.
//!
//! Matching takes time in proportion to pattern times path, whatever the customers call their
//! files.

use std::ops::Range;

/// A pattern, compiled.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Where to go on after each step stands in the step itself.
    steps: Vec<Step>,
    start: usize,
    captures: usize,
}

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// The bytes of the pattern at fault.
    pub span: Range<usize>,
    /// What is wrong, without a final stop.
    pub message: String,
    /// What to do about it.
    pub help: &'static str,
}

#[derive(Debug, Clone)]
enum Step {
    /// This byte.
    Byte(u8, usize),
    /// One byte, no slash.
    Any(usize),
    /// One byte of these ranges, or of none of them; no slash.
    Class(Vec<(u8, u8)>, bool, usize),
    /// Goes on first, else takes a byte (no slash) and tries again.
    Star(usize),
    /// Whole folders, each with the slash behind it.
    Folders(usize),
    /// Anything at all, to the end.
    Rest,
    /// One of these, the first first.
    Choice(Vec<usize>),
    Open(usize, usize),
    /// Ends a capture; one of `**` leaves out the slash behind it.
    Close(usize, bool, usize),
    Done,
}

/// What each wildcard of `pattern` matched in `path`; `None` where it does not match, or where
/// the pattern cannot be used.
#[must_use]
pub fn glob_captures(pattern: &str, path: &str) -> Option<Vec<String>> {
    Pattern::new(pattern).ok()?.captures(path.as_bytes())
}

/// A pattern that finds this path alone.
#[must_use]
pub fn literal(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if "*?[]{},\\".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

impl Pattern {
    /// Compiles a pattern for absolute paths.
    ///
    /// # Errors
    /// Where it cannot be understood, and why.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if !pattern.starts_with('/') {
            return Err(PatternError {
                span: 0..pattern.len(),
                message: format!("the path {pattern:?} is not absolute"),
                help: "write it from the root: /var/log/…",
            });
        }
        for part in ["//", "/./", "/../"] {
            if let Some(at) = format!("{pattern}/").find(part) {
                return Err(PatternError {
                    span: at..(at + part.len()).min(pattern.len()),
                    message: format!("no path that is found contains {part}"),
                    help: "write the path without it",
                });
            }
        }
        let mut parser = Parser {
            pattern,
            at: 0,
            captures: 0,
            depth: 0,
        };
        let items = parser.sequence()?;
        // Another opinion, so that both mean the same by a pattern.
        globset::GlobBuilder::new(pattern)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| PatternError {
                span: 0..pattern.len(),
                message: error.kind().to_string(),
                help: "",
            })?;
        let mut compiled = Self {
            steps: vec![Step::Done],
            start: 0,
            captures: parser.captures,
        };
        compiled.start = compiled.compile(&items, 0);
        Ok(compiled)
    }

    /// How many captures there are: `{1}` up to this number can be referred to.
    #[must_use]
    pub fn capture_count(&self) -> usize {
        self.captures
    }

    /// Whether the path matches.
    #[must_use]
    pub fn is_match(&self, path: &[u8]) -> bool {
        self.run(path).is_some()
    }

    /// What each wildcard matched; bytes outside UTF-8 as U+FFFD.
    #[must_use]
    pub fn captures(&self, path: &[u8]) -> Option<Vec<String>> {
        let captures = self.run(path)?;
        let text = |range: &Range<usize>| {
            let bytes = path.get(range.clone()).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        Some(captures.iter().map(text).collect())
    }

    /// Puts the steps for `items` in front of the step `next`; returns the first of them.
    fn compile(&mut self, items: &[Item], mut next: usize) -> usize {
        for item in items.iter().rev() {
            next = match item {
                Item::Byte(byte) => self.push(Step::Byte(*byte, next)),
                Item::Class(ranges, negated) => {
                    self.push(Step::Class(ranges.clone(), *negated, next))
                }
                Item::Captured(number, inner) => {
                    let close = match number {
                        Some(number) => {
                            let folders = matches!(inner, Wildcard::Folders);
                            self.push(Step::Close(*number, folders, next))
                        }
                        None => next,
                    };
                    let inner = match inner {
                        Wildcard::Any => self.push(Step::Any(close)),
                        Wildcard::Star => self.push(Step::Star(close)),
                        Wildcard::Folders => self.push(Step::Folders(close)),
                        Wildcard::Rest => self.push(Step::Rest),
                        Wildcard::Choice(choices) => {
                            let starts = choices.iter().map(|items| self.compile(items, close));
                            let starts = starts.collect();
                            self.push(Step::Choice(starts))
                        }
                    };
                    match number {
                        Some(number) => self.push(Step::Open(*number, inner)),
                        None => inner,
                    }
                }
            };
        }
        next
    }

    fn push(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// Tries the ways in their order. No pair of step and place is tried twice: where it failed
    /// once it fails always.
    fn run(&self, path: &[u8]) -> Option<Vec<Range<usize>>> {
        let mut tried = vec![false; self.steps.len() * (path.len() + 1)];
        let mut captures = vec![0..0; self.captures];
        let mut waiting = vec![Job::Try(self.start, 0)];
        while let Some(job) = waiting.pop() {
            let (step, at) = match job {
                Job::Try(step, at) => (step, at),
                Job::Restore(number, range) => {
                    captures[number] = range;
                    continue;
                }
            };
            if std::mem::replace(&mut tried[step * (path.len() + 1) + at], true) {
                continue;
            }
            let byte = path.get(at).copied();
            let no_slash = byte.filter(|byte| *byte != b'/');
            match &self.steps[step] {
                Step::Byte(wanted, next) if byte == Some(*wanted) => {
                    waiting.push(Job::Try(*next, at + 1));
                }
                Step::Any(next) if no_slash.is_some() => waiting.push(Job::Try(*next, at + 1)),
                Step::Class(ranges, negated, next) => {
                    let within = |byte: u8| ranges.iter().any(|(a, b)| (*a..=*b).contains(&byte));
                    if no_slash.is_some_and(|byte| within(byte) != *negated) {
                        waiting.push(Job::Try(*next, at + 1));
                    }
                }
                Step::Star(next) => {
                    if no_slash.is_some() {
                        waiting.push(Job::Try(step, at + 1));
                    }
                    waiting.push(Job::Try(*next, at));
                }
                Step::Folders(next) => {
                    if let Some(slash) = memchr::memchr(b'/', path.get(at..).unwrap_or_default()) {
                        waiting.push(Job::Try(step, at + slash + 1));
                    }
                    waiting.push(Job::Try(*next, at));
                }
                Step::Rest => {
                    // Always the last of a pattern, and its last capture.
                    if let Some(last) = captures.last_mut() {
                        last.end = path.len();
                    }
                    return Some(captures);
                }
                Step::Choice(starts) => {
                    waiting.extend(starts.iter().rev().map(|start| Job::Try(*start, at)));
                }
                Step::Open(number, next) => {
                    waiting.push(Job::Restore(*number, captures[*number].clone()));
                    captures[*number] = at..at;
                    waiting.push(Job::Try(*next, at));
                }
                Step::Close(number, folders, next) => {
                    waiting.push(Job::Restore(*number, captures[*number].clone()));
                    let slash = *folders && at > captures[*number].start;
                    captures[*number].end = at - usize::from(slash);
                    waiting.push(Job::Try(*next, at));
                }
                Step::Done if byte.is_none() => {
                    return Some(captures);
                }
                Step::Byte(..) | Step::Any(_) | Step::Done => {}
            }
        }
        None
    }
}

enum Job {
    Try(usize, usize),
    /// Puts a capture back as it was, when the way that set it has failed.
    Restore(usize, Range<usize>),
}

enum Item {
    Byte(u8),
    Class(Vec<(u8, u8)>, bool),
    /// A wildcard with its number, which those inside braces do not have.
    Captured(Option<usize>, Wildcard),
}

enum Wildcard {
    Any,
    Star,
    Folders,
    Rest,
    Choice(Vec<Vec<Item>>),
}

struct Parser<'p> {
    pattern: &'p str,
    at: usize,
    captures: usize,
    depth: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.pattern[self.at..]
    }

    fn fault<T>(&self, from: usize, message: &str, help: &'static str) -> Result<T, PatternError> {
        Err(PatternError {
            span: from..self.at.max(from + 1).min(self.pattern.len()),
            message: message.to_owned(),
            help,
        })
    }

    fn capture(&mut self, wildcard: Wildcard) -> Item {
        if self.depth > 0 {
            return Item::Captured(None, wildcard);
        }
        self.captures += 1;
        Item::Captured(Some(self.captures - 1), wildcard)
    }

    /// Up to the end, or to the `,` or `}` that closes a choice.
    fn sequence(&mut self) -> Result<Vec<Item>, PatternError> {
        let mut items = Vec::new();
        while let Some(char) = self.rest().chars().next() {
            let from = self.at;
            self.at += char.len_utf8();
            match char {
                ',' | '}' if self.depth > 0 => {
                    self.at = from;
                    return Ok(items);
                }
                '}' => {
                    return self.fault(
                        from,
                        "this } closes nothing",
                        "for a literal one write \\}",
                    );
                }
                '?' => {
                    let item = self.capture(Wildcard::Any);
                    items.push(item);
                }
                '*' if self.rest().starts_with('*') => {
                    self.at += self.rest().len() - self.rest().trim_start_matches('*').len();
                    items.push(self.folders(from)?);
                }
                '*' => {
                    let item = self.capture(Wildcard::Star);
                    items.push(item);
                }
                '{' => items.push(self.choice(from)?),
                '[' => items.push(self.class(from)?),
                '\\' => {
                    let Some(literal) = self.rest().chars().next() else {
                        let help = "for a literal backslash write two";
                        return self.fault(from, "nothing follows the backslash", help);
                    };
                    let start = self.at;
                    self.at += literal.len_utf8();
                    items.extend(self.pattern[start..self.at].bytes().map(Item::Byte));
                }
                _ => items.extend(self.pattern[from..self.at].bytes().map(Item::Byte)),
            }
        }
        Ok(items)
    }

    /// `**`, which stands alone between slashes.
    fn folders(&mut self, from: usize) -> Result<Item, PatternError> {
        let alone = self.depth == 0
            && self.at == from + 2
            && self.pattern[..from].ends_with('/')
            && (self.rest().is_empty() || self.rest().starts_with('/'));
        if !alone {
            let help = "write /**/ for any number of folders, * within one name";
            return self.fault(from, "** stands for whole folders", help);
        }
        if self.rest().is_empty() {
            return Ok(self.capture(Wildcard::Rest));
        }
        self.at += 1;
        Ok(self.capture(Wildcard::Folders))
    }

    fn choice(&mut self, from: usize) -> Result<Item, PatternError> {
        let item = self.capture(Wildcard::Choice(Vec::new()));
        self.depth += 1;
        let mut choices = Vec::new();
        loop {
            let items = self.sequence()?;
            if items.is_empty() && !self.rest().is_empty() {
                return self.fault(self.at, "an empty choice", "write both patterns instead");
            }
            choices.push(items);
            match self.rest().chars().next() {
                Some(',') => self.at += 1,
                Some(_) => {
                    self.at += 1;
                    break;
                }
                None => {
                    let help = "close it with }; for a literal { write \\{";
                    self.at = from + 1;
                    return self.fault(from, "this { is not closed", help);
                }
            }
        }
        self.depth -= 1;
        match item {
            Item::Captured(number, _) => Ok(Item::Captured(number, Wildcard::Choice(choices))),
            item => Ok(item),
        }
    }

    /// `[abc]`, `[a-z]`, `[!0-9]`.
    fn class(&mut self, from: usize) -> Result<Item, PatternError> {
        let negated = self.rest().starts_with(['!', '^']);
        self.at += usize::from(negated);
        let first = self.at;
        let body_end = match self.pattern[first..]
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == ']')
        {
            Some((length, _)) => first + length,
            None => {
                let help = "close it with ]; for a literal [ write [[]";
                return self.fault(from, "this [ is not closed", help);
            }
        };
        let body = &self.pattern.as_bytes()[first..body_end];
        self.at = body_end + 1;
        if !body.is_ascii() {
            return self.fault(
                from,
                "a set takes ASCII characters alone",
                "use {ä,ö} instead",
            );
        }
        if body.contains(&b'/') {
            return self.fault(
                from,
                "a set never matches a slash",
                "take it out of the set",
            );
        }
        let mut ranges = Vec::new();
        let mut at = 0;
        while at < body.len() {
            let low = body[at];
            match body.get(at + 1..at + 3) {
                Some([b'-', high]) => {
                    if *high < low {
                        return self.fault(from, "this range runs backwards", "write it as a-z");
                    }
                    ranges.push((low, *high));
                    at += 3;
                }
                _ => {
                    ranges.push((low, low));
                    at += 1;
                }
            }
        }
        Ok(Item::Class(ranges, negated))
    }
}

/// The number of a capture and where it is referred to.
pub(super) type Reference = (usize, Range<usize>);

/// The numbers that `{n}` in a vhost's template refers to, with their places, or what is wrong
/// with one and where.
pub(super) fn template_references(
    template: &str,
) -> Result<Vec<Reference>, (Range<usize>, &'static str)> {
    let mut references = Vec::new();
    let mut at = 0;
    while let Some(open) = template[at..].find(['{', '}']).map(|found| at + found) {
        let close = template[open..].find('}').map(|length| open + length + 1);
        let Some(close) = close.filter(|close| *close > open + 1) else {
            return Err((open..open + 1, "this brace is no capture"));
        };
        match template[open + 1..close - 1].parse::<usize>() {
            Ok(number) if number > 0 => references.push((number, open..close)),
            _ => return Err((open..close, "captures are numbers from 1")),
        }
        at = close;
    }
    Ok(references)
}

/// Puts captures into a `vhost = "{1}.example.org"`; `None` where it refers to one that is not there.
#[must_use]
pub fn expand_vhost(template: &str, captures: &[String]) -> Option<String> {
    let mut name = String::with_capacity(template.len());
    let mut at = 0;
    for (number, span) in template_references(template).ok()? {
        name.push_str(&template[at..span.start]);
        name.push_str(captures.get(number - 1)?);
        at = span.end;
    }
    name.push_str(&template[at..]);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards_are_captured() {
        for (pattern, path, expected) in [
            (
                "/l/*.access.log",
                "/l/a.example.access.log",
                Some(&["a.example"][..]),
            ),
            ("/l/*.access.log", "/l/x/a.access.log", None),
            ("/l/*.log", "/l/.log", Some(&[""])),
            ("/l/a.log", "/l/a.log", Some(&[])),
            ("/l/a.log", "/l/a.log2", None),
            ("/h/*/logs/*.log", "/h/bob/logs/a.log", Some(&["bob", "a"])),
            ("/l/*-*.log", "/l/a-b-c.log", Some(&["a", "b-c"])),
            ("/l/a?.log", "/l/ab.log", Some(&["b"])),
            ("/l/a?.log", "/l/a/.log", None),
            (
                "/l/{http,https}-*.log",
                "/l/https-x.log",
                Some(&["https", "x"]),
            ),
            ("/l/{a*,b}/x", "/l/abc/x", Some(&["abc"])),
            ("/l/{a,{b,c}d}/x", "/l/cd/x", Some(&["cd"])),
            ("/l/{a,ab}*.log", "/l/abc.log", Some(&["a", "bc"])),
            ("/l/**/a.log", "/l/a.log", Some(&[""])),
            ("/l/**/a.log", "/l/x/y/a.log", Some(&["x/y"])),
            ("/l/**/*.log", "/l/x/y/a.log", Some(&["x/y", "a"])),
            ("/l/**", "/l/x/y", Some(&["x/y"])),
            ("/l/**", "/l", None),
            ("/l/[a-c]*.log", "/l/bx.log", Some(&["x"])),
            ("/l/[!a-c]*.log", "/l/bx.log", None),
            ("/l/[]-]*.log", "/l/-x.log", Some(&["x"])),
            ("/l/\\*.log", "/l/*.log", Some(&[])),
            ("/l/\\*.log", "/l/a.log", None),
            ("/l/zażółć*.log", "/l/zażółć1.log", Some(&["1"])),
        ] {
            let captures = glob_captures(pattern, path);
            let expected = expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
            assert_eq!(captures, expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn bad_patterns_are_refused_in_place() {
        for (pattern, span) in [
            ("var/log/*.log", 0..13),
            ("", 0..0),
            ("/a//b", 2..4),
            ("/a/../b", 2..6),
            ("/a/.", 2..4),
            ("/a**/b", 2..4),
            ("/a/***/b", 3..6),
            ("/a/{b,**/c}", 6..8),
            ("/a/{b", 3..4),
            ("/a/b}", 4..5),
            ("/a/{b,}", 6..7),
            ("/a/[b", 3..4),
            ("/a/[z-a]", 3..8),
            ("/a/[a/b]", 3..8),
            ("/a/b\\", 4..5),
        ] {
            let error = Pattern::new(pattern).expect_err("a refusal");
            assert_eq!(error.span, span, "{pattern}: {error}");
        }
    }

    #[test]
    fn many_stars_on_a_hostile_name_take_no_time() {
        let path = format!("/l/{}", "a".repeat(4000));
        assert_eq!(glob_captures("/l/*a*a*a*a*a*a*a*a*b", &path), None);
    }

    #[test]
    fn templates_take_captures() {
        let captures = ["a".to_owned(), "b".to_owned()];
        for (template, expected) in [
            ("{1}", Some("a")),
            ("{2}.{1}.example", Some("b.a.example")),
            ("a.example", Some("a.example")),
            ("{3}", None),
            ("{0}", None),
            ("{x}", None),
            ("{}", None),
            ("{", None),
            ("}", None),
            ("}{1}", None),
        ] {
            assert_eq!(
                expand_vhost(template, &captures).as_deref(),
                expected,
                "{template}"
            );
        }
    }

    proptest! {
        /// Both matchers mean the same by every pattern that we accept, negated sets apart:
        /// globset's match slashes.
        #[test]
        fn agrees_with_globset(pattern in "/([ab.*?/]|\\{a,b\\*\\}|\\[ab\\]|/\\*\\*/){0,8}", path in "/[ab./]{0,7}") {
            if let Ok(compiled) = Pattern::new(&pattern) {
                let other = globset::GlobBuilder::new(&pattern)
                    .literal_separator(true)
                    .backslash_escape(true)
                    .build()
                    .map(|glob| glob.compile_matcher().is_match(&path));
                prop_assert_eq!(other.ok(), Some(compiled.is_match(path.as_bytes())));
            }
        }
    }
}
