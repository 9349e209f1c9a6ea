//! HAProxy's `log-format`, and the formats that it has names for (`option httplog` and the like).
//!
//! Facts are from HAProxy 2.6, its `src/log.c` and its documentation, section 8.2.6; what later
//! versions added is known by name.

mod alias;
mod expression;
mod layouts;
mod nodes;
mod words;

#[cfg(test)]
mod tests;

use super::quoting::{self, Text};
use super::{Format, Layout, OneOf, Server};
use crate::error::FormatError;
use words::Word;

const EXAMPLE: &str =
    "paste the whole line: haproxy:log-format \"FORMAT\"; or name it: haproxy:option httplog";

/// `option httplog`.
pub(super) const HTTP: &str = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r";
const HTTPS: &str = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r %[fc_err]/%[ssl_fc_err,hex]/%[ssl_c_err]/%[ssl_c_ca_err]/%[ssl_fc_is_resumed] %[ssl_fc_sni]/%sslv/%sslc";
const HTTP_CLF: &str = r#"%{+Q}o %{-Q}ci - - [%trg] %r %ST %B "" "" %cp %ms %ft %b %s %TR %Tw %Tc %Tr %Ta %tsc %ac %fc %bc %sc %rc %sq %bq %CC %CS %hrl %hsl"#;
const TCP: &str = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq";
/// Newer than 2.6.
const TCP_CLF: &str = r#"%{+Q}o %{-Q}ci - - [%T] "TCP " 000 %B "" "" %cp %ms %ft %b %s %Th %Tw %Tc %Tt %U %ts-- %ac %fc %bc %sc %rc %sq %bq "" "" "#;

/// Variables that newer versions set, for `log-format "${HAPROXY_HTTP_LOG_FMT} …"`.
const VARIABLES: [(&[u8], &str); 5] = [
    (b"HAPROXY_HTTP_LOG_FMT", HTTP),
    (b"HAPROXY_HTTPS_LOG_FMT", HTTPS),
    (b"HAPROXY_HTTP_CLF_LOG_FMT", HTTP_CLF),
    (b"HAPROXY_TCP_LOG_FMT", TCP),
    (b"HAPROXY_TCP_CLF_LOG_FMT", TCP_CLF),
];

/// What is known of the headers that a frontend captures.
#[derive(Debug, Clone, Default)]
struct Captures {
    /// Whether the operator pasted the lines that capture them. Otherwise the first of the request
    /// is taken for the host, and those of the response may be there or not.
    are_known: bool,
    /// For each captured header of the request, whether it is the host.
    request: Vec<bool>,
    /// How many of the response.
    response: usize,
}

impl Captures {
    /// Which of the request's captured headers is the host.
    fn host(&self) -> Option<usize> {
        if self.are_known {
            self.request.iter().position(|&is_host| is_host)
        } else {
            Some(0)
        }
    }
}

/// Parses a format string, bare or quoted, a `log-format` line, an `option …log` line, or a whole
/// frontend that has one.
pub(super) fn parse(written: &[u8], at: usize) -> Result<Format, FormatError> {
    let trimmed = written.trim_ascii();
    let at = at + (written.len() - written.trim_ascii_start().len());
    let span = at..at + trimmed.len();
    if trimmed.is_empty() {
        return Err(quoting::error(span, "the format is empty", EXAMPLE));
    }
    let starts_line = |name: &str| {
        let rest = trimmed.strip_prefix(name.as_bytes());
        rest.is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
    };
    let is_config = [
        "log-format",
        "option",
        "capture",
        "declare",
        "http-request",
        "frontend",
        "listen",
        "defaults",
    ];
    if is_config.into_iter().any(starts_line) {
        return config(trimmed, at);
    }
    let text = words::bare(trimmed, at)?;
    string(&text, &Captures::default(), span)
}

/// A format of this name's own.
pub(super) fn builtin(format: &str) -> Result<Format, FormatError> {
    named(format, &Captures::default())
}

fn named(format: &str, captures: &Captures) -> Result<Format, FormatError> {
    let text = Text::verbatim(format.as_bytes(), 0);
    let mut parsed = string(&text, captures, 0..format.len())?;
    parsed.text = format.to_owned();
    Ok(parsed)
}

/// A format string without its config's quoting.
fn string(
    text: &Text,
    captures: &Captures,
    span: std::ops::Range<usize>,
) -> Result<Format, FormatError> {
    if !text.bytes.contains(&b'%') {
        let name = text.written(0..text.bytes.len());
        return Err(text.error(
            0..text.bytes.len(),
            format!("there is no variable in {name:?}"),
            EXAMPLE,
        ));
    }
    let parsed = nodes::parse(text, captures)?;
    let found = layouts::layouts(&parsed.nodes, captures)?;
    let layout = Layout::OneOf(OneOf {
        whole: Format::joined(found.whole),
        layouts: found.layouts.into_iter().map(Format::joined).collect(),
        needed: found.needed,
        host_in_list: found.host_in_list,
    });
    Ok(Format {
        layout,
        forgeable: parsed.is_forgeable,
        ..Format::from_pieces(Server::Haproxy, Vec::new(), span)
    })
}

/// The last `log-format` or `option …log` of a config, as HAProxy itself takes the last; what its
/// other lines capture.
fn config(lines: &[u8], at: usize) -> Result<Format, FormatError> {
    let mut captures = Captures::default();
    let mut found: Option<Found> = None;
    let mut start = 0;
    while start < lines.len() {
        let (words, length) = words::line(&lines[start..], at + start)?;
        if let Some(format) = line(&words, &mut captures)? {
            found = Some(format);
        }
        start += length;
    }
    let span = at..at + lines.len();
    match found {
        Some(Found::Named(format)) => named(format, &captures),
        Some(Found::String(text)) => string(&text, &captures, span),
        None => Err(quoting::error(
            span,
            "there is no log-format and no option httplog in these lines",
            EXAMPLE,
        )),
    }
}

enum Found {
    Named(&'static str),
    String(Text),
}

/// What one line of a config says about the log.
fn line(words: &[Word], captures: &mut Captures) -> Result<Option<Found>, FormatError> {
    let text = |index: usize| words.get(index).map(|word| &*word.text.bytes);
    let first = (text(0), text(1), text(2));
    let is_host = |index: usize| text(index).is_some_and(names_host);
    match first {
        (Some(b"option"), Some(b"httplog"), Some(b"clf")) => Ok(Some(Found::Named(HTTP_CLF))),
        (Some(b"option"), Some(b"httplog"), _) => Ok(Some(Found::Named(HTTP))),
        (Some(b"option"), Some(b"httpslog"), _) => Ok(Some(Found::Named(HTTPS))),
        (Some(b"option"), Some(b"tcplog"), Some(b"clf")) => Ok(Some(Found::Named(TCP_CLF))),
        (Some(b"option"), Some(b"tcplog"), _) => Ok(Some(Found::Named(TCP))),
        (Some(b"option"), Some(b"logasap"), _) => Err(words[1].text.error(
            0..words[1].text.bytes.len(),
            "option logasap writes a line before its bytes are known",
            "leave it out, and each line has all bytes of its request",
        )),
        (Some(b"log-format"), ..) => {
            let [_, format] = words else {
                return Err(several(words));
            };
            Ok(Some(Found::String(format.text.clone())))
        }
        (Some(b"capture"), Some(b"request"), Some(b"header")) => {
            captures.are_known = true;
            let is_host = text(3).is_some_and(|name| name.eq_ignore_ascii_case(b"host"));
            captures.request.push(is_host);
            Ok(None)
        }
        (Some(b"capture"), Some(b"response"), Some(b"header"))
        | (Some(b"declare"), Some(b"capture"), Some(b"response")) => {
            captures.are_known = true;
            captures.response += 1;
            Ok(None)
        }
        (Some(b"declare"), Some(b"capture"), Some(b"request")) => {
            captures.are_known = true;
            captures.request.push(false);
            Ok(None)
        }
        (Some(b"http-request"), Some(b"capture"), Some(_)) => {
            captures.are_known = true;
            match (text(3), text(4).map(std::str::from_utf8)) {
                (Some(b"id"), Some(Ok(id))) => {
                    let slot = id
                        .parse()
                        .ok()
                        .and_then(|id: usize| captures.request.get_mut(id));
                    if let Some(slot) = slot {
                        *slot = is_host(2);
                    }
                }
                _ => captures.request.push(is_host(2)),
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// Whether an expression is the host that the client asked for.
fn names_host(expression: &[u8]) -> bool {
    expression::is_host(&expression::calls(expression))
}

/// `log-format` takes one word.
fn several(words: &[Word]) -> FormatError {
    let Some(extra) = words.get(2) else {
        let name = &words[0].text;
        return name.error(0..name.bytes.len(), "log-format has no format", EXAMPLE);
    };
    extra.text.error(
        0..extra.text.bytes.len(),
        "log-format takes one word, and HAProxy refuses a second",
        "put double quotes around the whole format, or a backslash before each space",
    )
}
