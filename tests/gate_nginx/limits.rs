//! How slow slow is, what a full disk does, and a hundred thousand closed sites.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tollkeeper::quota::rule::Consequence;
use tollkeeper::quota::verdict::Verdicts;

use crate::server::{Gates, Nginx, class, deny, hosts, request, verdicts, vhost};
use crate::support::Sandbox;
use crate::{assert_denied, assert_fine, files_below};

/// Bytes a second of a response, once it is under way.
fn speed(nginx: &Nginx, host: &str) -> f64 {
    let mut stream = TcpStream::connect(nginx.plain).expect("it listens");
    let start = Instant::now();
    stream
        .write_all(&request(host, "/big.bin", None))
        .expect("it reads");
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0_u32;
    loop {
        match stream.read(&mut buffer).expect("it answers") {
            0 => return f64::from(bytes) / start.elapsed().as_secs_f64(),
            read => bytes += u32::try_from(read).expect("a small number"),
        }
    }
}

#[test]
fn slow_is_as_slow_as_it_says() {
    // 1 MiB in 8 seconds: nginx sends the first second's share at once.
    const SPEED: u64 = 131_072;
    let check = |measured: f64, how: &str| {
        let ratio = measured / 131_072.0;
        eprintln!("{how}: {ratio:.3} of the speed");
        assert!((0.85..1.15).contains(&ratio), "{how}: {ratio}");
    };
    let slow = |bytes_per_second| Consequence::Slow { bytes_per_second };
    thread::scope(|scope| {
        for (has_flags, has_map) in [(true, false), (false, true)] {
            scope.spawn(move || {
                let sandbox = Sandbox::new();
                let mut gates = Gates::new(&sandbox, has_flags, has_map);
                let consequences = [slow(SPEED), slow(100 * SPEED), slow(1000)];
                let nginx = Nginx::start(
                    &sandbox,
                    &gates.snippet(&consequences, &[("home", "127.0.0.1")]),
                );
                let closed = [
                    (vhost("s.example"), slow(SPEED)),
                    // The lowest of several speeds counts.
                    (class("s.example", "home"), slow(100 * SPEED)),
                    (vhost("t.example"), slow(100 * SPEED)),
                    (class("t.example", "home"), slow(SPEED)),
                ];
                gates.apply(&verdicts(closed), &hosts(&[], false));
                if has_map {
                    nginx.reload();
                }
                let how = if has_map { "map" } else { "flags" };
                thread::scope(|scope| {
                    let nginx = &nginx;
                    for host in ["s.example", "S.example.:80", "t.example"] {
                        scope.spawn(move || check(speed(nginx, host), how));
                    }
                    scope.spawn(move || {
                        let (status, seconds) = nginx.ask_http2("s.example", "/big.bin");
                        assert_eq!(status, 200);
                        check(f64::from(1 << 20) / seconds, "HTTP/2");
                    });
                    let fast = speed(nginx, "n.example");
                    assert!(fast > 1e7, "a neighbour has {fast} bytes a second");
                });
            });
        }
    });
}

/// Runs [`in_a_small_folder`] where a folder is a file system of its own, with room for little.
#[test]
fn a_full_or_read_only_folder_keeps_what_it_has() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("small");
    fs::create_dir(&folder).expect("a new folder");
    let mount = "mount -t tmpfs -o size=64k,nr_inodes=16 none \"$0\" && exec \"$@\"";
    let output = Command::new("/usr/bin/unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount])
        .arg(&folder)
        .arg(std::env::current_exe().expect("our own path"))
        .args([
            "--exact",
            "limits::in_a_small_folder",
            "--ignored",
            "--nocapture",
        ])
        .env("TOLLKEEPER_TEST_FOLDER", &folder)
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
#[ignore = "run by a_full_or_read_only_folder_keeps_what_it_has, in a file system of its own"]
fn in_a_small_folder() {
    let folder = std::env::var_os("TOLLKEEPER_TEST_FOLDER").expect("a folder");
    let folder = Path::new(&folder);
    let mut gates = Gates::below(folder, true, true);
    let hosts = hosts(&[], false);
    let few = |from: u32, to: u32| {
        verdicts((from..to).map(|n| (vhost(&format!("site-{n}.example")), deny())))
    };
    gates.apply(&few(0, 4), &hosts);
    let map = || fs::read(folder.join("nginx.map")).expect("a map");
    let flags = || {
        let mut found = Vec::new();
        files_below(&folder.join("nginx"), "", &mut found);
        found.len()
    };
    let before = map();
    assert_eq!(flags(), 4);

    // Full: no room for the map, and not for all flags.
    let failed = gates
        .apply_once(&few(0, 5000), &hosts)
        .map(|applied| applied.failed);
    for failed in failed {
        let failed = failed.expect("it does not fit");
        assert!(failed.contains("No space left"), "{failed}");
    }
    assert_eq!(map(), before);
    assert!((5..16).contains(&flags()), "{}", flags());
    let names: Vec<_> = fs::read_dir(folder).expect("a folder").collect();
    assert_eq!(names.len(), 2, "{names:?}");
    // What is removed makes room.
    gates.apply_once(&few(2, 6), &hosts);
    gates.apply(&few(2, 6), &hosts);
    assert_eq!(flags(), 4);
    let before = map();

    let mount = |mode: &str| {
        let status = Command::new("mount")
            .args(["-o", mode])
            .arg(folder)
            .status();
        assert!(status.expect("mount runs").success());
    };
    mount("remount,ro");
    for failed in gates
        .apply_once(&few(5, 9), &hosts)
        .map(|applied| applied.failed)
    {
        let failed = failed.expect("it cannot be written");
        assert!(failed.contains("Read-only"), "{failed}");
    }
    assert_eq!((map(), flags()), (before, 4));
    mount("remount,rw");
    gates.apply(&few(5, 9), &hosts);
    assert_eq!(flags(), 4);
    assert!(String::from_utf8_lossy(&map()).contains("site-8.example"));
}

/// The memory of its workers, in MiB.
fn memory(nginx: &Nginx) -> u64 {
    let of = |worker: &u32| {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("RssAnon"));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        number.unwrap_or(0)
    };
    nginx.workers().iter().map(of).sum::<u64>() / 1024
}

/// The median of many requests over one connection each.
fn latency(nginx: &Nginx, host: &str) -> Duration {
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let start = Instant::now();
            nginx.ask(host, "/");
            start.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn a_hundred_thousand_closed_sites() {
    let closed: Verdicts =
        verdicts((0..100_000).map(|n| (vhost(&format!("site-{n}.customers.example")), deny())));
    for (has_flags, has_map) in [(true, false), (false, true)] {
        let how = if has_map { "map" } else { "flags" };
        let sandbox = Sandbox::new();
        // Where there is memory to lay files in, this measures us and nginx, not the disk.
        let folder = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(Path::new("/dev/shm"))
            .or_else(|_| tempfile::tempdir_in(sandbox.path(".")))
            .expect("a folder");
        let mut gates = Gates::below(folder.path(), has_flags, has_map);
        let snippet = gates.snippet(&[deny()], &[]);
        let figures = |nginx: &Nginx, what: &str, took: Duration| {
            let (closed, open) = ("site-77777.customers.example", "n.example");
            let times = [closed, open].map(|host| latency(nginx, host));
            eprintln!(
                "{how}, {what}: start {took:?}, {} MiB, {:?} closed, {:?} open",
                memory(nginx),
                times[0],
                times[1]
            );
            assert!(times.iter().all(|time| *time < Duration::from_millis(100)));
        };
        let start = Instant::now();
        let nginx = Nginx::start(&sandbox, &snippet);
        figures(&nginx, "none closed", start.elapsed());
        drop(nginx);
        let start = Instant::now();
        gates.apply(&closed, &hosts(&[], false));
        eprintln!("{how}: 100,000 written in {:?}", start.elapsed());
        let start = Instant::now();
        let nginx = Nginx::start(&sandbox, &snippet);
        figures(&nginx, "100,000 closed", start.elapsed());
        assert_denied(&nginx.ask("site-0.customers.example", "/"), 429);
        assert_denied(&nginx.ask("SITE-99999.customers.example.", "/"), 429);
        assert_fine(&nginx.ask("site-100000.customers.example", "/"));
        let (is_content, said) = nginx.test();
        assert!(is_content, "{said}");
        assert!(memory(&nginx) < 200);
    }
}
