//! What to paste into nginx's config.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ipnet::IpNet;

use super::map::KINDS;
use super::{class, is_plain_url, redirect_kind};
use crate::config::gate::NginxGate;
use crate::enforce::{Consequences, Redirects, percent_encoded, with_query};
use crate::quota::rule::Consequence;

/// The line that the part for each `server {}` begins with; all before it goes into `http {}`.
pub const SERVER_PART: &str =
    "# 2. Into each server { } that tollkeeper may close, before its locations,";

/// As [`crate::enforce::is_plain_user`]. `\z`, because `$` would let a last newline pass.
const PLAIN_USER: &str = r"~^[A-Za-z0-9_@][A-Za-z0-9._@-]{0,63}\z";
/// Statuses that are always prepared for: a quota of the store may come later.
const STATUSES: [u16; 2] = [429, 503];

/// What to paste for a gate: a part for `http {}`, and one for each `server {}`. It knows the
/// statuses, speeds and targets of these quotas, and the networks of the classes; where those change,
/// it has to be pasted anew.
#[must_use]
pub fn snippet(
    gate: &NginxGate,
    consequences: &Consequences,
    redirects: &Redirects,
    classes: &BTreeMap<String, Vec<IpNet>>,
) -> String {
    let mut statuses: BTreeSet<u16> = STATUSES.into();
    let mut speeds = BTreeSet::new();
    for consequence in consequences {
        match consequence {
            Consequence::Deny { status } => drop(statuses.insert(*status)),
            Consequence::Slow { bytes_per_second } => drop(speeds.insert(*bytes_per_second)),
            Consequence::Redirect { .. } => {}
        }
    }
    let classes: BTreeMap<String, &[IpNet]> = classes
        .iter()
        .filter_map(|(name, networks)| Some((class(name)?, networks.as_slice())))
        .collect();
    let mut text = String::new();
    for path in gate.flags.iter().chain(&gate.map) {
        if plain_path(path).is_none() {
            text.push_str(&format!(
                "# nginx cannot be told of the path {path:?}: choose one of letters, digits and / . _ - \
                 alone.\n"
            ));
        }
    }
    let parts = Parts {
        flags: gate.flags.as_deref().and_then(plain_path),
        map: gate.map.as_deref().and_then(plain_path),
        statuses,
        speeds: speeds.into_iter().rev().collect(),
        redirects: redirects
            .iter()
            .filter(|(url, _)| is_plain_url(url))
            .collect(),
        has_classes: !classes.is_empty(),
    };
    text.push_str(
        "# Printed by tollkeeper. Print and paste it anew when quotas have other statuses, speeds or\n\
         # targets, and when classes have other networks.\n\
         #\n\
         # 1. Into http { }: a file of its own, such as /etc/nginx/conf.d/tollkeeper.conf.\n",
    );
    http(&mut text, &parts, &classes);
    text.push('\n');
    text.push_str(SERVER_PART);
    text.push_str(
        "\n#    or as a file that each includes, such as /etc/nginx/snippets/tollkeeper.conf.\n",
    );
    server(&mut text, &parts);
    text
}

struct Parts<'p> {
    flags: Option<&'p str>,
    map: Option<&'p str>,
    statuses: BTreeSet<u16>,
    /// The highest first: of two that are set, the last one counts.
    speeds: Vec<u64>,
    redirects: Vec<&'p (String, String)>,
    has_classes: bool,
}

fn http(text: &mut String, parts: &Parts<'_>, classes: &BTreeMap<String, &[IpNet]>) {
    text.push_str("# A client may call itself what it likes: only plain names are looked for.\n");
    for (variable, default, expression, value) in [
        (
            "$remote_user $tollkeeper_user",
            "-",
            PLAIN_USER,
            "$remote_user",
        ),
        (
            "$remote_user $tollkeeper_who",
            "\"\"",
            PLAIN_USER,
            "$remote_user",
        ),
        (
            "$host $tollkeeper_at",
            "\"\"",
            r"~^[a-z0-9._:\[\]-]{1,255}\z",
            "$host",
        ),
    ] {
        text.push_str(&format!(
            "map {variable} {{ default {default}; \"{expression}\" {value}; }}\n"
        ));
    }
    if parts.has_classes {
        text.push_str(
            "# Behind a proxy, set_real_ip_from and real_ip_header have to say who the client is.\n\
             geo $tollkeeper_class {\n    default -;\n",
        );
        for (class, networks) in classes {
            for network in *networks {
                text.push_str(&format!("    {network} \"{class}\";\n"));
            }
        }
        text.push_str("}\n");
    } else if parts.map.is_some() {
        text.push_str("geo $tollkeeper_class { default -; }\n");
    }
    let Some(map) = parts.map else {
        return;
    };
    text.push_str(
        "# These are empty until tollkeeper has written its file, whose maps then take their place.\n\
         # With more than some 10,000 closed names, set map_hash_max_size 262144 before the first map.\n",
    );
    for (kind, _) in KINDS {
        text.push_str(&format!(
            "map $host $tollkeeper_{kind}_verdict {{ default \"\"; }}\n"
        ));
    }
    let verdicts: Vec<String> = KINDS
        .iter()
        .map(|(kind, _)| format!("$tollkeeper_{kind}_verdict"))
        .collect();
    text.push_str(&format!(
        "include {};\nmap $host $tollkeeper_verdicts {{ default \"{}\"; }}\n",
        glob(map),
        verdicts.join(" ")
    ));
}

fn server(text: &mut String, parts: &Parts<'_>) {
    text.push_str(
        "# No browser sends a name in raw letters outside ASCII; who does would pass by its gate.\n\
         if ($host ~ \"[^ -~]\") { return 400; }\n",
    );
    let mut tests = Tests { text, parts };
    // Of a quota that came after this was pasted; then those that are known, the lowest last.
    tests.verdict("slow-([0-9]+)", "set $limit_rate $1;");
    for speed in &parts.speeds {
        let kind = format!("slow-{speed}");
        let then = format!("set $limit_rate {speed};");
        tests.flag(&kind, &then);
        tests.verdict(&kind, &then);
    }
    for status in &parts.statuses {
        let kind = format!("deny-{status}");
        let then = format!("rewrite ^ /.tollkeeper/{kind} last;");
        tests.flag(&kind, &then);
        tests.verdict(&kind, &then);
    }
    // Of a quota that came after this was pasted.
    tests.verdict("deny-[0-9]+", "rewrite ^ /.tollkeeper/deny-429 last;");
    for (url, quota) in &parts.redirects {
        let kind = redirect_kind(url, quota);
        tests.flag(&kind, &format!("rewrite ^ /.tollkeeper/{kind} last;"));
    }
    tests.verdict(
        "to-([^ ]+)",
        "set $tollkeeper_to $1; rewrite ^ /.tollkeeper/redirect last;",
    );

    for status in &parts.statuses {
        location(
            text,
            &format!("deny-{status}"),
            "add_header Retry-After 3600 always; default_type text/plain; ",
            &format!("{status} \"The quota of this site, or yours, is spent.\\n\""),
        );
    }
    if parts.flags.is_some() {
        for (url, quota) in &parts.redirects {
            let quota_in_query = percent_encoded(quota);
            let query = [
                ("user", "$tollkeeper_who"),
                ("quota", &quota_in_query),
                ("vhost", "$tollkeeper_at"),
            ];
            let to = with_query(url, &query);
            location(
                text,
                &redirect_kind(url, quota),
                "",
                &format!("302 \"{to}\""),
            );
        }
    }
    if parts.map.is_some() {
        location(text, "redirect", "", "302 $tollkeeper_to");
    }
}

/// Writes what is tested of each request.
struct Tests<'t, 'p> {
    text: &'t mut String,
    parts: &'p Parts<'p>,
}

impl Tests<'_, '_> {
    /// Whether one of the flags of a kind is there.
    fn flag(&mut self, kind: &str, then: &str) {
        let Some(folder) = self.parts.flags else {
            return;
        };
        let class = self
            .parts
            .has_classes
            .then(|| format!("class-{kind}/$tollkeeper_class/$host"));
        let names = [
            format!("{kind}/$host"),
            format!("user-{kind}/$tollkeeper_user"),
            format!("at-{kind}/$host/$tollkeeper_user"),
        ];
        for name in names.into_iter().chain(class) {
            self.text
                .push_str(&format!("if (-f \"{folder}/{name}\") {{ {then} }}\n"));
        }
    }

    /// Whether one of the verdicts of the map is of a kind.
    fn verdict(&mut self, kind: &str, then: &str) {
        if self.parts.map.is_some() {
            self.text.push_str(&format!(
                "if ($tollkeeper_verdicts ~ \"(?:^| ){kind}(?: |$)\") {{ {then} }}\n"
            ));
        }
    }
}

/// A location that clients cannot ask for: there the headers of the answer can be set, whatever the
/// site sets, and no `error_page` of the site takes it away.
fn location(text: &mut String, name: &str, headers: &str, answer: &str) {
    text.push_str(&format!(
        "location = /.tollkeeper/{name} {{ internal; add_header Cache-Control no-store always; {headers}\
         return {answer}; }}\n"
    ));
}

/// A path that means itself within double quotes and in the pattern of an include.
fn plain_path(path: &Path) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+@:,=~-".contains(&byte);
    path.to_str().filter(|text| text.bytes().all(is_plain))
}

/// As a pattern, so that it is no error when the file is not there.
fn glob(path: &str) -> String {
    let last = path.chars().next_back().unwrap_or('/');
    format!("{}[{last}]", &path[..path.len() - last.len_utf8()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(flags: Option<&str>, map: Option<&str>) -> String {
        let gate = NginxGate {
            flags: flags.map(Into::into),
            map: map.map(Into::into),
            reload: None,
        };
        let slow = |bytes_per_second| Consequence::Slow { bytes_per_second };
        let url = "https://x.example/".to_owned();
        let redirect = Consequence::Redirect { url: url.clone() };
        let consequences = [slow(1000), slow(2000), redirect];
        let redirects = [(url, "q".to_owned())];
        let networks = vec!["192.0.2.0/24".parse().expect("a network")];
        let classes = [("on campus".to_owned(), networks)];
        snippet(
            &gate,
            &consequences.into(),
            &redirects.into(),
            &classes.into(),
        )
    }

    /// Where each of these stands, one behind the other.
    #[track_caller]
    fn assert_order(text: &str, lines: &[&str]) {
        let mut from = 0;
        for line in lines {
            let at = text[from..].find(line);
            from += at.unwrap_or_else(|| panic!("no {line} behind byte {from} of\n{text}"));
        }
    }

    #[test]
    fn the_worst_comes_last_of_speeds_and_first_of_answers() {
        let text = printed(Some("/gate"), Some("/gate.map"));
        assert_order(
            &text,
            &[
                "    192.0.2.0/24 \"on%20campus\";",
                "include /gate.ma[p];",
                SERVER_PART,
                "(?:^| )slow-([0-9]+)(?: |$)",
                "if (-f \"/gate/slow-2000/$host\")",
                "(?:^| )slow-2000(?: |$)",
                "if (-f \"/gate/slow-1000/$host\")",
                "(?:^| )slow-1000(?: |$)",
                "if (-f \"/gate/deny-429/$host\")",
                "if (-f \"/gate/user-deny-429/$tollkeeper_user\")",
                "if (-f \"/gate/at-deny-429/$host/$tollkeeper_user\")",
                "if (-f \"/gate/class-deny-429/$tollkeeper_class/$host\")",
                "(?:^| )deny-429(?: |$)",
                "if (-f \"/gate/deny-503/$host\")",
                "(?:^| )deny-[0-9]+(?: |$)",
                "if (-f \"/gate/redirect-",
                "(?:^| )to-([^ ]+)(?: |$)",
                "location = /.tollkeeper/deny-429 {",
            ],
        );
    }

    #[test]
    fn only_what_is_there_is_tested() {
        let flags = printed(Some("/gate"), None);
        assert!(
            !flags.contains("verdict") && !flags.contains("include /"),
            "{flags}"
        );
        let map = printed(None, Some("/gate.map"));
        assert!(!map.contains("if (-f"), "{map}");
    }

    #[test]
    fn paths_that_would_mean_something_else_are_refused() {
        for path in [
            "/gate\"; }",
            "/gate $host",
            "/ga{te",
            "/gate*",
            "/gate[1]",
            "/gate\n",
            "/gąte",
        ] {
            let text = printed(Some(path), Some(path));
            assert!(
                text.starts_with("# nginx cannot be told of the path"),
                "{text}"
            );
            assert!(
                !text.contains("if (-f") && !text.contains("include /"),
                "{text}"
            );
        }
    }
}
