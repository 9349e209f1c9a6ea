//! A plan in words: what each directive means to the account, and how to log better.

use std::ops::Range;

use super::{Body, End, Grade, Plan, Take, Used, columns, json};
use crate::format::{Count, Directive, Layout, Meaning, Server};

/// What one directive means to the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The directive, as written.
    pub written: String,
    /// Where it stands in what the operator wrote.
    pub span: Range<usize>,
    /// What it means to the account, in a few words: "bytes sent, on the wire", "skipped".
    pub meaning: &'static str,
    /// What is known about how this server fills it in.
    pub footnote: Option<&'static str>,
}

pub(super) fn explain(plan: &Plan) -> Vec<Explained> {
    if let Body::Columns(of_log) = &plan.body {
        return columns::explain(plan, of_log);
    }
    if let Layout::Json(json) = &plan.format.layout {
        return json::explain(plan.format.server, json);
    }
    let directives = plan.format.directives().enumerate();
    directives
        .map(|(index, directive)| {
            let take = u16::try_from(index)
                .ok()
                .and_then(|index| take_of(plan, index));
            let meaning = take.map_or("skipped", |take| meaning(take, directive));
            Explained {
                written: directive.written.clone(),
                span: directive.span.clone(),
                meaning,
                footnote: if meaning == "skipped" {
                    None
                } else {
                    footnote(plan.format.server, directive)
                },
            }
        })
        .collect()
}

/// What is done with a directive.
fn take_of(plan: &Plan, index: u16) -> Option<&Take> {
    let Body::Fields(fields) = &plan.body else {
        return None;
    };
    fields.steps.iter().find_map(|step| {
        if step.directive == index {
            return Some(&step.take);
        }
        let End::Region(region) = &step.end else {
            return None;
        };
        region
            .behind
            .iter()
            .find(|field| field.directive == index)
            .map(|field| &field.take)
    })
}

fn meaning(take: &Take, directive: &Directive) -> &'static str {
    match take {
        Take::Skip | Take::Time { used: Used::No, .. } => "skipped",
        Take::Vhost(_) => "the vhost",
        Take::User { .. } => "the user",
        Take::Client => "the client",
        Take::Time {
            used: Used::Whole, ..
        } => "the time",
        Take::Time {
            used: Used::Part, ..
        } => "a part of the time",
        Take::Bytes {
            count: Count::In, ..
        } => "bytes received, on the wire",
        Take::Bytes {
            count: Count::Out, ..
        } => "bytes sent, on the wire",
        Take::Bytes {
            count: Count::Both, ..
        } => "bytes received and sent, on the wire",
        Take::Bytes {
            count: Count::Body, ..
        } => "bytes sent, bodies alone",
        Take::Status => "the status",
        Take::Duration { .. } => "the duration",
        Take::Request(_) => "the method and the path",
        Take::Method(_) => "the method",
        Take::Path(_) if directive.meaning == Meaning::Query => "the query, as a part of the path",
        Take::Path(_) => "the path",
    }
}

/// What was measured on real servers.
fn footnote(server: Server, directive: &Directive) -> Option<&'static str> {
    Some(match (server, &directive.meaning) {
        (
            Server::Apache,
            Meaning::Bytes {
                count: Count::In | Count::Both,
                ..
            },
        ) => {
            "one or two bytes too many on later requests of a connection, 24 on the first where Protocols h2c is on; includes the TLS handshake"
        }
        (
            Server::Apache,
            Meaning::Bytes {
                count: Count::Out, ..
            },
        ) => "equals the wire; includes the TLS handshake",
        (
            Server::Apache | Server::Either,
            Meaning::Bytes {
                count: Count::Body, ..
            },
        ) => "leaves out the heads, and counts what was never sent of an aborted download",
        (
            Server::Nginx,
            Meaning::Bytes {
                count: Count::In, ..
            },
        ) => "equals the wire, but for discarded bodies (401, 405, 413); 0 for a bad request line",
        (
            Server::Nginx,
            Meaning::Bytes {
                count: Count::Out, ..
            },
        ) => "equals the wire; an aborted download counts what the kernel had taken to send",
        (
            Server::Lighttpd,
            Meaning::Bytes {
                count: Count::In, ..
            },
        ) => "equals the wire, but for discarded bodies; an aborted upload has no line",
        (
            Server::Lighttpd,
            Meaning::Bytes {
                count: Count::Out, ..
            },
        ) => "equals the wire; an aborted download counts what the kernel had taken to send",
        (
            _,
            Meaning::Bytes {
                count: Count::Body, ..
            },
        ) => "leaves out the heads",
        (Server::Nginx, Meaning::User) => {
            "whatever the client sent: nginx logs it with the password unchecked"
        }
        (Server::Either, Meaning::User) => {
            "nginx logs whatever the client sent, with the password unchecked"
        }
        (Server::Apache, Meaning::User) => "on a 401 it is whatever the client sent",
        (Server::Nginx, Meaning::Vhost { rank: 2 }) => {
            "as the client sent it; $host is folded by nginx and cannot hold spaces"
        }
        (Server::Nginx, Meaning::Vhost { rank: 0 }) => {
            "of a request without a good Host, the server_name"
        }
        (Server::Apache, Meaning::Vhost { rank: 1 }) => {
            "with HttpProtocolOptions Unsafe clients can put spaces into it: quote it"
        }
        (Server::Apache | Server::Lighttpd, Meaning::Vhost { rank: 2 }) => "as the client sent it",
        (Server::Apache, Meaning::Time { .. }) => {
            "of the request's start, unless end: says otherwise"
        }
        _ => return None,
    })
}

pub(super) fn better(plan: &Plan) -> Option<String> {
    let is_best = plan.grade() == Grade::Exact && plan.can_tell_http2();
    if is_best {
        return None;
    }
    let better = match &plan.body {
        Body::Columns(of_log) => columns::better(plan, of_log),
        Body::Fields(_) | Body::Json(_) => Some(recommended(plan.format.server)),
    };
    better.filter(|better| !better.is_empty())
}

/// A format with all that the account wants: the numbers first, before all that clients choose.
pub(super) fn recommended(server: Server) -> String {
    match server {
        Server::Nginx => NGINX.to_owned(),
        Server::Apache => APACHE.to_owned(),
        Server::Lighttpd => LIGHTTPD.to_owned(),
        Server::Either => format!("nginx:  {NGINX}\nApache: {APACHE}"),
        Server::Haproxy
        | Server::Caddy
        | Server::Traefik
        | Server::Squid
        | Server::Varnish
        | Server::W3c
        | Server::Cloudfront
        | Server::Any => String::new(),
    }
}

const NGINX: &str = r#"log_format tk '$msec $status $request_length $bytes_sent $request_time $remote_addr $host "$remote_user" "$request" "$http_referer" "$http_user_agent"';"#;
const APACHE: &str = r#"LogFormat "%{%Y-%m-%dT%H:%M:%S%z}t %>s %I %O %D %a %v \"%u\" \"%r\" \"%{Referer}i\" \"%{User-Agent}i\"" tk"#;
const LIGHTTPD: &str = r#"accesslog.format = "%{%Y-%m-%dT%H:%M:%S%z}t %s %I %O %D %a %V \"%u\" \"%r\" \"%{Referer}i\" \"%{User-Agent}i\"""#;
