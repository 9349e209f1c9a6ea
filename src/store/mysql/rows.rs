//! Rows of the database as values, and values as it wants them.

use chrono::{Datelike as _, NaiveDate};
use mysql_async::{Row, Value};

use super::trouble::Trouble;
use crate::source::content::Fingerprint;
use crate::source::position::{Place, State, Stored};
use crate::store::said::Cell;
use crate::store::snapshot::clamped;

/// The bytes of a balance's source that are stored; a longer one is cut and marked.
const MAX_SOURCE_KEY_BYTES: usize = 1_000;

/// Takes the values of a row one after the other.
pub(super) struct Columns {
    values: std::vec::IntoIter<Value>,
}

impl Columns {
    pub(super) fn of(row: Row) -> Self {
        Self {
            values: row.unwrap().into_iter(),
        }
    }

    fn next(&mut self) -> Result<Value, Trouble> {
        let value = self.values.next();
        value.ok_or_else(|| Trouble::strange("a row has too few columns"))
    }

    pub(super) fn signed_or_null(&mut self) -> Result<Option<i64>, Trouble> {
        match self.next()? {
            Value::NULL => Ok(None),
            Value::Int(number) => Ok(Some(number)),
            Value::UInt(number) => Ok(Some(i64::try_from(number).unwrap_or(i64::MAX))),
            Value::Bytes(digits) => {
                let number = std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|n| n.parse().ok());
                number
                    .map(Some)
                    .ok_or_else(|| Trouble::strange("a number in a row is none"))
            }
            _ => Err(Trouble::strange("a number in a row is none")),
        }
    }

    pub(super) fn signed(&mut self) -> Result<i64, Trouble> {
        let number = self.signed_or_null()?;
        number.ok_or_else(|| Trouble::strange("a number in a row is NULL"))
    }

    /// Amounts are never negative; a table that somebody edited may be, and counts as nothing.
    pub(super) fn amount(&mut self) -> Result<u64, Trouble> {
        let number = self.signed_or_null()?;
        Ok(number.map_or(0, |number| u64::try_from(number).unwrap_or(0)))
    }

    /// A sum, which may have more digits than a row.
    pub(super) fn sum(&mut self) -> Result<u64, Trouble> {
        let sum = match self.next()? {
            Value::NULL => 0,
            Value::Int(number) => number.into(),
            Value::UInt(number) => number.into(),
            Value::Bytes(digits) => {
                let number = std::str::from_utf8(&digits).ok();
                let number = number.and_then(|number| number.parse::<i128>().ok());
                number.ok_or_else(|| Trouble::strange("a sum is no whole number"))?
            }
            _ => return Err(Trouble::strange("a sum is no whole number")),
        };
        Ok(clamped(sum))
    }

    /// The values of a row that people write, as text.
    pub(super) fn cells(self) -> impl Iterator<Item = Cell> {
        self.values.map(|value| match value {
            Value::NULL => Ok(None),
            Value::Bytes(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| "it is not UTF-8"),
            Value::Int(number) => Ok(Some(number.to_string())),
            Value::UInt(number) => Ok(Some(number.to_string())),
            Value::Float(number) => Ok(Some(number.to_string())),
            Value::Double(number) => Ok(Some(number.to_string())),
            Value::Date(..) | Value::Time(..) => Err("it is no text"),
        })
    }

    pub(super) fn text_or_null(&mut self) -> Result<Option<String>, Trouble> {
        match self.next()? {
            Value::NULL => Ok(None),
            Value::Bytes(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| Trouble::strange("a text in a row is not UTF-8")),
            _ => Err(Trouble::strange("a text in a row is none")),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Trouble> {
        let text = self.text_or_null()?;
        text.ok_or_else(|| Trouble::strange("a text in a row is NULL"))
    }

    pub(super) fn hash(&mut self) -> Result<u128, Trouble> {
        match self.next()? {
            Value::Bytes(bytes) => <[u8; 16]>::try_from(bytes.as_slice())
                .map(u128::from_le_bytes)
                .map_err(|_| Trouble::strange("a hash in a row has another length")),
            _ => Err(Trouble::strange("a hash in a row is none")),
        }
    }

    pub(super) fn day_or_null(&mut self) -> Result<Option<NaiveDate>, Trouble> {
        let day = match self.next()? {
            Value::NULL => return Ok(None),
            Value::Date(year, month, day, ..) => {
                NaiveDate::from_ymd_opt(year.into(), month.into(), day.into())
            }
            Value::Bytes(text) => std::str::from_utf8(&text).ok().and_then(|d| d.parse().ok()),
            _ => None,
        };
        day.map(Some)
            .ok_or_else(|| Trouble::strange("a day in a row is none"))
    }

    pub(super) fn day(&mut self) -> Result<NaiveDate, Trouble> {
        let day = self.day_or_null()?;
        day.ok_or_else(|| Trouble::strange("a day in a row is NULL"))
    }
}

/// A day as a value. Years are those of four digits.
pub(super) fn day(day: NaiveDate) -> Value {
    let year = u16::try_from(day.year()).unwrap_or(0);
    Value::Date(year, day.month() as u8, day.day() as u8, 0, 0, 0, 0)
}

/// A hash as a value.
pub(super) fn hash(hash: u128) -> Value {
    Value::Bytes(hash.to_le_bytes().to_vec())
}

/// A state as a value.
pub(super) fn state(state: State) -> Value {
    Value::Int(match state {
        State::Living => 0,
        State::Finished => 1,
        State::Replaced => 2,
    })
}

/// A number or NULL.
pub(super) fn number_or_null(number: Option<i64>) -> Value {
    number.map_or(Value::NULL, Value::Int)
}

/// A source as a key of the balance: whole, or cut and marked with a hash of the whole. A key that was
/// made so is not changed again.
pub(super) fn source_key(source: &str) -> Value {
    if source.len() <= MAX_SOURCE_KEY_BYTES {
        return source.into();
    }
    let hash = xxhash_rust::xxh3::xxh3_128(source.as_bytes());
    let mark = format!("…{hash:032x}");
    let mut end = MAX_SOURCE_KEY_BYTES - mark.len();
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{mark}", &source[..end]).into()
}

/// A row of positions.
pub(super) fn stored(mut row: Columns) -> Result<Stored, Trouble> {
    let (id, node) = (row.signed()?, row.text()?);
    let (source, scope, path) = (row.text()?, row.text()?, row.text()?);
    let place = (
        row.signed_or_null()?,
        row.signed_or_null()?,
        row.signed_or_null()?,
    );
    let place = match place {
        (Some(device), Some(inode), birth) => Some(Place {
            device: device.cast_unsigned(),
            inode: inode.cast_unsigned(),
            birth,
        }),
        _ => None,
    };
    let (head_len, head, offset) = (row.amount()?, row.hash()?, row.amount()?);
    let (tail, chain, content) = (row.hash()?, row.hash()?, row.hash()?);
    Ok(Stored {
        id,
        node,
        source,
        scope,
        path,
        place,
        print: Fingerprint {
            offset,
            head_len,
            head,
            tail,
            chain,
            content,
        },
        last_day: row.day_or_null()?,
        state: match row.signed()? {
            0 => State::Living,
            2 => State::Replaced,
            _ => State::Finished,
        },
        updated: row.signed()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sources_have_keys_of_their_own() {
        let bytes = |value: Value| match value {
            Value::Bytes(bytes) => String::from_utf8(bytes).expect("text"),
            other => panic!("{other:?}"),
        };
        let long = "/żółw".repeat(300);
        let key = bytes(source_key(&long));
        assert!(key.len() <= MAX_SOURCE_KEY_BYTES, "{}", key.len());
        assert_eq!(bytes(source_key(&key)), key);
        assert_ne!(bytes(source_key(&(long + "x"))), key);
        assert_eq!(bytes(source_key("/var/log/a.log")), "/var/log/a.log");
    }
}
