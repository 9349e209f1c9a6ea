//! Rows of the tables that people edit, as text, into what they say. A row that makes no sense is a fault,
//! and stops no other.

use crate::usage::said::{Account, Exempt, Grant, GrantKind, QuotaRow, Said, Told};

/// Rows that are read of a table.
pub(super) const MAX_ROWS: usize = 1_000_000;
/// Faults that are named; of further ones only their number.
const MAX_FAULTS: usize = 1_000;
/// The longest name that has rows.
const MAX_NAME_CHARS: usize = 255;
/// The longest text of another kind.
const MAX_TEXT_BYTES: usize = 65_535;

/// A value of a row as text, whatever its column is; `None`: NULL. Or what is wrong with it.
pub(super) type Cell = Result<Option<String>, &'static str>;

/// Tables with what their rows add.
pub(super) const QUOTA: &str = "quota";
pub(super) const OWNER: &str = "owner";
pub(super) const CLASS: &str = "class";
pub(super) const GRANT: &str = "quota_grant";
pub(super) const EXEMPT: &str = "quota_exempt";

/// Collects what the rows say.
#[derive(Debug, Default)]
pub(super) struct Reading {
    said: Said,
    /// Faults that are not named any more.
    more_faults: usize,
    /// Rows of the table that is being read.
    rows: usize,
}

impl Reading {
    /// Begins with the rows of a table.
    pub(super) fn begin(&mut self) {
        self.rows = 0;
    }

    /// Takes a row of a table, with its columns in the order of the statement that reads them.
    pub(super) fn row(&mut self, table: &'static str, cells: impl IntoIterator<Item = Cell>) {
        self.rows += 1;
        if self.rows > MAX_ROWS {
            self.fault(format!(
                "table {table}: more than {MAX_ROWS} rows; the others are not read"
            ));
            return;
        }
        let mut row = Row::new(cells);
        let taken = match table {
            QUOTA => row.quota().map(|row| self.said.quotas.push(row)),
            OWNER => row
                .pair(["owner", "vhost"])
                .map(|row| self.said.owners.push(row)),
            CLASS => row
                .pair(["class", "network"])
                .map(|row| self.said.classes.push(row)),
            GRANT => row.grant().map(|row| self.said.overrides.grants.push(row)),
            _ => row.exempt().map(|row| self.said.overrides.exempt.push(row)),
        };
        if let Err(fault) = taken {
            let label = row.label;
            self.fault(format!("table {table}, row {label}, {fault}"));
        }
    }

    fn fault(&mut self, fault: String) {
        match self.said.faults.len() < MAX_FAULTS {
            true => self.said.faults.push(fault),
            false => self.more_faults += 1,
        }
    }

    /// All of it.
    pub(super) fn said(mut self) -> Said {
        if self.more_faults > 0 {
            let more = format!("and {} more", self.more_faults);
            self.said.faults.push(more);
        }
        self.said
    }
}

/// Takes the values of a row one after the other.
struct Row {
    cells: std::vec::IntoIter<Cell>,
    /// What the row is called: its key, as far as that can be said.
    label: String,
}

impl Row {
    fn new(cells: impl IntoIterator<Item = Cell>) -> Self {
        let cells: Vec<Cell> = cells.into_iter().collect();
        let key = cells.first().and_then(|cell| cell.as_ref().ok()?.as_ref());
        let key = key.map_or("?", |key| key.trim());
        let label = key.chars().take(MAX_NAME_CHARS);
        let label = label.map(|c| if c.is_control() { '?' } else { c });
        Self {
            label: label.collect(),
            cells: cells.into_iter(),
        }
    }

    /// A text; one of blanks alone is none.
    fn text(&mut self, column: &str) -> Result<Option<String>, String> {
        let cell = self.cells.next().unwrap_or(Ok(None));
        let text = cell.map_err(|what| format!("column {column}: {what}"))?;
        let Some(text) = text else { return Ok(None) };
        if text.len() > MAX_TEXT_BYTES {
            let bytes = text.len();
            return Err(format!(
                "column {column}: {bytes} bytes, of {MAX_TEXT_BYTES} that are read"
            ));
        }
        let trimmed = text.trim();
        Ok(match trimmed.len() {
            0 => None,
            same if same == text.len() => Some(text),
            _ => Some(trimmed.to_owned()),
        })
    }

    fn name(&mut self, column: &str) -> Result<Option<String>, String> {
        let name = self.text(column)?;
        let chars = name.as_ref().map_or(0, |name| name.chars().count());
        match chars > MAX_NAME_CHARS {
            true => Err(format!(
                "column {column}: {chars} characters; no name has more than {MAX_NAME_CHARS}"
            )),
            false => Ok(name),
        }
    }

    fn needed_name(&mut self, column: &str) -> Result<String, String> {
        let name = self.name(column)?;
        name.ok_or_else(|| format!("column {column}: it is empty"))
    }

    fn number(&mut self, column: &str) -> Result<Option<i64>, String> {
        let Some(text) = self.text(column)? else {
            return Ok(None);
        };
        let shown: String = text.chars().take(40).collect();
        let number = text.parse();
        number
            .map(Some)
            .map_err(|_| format!("column {column}: {shown:?} is no whole number"))
    }

    fn needed_number(&mut self, column: &str) -> Result<i64, String> {
        let number = self.number(column)?;
        number.ok_or_else(|| format!("column {column}: it is empty"))
    }

    fn quota(&mut self) -> Result<QuotaRow, String> {
        Ok(QuotaRow {
            id: self.needed_number("id")?,
            vhost: self.name("vhost")?,
            user: self.name("user")?,
            vhosts: self.text("vhosts")?,
            owner: self.name("owner")?,
            class: self.name("class")?,
            amount: self.text("amount")?,
            measure: self.text("measure")?,
            period: self.text("period")?,
            rolling: self.text("rolling")?,
            billing_day: self.text("billing_day")?,
            anchor: self.text("anchor")?,
            slice: self.text("slice")?,
            warn: self.text("warn")?,
            exceeded: self.text("exceeded")?,
            reopen: self.text("reopen")?,
            report_only: self.number("report_only")?.unwrap_or(0) != 0,
        })
    }

    fn pair(&mut self, [first, second]: [&str; 2]) -> Result<(String, String), String> {
        Ok((self.needed_name(first)?, self.needed_name(second)?))
    }

    fn grant(&mut self) -> Result<Grant, String> {
        self.needed_number("id")?;
        let quota = self.needed_name("quota")?;
        let account = self.account()?;
        let kind = self.needed_name("kind")?;
        let amount = self.needed_number("amount")?;
        let amount = u64::try_from(amount)
            .map_err(|_| format!("column amount: {amount} is less than nothing"))?;
        let kind = match kind.to_ascii_lowercase().as_str() {
            "more" => GrantKind::More(amount),
            "reset" => GrantKind::Reset(amount),
            _ => return Err(format!("column kind: {kind:?} is neither more nor reset")),
        };
        Ok(Grant {
            quota,
            account,
            kind,
            at: self.needed_number("at")?,
            until: self.number("until")?,
        })
    }

    fn exempt(&mut self) -> Result<Exempt, String> {
        self.needed_number("id")?;
        Ok(Exempt {
            account: self.account()?,
            quota: self.name("quota")?,
            until: self.number("until")?,
        })
    }

    fn account(&mut self) -> Result<Account, String> {
        let kind = self.needed_name("account_kind")?;
        let name = self.needed_name("name")?;
        account(&kind, name, self.name("class")?)
    }
}

fn account(kind: &str, name: String, class: Option<String>) -> Result<Account, String> {
    match (kind.to_ascii_lowercase().as_str(), class) {
        ("vhost", None) => Ok(Account::Vhost(name)),
        ("vhost", Some(class)) => Ok(Account::VhostClass(name, class)),
        ("owner", None) => Ok(Account::Owner(name)),
        ("owner", Some(class)) => Ok(Account::OwnerClass(name, class)),
        ("user", None) => Ok(Account::User(name)),
        ("user", Some(_)) => Err("column class: a user has none".to_owned()),
        _ => Err(format!(
            "column account_kind: {kind:?} is none of vhost, user and owner"
        )),
    }
}

/// An account as the tables have it: kind, name, and class.
pub(super) fn words(account: &Account) -> (&'static str, &str, Option<&str>) {
    match account {
        Account::Vhost(name) => ("vhost", name, None),
        Account::VhostClass(name, class) => ("vhost", name, Some(class)),
        Account::Owner(name) => ("owner", name, None),
        Account::OwnerClass(name, class) => ("owner", name, Some(class)),
        Account::User(name) => ("user", name, None),
    }
}

/// A threshold that was told of, as the table has it. `None`: it is not one of ours.
pub(super) fn told(
    quota: String,
    (kind, name, class): (&str, String, String),
    (begins, percent): (i64, i64),
) -> Option<Told> {
    let class = Some(class).filter(|class| !class.is_empty());
    let account = account(kind, name, class).ok()?;
    Some((quota, account, begins, u32::try_from(percent).ok()?))
}

/// What was granted, as the table has it.
pub(super) fn kind(kind: GrantKind) -> (&'static str, u64) {
    match kind {
        GrantKind::More(amount) => ("more", amount),
        GrantKind::Reset(amount) => ("reset", amount),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(table: &'static str, rows: &[&[&str]]) -> Said {
        let mut reading = Reading::default();
        reading.begin();
        for row in rows {
            let cells = row
                .iter()
                .map(|cell| Ok((*cell != "NULL").then(|| (*cell).to_owned())));
            reading.row(table, cells);
        }
        reading.said()
    }

    #[test]
    fn a_row_that_makes_no_sense_is_named_and_stops_no_other() {
        let long = "ż".repeat(256);
        let owners = read(
            OWNER,
            &[
                &["carol", " a.example "],
                &["", "a"],
                &["dave", "NULL"],
                &[&long, "a"],
                &["dave", "b"],
            ],
        );
        let pairs = [("carol", "a.example"), ("dave", "b")];
        let pairs = pairs.map(|(owner, vhost)| (owner.to_owned(), vhost.to_owned()));
        assert_eq!(owners.owners, pairs);
        assert_eq!(owners.faults.len(), 3);
        assert_eq!(
            owners.faults[1],
            "table owner, row dave, column vhost: it is empty"
        );
        for (row, fault) in [
            (
                ["1", "q", "vhosts", "a", "NULL", "more", "5", "0", "NULL"],
                "column account_kind: \"vhosts\" is none of vhost, user and owner",
            ),
            (
                ["1", "q", "user", "a", "c", "more", "5", "0", "NULL"],
                "column class: a user has none",
            ),
            (
                ["1", "q", "user", "a", "NULL", "less", "5", "0", "NULL"],
                "column kind: \"less\" is neither more nor reset",
            ),
            (
                ["1", "q", "user", "a", "NULL", "more", "-5", "0", "NULL"],
                "column amount: -5 is less than nothing",
            ),
            (
                ["1", "q", "user", "a", "NULL", "more", "5", "soon", "NULL"],
                "column at: \"soon\" is no whole number",
            ),
        ] {
            let said = read(GRANT, &[&row]);
            assert_eq!(said.faults, [format!("table quota_grant, row 1, {fault}")]);
            assert_eq!(said.overrides.grants, []);
        }
    }

    #[test]
    fn faults_are_bounded() {
        let rows = vec![&["", ""][..]; MAX_FAULTS + 5];
        let faults = read(CLASS, &rows).faults;
        assert_eq!(faults.len(), MAX_FAULTS + 1);
        assert_eq!(faults[MAX_FAULTS], "and 5 more");
    }
}
