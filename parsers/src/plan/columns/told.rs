//! A header in words: what each column means to the account, and what to switch on.

use super::Columns;
use crate::format::Server;
use crate::format::w3c::{Header, Means, SITE_NAME_RANK};
use crate::plan::{Explained, Note, Plan};

/// What no line can be charged without, and the header lacks.
pub(super) fn missing(header: &Header) -> Option<&'static str> {
    let needed = [
        ("date", Means::Date),
        ("time", Means::Time),
        ("sc-bytes", Means::Out),
    ];
    let mut missing = needed.iter().filter(|(_, means)| !header.has(*means));
    missing.next().map(|(name, _)| *name)
}

pub(super) fn notes(header: Option<&Header>) -> Vec<Note> {
    let Some(header) = header else {
        return vec![Note::ColumnsInLog];
    };
    let mut notes = Vec::new();
    notes.extend(missing(header).map(Note::WithoutColumn));
    if header
        .vhost()
        .is_some_and(|(_, rank)| rank == SITE_NAME_RANK)
    {
        notes.push(Note::SiteName);
    }
    notes
}

/// What each column of the header means to the account; spans are in the header's line.
pub(in crate::plan) fn explain(plan: &Plan, columns: &Columns) -> Vec<Explained> {
    let Some(header) = columns.header() else {
        return Vec::new();
    };
    let vhost = header.vhost().map(|(index, _)| index);
    let explained = header.columns.iter().enumerate().map(|(index, column)| {
        let is_taken = !matches!(column.means, Means::Vhost { .. }) || vhost == Some(index);
        let means = if is_taken {
            column.means
        } else {
            Means::Nothing
        };
        Explained {
            written: header.name(column).to_owned(),
            span: column.span.clone(),
            meaning: meaning(means),
            footnote: footnote(plan.format.server, means),
        }
    });
    explained.collect()
}

fn meaning(means: Means) -> &'static str {
    match means {
        Means::Nothing => "skipped",
        Means::Date | Means::Time => "a part of the time",
        Means::In => "bytes received, on the wire",
        Means::Out => "bytes sent, on the wire",
        Means::Vhost { .. } => "the vhost",
        Means::User => "the user",
        Means::Client => "the client",
        Means::Status => "the status",
        Means::Duration => "the duration",
        Means::Method => "the method",
        Means::Path => "the path",
    }
}

/// What the vendors' documentation says: neither server could be measured.
fn footnote(server: Server, means: Means) -> Option<&'static str> {
    Some(match (server, means) {
        (_, Means::Date | Means::Time) => "UTC, at the end of the request",
        (Server::Cloudfront, Means::Out) => {
            "to the viewer, heads included, as documented; not measured here"
        }
        (Server::Cloudfront, Means::In) => {
            "from the viewer, heads included, as documented; not measured here"
        }
        (_, Means::In | Means::Out) => "heads included, as documented; not measured here",
        (_, Means::Vhost { rank: 0 }) => "as the viewer sent it",
        (
            _,
            Means::Vhost {
                rank: SITE_NAME_RANK,
            },
        ) => "IIS's own name of the site; a name that you set goes before it, and so would cs-host",
        (Server::Cloudfront, Means::Vhost { .. }) => "the distribution's own domain name",
        (_, Means::Vhost { .. }) => "as the client sent it",
        (Server::W3c, Means::User) => "checked by the server; spaces in it are written as +",
        _ => return None,
    })
}

/// What to switch on for a better grade.
pub(in crate::plan) fn better(plan: &Plan, columns: &Columns) -> Option<String> {
    match (plan.format.server, columns.header()) {
        (Server::Cloudfront, None) => None,
        (Server::Cloudfront, Some(_)) => Some(CLOUDFRONT.to_owned()),
        _ => Some(IIS.to_owned()),
    }
}

const IIS: &str = r#"<logFile logFormat="W3C" logExtFileFlags="Date, Time, ClientIP, UserName, SiteName, Method, UriStem, UriQuery, HttpStatus, BytesSent, BytesRecv, TimeTaken, ServerPort, UserAgent, Host" />"#;
const CLOUDFRONT: &str = "date, time, sc-bytes, cs-bytes, c-ip, x-host-header, cs-method, cs-uri-stem, sc-status, time-taken";
