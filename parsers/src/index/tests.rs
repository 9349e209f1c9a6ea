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

/// One made with each that this processor has.
fn indices() -> Vec<Index> {
    let kinds = [Vectors::Avx2, Vectors::Avx512];
    let indices = kinds.map(Index::with).into_iter();
    indices
        .filter_map(|mut index| is_made(&mut index).then_some(index))
        .collect()
}

fn is_made(index: &mut Index) -> bool {
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
        for mut index in indices() {
            for chunk in &chunks {
                check(&mut index, chunk)?;
            }
        }
    }
}

#[test]
fn blocks_that_are_full_of_places() {
    for mut index in indices() {
        for byte in [b'\n', b'"', b' '] {
            for length in [1, 15, 16, 17, 31, 33, 63, 64, 65, 128, 1_000] {
                check(&mut index, &vec![byte; length]).expect("as found slowly");
            }
        }
    }
}

/// As many marks in a block as it has bytes, and any number less.
#[test]
fn blocks_with_each_number_of_places() {
    for mut index in indices() {
        for marks in 0..=64 {
            for shift in [0, 1, 63] {
                let block = [vec![b'x'; shift], vec![b' '; marks], vec![b'x'; 64 - marks]];
                check(&mut index, &[&block.concat()[..], b"\n x\n"].concat())
                    .expect("as found slowly");
            }
        }
    }
}

#[test]
fn an_index_is_made_where_this_processor_can() {
    let mut none = Index::with(Vectors::None);
    assert!(!is_made(&mut none));
    #[cfg(target_arch = "x86_64")]
    assert_eq!(
        is_made(&mut Index::default()),
        std::arch::is_x86_feature_detected!("avx2")
    );
}
