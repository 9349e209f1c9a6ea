//! How long one line takes: `cargo run --release -p tollkeeper-parsers --example speed`.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::{Carried, Plan};

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
    (
        "caddy",
        r#"{"level":"info","ts":1795702592.0415604,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"203.0.113.77","remote_port":"38632","client_ip":"203.0.113.77","proto":"HTTP/2.0","method":"GET","host":"www.example.org","uri":"/some/longer/path/to/a/file.html?with=query&and=more","headers":{"User-Agent":["Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"],"Accept":["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],"Accept-Language":["en-US,en;q=0.5"],"Accept-Encoding":["gzip, deflate, br, zstd"],"Referer":["https://www.example.org/start"],"Upgrade-Insecure-Requests":["1"],"Sec-Fetch-Dest":["document"],"Sec-Fetch-Mode":["navigate"],"Sec-Fetch-Site":["same-origin"]},"tls":{"resumed":false,"version":772,"cipher_suite":4865,"proto":"h2","server_name":"www.example.org"}},"bytes_read":0,"user_id":"alice","duration":0.027055989,"size":51234,"status":200,"resp_headers":{"Etag":["\"tp44zi6\""],"Content-Type":["text/html; charset=utf-8"],"Last-Modified":["Thu, 26 Nov 2026 14:16:30 GMT"],"Accept-Ranges":["bytes"],"Content-Length":["51234"],"Server":["Caddy"],"Alt-Svc":["h3=\":443\"; ma=2592000"]}}"#,
    ),
    (
        "traefik",
        r#"{"ClientAddr":"203.0.113.77:63261","ClientHost":"203.0.113.77","ClientPort":"63261","ClientUsername":"-","DownstreamContentSize":287,"DownstreamStatus":207,"Duration":8184335,"OriginContentSize":287,"OriginDuration":7349966,"OriginStatus":207,"Overhead":834369,"RequestAddr":"sub.example.com","RequestContentSize":366,"RequestCount":17348,"RequestHost":"sub.example.com","RequestMethod":"REPORT","RequestPath":"/dav.php/calendars/","RequestPort":"-","RequestProtocol":"HTTP/2.0","RequestScheme":"https","RetryAttempts":0,"RouterName":"https-bk@docker","ServiceAddr":"172.29.0.2:8111","ServiceName":"bk-bk@docker","ServiceURL":"http://172.29.0.2:8111","StartLocal":"2024-12-29T12:42:47.503803974+01:00","StartUTC":"2024-12-29T11:42:47.503803974Z","TLSCipher":"TLS_AES_128_GCM_SHA256","TLSVersion":"1.3","entryPointName":"https","level":"info","msg":"","time":"2024-12-29T12:42:47+01:00"}"#,
    ),
    (
        "json:time=t,out=sent,in=received,vhost=host,user=user,status=status",
        r#"{"t":1795335791.214,"status":200,"received":512,"sent":51600,"host":"www.example.org","user":"alice","request":"GET /some/longer/path/to/a/file.html?with=query&and=more HTTP/1.1","agent":"Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"}"#,
    ),
];

fn main() {
    let mut output = std::io::stdout();
    // Those whose formats begin with what is named, and how often: `speed caddy 1000`.
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_default();
    let rounds = arguments.next().and_then(|rounds| rounds.parse().ok());
    let rounds: u32 = rounds.unwrap_or(2_000_000);
    for (format, line) in LINES {
        if !format.starts_with(&wanted) {
            continue;
        }
        let Ok(Spec::Format(parsed)) = Spec::parse(format) else {
            continue;
        };
        let Ok(plan) = Plan::compile(&parsed) else {
            continue;
        };
        let mut carried = Carried::default();
        let start = Instant::now();
        for _ in 0..rounds {
            let _ = black_box(plan.read_for_account(black_box(line.as_bytes()), &mut carried));
        }
        let nanoseconds = start.elapsed().as_nanos() / u128::from(rounds.max(1));
        let _ = writeln!(
            output,
            "{nanoseconds} ns a line of {} bytes, {:.2} GB/s: {format:.40}",
            line.len(),
            line.len() as f64 / nanoseconds as f64
        );
    }
}
