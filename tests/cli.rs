//! The command line through the binary: exit codes, and what goes where.

use assert_cmd::Command;

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the binary away from this machine's config and state.
fn run(line: &str) -> Ran {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::cargo_bin("tollkeeper").expect("the binary");
    command
        .args(line.split_whitespace())
        .env_clear()
        .env("STATE_DIRECTORY", home.path())
        .current_dir(home.path());
    let output = command.output().expect("an exit");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn usage_errors_exit_with_2_and_print_no_result() {
    for (line, message) in [
        ("", "Usage: tollkeeper"),
        ("frobnicate", "unrecognized subcommand"),
        ("report --by user,class", "not of both"),
        ("report --by day,vhost,day", "\"day\" stands there twice"),
        ("report --from 2026-02-30", "no calendar has that day"),
        ("report --to tomorrow", "YYYY-MM-DD"),
        (
            "report --from 2026-11-22 --to 2026-11-21",
            "--from 2026-11-22 is after --to 2026-11-21",
        ),
        ("report --store mysql://u:p@h/d", "password_file"),
        ("report --store mysql://u@h/d?ssl=1", "no option"),
        (
            "report --timezone Europe/Warszawa",
            "did you mean \"Europe/Warsaw\"?",
        ),
        ("import", "required"),
        ("import --format nonsense access.log", "nonsense"),
    ] {
        let ran = run(line);
        assert_eq!(ran.code, Some(2), "{line}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{line}");
        assert!(ran.stderr.contains(message), "{line}: {}", ran.stderr);
    }
}

#[test]
fn help_and_version_are_results() {
    for line in ["--help", "import --help", "report -h", "--version"] {
        let ran = run(line);
        assert_eq!(ran.code, Some(0), "{line}: {}", ran.stderr);
        assert_eq!(ran.stderr, "", "{line}");
        assert!(ran.stdout.contains("tollkeeper"), "{line}");
    }
}

#[test]
fn a_bad_config_is_1_and_for_the_daemon_78() {
    for (line, code) in [("report -c /nowhere.toml", 1), ("run -c /nowhere.toml", 78)] {
        let ran = run(line);
        assert_eq!(ran.code, Some(code), "{line}");
        assert_eq!(ran.stdout, "", "{line}");
        assert!(
            ran.stderr.contains("cannot read the config /nowhere.toml"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_faulty_config_is_explained_in_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "timezone = \"Mars\"\n").expect("a file");
    let path = path.to_str().expect("text");
    let ran = run(&format!("report --output json -c {path}"));
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stdout, "");
    let start = format!("{path}:1:12: unknown time zone \"Mars\"\n  timezone = \"Mars\"\n");
    assert!(ran.stderr.starts_with(&start), "{}", ran.stderr);
}
