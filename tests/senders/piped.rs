//! Apache and lighttpd through pipes: into `tollkeeper pipe`, over a kill and an upgrade of the daemon,
//! and through `logger`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::support::server::{Kind, Server};
use super::support::wait_until;
use super::{Receiver, Sandbox, ask, pasted, text};

fn page(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Apache => ("apache.md", "apache"),
        _ => ("lighttpd.md", "lighttpd"),
    }
}

/// The command that a block of a page pipes its log to.
fn command(kind: Kind, block: usize) -> String {
    let (page, fence) = page(kind);
    let block = pasted(page, fence, block);
    let (_, rest) = block.split_once("\"|").expect("a piped log");
    let (command, _) = rest
        .split_once("\" tk")
        .or_else(|| rest.split_once("\"\n"))
        .expect("its end");
    command.to_owned()
}

fn wait_for_requests(sandbox: &Sandbox, requests: u64) {
    wait_until("all requests are counted", || match sandbox.requests() {
        counted if counted == requests => Ok(()),
        counted => Err(counted),
    });
}

fn nothing_is_lost_by_a_kill_and_an_upgrade(kind: Kind) {
    const WWW_DATA: u32 = 33;
    let sandbox = Sandbox::new();
    let config = sandbox.config(&pasted(page(kind).0, "toml", 0));
    let spool = sandbox.state().join("spool").join(page(kind).1);
    fs::create_dir_all(&spool).expect("a new folder");
    std::os::unix::fs::chown(&spool, Some(WWW_DATA), None).expect("we are root");
    for (folder, mode) in [
        (sandbox.state(), 0o711),
        (sandbox.state().join("spool"), 0o2771),
        (spool, 0o2770),
    ] {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("our own");
    }
    let command = command(kind, 0).replace("/usr/bin/tollkeeper", env!("CARGO_BIN_EXE_tollkeeper"))
        + &format!(" --state {}", text(&sandbox.state()));
    let server = Server::start_piped(&sandbox, kind, &command);
    let daemon = sandbox.start(&["-c", text(&config)]);
    ask(server.address, 200);
    wait_for_requests(&sandbox, 200);
    ask(server.address, 50);
    daemon.kill();
    ask(server.address, 200);
    // A new version, in another place.
    let upgraded = sandbox.path("tollkeeper");
    fs::copy(env!("CARGO_BIN_EXE_tollkeeper"), &upgraded).expect("a copy");
    let command = sandbox.program(&upgraded, ["run", "-c", text(&config)]);
    let daemon = super::Daemon::of(&sandbox, command);
    ask(server.address, 50);
    wait_for_requests(&sandbox, 500);
    server.stop();
    daemon.stop();
    let balance = sandbox.stored_balance();
    assert_eq!((balance.counted, balance.lines), (500, 500));
    assert_eq!(sandbox.gaps(), []);
}

#[test]
fn apache_into_the_pipe_loses_nothing_by_a_kill_and_an_upgrade() {
    nothing_is_lost_by_a_kill_and_an_upgrade(Kind::Apache);
}

#[test]
fn lighttpd_into_the_pipe_loses_nothing_by_a_kill_and_an_upgrade() {
    nothing_is_lost_by_a_kill_and_an_upgrade(Kind::Lighttpd);
}

fn all_requests_arrive_through_logger(kind: Kind) {
    let receiver = Receiver::start(&pasted(page(kind).0, "toml", 1));
    let socket = receiver.socket();
    // The server's user writes to it.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("our own");
    let command = receiver.here(&command(kind, 1));
    let server = Server::start_piped(&receiver.sandbox, kind, &command);
    ask(server.address, 500);
    wait_for_requests(&receiver.sandbox, 500);
    server.stop();
    let balance = receiver.sandbox.stored_balance();
    assert_eq!((balance.counted, balance.lines), (500, 500));
}

#[test]
fn apache_through_logger_is_counted() {
    all_requests_arrive_through_logger(Kind::Apache);
}

#[test]
fn lighttpd_through_logger_is_counted() {
    all_requests_arrive_through_logger(Kind::Lighttpd);
}
