//! Lines and what they say. Those marked as recorded were written by nginx 1.22, Apache 2.4.71 and
//! lighttpd 1.4.69.

use super::*;
use crate::format::Spec;
use crate::record::{Ignored, Logged, Record};
use crate::time::Time;

fn plan(format: &str) -> Plan {
    match Spec::parse(format) {
        Ok(Spec::Format(parsed)) => Plan::compile(&parsed).unwrap_or_else(|error| panic!("{format}: {error}")),
        other => panic!("{format}: {other:?}"),
    }
}

fn refused(format: &str) -> FormatError {
    match Spec::parse(format) {
        Ok(Spec::Format(parsed)) => Plan::compile(&parsed).expect_err(format),
        Ok(Spec::Auto) => panic!("{format}: auto"),
        Err(error) => error,
    }
}

/// A record in one line: vhost, user, client, time, in, out, status, duration, method, path.
fn show(line: Result<Line<'_>, LineError>) -> String {
    let text = |logged: Option<Logged<'_>>| {
        logged.map_or("·".to_owned(), |logged| logged.decode().escape_ascii().to_string())
    };
    let number = |number: Option<u64>| number.map_or("·".to_owned(), |number| number.to_string());
    match line {
        Err(error) => error.to_string(),
        Ok(Line::Ignored(ignored)) => format!("{ignored:?}"),
        Ok(Line::Record(Record { vhost, user, client, time, bytes_in, bytes_out, status, duration_us, method, path })) => {
            let time = match time {
                None => "·".to_owned(),
                Some(Time::Instant(seconds)) => seconds.to_string(),
                Some(Time::Local(seconds)) => format!("{seconds}L"),
            };
            format!(
                "{}|{}|{}|{time}|{}|{}|{}|{}|{}|{}",
                text(vhost), text(user), client.unwrap_or(b"\xb7").escape_ascii().to_string().replace(r"\xb7", "·"),
                number(bytes_in), number(bytes_out), number(status.map(u64::from)), number(duration_us),
                text(method), text(path),
            )
        }
    }
}

fn check(format: &str, lines: &[(&str, &str)]) {
    let plan = plan(format);
    for (line, expected) in lines {
        assert_eq!(show(plan.read(line.as_bytes())), *expected, "{format}\n{line}");
    }
}

#[test]
fn combined_recorded_from_nginx() {
    check("combined", &[
        (r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET /pw HTTP/1.1" 200 21 "a\x22b\x5Cc \x01\x7F\xFF\xC3\xA9\x09z\x0B\x0C\x07\x08" "-""#,
         "·|·|127.0.0.1|1795335791|0|21|200|·|GET|/pw"),
        (r#"127.0.0.1 - al ice] \x22x [22/Nov/2026:08:23:11 +0000] "GET /p/x?q=1 HTTP/1.1" 404 153 "-" "-""#,
         r#"·|al ice] \"x|127.0.0.1|1795335791|0|153|404|·|GET|/p/x?q=1"#),
        (r#"127.0.0.1 - a\x0Ab [22/Nov/2026:08:23:11 +0000] "GET /p HTTP/1.1" 404 153 "-" "-""#,
         r"·|a\nb|127.0.0.1|1795335791|0|153|404|·|GET|/p"),
        (r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET /a b\x22c\x5Cd\xFF HTTP/1.1" 400 157 "-" "-""#,
         r#"·|·|127.0.0.1|1795335791|0|157|400|·|GET|/a b\"c\\d\xff"#),
        (r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03\x22\x5C zz" 400 157 "-" "-""#,
         r#"·|·|127.0.0.1|1795335791|0|157|400|·|\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\"\\|zz"#),
        (r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "" 400 0 "-" "-""#,
         "·|·|127.0.0.1|1795335791|0|0|400|·|·|·"),
        (r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GE" 400 0 "-" "-""#,
         "·|·|127.0.0.1|1795335791|0|0|400|·|·|·"),
        (r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "HEAD /pw HTTP/1.0" 200 0 "-" "-""#,
         "·|·|127.0.0.1|1795335791|0|0|200|·|HEAD|/pw"),
        (r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "PRI * HTTP/2.0" 400 157 "-" "-""#,
         "·|·|127.0.0.1|1795335791|0|157|400|·|PRI|*"),
        ("", "Blank"), (" \t\r", "Blank"), ("# a comment", "Comment"), ("#", "Comment"),
    ]);
}
