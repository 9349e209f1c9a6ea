//! What to put into the config of Apache.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ipnet::IpNet;

use super::keyword;
use crate::config::gate::ApacheGate;
use crate::enforce::Consequences;
use crate::enforce::folder::{RETRY_AFTER, Scope, by_severity, kibibytes, plain_path, what};
use crate::enforce::networks::widest_first;
use crate::quota::rule::Consequence;

/// So many networks stand in one directive.
const NETWORKS_A_LINE: usize = 20;
/// Scopes that are known before a password is asked for.
const EARLY: [Scope; 2] = [Scope::Class, Scope::Host];
const LATE: [Scope; 2] = [Scope::UserAt, Scope::User];

const KEYS: &str = r#"# The name that was asked for: Apache has taken off the port and the final dot. Of an address in
# brackets, which has many spellings, it is the address that was connected to.
UseCanonicalName Off
SetEnvIfExpr "tolower(%{SERVER_NAME}) =~ m#^([a-z0-9_][a-z0-9._-]{0,252})$#" tollkeeper_host=$1
SetEnvIf Server_Addr "^([0-9a-f.:]+)$" tollkeeper_addr=$1
SetEnvIfExpr "%{SERVER_NAME} =~ m#^\x5b# && reqenv('tollkeeper_addr') =~ m#^(.+)$#" tollkeeper_host=$1
"#;

/// Which users have shown their password. What stands in `tollkeeper_in` is set only where a request
/// gets past the password, and the name itself is set even where it does not. The `<If>` comes after
/// all `.htaccess`, so that none takes it away; and it makes the subrequest's config another one than
/// the request's: where they are the same, as for what is passed on, Apache asks for no password again.
const USERS: &str = "<If \"%{IS_SUBREQ} == 'true'\">
    SetEnv tollkeeper_in 1
</If>
RewriteEngine On
RewriteOptions InheritDownBefore
";
const USER: &str = "RewriteCond %{HTTP:Authorization} . [NV]
RewriteCond %{LA-U:ENV:tollkeeper_in} =1
RewriteCond %{LA-U:REMOTE_USER} ^([A-Za-z0-9_@][A-Za-z0-9._@-]{0,63})$
RewriteRule ^ - [NS,E=tollkeeper_user:%1]
";

pub(super) fn snippet(
    gate: &ApacheGate,
    consequences: &Consequences,
    classes: &BTreeMap<String, Vec<IpNet>>,
) -> String {
    let all = by_severity(consequences);
    let path = gate.flags.as_ref().or(gate.map.as_ref());
    let Some(path) = path.and_then(|path| plain_path(path)) else {
        return "# The gate has no path that can stand here: use letters, digits and /._+-,@:=~\n"
            .to_owned();
    };
    let mut text = String::from(
        "# tollkeeper: whose gate is closed. In the config of the main server, outside of every\n\
         # <VirtualHost>; it holds for all of them. Modules: setenvif, alias, headers, env, rewrite",
    );
    if all.iter().any(|c| matches!(c, Consequence::Slow { .. })) {
        text.push_str(", ratelimit");
    }
    text.push_str(".\n");
    text.push_str(KEYS);
    text.push_str(&class_lines(classes));
    match gate.flags {
        Some(_) => flags(&mut text, path, &all, !classes.is_empty()),
        None => map(&mut text, path, &all, !classes.is_empty()),
    }
    text.push_str(&headers());
    text
}

/// The class of a client: of all networks that hold it, the last counts.
fn class_lines(classes: &BTreeMap<String, Vec<IpNet>>) -> String {
    let mut text = String::new();
    let networks = widest_first(classes);
    let mut rest = networks.as_slice();
    while let Some(&(_, class)) = rest.first() {
        let same = rest.iter().take(NETWORKS_A_LINE);
        let many = same.take_while(|&&(_, other)| other == class).count();
        let (these, others) = rest.split_at(many);
        rest = others;
        let tests: Vec<String> = these
            .iter()
            // Apache does not take a prefix of no bits.
            .flat_map(|(net, _)| net.subnets(net.prefix_len().max(1)))
            .flatten()
            .map(|net| format!("-R '{net}'"))
            .collect();
        // Other names have no flags.
        if crate::enforce::is_plain_user(class) {
            let tests = tests.join(" || ");
            let _ = writeln!(text, "SetEnvIfExpr \"{tests}\" tollkeeper_class={class}");
        } else {
            let tests = tests.join(" || ");
            let _ = writeln!(text, "SetEnvIfExpr \"{tests}\" !tollkeeper_class");
        }
    }
    if !text.is_empty() {
        text.insert_str(
            0,
            "# Of all networks that a client is in, the last counts.\n",
        );
    }
    text
}

fn flags(text: &mut String, folder: &str, all: &[Consequence], has_classes: bool) {
    text.push_str("# Is there a flag? The worst comes last, and counts.\n");
    for consequence in all {
        let what = what(consequence);
        for scope in EARLY
            .into_iter()
            .filter(|&s| s == Scope::Host || has_classes)
        {
            let (guard, place) = match scope {
                Scope::Class => (
                    "-n reqenv('tollkeeper_host') && -n reqenv('tollkeeper_class')",
                    "%{reqenv:tollkeeper_class}/%{reqenv:tollkeeper_host}",
                ),
                _ => ("-n reqenv('tollkeeper_host')", "%{reqenv:tollkeeper_host}"),
            };
            let flag = format!("{folder}/{}{what}/{place}", scope.prefix());
            let target = match consequence {
                Consequence::Redirect { .. } => target(folder, scope),
                _ => (String::new(), ""),
            };
            let _ = writeln!(
                text,
                "SetEnvIfExpr \"{guard} && -f '{flag}'{}\" tollkeeper={what}{}",
                target.0, target.1
            );
        }
    }
    for consequence in all {
        act(text, consequence);
    }
    text.push_str(
        "# Users, once they have shown their password. A vhost takes part only if it has a directive\n\
         # of mod_rewrite of its own, such as `RewriteEngine On`.\n",
    );
    text.push_str(USERS);
    // Who has no flags is not looked for: a look asks for the password a second time.
    let mut folders = Vec::new();
    for consequence in all {
        let what = what(consequence);
        for scope in LATE {
            folders.push(format!("{folder}/{}{what}", scope.prefix()));
        }
    }
    for (index, folder) in folders.iter().enumerate() {
        let or = if index + 1 < folders.len() {
            " [OR]"
        } else {
            ""
        };
        let _ = writeln!(text, "RewriteCond {folder} -d{or}");
    }
    text.push_str(USER);
    for consequence in rules_in_order(all) {
        let what = what(consequence);
        for scope in LATE {
            let _ = writeln!(
                text,
                "RewriteCond {} ^(.+)$\nRewriteCond {folder}/{}{what}/%1 -f",
                variables(scope),
                scope.prefix()
            );
            match consequence {
                Consequence::Redirect { .. } => {
                    let what = scope.prefix().to_owned() + &what;
                    let _ = writeln!(text, "RewriteRule ^ - [NS,E=tollkeeper:{what}]");
                }
                _ => rule(text, consequence),
            }
        }
    }
    if all
        .iter()
        .any(|c| matches!(c, Consequence::Redirect { .. }))
    {
        for scope in LATE {
            let name = scope.prefix().to_owned() + "redirect";
            let place = match scope {
                Scope::UserAt => "reqenv('tollkeeper_host') . '/' . reqenv('tollkeeper_user')",
                _ => "reqenv('tollkeeper_user')",
            };
            let _ = write!(
                text,
                "<If \"reqenv('tollkeeper') == '{name}'\">\n    \
                 SetEnvIfExpr \"file('{folder}/{name}/' . {place}) =~ m#^(https?://[!-~]+)#\" \
                 tollkeeper_to=$1\n    \
                 Redirect 302 \"%{{reqenv:tollkeeper_to}}\"\n</If>\n"
            );
        }
    }
}

/// What takes the target out of a flag.
fn target(folder: &str, scope: Scope) -> (String, &'static str) {
    let place = match scope {
        Scope::Class => "reqenv('tollkeeper_class') . '/' . reqenv('tollkeeper_host')",
        _ => "reqenv('tollkeeper_host')",
    };
    let read = format!(
        " && file('{folder}/{}redirect/' . {place}) =~ m#^(https?://[!-~]+)#",
        scope.prefix()
    );
    (read, " tollkeeper_to=$1")
}

/// What follows from `tollkeeper`.
fn act(text: &mut String, consequence: &Consequence) {
    let what = what(consequence);
    let _ = match consequence {
        // An ErrorDocument that the operator has for it is a request of its own.
        Consequence::Deny { status } => write!(
            text,
            "<If \"reqenv('tollkeeper') == '{what}' && reqenv('REDIRECT_STATUS') != '{status}'\">\n    \
             Redirect {status}\n</If>\n",
            status = answered(*status)
        ),
        Consequence::Redirect { .. } => write!(
            text,
            "<If \"reqenv('tollkeeper') == 'redirect'\">\n    \
             Redirect 302 \"%{{reqenv:tollkeeper_to}}\"\n</If>\n"
        ),
        Consequence::Slow { .. } => slow(text, consequence),
    };
}

fn slow(text: &mut String, consequence: &Consequence) -> std::fmt::Result {
    let Consequence::Slow { bytes_per_second } = consequence else {
        return Ok(());
    };
    write!(
        text,
        "<If \"reqenv('tollkeeper') == '{}'\">\n    SetEnv rate-limit {}\n    \
         SetOutputFilter RATE_LIMIT\n</If>\n",
        what(consequence),
        kibibytes(*bytes_per_second)
    )
}

fn map(text: &mut String, path: &str, all: &[Consequence], has_classes: bool) {
    for consequence in all {
        let _ = slow(text, consequence);
    }
    text.push_str(
        "# A vhost takes part only if it has a directive of mod_rewrite of its own, such as\n\
         # `RewriteEngine On`. Without the file Apache would not start.\n",
    );
    text.push_str(USERS);
    let _ = writeln!(
        text,
        "<IfFile \"{path}\">\nRewriteMap tollkeeper \"txt:{path}\""
    );
    text.push_str(USER);
    for consequence in rules_in_order(all) {
        for scope in EARLY.into_iter().chain(LATE) {
            if scope == Scope::Class && !has_classes {
                continue;
            }
            let _ = writeln!(
                text,
                "RewriteCond {} ^(.+)$\nRewriteCond ${{tollkeeper:{}/%1}} {}",
                variables(scope),
                keyword(scope),
                match consequence {
                    Consequence::Redirect { .. } => r"^(https?://[^?]+)\?(.+)$".to_owned(),
                    other => format!("={}", what(other)),
                }
            );
            rule(text, consequence);
        }
    }
    text.push_str("</IfFile>\n");
}

/// What ends a request is looked for first, the worst first; of speeds the last one counts.
fn rules_in_order(all: &[Consequence]) -> impl Iterator<Item = &Consequence> {
    let is_slow = |consequence: &&Consequence| matches!(consequence, Consequence::Slow { .. });
    let ends = all.iter().rev().filter(move |c| !is_slow(c));
    ends.chain(all.iter().filter(is_slow))
}

/// What a key of a scope is made of.
fn variables(scope: Scope) -> &'static str {
    match scope {
        Scope::Host => "%{ENV:tollkeeper_host}",
        Scope::Class => "%{ENV:tollkeeper_class}/%{ENV:tollkeeper_host}",
        Scope::User => "%{ENV:tollkeeper_user}",
        Scope::UserAt => "%{ENV:tollkeeper_host}/%{ENV:tollkeeper_user}",
    }
}

/// Behind the conditions of a consequence.
fn rule(text: &mut String, consequence: &Consequence) {
    let what = what(consequence);
    let _ = match consequence {
        Consequence::Deny { status } => writeln!(
            text,
            "RewriteCond %{{ENV:REDIRECT_STATUS}} !={status}\n\
             RewriteRule ^ - [NS,E=tollkeeper:{what},R={status},L]",
            status = answered(*status)
        ),
        Consequence::Redirect { .. } => writeln!(
            text,
            "RewriteRule ^ %1?%2 [NS,E=tollkeeper:{what},R=302,L,NE,QSD]"
        ),
        Consequence::Slow { .. } => writeln!(text, "RewriteRule ^ - [NS,E=tollkeeper:{what}]"),
    };
}

/// What a client gets for a status: 429 for one that Apache 2.4 does not know, such as 509, of which
/// `Redirect` would make a 500, and with which `RewriteRule` does not pass a test of the config.
fn answered(status: u16) -> u16 {
    match status {
        400..=417 | 421..=424 | 426 | 428 | 429 | 431 | 451 | 500..=508 | 510 | 511 => status,
        _ => 429,
    }
}

/// An operator's own page is a request of its own, to which the variable comes under another name.
fn headers() -> String {
    let is = |pattern: &str| {
        format!(
            "reqenv('tollkeeper') =~ m#^{pattern}# || reqenv('REDIRECT_tollkeeper') =~ m#^{pattern}#"
        )
    };
    format!(
        "Header always set Retry-After {RETRY_AFTER} \"expr={}\"\n\
         Header always set Cache-Control no-store \"expr={}\"\n",
        is("deny"),
        is("(deny|(user-|at-)?redirect)")
    )
}
