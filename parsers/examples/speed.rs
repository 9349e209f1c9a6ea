//! How long one line takes: `cargo run --release -p tollkeeper-parsers --example speed`.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Plan;

const LINES: &[(&str, &str)] = &[
    (
        "combined",
        r#"203.0.113.77 - alice [22/Nov/2026:08:23:11 +0000] "GET /some/longer/path/to/a/file.html?with=query&and=more HTTP/1.1" 200 51234 "https://www.example.org/start" "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0""#,
    ),
    (
        "combinedio",
        r#"203.0.113.77 - - [22/Nov/2026:08:23:11 +0000] "GET /some/longer/path/to/a/file.html?with=query&and=more HTTP/1.1" 200 51234 "https://www.example.org/start" "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0" 512 51600"#,
    ),
    (
        r#"nginx:$msec $status $request_length $bytes_sent $request_time $remote_addr $host "$remote_user" "$request" "$http_referer" "$http_user_agent""#,
        r#"1795335791.215 200 512 51600 0.013 203.0.113.77 www.example.org "alice" "GET /some/longer/path/to/a/file.html?with=query&and=more HTTP/1.1" "https://www.example.org/start" "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0""#,
    ),
];

fn main() {
    let mut output = std::io::stdout();
    for (format, line) in LINES {
        let Ok(Spec::Format(parsed)) = Spec::parse(format) else {
            continue;
        };
        let Ok(plan) = Plan::compile(&parsed) else {
            continue;
        };
        let rounds = 2_000_000_u32;
        let start = Instant::now();
        for _ in 0..rounds {
            let _ = black_box(plan.read(black_box(line.as_bytes())));
        }
        let nanoseconds = start.elapsed().as_nanos() / u128::from(rounds);
        let _ = writeln!(
            output,
            "{nanoseconds} ns a line of {} bytes: {format:.40}",
            line.len()
        );
    }
}
