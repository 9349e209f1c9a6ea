//! A plan in words: what each directive means to the account, and how to log better.

use std::ops::Range;

use super::{Body, End, Fields, Grade, Plan, Take, Used, columns, json};
use crate::format::{Count, Directive, Layout, Meaning, Moment, Server};

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
    let mut explained: Vec<&Range<usize>> = Vec::new();
    plan.format
        .directives()
        .filter(|directive| directive.meaning != Meaning::Padding)
        .filter(|directive| {
            // Some are several fields (HAProxy's `%tr`): the first of them says all.
            let is_new = !explained.contains(&&directive.span) || directive.span.is_empty();
            explained.push(&directive.span);
            is_new
        })
        .collect::<Vec<_>>()
        .into_iter()
        .map(|directive| {
            let take = take_of(plan, directive);
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

/// What is done with a directive; of several layouts, where something is.
fn take_of<'p>(plan: &'p Plan, directive: &Directive) -> Option<&'p Take> {
    let index = plan
        .format
        .directives()
        .position(|other| other == directive);
    let index = index.and_then(|index| u16::try_from(index).ok())?;
    match &plan.body {
        Body::Fields(fields) => take_in(fields, index),
        Body::Alternatives(several) => {
            let is_used =
                |take: &&Take| !matches!(take, Take::Skip | Take::Time { used: Used::No, .. });
            let takes = || {
                let all = several.layouts.iter();
                all.filter_map(|one| take_in(&one.fields, one.own(index)?))
            };
            takes().find(is_used).or_else(|| takes().next())
        }
        Body::Json(_) | Body::Columns(_) => None,
    }
}

fn take_in(fields: &Fields, index: u16) -> Option<&Take> {
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
        Take::Vhost(_) if directive.meaning == Meaning::UrlRequest => {
            "the vhost, the method and the path"
        }
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
        (Server::Squid | Server::Varnish, Meaning::Bytes { count, .. }) => {
            of_a_proxy(server, *count)?
        }
        (
            _,
            Meaning::Bytes {
                count: Count::Body, ..
            },
        ) => "leaves out the heads",
        (Server::Squid, Meaning::User) => {
            "in lower case, unless auth_param casesensitive says otherwise; on a 401 or 407 it is whatever the client sent"
        }
        (Server::Varnish, Meaning::User) => "whatever the client sent: Varnish checks no password",
        (Server::Squid, Meaning::Vhost { .. }) => {
            "of a reverse proxy, the site; of a forward proxy, whatever its users visit"
        }
        (Server::Varnish, Meaning::Vhost { .. }) => "as the client sent it, or as VCL left it",
        (Server::Varnish, Meaning::UrlRequest) => {
            "the Host as the client sent it; %{Host}i says where it ends; localhost stands for none"
        }
        (Server::Varnish, Meaning::Time { .. }) => "of the request's start",
        (
            Server::Haproxy,
            Meaning::Bytes {
                count: Count::In, ..
            },
        ) => {
            "in mode http of HAProxy's own form of the request: for each, from 20 less to 7 more than the wire, and 0 for one that it refused"
        }
        (
            Server::Haproxy,
            Meaning::Bytes {
                count: Count::Out, ..
            },
        ) => {
            "in mode http of HAProxy's own form of the answer: for each, from 1 to 34 less than the wire, and 0 for a request that it refused; in mode tcp equals the wire"
        }
        (Server::Haproxy, Meaning::User) => {
            "as the config made it; HAProxy does not say whether a password was checked"
        }
        (Server::Haproxy, Meaning::Vhost { rank: 2 }) => {
            "of the captured headers the first, unless the lines that capture them stand before the format; as the client sent it"
        }
        (Server::Haproxy, Meaning::Vhost { rank: 5 }) => {
            "the name in the TLS handshake, which need not be the Host"
        }
        (Server::Haproxy, Meaning::Vhost { .. }) => "as the client sent it",
        (
            Server::Haproxy,
            Meaning::Time {
                moment: Moment::Accept,
                ..
            },
        ) => "of the connection's last answer before, or its start; %trg is of the request",
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

/// Of Squid 5.7 and Varnish 7.1.
fn of_a_proxy(server: Server, count: Count) -> Option<&'static str> {
    Some(match (server, count) {
        (Server::Squid, Count::In) => {
            "equals the wire, but for the marks of chunked uploads; CONNECT counts what goes through the tunnel"
        }
        (Server::Squid, Count::Out) => {
            "equals the wire, tunnels of CONNECT too; 0 for a CONNECT that found no server; leaves out a 100 Continue"
        }
        (Server::Squid, Count::Both) => "%>st and %<st together",
        (Server::Varnish, Count::In) => {
            "equals the wire, but for the marks of chunked uploads and for bodies that nobody read; of a piped request the head is missing; with HTTP/2, without frames"
        }
        (Server::Varnish, Count::Out) => {
            "equals the wire; an aborted download counts what the kernel had taken to send; with HTTP/2, without frames"
        }
        (Server::Varnish, Count::Body) => {
            "leaves out the heads; - for piped requests, which are charged to nobody"
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
        Body::Fields(_) | Body::Json(_) | Body::Alternatives(_) => {
            Some(recommended(plan.format.server))
        }
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
        Server::Squid => format!("reverse proxy: {SQUID_REVERSE}\nforward proxy: {SQUID_FORWARD}"),
        Server::Varnish => VARNISH.to_owned(),
        Server::Haproxy => HAPROXY.to_owned(),
        Server::Caddy | Server::Traefik | Server::W3c | Server::Cloudfront | Server::Any => {
            String::new()
        }
    }
}

const NGINX: &str = r#"log_format tk '$msec $status $request_length $bytes_sent $request_time $remote_addr $host "$remote_user" "$request" "$http_referer" "$http_user_agent"';"#;
const APACHE: &str = r#"LogFormat "%{%Y-%m-%dT%H:%M:%S%z}t %>s %I %O %D %a %v \"%u\" \"%r\" \"%{Referer}i\" \"%{User-Agent}i\"" tk"#;
/// In the frontend. `%hr` stands for nothing else than the host then.
const HAPROXY: &str = r#"capture request header Host len 255
log-format "%trg %ST %U %B %Ta %ci %hr %{+Q}r""#;
const LIGHTTPD: &str = r#"accesslog.format = "%{%Y-%m-%dT%H:%M:%S%z}t %s %I %O %D %a %V \"%u\" \"%r\" \"%{Referer}i\" \"%{User-Agent}i\"""#;
const SQUID_REVERSE: &str = "logformat tk %ts.%03tu %>Hs %>st %<st %tr %>a %>rd %[un %rm %ru";
const SQUID_FORWARD: &str = "logformat tk %ts.%03tu %>Hs %>st %<st %tr %>a %[un %rm %ru";
const VARNISH: &str = r#"-F '%{%Y-%m-%dT%H:%M:%S%z}t %s %I %O %D %h "%{Host}i" "%u" "%r" "%{Referer}i" "%{User-agent}i"'"#;
