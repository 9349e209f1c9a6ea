//! syslog-ng, unpacked by `tests/unpack-syslog-ng`: its package cannot be installed beside rsyslog's.

use std::path::PathBuf;

use super::rsyslog::exact;
use super::support::{append, repository};
use super::{Program, Receiver, certificates, pasted, rows_of, text};

fn unpacked() -> PathBuf {
    let folder = repository().join("target/syslog-ng");
    assert!(
        folder.join("usr/sbin/syslog-ng").exists(),
        "syslog-ng is missing; run tests/unpack-syslog-ng, as tests/run does"
    );
    folder
}

fn start(receiver: &Receiver, config: &str) -> Program {
    let sandbox = &receiver.sandbox;
    let unpacked = unpacked();
    let config = receiver.here(config);
    let config = format!("@version: 3.38\noptions {{ use-dns(no); time-reopen(1); }};\n{config}");
    let buffers = format!("disk-buffer(dir(\"{}\") ", text(&sandbox.path(".")));
    let config = sandbox.write("syslog-ng.conf", config.replace("disk-buffer(", &buffers));
    let program = unpacked.join("usr/sbin/syslog-ng");
    let path = |name: &str| text(&sandbox.path(name)).to_owned();
    let modules = text(&unpacked.join("modules")).to_owned();
    let arguments = [
        "--foreground".to_owned(),
        "--no-caps".to_owned(),
        "--stderr".to_owned(),
        format!("--cfgfile={}", text(&config)),
        format!("--persist-file={}", path("syslog-ng.persist")),
        format!("--control={}", path("syslog-ng.ctl")),
        format!("--pidfile={}", path("syslog-ng.pid")),
        format!("--module-path={modules}"),
    ];
    let mut command = sandbox.program(&program, &arguments);
    let libraries = ["usr/lib/syslog-ng", "usr/lib/libraries"]
        .map(|folder| text(&unpacked.join(folder)).to_owned());
    command.env("LD_LIBRARY_PATH", libraries.join(":"));
    Program::of(sandbox, text(&program), command)
}

fn all_lines_arrive(toml: &str, config: &str) {
    let receiver = Receiver::prepare();
    certificates(&receiver.sandbox);
    let receiver = receiver.begin(toml);
    let log = receiver.sandbox.write("logs/tk.log", exact(0..1_000));
    let mut program = start(&receiver, config);
    receiver
        .sandbox
        .wait_for_rows(&rows_of(&exact(0..1_000), 6));
    append(&log, exact(1_000..2_000));
    receiver
        .sandbox
        .wait_for_rows(&rows_of(&exact(0..2_000), 6));
    program.end();
    receiver.ends_with(&rows_of(&exact(0..2_000), 6));
}

/// The page's destination, in another way.
fn otherwise(destination: &str) -> String {
    let config = pasted("syslog-ng.md", "syslog-ng", 0);
    let (before, rest) = config.split_once("    syslog(").expect("a destination");
    let (_, after) = rest.split_once(";\n").expect("its end");
    format!("{before}    {destination};\n{after}")
}

#[test]
fn syslog_ng_over_tcp_is_counted_to_the_byte() {
    let toml = pasted("syslog-ng.md", "toml", 0);
    all_lines_arrive(&toml, &pasted("syslog-ng.md", "syslog-ng", 0));
}

#[test]
fn syslog_ng_framed_by_newlines_is_counted_to_the_byte() {
    let toml = pasted("syslog-ng.md", "toml", 0);
    let config = otherwise("network(\"127.0.0.1\" port(5514) transport(\"tcp\"))");
    all_lines_arrive(&toml, &config);
}

#[test]
fn syslog_ng_over_udp_is_counted_to_the_byte() {
    let toml = pasted("syslog-ng.md", "toml", 0).replace("tcp://", "udp://");
    for driver in ["network", "syslog"] {
        let config = otherwise(&format!(
            "{driver}(\"127.0.0.1\" port(5514) transport(\"udp\"))"
        ));
        all_lines_arrive(&toml, &config);
    }
}

#[test]
fn syslog_ng_encrypted_is_counted_to_the_byte() {
    let toml = pasted("syslog-ng.md", "toml", 1);
    all_lines_arrive(&toml, &pasted("syslog-ng.md", "syslog-ng", 1));
}
