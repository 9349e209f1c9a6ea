//! Histories that found a defect, each as short as it was shrunk to.

use super::Event::{self, *};
use super::{Setup, play};

/// Two logs, and nothing special.
const PLAIN: Setup = Setup {
    logs: 2,
    wide: false,
    max_held_files: None,
    sets_folder_times: false,
};

#[track_caller]
fn check(setup: Setup, events: &[Event]) {
    if let Err(error) = play(&setup, events) {
        panic!("{error}");
    }
}

#[test]
fn a_short_log_is_truncated_and_renamed_between_two_looks() {
    let events = [
        CopyTruncate {
            log: 0,
            look: false,
            early: false,
        },
        Rotate {
            log: 0,
            stays: false,
            create: false,
            alike: false,
        },
    ];
    check(PLAIN, &events);
}

#[test]
fn a_log_that_nobody_knows_begins_and_is_rotated_between_two_looks() {
    let events = [
        Write {
            log: 1,
            lines: 1,
            pad: 0,
            part: false,
            alike: false,
        },
        Rotate {
            log: 1,
            stays: false,
            create: false,
            alike: false,
        },
    ];
    check(PLAIN, &events);
}

#[test]
fn a_short_log_is_truncated_and_renamed_while_nobody_looks() {
    // By name, the copy comes behind the log, or before it.
    for log in [0, 2] {
        let events = [
            Write {
                log,
                lines: 1,
                pad: 0,
                part: false,
                alike: false,
            },
            Look { after: 100 },
            Commit,
            CopyTruncate {
                log,
                look: false,
                early: false,
            },
            Write {
                log,
                lines: 1,
                pad: 0,
                part: false,
                alike: false,
            },
            Rotate {
                log,
                stays: false,
                create: false,
                alike: false,
            },
            Crash {
                after_commit: false,
            },
        ];
        check(Setup { logs: 3, ..PLAIN }, &events);
    }
}

#[test]
fn a_log_is_truncated_and_then_replaced_by_its_copy_between_two_looks() {
    let write = Write {
        log: 0,
        lines: 1,
        pad: 0,
        part: false,
        alike: false,
    };
    let replace = Replace {
        log: 0,
        look: false,
        early: false,
    };
    let events = [
        write,
        CopyTruncate {
            log: 0,
            look: false,
            early: false,
        },
        write,
        replace,
        replace,
        write,
    ];
    check(PLAIN, &events);
}

#[test]
fn the_next_log_begins_as_the_short_one_before_it_that_was_found_renamed() {
    let rotate = |create| Rotate {
        log: 0,
        stays: false,
        create,
        alike: true,
    };
    let write = Write {
        log: 0,
        lines: 2,
        pad: 0,
        part: false,
        alike: true,
    };
    let events = [rotate(true), rotate(false), Tell, Look { after: 1 }, write];
    check(PLAIN, &events);
}

#[test]
fn two_logs_that_begin_alike_are_first_seen_when_one_is_rotated() {
    let events = [
        Write {
            log: 1,
            lines: 1,
            pad: 0,
            part: false,
            alike: true,
        },
        Rotate {
            log: 1,
            stays: false,
            create: true,
            alike: true,
        },
    ];
    check(PLAIN, &events);
}

#[test]
fn a_line_is_finished_just_before_the_log_is_truncated() {
    let events = [
        Write {
            log: 0,
            lines: 2,
            pad: 0,
            part: true,
            alike: false,
        },
        Look { after: 6_000 },
        CopyTruncate {
            log: 0,
            look: false,
            early: false,
        },
    ];
    check(PLAIN, &events);
}

#[test]
fn a_closed_file_is_copied_and_truncated() {
    let write = |log, lines| Write {
        log,
        lines,
        pad: 0,
        part: false,
        alike: true,
    };
    let events = [
        write(1, 1),
        Stop { kill: None },
        Start,
        Look { after: 89 },
        Look { after: 700_000 },
        write(1, 3),
        write(2, 3),
        CopyTruncate {
            log: 1,
            look: false,
            early: false,
        },
        write(0, 2),
    ];
    let setup = Setup {
        logs: 3,
        max_held_files: Some(1),
        sets_folder_times: true,
        ..PLAIN
    };
    check(setup, &events);
}

#[test]
fn a_file_that_was_put_aside_is_written_to_and_makes_room() {
    let write = Write {
        log: 0,
        lines: 1,
        pad: 0,
        part: false,
        alike: false,
    };
    let events = [
        PutAside {
            log: 0,
            stays: true,
        },
        write,
        write,
        Tell,
        WriteOld { log: 0 },
    ];
    let setup = Setup {
        max_held_files: Some(1),
        ..PLAIN
    };
    check(setup, &events);
}

#[test]
fn a_log_whose_only_line_is_never_finished_is_let_go_without_a_gap() {
    let events = [
        Write {
            log: 1,
            lines: 1,
            pad: 0,
            part: true,
            alike: false,
        },
        Rotate {
            log: 1,
            stays: true,
            create: false,
            alike: false,
        },
        Look { after: 1 },
        Pass { seconds: 5_000 },
    ];
    check(PLAIN, &events);
}

#[test]
fn a_log_is_truncated_and_filled_with_what_ends_alike() {
    let write = Write {
        log: 0,
        lines: 1,
        pad: 1_100,
        part: false,
        alike: false,
    };
    let truncate = CopyTruncate {
        log: 0,
        look: false,
        early: false,
    };
    let events = [truncate, write, Look { after: 700_000 }, truncate, write];
    check(PLAIN, &events);
}

#[test]
fn a_log_that_was_quiet_for_long_is_renamed_and_then_written_to() {
    let events = [
        Pass { seconds: 5_000 },
        Rotate {
            log: 0,
            stays: true,
            create: false,
            alike: false,
        },
        Look { after: 1 },
        WriteOld { log: 0 },
        Tell,
    ];
    check(PLAIN, &events);
}

#[test]
fn a_copy_takes_the_place_of_a_truncated_log_and_is_copied_and_truncated() {
    let write = Write {
        log: 0,
        lines: 1,
        pad: 0,
        part: false,
        alike: false,
    };
    let copytruncate = CopyTruncate {
        log: 0,
        look: false,
        early: false,
    };
    let events = [
        copytruncate,
        write,
        Replace {
            log: 0,
            look: false,
            early: false,
        },
        write,
        Look { after: 6000 },
        Tell,
        Look { after: 1 },
        Commit,
        copytruncate,
    ];
    check(PLAIN, &events);
}

#[test]
fn the_copy_of_a_log_that_made_room_for_it_is_empty_at_first() {
    let setup = Setup {
        logs: 1,
        wide: true,
        max_held_files: Some(1),
        sets_folder_times: false,
    };
    let write = Write {
        log: 0,
        lines: 1,
        pad: 0,
        part: false,
        alike: false,
    };
    let events = [
        CopyTruncate {
            log: 0,
            look: false,
            early: true,
        },
        Look { after: 1 },
        write,
        write,
        write,
    ];
    check(setup, &events);
}

#[test]
fn a_log_is_truncated_and_filled_with_what_ends_alike_while_its_copy_is_taken_up() {
    let copytruncate = |early| CopyTruncate {
        log: 0,
        look: false,
        early,
    };
    let write = |lines| Write {
        log: 0,
        lines,
        pad: 1_100,
        part: false,
        alike: false,
    };
    let events = [
        Replace {
            log: 0,
            look: false,
            early: false,
        },
        copytruncate(false),
        write(1),
        copytruncate(true),
        write(2),
    ];
    check(PLAIN, &events);
}
