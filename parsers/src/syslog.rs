//! A syslog envelope into the message that it holds.
//!
//! Web servers and syslog daemons put a time, a host and a program's name before an access log's
//! line: as RFC 3164 describes it, each in a dialect of its own, or as RFC 5424 prescribes it. What
//! is read here is where the line itself begins, and who is said to have sent it. The time is only
//! checked for its shape: what is billed has a time of its own in the line.
//!
//! Nothing is guessed. Behind an RFC 3164 time a word that ends in `:` is the program, and so is one
//! behind a host that has a process id: `apache[12]` is what rsyslog makes of a program that came to
//! it in RFC 5424. Where there is neither, as where rsyslog writes `apache` alone, it cannot be told
//! whether host and program stand there or the line has begun; some lines would fit a format either
//! way, so that is no envelope. [`Message::text`] is always the end of the bytes that were given.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till1, take_while_m_n, take_while1};
use nom::combinator::{eof, map, map_opt, opt, recognize, value, verify};
use nom::multi::{many0_count, many1_count};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use crate::time;

/// The highest priority: facility 23, severity 7.
const MAX_PRIORITY: u16 = 191;
/// Before UTF-8 text in RFC 5424.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// What stands in an envelope, and what the envelope says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'m> {
    /// Facility, 0 to 23, where there is a priority.
    pub facility: Option<u8>,
    /// Severity, 0 to 7, where there is a priority.
    pub severity: Option<u8>,
    /// The host that is said to have sent it.
    pub host: Option<&'m [u8]>,
    /// The program, without its process id.
    pub tag: Option<&'m [u8]>,
    /// What the program logged: the end of the bytes that were read.
    pub text: &'m [u8],
}

/// What a time, a host and a program are worth.
#[derive(Debug, Clone, Copy, Default)]
struct Header<'m> {
    host: Option<&'m [u8]>,
    tag: Option<&'m [u8]>,
}

/// What every line of a log stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// Messages as they come over a socket; one without an envelope is the line itself.
    Wire,
    /// Lines that a syslog daemon wrote.
    Written,
}

impl Envelope {
    /// Takes the envelope off. `None`: the line does not stand in one, and should.
    #[must_use]
    pub fn open(self, line: &[u8]) -> Option<Message<'_>> {
        match self {
            Self::Wire if !has_priority(line) => Some(Message {
                facility: None,
                severity: None,
                host: None,
                tag: None,
                text: line,
            }),
            Self::Wire => message(line),
            Self::Written => written(line),
        }
    }
}

type Parsed<'m, T> = IResult<&'m [u8], T, ()>;

/// Reads a message as it comes over a socket: behind its `<PRI>` stands RFC 5424, or as much of
/// RFC 3164 as the sender writes, which may be nothing. `None`: there is no `<PRI>`, or a time
/// behind it and no program, so that it cannot be told where the line begins.
#[must_use]
pub fn message(bytes: &[u8]) -> Option<Message<'_>> {
    let (rest, (facility, severity)) = priority(bytes).ok()?;
    let header = alt((protocol, named, named_without_colon)).parse(rest);
    let (text, header) = match (header, time_before(rest)) {
        (Ok(read), _) => read,
        (Err(_), Err(_)) => (rest, Header::default()),
        // HAProxy writes neither facility nor program with `format timed`, and rsyslog passes on its
        // `format short` so. What else is of facility 0 comes from the kernel, which is named.
        (Err(_), Ok((text, ()))) if facility == 0 => (text, Header::default()),
        (Err(_), Ok(_)) => return None,
    };
    Some(Message {
        facility: Some(facility),
        severity: Some(severity),
        host: header.host,
        tag: header.tag,
        text,
    })
}

/// Reads a line of a file that a syslog daemon wrote: RFC 5424, or a time, a host and a program,
/// mostly without `<PRI>`. `None`: it is no such line; a time alone can be the log's own.
#[must_use]
pub fn written(line: &[u8]) -> Option<Message<'_>> {
    let header = alt((protocol, named, named_without_colon));
    let (text, (priority, header)) = (opt(priority), header).parse(line).ok()?;
    let (facility, severity) = priority.unzip();
    Some(Message {
        facility,
        severity,
        host: header.host,
        tag: header.tag,
        text,
    })
}

/// Whether a `<PRI>` stands at the start.
#[must_use]
pub fn has_priority(bytes: &[u8]) -> bool {
    priority(bytes).is_ok()
}

/// `<134>`, into facility and severity.
fn priority(input: &[u8]) -> Parsed<'_, (u8, u8)> {
    let digits = take_while_m_n(1, 3, |byte: u8| byte.is_ascii_digit());
    map_opt(delimited(tag("<"), digits, tag(">")), |digits: &[u8]| {
        let is_canonical = digits == b"0" || digits.first() != Some(&b'0');
        let value = number(digits);
        let is_priority = is_canonical && value <= MAX_PRIORITY;
        let facility = u8::try_from(value / 8).ok()?;
        let severity = u8::try_from(value % 8).ok()?;
        is_priority.then_some((facility, severity))
    })
    .parse(input)
}

/// At most four digits.
fn number(digits: &[u8]) -> u16 {
    let digits = digits.iter().map(|digit| u16::from(digit - b'0'));
    digits.fold(0, |value, digit| value * 10 + digit)
}

/// RFC 5424 from its version on.
fn protocol(input: &[u8]) -> Parsed<'_, Header<'_>> {
    let time = alt((value((), tag("-")), iso_time));
    let header = (
        preceded(tag("1 "), terminated(time, tag(" "))),
        terminated(word, tag(" ")),
        terminated(word, tag(" ")),
        terminated(word, tag(" ")),
        terminated(word, tag(" ")),
        alt((value((), tag("-")), structured_data)),
        alt((value((), tag(" ")), value((), eof))),
        opt(tag(BYTE_ORDER_MARK)),
        // rsyslog keeps the space that stood behind an RFC 3164 program's colon.
        opt(tag(" ")),
    );
    map(header, |(_, host, name, ..)| Header {
        host: not_nil(host),
        tag: not_nil(name),
    })
    .parse(input)
}

fn not_nil(word: &[u8]) -> Option<&[u8]> {
    (word != b"-").then_some(word)
}

/// Elements such as `[origin software="rsyslogd" x-info="a \"quoted\" \] word"]`.
fn structured_data(input: &[u8]) -> Parsed<'_, ()> {
    let element = delimited(tag("["), (name, many0_count(parameter)), tag("]"));
    value((), many1_count(element)).parse(input)
}

fn parameter(input: &[u8]) -> Parsed<'_, ()> {
    let text = take_while1(|byte| byte != b'"' && byte != b'\\');
    let escape = preceded(tag("\\"), opt(alt((tag("\""), tag("\\"), tag("]")))));
    let quoted = delimited(
        tag("\""),
        many0_count(alt((value((), text), value((), escape)))),
        tag("\""),
    );
    value((), (tag(" "), name, tag("="), quoted)).parse(input)
}

fn name(input: &[u8]) -> Parsed<'_, &[u8]> {
    let is_name = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b']' | b'"');
    take_while1(is_name).parse(input)
}

/// RFC 3164 with a program, and perhaps a host before it.
fn named(input: &[u8]) -> Parsed<'_, Header<'_>> {
    let no_host = map(program, |tag| (None, tag));
    let with_host = (map(terminated(host, tag(" ")), Some), program);
    let names = alt((no_host, with_host));
    map(preceded(time_before, names), |(host, tag)| Header {
        host: host.and_then(not_nil),
        tag: Some(tag),
    })
    .parse(input)
}

/// What rsyslog writes for a message that came to it in RFC 5424, where a program has no colon.
fn named_without_colon(input: &[u8]) -> Parsed<'_, Header<'_>> {
    let program = terminated(map_opt(word, without_process), tag(" "));
    let names = (terminated(host, tag(" ")), program);
    map(preceded(time_before, names), |(host, tag)| Header {
        host: not_nil(host),
        tag: Some(tag),
    })
    .parse(input)
}

/// A time and the space behind it.
fn time_before(input: &[u8]) -> Parsed<'_, ()> {
    terminated(alt((bsd_time, iso_time)), tag(" ")).parse(input)
}

/// `haproxy[12]: `, into `haproxy`.
fn program(input: &[u8]) -> Parsed<'_, &[u8]> {
    let end = alt((tag(" "), eof));
    let name = map_opt(word, |word| {
        let named = word.strip_suffix(b":")?;
        let name = without_process(named).unwrap_or(named);
        // An IPv6 address may end in two colons.
        let is_name = !name.is_empty() && !name.ends_with(b":");
        is_name.then_some(name)
    });
    terminated(name, end).parse(input)
}

/// `haproxy[12]`, into `haproxy`.
fn without_process(word: &[u8]) -> Option<&[u8]> {
    let opened = word.strip_suffix(b"]")?;
    let bracket = memchr::memrchr(b'[', opened)?;
    let (name, process) = (&opened[..bracket], &opened[bracket + 1..]);
    let is_process = !process.is_empty() && process.iter().all(u8::is_ascii_digit);
    (is_process && !name.is_empty()).then_some(name)
}

/// A host name or an address; some daemons write through which of their hosts it came.
fn host(input: &[u8]) -> Parsed<'_, &[u8]> {
    let is_host = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'-' | b'_' | b':' | b'/' | b'@' | b'%')
    };
    take_while1(is_host).parse(input)
}

/// Printable bytes up to a space.
fn word(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while1(|byte: u8| byte.is_ascii_graphic()).parse(input)
}

/// `2026-11-22T08:23:11.214113+00:00`.
fn iso_time(input: &[u8]) -> Parsed<'_, ()> {
    let word = take_till1(|byte| byte == b' ');
    value(
        (),
        verify(word, |word: &[u8]| time::iso8601(word).is_some()),
    )
    .parse(input)
}

/// `Nov 22 08:23:11`, also with a year before it, before the clock or behind it, with a fraction of
/// the second and with a zone in digits.
fn bsd_time(input: &[u8]) -> Parsed<'_, ()> {
    let date = (
        opt(terminated(year, tag(" "))),
        terminated(month, tag(" ")),
        terminated(day, tag(" ")),
        opt(terminated(year, tag(" "))),
    );
    let clock = (
        number_up_to(23),
        preceded(tag(":"), number_up_to(59)),
        preceded(tag(":"), number_up_to(60)),
        opt(preceded(
            tag("."),
            take_while1(|byte: u8| byte.is_ascii_digit()),
        )),
    );
    let year_behind = opt(preceded(tag(" "), terminated(year, at_space)));
    let zone = opt(preceded(opt(tag(" ")), terminated(zone, at_space)));
    value((), (date, clock, year_behind, zone)).parse(input)
}

fn at_space(input: &[u8]) -> Parsed<'_, ()> {
    value((), nom::combinator::peek(tag(" "))).parse(input)
}

fn year(input: &[u8]) -> Parsed<'_, &[u8]> {
    let digits = take_while_m_n(4, 4, |byte: u8| byte.is_ascii_digit());
    verify(digits, |digits: &[u8]| {
        matches!(digits, [b'1', b'9', ..] | [b'2'..=b'9', ..])
    })
    .parse(input)
}

fn month(input: &[u8]) -> Parsed<'_, &[u8]> {
    let letters = take_while_m_n(3, 3, |byte: u8| byte.is_ascii_alphabetic());
    verify(letters, |letters: &[u8]| MONTHS.contains(&letters)).parse(input)
}

/// One digit alone stands behind a space or without one.
fn day(input: &[u8]) -> Parsed<'_, u16> {
    let digits = take_while_m_n(1, 2, |byte: u8| byte.is_ascii_digit());
    let day = preceded(opt(tag(" ")), map(digits, number));
    verify(day, |day| (1..=31).contains(day)).parse(input)
}

/// Two digits.
fn number_up_to<'m>(most: u16) -> impl Parser<&'m [u8], Output = u16, Error = ()> {
    let digits = take_while_m_n(2, 2, |byte: u8| byte.is_ascii_digit());
    verify(map(digits, number), move |value| *value <= most)
}

fn zone(input: &[u8]) -> Parsed<'_, &[u8]> {
    let offset = (
        alt((tag("+"), tag("-"))),
        number_up_to(23),
        opt(tag(":")),
        number_up_to(59),
    );
    recognize(alt((value((), tag("Z")), value((), offset)))).parse(input)
}

#[cfg(test)]
mod tests;
