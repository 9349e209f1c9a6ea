//! Against an index that is made byte by byte.

use proptest::prelude::*;

use super::*;

/// What [`Index::lines`] finds of each line: its bytes, and its places counted from its start.
fn slowly(chunk: &[u8]) -> Vec<(&[u8], Vec<i64>)> {
    let mut lines = Vec::new();
    for line in chunk.split_inclusive(|&byte| byte == b'\n') {
        let (bytes, is_whole) = match line.split_last() {
            Some((b'\n', bytes)) => (bytes, true),
            _ => (line, false),
        };
        let mut places = vec![-1];
        let mut in_quotes = false;
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == b'"' || *byte == b' ' && !in_quotes {
                places.push(at as i64);
            }
            in_quotes ^= *byte == b'"';
        }
        places.push(bytes.len() as i64);
        // What stands behind the last newline is for whoever looks at it again.
        lines.push((bytes, if is_whole { places } else { Vec::new() }));
    }
    lines
}

fn check(index: &mut Index, chunk: &[u8]) -> Result<(), TestCaseError> {
    let mut found = Vec::new();
    let mut begin = 0;
    for line in index.lines(chunk) {
        let places = line.places.iter().take(line.count);
        let places = places.map(|place| i64::from(place.wrapping_add(1)) - 1 - begin);
        found.push((line.bytes, places.collect::<Vec<i64>>()));
        begin += line.bytes.len() as i64 + 1;
    }
    prop_assert_eq!(found, slowly(chunk));
    Ok(())
}

fn has_index() -> bool {
    let mut index = Index::default();
    index
        .lines(b"a\n")
        .next()
        .is_some_and(|line| line.is_indexed())
}

proptest! {
    #[test]
    fn places_are_found(chunks in prop::collection::vec(prop::collection::vec(prop_oneof![
        3 => prop::sample::select(&b" \"\n\\a"[..]), 3 => Just(b'x'), 1 => any::<u8>(),
    ], 0..400), 1..4)) {
        // Without the instructions for it there is none.
        let mut index = Index::default();
        for chunk in chunks {
            if has_index() {
                check(&mut index, &chunk)?;
            }
        }
    }
}

#[test]
fn blocks_that_are_full_of_places() {
    let mut index = Index::default();
    for byte in [b'\n', b'"', b' '] {
        for length in [1, 63, 64, 65, 128, 1_000] {
            if has_index() {
                check(&mut index, &vec![byte; length]).expect("as found slowly");
            }
        }
    }
}

#[test]
fn an_index_is_made_where_this_processor_can() {
    #[cfg(target_arch = "x86_64")]
    assert_eq!(has_index(), std::arch::is_x86_feature_detected!("avx2"));
}
