//! Where the rows are, and how the program gets in there.
//!
//! A password is never a part of a URL: command lines are visible to everyone on a machine, and
//! configs are copied around.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use super::table::{self, Table};
use super::{Reader, parse_absolute};

/// The port where a URL names none.
pub const DEFAULT_MYSQL_PORT: u16 = 3306;

/// Where the rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// The embedded store: one file.
    Sqlite(PathBuf),
    /// MySQL, MariaDB, or what speaks as they do.
    Mysql(MysqlUrl),
}

/// `mysql://user@host:port/database`, with `?socket=PATH` for the unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MysqlUrl {
    /// Who we are there.
    pub user: String,
    /// A name or an address; what the server's certificate has to say.
    pub host: String,
    /// Of the host.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The unix socket, instead of the host and port.
    pub socket: Option<PathBuf>,
}

impl MysqlUrl {
    /// Whether nothing on the way can listen: the unix socket, or this machine itself.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.socket.is_some()
            || self.host == "localhost"
            || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for MysqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mysql://{}@", encode(&self.user))?;
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if self.port != DEFAULT_MYSQL_PORT {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{}", encode(&self.database))?;
        match &self.socket {
            Some(socket) => write!(f, "?socket={}", encode(&socket.to_string_lossy())),
            None => Ok(()),
        }
    }
}

/// What `[store]` says beside the URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreAccess {
    /// The first line of this file is the password.
    pub password_file: Option<PathBuf>,
    /// Whether the connection is encrypted; `None`: if it leaves this machine.
    pub tls: Option<bool>,
    /// Certificates (PEM) that vouch for the server; `None`: the public ones.
    pub tls_ca: Option<PathBuf>,
    /// Our own certificate (PEM) and its key.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// mod_leech's table, whose `bytes` we add to; letters, digits and `_`, at most 64.
    pub users_table: Option<String>,
}

impl<'t> Reader<'_, 't> {
    /// `[store]`
    pub(super) fn store(&mut self, mut table: Table<'t>) -> (Option<StoreUrl>, StoreAccess) {
        let url = table.string("url", self.findings);
        if let Some(url) = url
            && let Some(password) = password_in(url.value)
        {
            let span = self.inside(url, password);
            self.findings.hide(span);
        }
        let parsed = url.and_then(|url| self.checked(url, parse_store_url));
        if let (Some(StoreUrl::Sqlite(_)), Some(url)) = (&parsed, url) {
            for key in [
                "password_file",
                "tls",
                "tls_ca",
                "tls_certificate",
                "tls_key",
            ] {
                let message = "the embedded store has no password and no network";
                let help = format!("take the line out, or change url = {:?}", url.value);
                table.refuse(key, message, &help, self.findings);
            }
        }
        let mut path = |reader: &mut Self, key| {
            let text = table.string(key, reader.findings)?;
            let path = reader.checked(text, parse_absolute)?;
            Some((path, text))
        };
        let password_file = path(self, "password_file").map(|(path, _)| path);
        let tls_ca = path(self, "tls_ca");
        let certificate = path(self, "tls_certificate");
        let key = path(self, "tls_key");
        let tls = table.string("tls", self.findings);
        let tls = tls.and_then(|text| self.checked(text, parse_tls));
        let users_table = table.string("users_table", self.findings);
        let users_table = users_table.and_then(|text| self.checked(text, parse_table));
        table.finish(self.findings);

        if tls == Some(false)
            && let Some((_, text)) = tls_ca.as_ref().or(certificate.as_ref())
        {
            let message = "tls = \"off\" has no use for certificates";
            let help = "take one of the two lines out";
            self.findings.report(text.span(), message, help);
        }
        match (&certificate, &key) {
            (Some((_, text)), None) => {
                let message = "a certificate of our own needs its key";
                self.findings
                    .report(text.span(), message, "add tls_key = \"/…/key.pem\"");
            }
            (None, Some((_, text))) => {
                let message = "a key of our own needs its certificate";
                self.findings.report(
                    text.span(),
                    message,
                    "add tls_certificate = \"/…/cert.pem\"",
                );
            }
            _ => {}
        }
        let access = StoreAccess {
            password_file,
            tls: tls.or((tls_ca.is_some() || certificate.is_some()).then_some(true)),
            tls_ca: tls_ca.map(|(path, _)| path),
            tls_identity: certificate
                .zip(key)
                .map(|((certificate, _), (key, _))| (certificate, key)),
            users_table,
        };
        (parsed, access)
    }
}

/// `sqlite:PATH`, or `mysql://user@host:port/database`.
///
/// # Errors
/// What is wrong with it, and the remedy. No password is repeated.
pub fn parse_store_url(url: &str) -> Result<StoreUrl, (String, String)> {
    let help = "write sqlite:PATH, such as sqlite:/var/lib/tollkeeper/tollkeeper.db, or \
                mysql://user@host/database";
    let refused = |message: String| Err((message, help.to_owned()));
    let Some((scheme, rest)) = url.split_once(':') else {
        return refused(format!("{url:?} is no store"));
    };
    match scheme {
        "sqlite" => {}
        "mysql" | "mariadb" => {
            let Some(rest) = rest.strip_prefix("//") else {
                return refused(format!("{scheme}: is followed by two slashes"));
            };
            return parse_mysql(rest).map(StoreUrl::Mysql);
        }
        // What stands behind the scheme may hold a password: it is not repeated.
        _ => return refused(format!("unknown kind of store {scheme:?}")),
    }
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return refused("an embedded store has a path and no host".into()),
        None => rest,
    };
    if path.is_empty() || path == ":memory:" || path.ends_with('/') || path.contains('\0') {
        return refused(format!("{url:?} names no file"));
    }
    Ok(StoreUrl::Sqlite(PathBuf::from(path)))
}

/// What stands behind `mysql://`.
fn parse_mysql(rest: &str) -> Result<MysqlUrl, (String, String)> {
    let help = "write mysql://user@host/database, mysql://user@host:3307/database, or \
                mysql://user@localhost/database?socket=/run/mysqld/mysqld.sock";
    let refused = |message: &str| (message.to_owned(), help.to_owned());
    let (user, rest) = rest
        .rsplit_once('@')
        .ok_or_else(|| refused("the URL of the store names no user"))?;
    if user.contains(':') {
        let help = "take it out, and put it into a file: [store] password_file = \"/…\"; or into \
                    $TOLLKEEPER_STORE_PASSWORD, or the systemd credential store-password";
        let message =
            "the URL of the store holds a password, which everyone on this machine could see";
        return Err((message.into(), help.into()));
    }
    let (address, rest) = rest
        .split_once('/')
        .ok_or_else(|| refused("the URL of the store names no database"))?;
    let (database, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .ok_or_else(|| refused("the address in the URL of the store has no ]"))?,
        None => address
            .find(':')
            .map_or((address, ""), |at| address.split_at(at)),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => DEFAULT_MYSQL_PORT,
        None => return Err(refused("behind ] in the URL of the store comes :port")),
        Some(digits) => digits
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| refused("the port in the URL of the store is no port"))?,
    };
    let named = |what: &str, text: &str| {
        let name = decode(text).filter(|name| !name.chars().any(char::is_control));
        name.filter(|name| !name.is_empty())
            .ok_or_else(|| refused(&format!("the URL of the store has no usable {what}")))
    };
    let mut socket = None;
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if name != "socket" {
            let message = format!("the URL of a store has no option {name:?}");
            let help = "socket=/run/mysqld/mysqld.sock is the only one; TLS and the password are \
                        keys of [store]: docs/config.md";
            return Err((message, help.into()));
        }
        let path = named("socket", value)?;
        if !path.starts_with('/') {
            return Err(refused(
                "the socket in the URL of the store is not absolute",
            ));
        }
        socket = Some(PathBuf::from(path));
    }
    Ok(MysqlUrl {
        user: named("user", user)?,
        host: named("host", host)?,
        port,
        database: named("database", database)?,
        socket,
    })
}

fn parse_tls(text: &str) -> Result<bool, (String, String)> {
    match text {
        "required" => Ok(true),
        "off" => Ok(false),
        _ => {
            let help = match table::nearest(text, ["required", "off"].into_iter()) {
                Some(nearest) => format!("did you mean {nearest:?}?"),
                None => "write \"required\" or \"off\"; without it the connection is encrypted \
                         if it leaves this machine"
                    .into(),
            };
            Err((format!("unknown kind of tls {text:?}"), help))
        }
    }
}

/// A name that needs no quotes in SQL, and cannot be mistaken for one of our own tables.
fn parse_table(name: &str) -> Result<String, (String, String)> {
    const MAX_TABLE_BYTES: usize = 64;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !(1..=MAX_TABLE_BYTES).contains(&name.len()) || !name.bytes().all(is_plain) {
        let help = format!(
            "letters, digits and underscores, {MAX_TABLE_BYTES} at most, such as \"users\""
        );
        return Err((format!("{name:?} cannot be the name of a table here"), help));
    }
    Ok(name.to_owned())
}

/// Where a URL holds a password, which no message may repeat.
fn password_in(url: &str) -> Option<Range<usize>> {
    let start = url.find("://")? + 3;
    let at = start + url[start..].rfind('@')?;
    let colon = start + url[start..at].find(':')?;
    Some(colon + 1..at)
}

/// Undoes `%hh`; `None` where that is no text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mysql(url: &str) -> MysqlUrl {
        match parse_store_url(url) {
            Ok(StoreUrl::Mysql(url)) => url,
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn a_url_says_who_and_where() {
        let url = mysql("mysql://tk@db.example:3307/traffic");
        assert_eq!((url.user.as_str(), url.host.as_str()), ("tk", "db.example"));
        assert_eq!((url.port, url.database.as_str()), (3307, "traffic"));
        assert!(!url.is_local());
        for (text, local) in [
            ("mysql://tk@localhost/t", true),
            ("mysql://tk@127.0.0.1/t", true),
            ("mysql://tk@[::1]:3307/t", true),
            ("mysql://tk@192.0.2.1/t", false),
            ("mysql://tk@db/t?socket=/run/mysqld/mysqld.sock", true),
            ("mysql://t%40k@db/t%25x", false),
        ] {
            let url = mysql(text);
            assert_eq!(url.is_local(), local, "{text}");
            assert_eq!(url.to_string(), text);
        }
        assert_eq!(mysql("mariadb://t%40k@db/t%25x").user, "t@k");
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_no_password_repeated() {
        for url in [
            "mysql:/x",
            "mysql://db/traffic",
            "mysql://tk@db",
            "mysql://tk@db/",
            "mysql://@db/traffic",
            "mysql://tk@/traffic",
            "mysql://tk@db:0/traffic",
            "mysql://tk@db:port/traffic",
            "mysql://tk@[::1/traffic",
            "mysql://tk@db/traffic?ssl=1",
            "mysql://tk@db/traffic?socket=relative",
            "mysql://t%4@db/traffic",
            "mysql://t%ff@db/traffic",
            "mysql://tk:secret@db/traffic",
            "mysql://tk:se@cret@db/traffic",
            "postgres://tk:secret@db/traffic",
        ] {
            let (message, help) = parse_store_url(url).expect_err(url);
            assert!(!message.contains("secret") && !help.contains("secret"));
            assert!(!message.contains("cret@"), "{message}");
        }
    }
}
