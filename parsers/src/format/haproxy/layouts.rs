//! The layouts that the lines of one format have.
//!
//! HAProxy writes nothing for captured headers where none are captured (by the config, or of a request
//! that it could not read), and not the space beside them either; and `-` where it captures no cookie.
//! So a format has several layouts. A line is read by the first that fits, which must be its own:
//!
//! - With fewer groups of headers a line lacks a brace that the layouts before its own want. It has to
//!   lack it whatever clients send: what stands before the groups can hold neither braces nor a space,
//!   and what stands behind them does not begin with one. Formats without that are refused, if the
//!   account needs anything from there on, or anything before whose end is not the same in all layouts.
//! - A field's end is the same in all layouts if it is the first byte of a kind that the field cannot
//!   hold, or if the field stands in a word that ends at the first space.
//! - Where both cookies are what stands for none is only looked for where the ends of all other fields
//!   before the last of them are so. What is captured begins with the cookie's name, and is never what stands
//!   for none.

use super::super::{ByteSet, Directive, Meaning, Piece};
use super::Captures;
use super::nodes::{Field, Kind, Node};
use crate::error::FormatError;

/// The layouts of a format.
pub(super) struct Layouts {
    /// Everything in the format, as if all were captured.
    pub(super) whole: Vec<Piece>,
    /// In the order in which they are tried.
    pub(super) layouts: Vec<Vec<Piece>>,
    /// The first so many have to be readable; the others are those with cookies, which the account can
    /// do without.
    pub(super) needed: usize,
    /// Which of several captured headers is the host.
    pub(super) host_in_list: usize,
}

/// What of it is written in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Present {
    request: bool,
    response: bool,
    cookies: bool,
}

pub(super) fn layouts(nodes: &[Node], captures: &Captures) -> Result<Layouts, FormatError> {
    check_groups(nodes)?;
    let headers = |wanted: bool| {
        fields(nodes).any(
            |field| matches!(field.kind, Kind::Headers { of_request, .. } if of_request == wanted),
        )
    };
    let are_lists = fields(nodes).all(|field| {
        !matches!(
            field.kind,
            Kind::Headers {
                in_braces: true,
                ..
            }
        )
    });
    let has_cookies = fields(nodes).any(|field| matches!(field.kind, Kind::Cookie { .. }));
    let groups = groups(headers(true), headers(false), captures, are_lists);
    let present = |cookies: bool| {
        groups.iter().map(move |&(request, response)| Present {
            request,
            response,
            cookies,
        })
    };
    let without_cookies = has_cookies && is_told_without_cookies(nodes);
    let mut all: Vec<Present> = Vec::new();
    if without_cookies {
        all.extend(present(false));
    }
    all.extend(present(true));
    let everything = Present {
        request: true,
        response: true,
        cookies: true,
    };
    Ok(Layouts {
        whole: pieces(nodes, everything),
        layouts: all
            .into_iter()
            .map(|present| pieces(nodes, present))
            .collect(),
        needed: groups.len(),
        host_in_list: captures.host().unwrap_or(0),
    })
}

/// Which groups of headers can be there, of the request and of the response; those with more first.
fn groups(
    request: bool,
    response: bool,
    captures: &Captures,
    are_lists: bool,
) -> Vec<(bool, bool)> {
    let known = captures.are_known;
    let requests = request && (!known || !captures.request.is_empty());
    let responses = response && (!known || captures.response > 0);
    match (requests, responses) {
        (false, false) => vec![(false, false)],
        (true, false) => vec![(true, false), (false, false)],
        (false, true) => vec![(false, true), (false, false)],
        (true, true) if known => vec![(true, true), (false, false)],
        // One group alone looks the same whosever it is; it is taken for the request's.
        (true, true) if are_lists => {
            vec![(true, true), (true, false), (false, true), (false, false)]
        }
        (true, true) => vec![(true, true), (true, false), (false, false)],
    }
}

fn fields(nodes: &[Node]) -> impl Iterator<Item = &Field> {
    nodes.iter().filter_map(|node| match node {
        Node::Field(field) => Some(field),
        Node::Text(_) | Node::Space => None,
    })
}

/// The pieces of a line, with the separators that HAProxy writes.
fn pieces(nodes: &[Node], present: Present) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut after_space = true;
    for node in nodes {
        match node {
            Node::Space if after_space => {}
            Node::Space => {
                pieces.push(Piece::Literal(b" ".to_vec()));
                after_space = true;
            }
            Node::Text(text) => {
                pieces.push(Piece::Literal(text.clone()));
                after_space = false;
            }
            Node::Field(field) => {
                let directive = || Piece::Directive(field.directive.clone());
                let (open, close): (&[u8], &[u8]) = match field.kind {
                    Kind::Headers { of_request, .. }
                        if !(if of_request {
                            present.request
                        } else {
                            present.response
                        }) =>
                    {
                        continue;
                    }
                    Kind::Cookie { absent } if !present.cookies => {
                        pieces.push(Piece::Literal(absent.as_bytes().to_vec()));
                        after_space = false;
                        continue;
                    }
                    Kind::Headers {
                        in_braces: true, ..
                    } => match field.is_quoted {
                        true => (b"\"{", b"}\""),
                        false => (b"{", b"}"),
                    },
                    _ => match field.is_quoted {
                        true => (b"\"", b"\""),
                        false => (b"", b""),
                    },
                };
                pieces.push(Piece::Literal(open.to_vec()));
                pieces.push(directive());
                pieces.push(Piece::Literal(close.to_vec()));
                after_space = false;
            }
        }
    }
    pieces
}

fn is_group(node: &Node) -> bool {
    matches!(
        node,
        Node::Field(Field {
            kind: Kind::Headers { .. },
            ..
        })
    )
}

/// Whether the account would be wrong if the field were taken from another place.
fn is_needed(directive: &Directive) -> bool {
    match directive.meaning {
        Meaning::Vhost { .. }
        | Meaning::User
        | Meaning::Client { .. }
        | Meaning::Time { .. }
        | Meaning::Bytes { .. }
        | Meaning::Status { .. } => true,
        Meaning::Skipped
        | Meaning::Duration { .. }
        | Meaning::Request
        | Meaning::UrlRequest
        | Meaning::Method
        | Meaning::Path { .. }
        | Meaning::Query
        | Meaning::Padding => false,
    }
}

/// Refuses formats in which it cannot be told for certain whether headers are there.
fn check_groups(nodes: &[Node]) -> Result<(), FormatError> {
    let mut at = 0;
    while at < nodes.len() {
        if !is_group(&nodes[at]) {
            at += 1;
            continue;
        }
        let run = nodes[at..]
            .iter()
            .take_while(|node| is_group(node) || matches!(node, Node::Space))
            .count();
        // Of the fields before it, those whose end is the same whether it is there or not.
        let told = nodes[..at]
            .iter()
            .enumerate()
            .take_while(|(index, _)| is_told(nodes, *index, at))
            .count();
        let is_needed_of = |nodes: &[Node]| fields(nodes).any(|field| is_needed(&field.directive));
        if is_needed_of(&nodes[told..]) {
            check_run(nodes, at, at + run)?;
        }
        at += run;
    }
    Ok(())
}

fn check_run(nodes: &[Node], start: usize, end: usize) -> Result<(), FormatError> {
    let refuse = |field: &Field, message: &str, help: &str| FormatError {
        span: field.directive.span.clone(),
        message: format!("{} {message}", field.directive.written),
        help: Some(help.to_owned()),
    };
    let in_braces = |field: &Field| {
        matches!(
            field.kind,
            Kind::Headers {
                in_braces: true,
                ..
            }
        ) && !field.is_quoted
    };
    for field in fields(&nodes[start..end]) {
        if !in_braces(field) {
            return Err(refuse(
                field,
                "stands before what the account needs, and HAProxy leaves it out where nothing is captured",
                "write the numbers and the host before it, or %hr in its place",
            ));
        }
    }
    let Some(group) = fields(&nodes[start..end]).next() else {
        return Ok(());
    };
    let before = nodes[..start]
        .iter()
        .rev()
        .find(|node| !matches!(node, Node::Space));
    let is_clear = match before {
        None | Some(Node::Space) => true,
        Some(Node::Text(text)) => {
            let index = nodes[..start]
                .iter()
                .rposition(|node| matches!(node, Node::Text(_)));
            let field = index.and_then(|index| nodes[..index].last());
            // It ends at the text, or is looked for from behind it.
            let ends_there = match (field, text.first()) {
                (Some(Node::Field(field)), Some(&first)) => {
                    let bytes = field.directive.bytes;
                    field.is_quoted || !bytes.contains(first) || bytes == ByteSet::ALL
                }
                _ => true,
            };
            ends_there && !matches!(text.last(), Some(b'{' | b'}'))
        }
        Some(Node::Field(field)) => {
            let bytes = field.directive.bytes;
            let is_word = ![b' ', b'{', b'}'].iter().any(|&byte| bytes.contains(byte));
            let is_apart = matches!(nodes[..start].last(), Some(Node::Space));
            is_word && is_apart && field.kind == Kind::Plain
        }
    };
    if !is_clear {
        return Err(refuse(
            group,
            "may be left out, and what stands before it can look like it",
            "put a number before it, such as %ST",
        ));
    }
    let is_clear = match nodes.get(end) {
        None => true,
        Some(Node::Text(text)) => text.first() != Some(&b'{'),
        Some(Node::Field(field)) => {
            field.is_quoted || (field.kind == Kind::Plain && !field.directive.bytes.contains(b'{'))
        }
        Some(Node::Space) => false,
    };
    if !is_clear {
        return Err(refuse(
            group,
            "may be left out, and what stands behind it can look like it",
            "put quotes around what stands behind it, as in %{+Q}r",
        ));
    }
    Ok(())
}

/// Whether the places of the cookies are the same whatever clients send, as long as each is what stands
/// for none.
fn is_told_without_cookies(nodes: &[Node]) -> bool {
    let is_cookie = |node: &Node| {
        matches!(
            node,
            Node::Field(Field {
                kind: Kind::Cookie { .. },
                ..
            })
        )
    };
    let last = nodes.iter().rposition(is_cookie).unwrap_or(nodes.len());
    (0..last).all(|index| is_cookie(&nodes[index]) || is_told(nodes, index, last))
}

/// Whether the field at `index` ends at the same place whatever `nodes[limit]` is filled with, if what
/// stands before it does.
fn is_told(nodes: &[Node], index: usize, limit: usize) -> bool {
    let Some(Node::Field(field)) = nodes.get(index) else {
        return true;
    };
    // Headers would have to be told first.
    if field.kind != Kind::Plain {
        return false;
    }
    let is_time = |field: &Field| matches!(field.directive.meaning, Meaning::Time { .. });
    let has = |byte| field.directive.bytes.contains(byte);
    if is_time(field) {
        return true;
    }
    if field.is_quoted {
        return !has(b'"') || field.directive.escaped;
    }
    let ends_itself = match nodes.get(index + 1) {
        Some(Node::Space) => !has(b' '),
        Some(Node::Text(text)) => text.first().is_some_and(|&first| !has(first)),
        Some(Node::Field(_)) | None => false,
    };
    let is_space = |node: &Node| matches!(node, Node::Space);
    let start = nodes[..index]
        .iter()
        .rposition(is_space)
        .map_or(0, |space| space + 1);
    let Some(length) = nodes[start..limit].iter().position(is_space) else {
        return ends_itself;
    };
    let mut word = fields(&nodes[start..start + length]);
    ends_itself || word.all(|field| is_time(field) || !field.directive.bytes.contains(b' '))
}
