//! Keys as operators name them, and what is refused.

use super::*;
use crate::format::{PRESETS, Spec};

/// The fields of a format: the meaning, and its paths as a list.
fn show(text: &str) -> String {
    let format = match Spec::parse(text) {
        Ok(Spec::Format(format)) => format,
        Ok(other) => panic!("{text}: {other:?}"),
        Err(error) => {
            assert!(error.help.is_some(), "{text}: {error}");
            let at = text.get(error.span.clone());
            let at = at.unwrap_or_else(|| panic!("{text}: {error:?}"));
            return format!("{at}: {}", error.message);
        }
    };
    let Layout::Json(json) = &format.layout else {
        panic!("{text}: {format:?}");
    };
    let fields = json.fields.iter().map(|field| {
        let there = format.text.get(field.span.clone());
        assert_eq!(there, Some(&*field.written), "{text}");
        format!("{:?} {:?}", field.means, field.paths)
    });
    fields.collect::<Vec<_>>().join("; ")
}

#[test]
fn keys_as_operators_name_them() {
    for (text, expected) in [
        (
            "json:time=ts,out=sent",
            r#"Time(Told { utc: false }) [["ts"]]; Out [["sent"]]"#,
        ),
        (
            " json: time:ms = a.b | c ,\n body = \"odd, \\\"key\\\\\".\"d.e\" ",
            r#"Time(Since1970(Millis)) [["a", "b"], ["c"]]; Body [["odd, \"key\\", "d.e"]]"#,
        ),
        (
            "json:time:utc=@timestamp,in=żółw,body_in=x",
            r#"Time(Told { utc: true }) [["@timestamp"]]; In [["żółw"]]; BodyIn [["x"]]"#,
        ),
        (
            "json:vhost=v,user=u,client=c,status=s,duration:us=d,method=m,path=p",
            r#"Vhost [["v"]]; User [["u"]]; Client [["c"]]; Status [["s"]]; Duration(Micros) [["d"]]; Method [["m"]]; Path [["p"]]"#,
        ),
        ("json:", ": expected a meaning"),
        ("json:time=ts,", ": expected a meaning"),
        ("json:tims=ts", "tims: unknown meaning \"tims\""),
        ("json:time", ": expected = and a key"),
        ("json:time=", ": expected a key"),
        ("json:time=a.", ": expected a key"),
        ("json:time=a|,out=b", ",: expected a key"),
        ("json:time=a b", "b: expected a comma or the end"),
        ("json:time=\"a", "\"a: the quote is not closed"),
        ("json:out:ms=a", "ms: out has no forms"),
        ("json:duration:min=a", "min: unknown unit \"min\""),
        ("json:time:fast=a", "fast: unknown form of a time \"fast\""),
        ("json:time:%Q=a", "%Q: unknown time conversion %Q"),
        (
            "json:time:\"%H:%M\"=a",
            "\"%H:%M\": the time is not whole: it needs a date with an hour, or seconds since 1970",
        ),
        (
            "json:out=a,out=b",
            "out=b: this meaning has its keys already",
        ),
    ] {
        assert_eq!(show(text), expected, "{text}");
    }
}

#[test]
fn a_custom_time_is_a_pattern() {
    assert!(show("json:time:\"%d %b %Y, %H:%M\"=t").starts_with("Time(Pattern("));
}

#[test]
fn presets_of_json_are_written_so_too() {
    for name in ["caddy", "traefik", "json"] {
        assert!(PRESETS.contains(&name));
        let Some(format) = preset(name) else {
            panic!("{name}");
        };
        // What `check` shows can be pasted, and says the same but for what is ignored.
        let Ok(Spec::Format(pasted)) = Spec::parse(&format.text) else {
            panic!("{name}: {}", format.text);
        };
        let (Layout::Json(pasted), Layout::Json(json)) = (&pasted.layout, &format.layout) else {
            panic!("{name}");
        };
        assert_eq!(pasted.fields, json.fields);
    }
}
