//! nginx, over UDP and over a unix socket.

use std::fs;

use super::{
    Program, Receiver, ask, free, pasted, rows_of, text, wait_until, wait_until_it_listens,
};

/// `at_once`: requests before a look whether they have arrived.
fn all_requests_arrive(toml: usize, block: usize, at_once: usize) {
    let receiver = Receiver::start(&pasted("nginx.md", "toml", toml));
    let sandbox = &receiver.sandbox;
    sandbox.write("nginx/www/index.html", "<h1>tollkeeper</h1>\n".repeat(50));
    let folder = sandbox.path("nginx");
    let (folder, web) = (text(&folder), free());
    let log = receiver.here(&pasted("nginx.md", "nginx", block));
    let config = format!(
        "daemon off;\npid {folder}/pid;\nerror_log stderr;\nworker_processes 2;\nevents {{}}\nhttp {{\n\
         client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};\n\
         uwsgi_temp_path {folder}; scgi_temp_path {folder};\nroot {folder}/www;\n\
         {log}\naccess_log {folder}/tk.log tk;\nserver {{ listen {web}; }}\n}}\n"
    );
    let config = sandbox.write("nginx/nginx.conf", config);
    let mut nginx = Program::start(sandbox, "/usr/sbin/nginx", &["-c", text(&config)]);
    wait_until_it_listens(web, &sandbox.path("nginx.stderr"));
    for round in 1..=400 / at_once {
        ask(web, at_once);
        wait_until("they have arrived", || {
            match receiver.listener("/messages") {
                arrived if arrived == (round * at_once) as u64 => Ok(()),
                arrived => Err((arrived, receiver.status()["listeners"].clone())),
            }
        });
    }
    nginx.end();
    let log = fs::read_to_string(sandbox.path("nginx/tk.log")).expect("a log");
    assert_eq!(log.lines().count(), 400);
    let expected = rows_of(&log, 6);
    receiver.ends_with(&expected);
}

#[test]
fn nginx_over_udp_is_counted_to_the_byte() {
    all_requests_arrive(0, 0, 400);
}

#[test]
fn nginx_over_a_unix_socket_is_counted_to_the_byte() {
    // net.unix.max_dgram_qlen is 10 by default: what goes beyond it nginx drops.
    all_requests_arrive(1, 1, 10);
}
