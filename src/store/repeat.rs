//! Statements for a number of rows that is known only when they are run.

/// Repeats each part in braces so many times, with commas between, or with what stands behind a bar.
pub(super) fn repeated(statement: &str, times: usize) -> String {
    let mut text = String::with_capacity(statement.len() * times.max(1));
    let mut rest = statement;
    while let Some((before, behind)) = rest.split_once('{') {
        let (part, after) = behind.split_once('}').unwrap_or((behind, ""));
        let (part, between) = part.split_once('|').unwrap_or((part, ", "));
        text.push_str(before);
        for number in 0..times {
            if number > 0 {
                text.push_str(between);
            }
            text.push_str(part);
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_braces_are_repeated() {
        for (statement, times, expected) in [
            ("SELECT 1", 3, "SELECT 1"),
            ("a IN ({?})", 3, "a IN (?, ?, ?)"),
            ("a IN ({?})", 1, "a IN (?)"),
            ("{(?, ?)} x {?| + } y", 2, "(?, ?), (?, ?) x ? + ? y"),
        ] {
            assert_eq!(repeated(statement, times), expected);
        }
    }
}
