//! A chain of servers: the edge is billed, to the byte, and what the servers behind it logged of the same
//! requests is counted apart, whatever kills the daemon.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::log::{FORMAT, lines};
use support::mariadb::{Database, MariaDb};
use support::server::{Kind, PASSWORD, Server};
use support::usage::{Store, Sums, add, by_vhost};
use support::wire::{Relay, basic, request};
use support::{
    Daemon, Random, Sandbox, append, source, text, wait_for, wait_for_moment, wait_until,
};

/// Requests through nginx to Apache, with the bytes counted on both ways by relays, and both logs
/// followed.
fn chain(database: Option<&Database<'_>>) {
    let sandbox = Sandbox::new();
    let store = Store {
        sandbox: &sandbox,
        database,
    };
    let apache = Server::start(&sandbox, Kind::Apache, "");
    let inner = Relay::new(apache.address);
    let nginx = Server::start_proxy(&sandbox, inner.address);
    let outer = Relay::new(nginx.address);
    let format = |kind: Kind, name: &str| format!("{name}:{}", kind.recommended());
    let config = sandbox.config(
        &(source(
            &[&nginx.log("exact.log")],
            &format(Kind::Nginx, "nginx"),
            "",
        ) + &source(
            &[&apache.log("exact.log")],
            &format(Kind::Apache, "apache"),
            "layer = \"backend\"",
        )),
    );
    let daemon = Daemon::of(&sandbox, store.command(&["run", "-c", text(&config)]));
    let get =
        |target: &str, host: &str, headers: &[&str]| request("GET", target, host, headers, b"");
    let (mut edge, mut behind) = (Sums::new(), Sums::new());
    let mut alices = 0;
    for (vhost, requests, connections) in [
        ("a.example", vec![get("/index.html", "a.example", &[])], 1),
        ("b.example", vec![get("/big.bin", "B.Example", &[])], 1),
        (
            "a.example",
            vec![request("HEAD", "/big.bin", "a.example", &[], b"")],
            1,
        ),
        (
            "b.example",
            vec![get("/index.html", "b.example", &["Range: bytes=10-109"])],
            1,
        ),
        // One connection to the edge is one for each request behind it.
        (
            "a.example",
            vec![get("/index.html", "a.example", &[]); 3],
            3,
        ),
        // Asked twice behind the edge, which answers once.
        ("b.example", vec![get("/missing", "b.example", &[])], 2),
        // The edge answers by itself.
        ("a.example", vec![get("/edge", "a.example", &[])], 0),
        (
            "a.example",
            vec![get(
                "/private/page.html",
                "a.example",
                &[&basic("alice", PASSWORD)],
            )],
            1,
        ),
    ] {
        let exchange = outer.exchange(&requests);
        let answers = exchange.answers.len() as u64;
        let of_edge = [exchange.bytes_in, exchange.bytes_out, answers];
        add(&mut edge, vhost, of_edge);
        if connections > 0 {
            let (bytes_in, bytes_out) = inner.passed(connections);
            let of_inner = [bytes_in, bytes_out, connections as u64];
            add(&mut behind, vhost, of_inner);
        }
        alices = exchange.bytes_out;
    }
    assert!(
        behind["b.example"][2] > edge["b.example"][2],
        "it was asked again"
    );
    let are_right = || {
        let found = (store.sums(&[]), store.sums(&["--layer", "backend"]));
        match found == (edge.clone(), behind.clone()) {
            true => Ok(()),
            false => Err((found, edge.clone(), behind.clone())),
        }
    };
    wait_until("both layers equal what passed", are_right);
    nginx.stop();
    apache.stop();
    daemon.stop();
    wait_until("both layers equal what passed", are_right);

    // The name that both servers logged is credited at the edge alone.
    let users: Vec<Value> = store
        .report(&["--by", "vhost,user"])
        .into_iter()
        .filter(|row| !row["user"].is_null())
        .collect();
    let [alice] = users.as_slice() else {
        panic!("{users:?}");
    };
    assert_eq!(
        (&alice["user"], &alice["out"]),
        (&json!("alice"), &json!(alices))
    );
    let both: Vec<_> = store
        .report(&["--by", "vhost,layer"])
        .into_iter()
        .map(|row| {
            (
                row["vhost"].clone(),
                row["layer"].clone(),
                row["requests"].clone(),
            )
        })
        .collect();
    let row =
        |vhost: &str, layer: &str, sums: &Sums| (json!(vhost), json!(layer), json!(sums[vhost][2]));
    assert_eq!(
        both,
        [
            row("a.example", "backend", &behind),
            row("a.example", "edge", &edge),
            row("b.example", "backend", &behind),
            row("b.example", "edge", &edge),
        ]
    );
}

#[test]
fn nginx_in_front_of_apache_is_counted_once() {
    chain(None);
}

#[test]
fn nginx_in_front_of_apache_is_counted_once_in_a_database() {
    let database = MariaDb::shared().database();
    chain(Some(&database));
    let tables =
        database.sql("SELECT count(DISTINCT layer), sum(vhost = '_invalid') FROM bandwidth_layer");
    assert_eq!(tables, "1\t0");
}

/// The daemon is killed again and again while both logs grow, on either store.
fn killed(test: &str, database: Option<&Database<'_>>) {
    const KILLS: u64 = 12;
    let mut random = Random::new(test);
    let sandbox = Sandbox::new();
    let store = Store {
        sandbox: &sandbox,
        database,
    };
    let (edge, inner) = (sandbox.path("edge.log"), sandbox.path("inner.log"));
    let config = sandbox.config(
        &(source(&[&edge], FORMAT, "") + &source(&[&inner], FORMAT, "layer = \"backend\"")),
    );
    let (mut of_edge, mut of_inner) = (String::new(), String::new());
    for round in 0..KILLS {
        let first = round * 10_000;
        let write = |log: &Path, whole: &mut String, from: u64, count: u64| {
            let new = lines(from, count);
            append(log, &new);
            whole.push_str(&new);
        };
        write(&edge, &mut of_edge, first, 500);
        write(&inner, &mut of_inner, first, 700);
        let mut daemon = Daemon::of(&sandbox, store.command(&["run", "-c", text(&config)]));
        if round == 0 || random.percent(50) {
            // Some of it is in the store when it is killed.
            wait_for("something is counted", || !store.sums(&[]).is_empty());
        }
        write(&inner, &mut of_inner, first + 1_000, 300);
        write(&edge, &mut of_edge, first + 1_000, 200);
        wait_for_moment(Instant::now() + Duration::from_millis(random.below(1_500)));
        daemon.assert_running();
        daemon.kill();
    }
    let daemon = Daemon::of(&sandbox, store.command(&["run", "-c", text(&config)]));
    let expected = (by_vhost(&of_edge), by_vhost(&of_inner));
    wait_until("both logs are counted once", || {
        let found = (store.sums(&[]), store.sums(&["--layer", "backend"]));
        if found == expected {
            Ok(())
        } else {
            Err((found, expected.clone()))
        }
    });
    daemon.stop();
    let found = (store.sums(&[]), store.sums(&["--layer", "backend"]));
    assert_eq!(found, expected);
}

#[test]
fn killed_again_and_again_both_layers_are_counted_once() {
    killed("layers::killed", None);
}

#[test]
fn killed_again_and_again_both_layers_are_counted_once_in_a_database() {
    let database = MariaDb::shared().database();
    killed("layers::killed_in_a_database", Some(&database));
}
