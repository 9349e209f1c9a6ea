//! What the documentation tells operators to paste is taken as it stands.

mod support;

use std::fs;

use support::server::Kind;
use support::{Sandbox, repository, text};

fn page(name: &str) -> String {
    fs::read_to_string(repository().join(name)).expect("a page of the documentation")
}

/// The blocks of a page that are fenced as this.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    let parts = page.split(&fence).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn the_formats_to_paste_are_exact_and_what_check_advises() {
    let sandbox = Sandbox::new();
    for (kind, server, poor) in [
        (Kind::Nginx, "nginx", "$msec $bytes_sent"),
        (Kind::Apache, "apache", "%t %b"),
        (Kind::Lighttpd, "lighttpd", "%t %b"),
    ] {
        let recommended = kind.recommended();
        let check = |format: &str| {
            let format = format!("{server}:{format}");
            let ran = sandbox.ran(["check", "--output", "json", "--format", &format]);
            ran.exited(0).json()["formats"][0].clone()
        };
        let explained = check(&recommended);
        assert_eq!(explained["grade"], "exact", "{explained}");
        assert!(explained["better"].is_null(), "{explained}");
        assert_eq!(check(poor)["better"], recommended.as_str());
    }
}

#[test]
fn what_proxies_should_log_is_in_the_documentation() {
    let sandbox = Sandbox::new();
    let formats = page("docs/formats.md");
    for (preset, lines) in [("squid", 2), ("varnishncsa", 1)] {
        let ran = sandbox.ran(["check", "--output", "json", "--format", preset]);
        let better = ran.exited(0).json()["formats"][0]["better"].clone();
        let better = better.as_str().expect("a better format");
        assert_eq!(better.lines().count(), lines);
        // Of Squid's two, the first is for a reverse proxy.
        let first = better.lines().next().expect("a line");
        let first = first.trim_start_matches("reverse proxy: ");
        assert!(formats.contains(&format!("{first}\n")), "{first}");
    }
}

#[test]
fn the_configs_are_accepted() {
    for name in [
        "README.md",
        "docs/config.md",
        "docs/gates/apache.md",
        "docs/gates/lighttpd.md",
        "docs/gates/nginx.md",
        "docs/gates/other.md",
        "docs/gates/haproxy.md",
        "docs/gates/reload.md",
        "docs/layers.md",
        "docs/migrating.md",
        "docs/pipes.md",
        "docs/quotas.md",
        "docs/syslog.md",
        "docs/service.md",
    ] {
        let configs = blocks(&page(name), "toml");
        assert!(!configs.is_empty(), "{name} has no config");
        for config in configs {
            let sandbox = Sandbox::new();
            let path = sandbox.write("tollkeeper.toml", &config);
            sandbox.ran(["check", "-c", text(&path)]).exited(0);
        }
    }
}

#[test]
fn the_table_of_the_readme_is_what_the_sample_gives() {
    let readme = page("README.md");
    let table = blocks(&readme, "")
        .into_iter()
        .find(|block| block.starts_with("vhost "));
    let sandbox = Sandbox::new();
    let sample = repository().join("fixtures/sample/access.log");
    sandbox.ran(["import", text(&sample)]).exited(0);
    let report = sandbox.ran(["report", "--by", "vhost"]).exited(0).stdout;
    for line in table.expect("a table").lines().filter(|line| *line != "…") {
        assert!(
            report.lines().any(|row| row == line),
            "{line:?} is not in:\n{report}"
        );
    }
}

#[test]
fn links_lead_somewhere() {
    for name in [
        "README.md",
        "CHANGELOG.md",
        "docs/formats.md",
        "docs/config.md",
        "docs/gates/apache.md",
        "docs/gates/lighttpd.md",
        "docs/gates/nginx.md",
        "docs/gates/other.md",
        "docs/gates/haproxy.md",
        "docs/gates/reload.md",
        "docs/guarantees.md",
        "docs/migrating.md",
        "docs/pipes.md",
        "docs/quotas.md",
        "docs/service.md",
        "docs/status.md",
        "docs/syslog.md",
        "docs/syslog/nginx.md",
        "docs/syslog/haproxy.md",
        "docs/syslog/apache.md",
        "docs/syslog/lighttpd.md",
        "docs/syslog/rsyslog.md",
        "docs/syslog/syslog-ng.md",
        "fixtures/README.md",
    ] {
        let path = repository().join(name);
        let page = page(name);
        let targets = page
            .split("](")
            .skip(1)
            .filter_map(|part| part.split(')').next());
        for target in targets.filter(|target| !target.starts_with("https://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = match file {
                "" => path.clone(),
                file => path.with_file_name("").join(file),
            };
            assert!(there.exists(), "{name}: {target}");
            let heading = anchor.replace('-', " ");
            let linked = fs::read_to_string(&there).expect("a page").to_lowercase();
            let is_there = linked
                .lines()
                .any(|line| line.starts_with('#') && line.ends_with(&heading));
            assert!(anchor.is_empty() || is_there, "{name}: {target}");
        }
    }
}

#[test]
fn the_formats_of_json_are_accepted() {
    let page = page("docs/formats.md");
    // In backticks or a line of their own; those with an ellipsis are no whole formats.
    let pieces = page.split(['`', '\n']);
    let formats: Vec<&str> = pieces
        .filter(|piece| piece.starts_with("json:") && piece.contains('=') && !piece.contains('…'))
        .filter(|piece| piece.contains("time") && piece.contains(','))
        .collect();
    assert_eq!(formats.len(), 2, "{formats:?}");
    let sandbox = Sandbox::new();
    for format in formats {
        sandbox.ran(["check", "--format", format]).exited(0);
    }
}
