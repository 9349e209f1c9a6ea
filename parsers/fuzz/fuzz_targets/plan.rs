//! Any line is read or refused, and what is read lies in the line.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Plan;
use tollkeeper_parsers::record::Line;

static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
    [
        "common",
        "combined",
        "vhost_combined",
        "combinedio",
        "lighttpd",
        r#"nginx:escape=json '{"t":"$time_iso8601","h":"$host","u":"$remote_user","o":$bytes_sent}'"#,
        "nginx:escape=none '$msec $bytes_sent $remote_user'",
        "nginx:$msec $bytes_sent $upstream_addr $http_cookie $uri $upstream_response_time $status",
        r#"apache:[%{%A %d/%B/%Y:%H:%M:%S}t.%{msec_frac}t %{%z %Z}t] %S %I %{ms}T %!200u %v:%p "%{Host}i" %U"#,
        "apache:%u %t %b",
        "lighttpd:%{begin:usec}t %{nsec_frac}t%b %V %u",
        "caddy",
        "traefik",
        "json",
        r#"json:time:"%d %b %Y %H:%M"=a.t,body=b|c|"a.b",duration:ms=d,in=i"#,
    ]
    .iter()
    .map(|format| match Spec::parse(format) {
        Ok(Spec::Format(format)) => Plan::compile(&format).expect("a plan"),
        _ => panic!("{format}"),
    })
    .collect()
});

fuzz_target!(|line: &[u8]| {
    for plan in PLANS.iter() {
        match plan.read(line) {
            Ok(Line::Record(record)) => {
                let logged = [record.vhost, record.user, record.method, record.path];
                for field in logged.into_iter().flatten() {
                    field.decode();
                    assert!(line.as_ptr_range().contains(&field.bytes.as_ptr()));
                }
            }
            Ok(Line::Ignored(_)) => {}
            Err(error) => {
                assert!(error.at <= line.len());
                plan.describe(&error);
            }
        }
    }
});
