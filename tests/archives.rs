//! `import` of archives in every packing: told by their bytes, read to the end of the last member,
//! counted whole or not at all, and unpacked in bounded memory.

mod support;

use std::fs;
use std::path::Path;

use support::log::{FORMAT, lines, rows};
use support::{Balance, PACKINGS, Sandbox, pack, text};

const F: [&str; 2] = ["--format", FORMAT];

fn import(sandbox: &Sandbox, path: &Path) -> Balance {
    sandbox.import(&[F[0], F[1], text(path)]).balance()
}

#[test]
fn every_packing_is_told_by_its_bytes_whatever_the_name() {
    let content = lines(0, 20_000);
    for ending in PACKINGS {
        for name in ["access.log", "access.log.1", "wrong.gz", "wrong.zst"] {
            let sandbox = Sandbox::new();
            let archive = sandbox.write(name, pack(ending, content.as_bytes()));
            let balance = import(&sandbox, &archive);
            assert_eq!(balance, Balance::counted(20_000), "{ending} as {name}");
            assert_eq!(sandbox.rows(), rows([content.as_str()]));
        }
    }
}

#[test]
fn a_log_is_known_in_every_packing() {
    let sandbox = Sandbox::new();
    let content = lines(0, 1_000);
    let plain = sandbox.write("access.log", &content);
    assert_eq!(import(&sandbox, &plain), Balance::counted(1_000));
    for (number, ending) in PACKINGS.into_iter().enumerate() {
        let same = pack(ending, content.as_bytes());
        let same = sandbox.write(&format!("{number}.{ending}"), same);
        assert_eq!(import(&sandbox, &same), Balance::default(), "{ending}");
    }
    // Each holds a little more than the one before.
    let mut whole = content;
    for (number, ending) in (0..).zip(PACKINGS) {
        whole += &lines(1_000 + 10 * number, 10);
        let grown = pack(ending, whole.as_bytes());
        let grown = sandbox.write(&format!("grown.{ending}"), grown);
        assert_eq!(import(&sandbox, &grown), Balance::counted(10), "{ending}");
    }
    assert_eq!(sandbox.rows(), rows([whole.as_str()]));
    assert_eq!(sandbox.stored_balance(), Balance::counted(1_040));
}

#[test]
fn all_members_of_a_glued_archive_are_counted() {
    let (monday, tuesday) = (lines(0, 1_000), lines(1_000, 1_000));
    // The second member begins in the middle of a line.
    let whole = [monday.as_str(), &tuesday].concat();
    let (start, end) = whole.as_bytes().split_at(whole.len() / 2 + 7);
    for ending in PACKINGS {
        let sandbox = Sandbox::new();
        let glued = [pack(ending, start), pack(ending, b""), pack(ending, end)].concat();
        let glued = sandbox.write(&format!("week.{ending}"), glued);
        assert_eq!(
            import(&sandbox, &glued),
            Balance::counted(2_000),
            "{ending}"
        );
        assert_eq!(sandbox.rows(), rows([whole.as_str()]), "{ending}");
    }
}

#[test]
fn an_archive_that_is_cut_or_damaged_or_followed_by_rubbish_counts_nothing() {
    let content = lines(0, 5_000);
    for ending in PACKINGS {
        let packed = pack(ending, content.as_bytes());
        let glued = [packed.clone(), packed.clone()].concat();
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        for (what, bytes) in [
            ("cut in the middle", &packed[..middle]),
            ("without its last byte", &packed[..packed.len() - 1]),
            ("without its trailer", &packed[..packed.len() - 8]),
            ("header alone", &packed[..10]),
            ("second member cut", &glued[..packed.len() + middle]),
            ("damaged", &damaged),
            ("rubbish behind", &[&packed[..], b"rubbish"].concat()),
        ] {
            let sandbox = Sandbox::new();
            let archive = sandbox.write(&format!("a.{ending}"), bytes);
            let ran = sandbox.import_fails(&[F[0], F[1], text(&archive)]);
            assert_eq!(ran.balance(), Balance::default(), "{ending} {what}");
            let is_named = ran.stderr.contains("nothing of it was counted")
                && ran.stderr.contains(&format!("a.{ending}"));
            assert!(is_named, "{ending} {what}:\n{}", ran.stderr);
            assert_eq!(sandbox.rows(), [], "{ending} {what}");
            assert_eq!(sandbox.stored_balance(), Balance::default());
            // The sound one is counted afterwards.
            fs::write(&archive, &packed).expect("our own file");
            assert_eq!(import(&sandbox, &archive), Balance::counted(5_000));
        }
    }
}

#[test]
fn zeros_behind_a_gzip_archive_are_padding() {
    let sandbox = Sandbox::new();
    let content = lines(0, 100);
    let padded = [pack("gz", content.as_bytes()), vec![0; 4_096]].concat();
    let archive = sandbox.write("tape.gz", padded);
    assert_eq!(import(&sandbox, &archive), Balance::counted(100));
    assert_eq!(sandbox.rows(), rows([content.as_str()]));
}

#[test]
fn one_line_of_a_gigabyte_is_unpacked_in_bounded_memory() {
    const MEMBER_BYTES: usize = 64 << 20;
    const MEMBERS: usize = 16;
    // Data of the process, in which a line of this length would not fit.
    const LIMIT: &str = "--data=402653184";
    for ending in ["gz", "zst"] {
        let sandbox = Sandbox::new();
        let bomb = pack(ending, &vec![0; MEMBER_BYTES]).repeat(MEMBERS);
        let before = pack(ending, lines(0, 100).as_bytes());
        let after = pack(ending, format!("\n{}", lines(100, 100)).as_bytes());
        let archive = sandbox.write(&format!("bomb.{ending}"), [before, bomb, after].concat());
        let program = env!("CARGO_BIN_EXE_tollkeeper");
        let arguments = sandbox.import_args(&[F[0], F[1], "--threads", "2", text(&archive)]);
        let limited = [&[LIMIT, program], &arguments[..]].concat();
        let command = sandbox.program(Path::new("/usr/bin/prlimit"), limited);
        let ran = sandbox.ran_with_input(command, b"").exited(0);
        let expected = Balance {
            lines: 201,
            counted: 200,
            unparsed: 1,
            ..Balance::default()
        };
        assert_eq!(ran.balance(), expected, "{ending}");
        assert_eq!(sandbox.rows(), rows([lines(0, 200).as_str()]), "{ending}");
    }
}

#[test]
fn unparsed_lines_are_read_again_from_every_packing() {
    for ending in PACKINGS {
        let sandbox = Sandbox::new();
        let odd = "1718452800.000 200 1 2 b.example\n";
        let content = [&lines(0, 200), &odd.repeat(3), &*lines(200, 200)].concat();
        let packed = pack(ending, content.as_bytes());
        let archive = sandbox.write(&format!("access.log.1.{ending}"), packed);
        assert_eq!(import(&sandbox, &archive).unparsed, 3, "{ending}");
        let format = "nginx:$msec $status $request_length $bytes_sent $host";
        let again = sandbox.import(&["--unparsed", "--format", format, text(&archive)]);
        assert_eq!(again.balance(), Balance::counted(3), "{ending}");
        assert_eq!(sandbox.stored_balance(), Balance::counted(403), "{ending}");
    }
}

#[test]
fn check_reads_every_packing() {
    for ending in PACKINGS {
        let sandbox = Sandbox::new();
        let packed = pack(ending, lines(0, 100).as_bytes());
        let archive = sandbox.write(&format!("access.log.{ending}"), packed);
        let ran = sandbox
            .ran(["check", "--output", "json", F[0], F[1], text(&archive)])
            .exited(0);
        assert_eq!(ran.balance(), Balance::counted(100), "{ending}");
    }
}

/// Each of several archives is unpacked and walked by a thread of its own; what comes of it is what
/// comes of them one after the other.
#[test]
fn several_archives_at_once_come_to_what_they_come_to_one_by_one() {
    let week = Sandbox::new();
    let days: Vec<String> = (0..6).map(|day| lines(day * 60_000, 40_000)).collect();
    let mut paths = Vec::new();
    for (day, (content, ending)) in days.iter().zip(PACKINGS.iter().cycle()).enumerate() {
        let packed = pack(ending, content.as_bytes());
        paths.push(week.write(&format!("{day}.{ending}"), packed));
    }
    let cut = pack("gz", days[0].as_bytes());
    paths.insert(2, week.write("cut.gz", &cut[..cut.len() - 9]));
    // Known once the first is committed; in no format; begun by another of them; and a plain one.
    paths.insert(3, week.write("again.zst", pack("zst", days[0].as_bytes())));
    let noise = "neither a request nor anything else\n".repeat(5_000);
    paths.insert(5, week.write("noise.xz", pack("xz", noise.as_bytes())));
    let longer = [&days[1], &*lines(900_000, 500)].concat();
    paths.push(week.write("longer.gz", pack("gz", longer.as_bytes())));
    paths.push(week.write("plain.log", lines(990_000, 700)));
    let names: Vec<&str> = paths.iter().map(|path| text(path)).collect();

    let mut outcomes = Vec::new();
    for threads in ["1", "2", "4"] {
        let sandbox = Sandbox::new();
        let mut arguments = vec!["--threads", threads, F[0], F[1]];
        arguments.extend(&names);
        let ran = sandbox.import_fails(&arguments);
        assert_eq!(ran.balance(), Balance::counted(6 * 40_000 + 500 + 700));
        outcomes.push((sandbox.rows(), sandbox.stored_balance(), ran.stderr));
        // All of it is known now; but the second, whose position went on in the longer one.
        arguments.retain(|name| *name != names[1]);
        let again = sandbox.import_fails(&arguments);
        assert_eq!(again.balance(), Balance::default(), "{threads} threads");
        assert_eq!(sandbox.rows(), outcomes[outcomes.len() - 1].0);
    }
    let counted = [&days[..], &[lines(900_000, 500), lines(990_000, 700)]].concat();
    assert_eq!(outcomes[0].0, rows(counted.iter().map(String::as_str)));
    for outcome in &outcomes[1..] {
        assert_eq!(outcome.0, outcomes[0].0);
        assert_eq!(outcome.1, outcomes[0].1);
        assert_eq!(outcome.2, outcomes[0].2, "what is said, and its order");
    }
}

/// What a thread has summed of a later archive waits for the archives before it, however many names
/// there are.
#[test]
fn archives_of_many_names_come_to_the_same_at_once() {
    let week = Sandbox::new();
    let mut paths = Vec::new();
    for day in 0..4_u64 {
        let mut content = String::new();
        for number in 0..130_000_u64 {
            let host = format!("h{}.example", (number * 7 + day * 60_000) % 200_000);
            content += &support::log::line(
                support::log::NOON + number % 900,
                200,
                (1, number),
                &host,
                "-",
            );
        }
        let ending = PACKINGS[day as usize % PACKINGS.len()];
        paths.push(week.write(&format!("{day}.{ending}"), pack(ending, content.as_bytes())));
    }
    let names: Vec<&str> = paths.iter().map(|path| text(path)).collect();
    let mut outcomes = Vec::new();
    for threads in ["1", "2", "5"] {
        let sandbox = Sandbox::new();
        let mut arguments = vec!["--threads", threads, F[0], F[1]];
        arguments.extend(&names);
        assert_eq!(
            sandbox.import(&arguments).balance(),
            Balance::counted(4 * 130_000)
        );
        outcomes.push(sandbox.rows());
    }
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0], outcomes[2]);
    assert!(outcomes[0].len() > 10_000);
}
