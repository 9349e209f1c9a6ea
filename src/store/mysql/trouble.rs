//! What can go wrong with a statement, sorted by what helps.

use mysql_async::{DriverError, Error, IoError};

use crate::excerpt::printable;

/// Why a statement was not done, or nobody knows whether it was.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server said no.
    Server {
        /// Its number for it.
        code: u16,
        /// Its words for it.
        text: String,
    },
    /// There is no connection any more, or no answer on it.
    Away(String),
    /// What was read makes no sense.
    Strange(String),
}

/// What helps against trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// All of the transaction again, at once: it got in the way of another one.
    Again,
    /// All of it again, when the server is there again.
    Later,
    /// Somebody has to change a setting or make room; then all of it again.
    Setting,
    /// Nothing, as long as the program, its rights or its tables are what they are.
    None,
    /// A row that no table will take, ever.
    Row,
}

impl Trouble {
    /// What helps.
    ///
    /// Codes: <https://mariadb.com/kb/en/mariadb-error-code-reference/> and
    /// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::Away(_) => Remedy::Later,
            Self::Strange(_) => Remedy::None,
            Self::Server { code, .. } => match code {
                // Deadlock, lock wait, a record that changed under a snapshot, a certification that
                // failed at COMMIT.
                1213 | 1205 | 1020 | 1180 => Remedy::Again,
                // Too many connections; the server goes down or comes up; the connection or the
                // statement was killed or took too long; no quorum; no such host is allowed for now.
                1040
                | 1041
                | 1047
                | 1053
                | 1077
                | 1079
                | 1129
                | 1152
                | 1158..=1161
                | 1184
                | 1203
                | 1226
                | 1317
                | 1927
                | 1969
                | 2006
                | 2013
                | 3024
                | 3032
                | 3169
                | 4031 => Remedy::Later,
                // NULL where none may be, out of range, cut, no such date, wrong characters, too long, a
                // trigger or a constraint of somebody else's that says no.
                1048 | 1264 | 1265 | 1292 | 1366 | 1406 | 1452 | 1526 | 1644 | 1690 | 3819
                | 4025 => Remedy::Row,
                // Disk full or failing, table full, read-only.
                3 | 28 | 1016 | 1021 | 1026 | 1030 | 1036 | 1037 | 1038 | 1114 | 1290 | 1792
                | 1836 | 1878 | 3100 => Remedy::Setting,
                _ => Remedy::None,
            },
        }
    }

    /// Whether the connection can go on to be used.
    pub(super) fn leaves_connection(&self) -> bool {
        match self {
            Self::Away(_) => false,
            Self::Strange(_) => true,
            // The server closes a connection of which it says one of these.
            Self::Server { code, .. } => {
                !matches!(code, 1047 | 1053 | 1180 | 1927 | 2006 | 2013 | 4031)
            }
        }
    }

    /// The server's number, where it said one.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    fn away(error: &dyn std::error::Error) -> Self {
        Self::Away(printable(&error.to_string()).into_owned())
    }

    /// Something that a row does not say as it should.
    pub(super) fn strange(what: impl Into<String>) -> Self {
        Self::Strange(what.into())
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Server(error) => Self::Server {
                code: error.code,
                text: printable(&error.message).into_owned(),
            },
            Error::Driver(DriverError::NoClientSslFlagFromServer) => Self::Strange(
                "the server has no TLS, which a connection that leaves this machine needs; give it a \
                 certificate, or say tls = \"off\" in [store] where the network can be trusted"
                    .into(),
            ),
            Error::Driver(
                error @ (DriverError::FromRow { .. }
                | DriverError::FromValue { .. }
                | DriverError::UnknownAuthPlugin { .. }
                | DriverError::MysqlOldPasswordDisabled
                | DriverError::CleartextPluginDisabled
                | DriverError::NoKeyFound
                | DriverError::PacketTooLarge),
            ) => Self::Strange(printable(&error.to_string()).into_owned()),
            Error::Io(IoError::Tls(error)) => Self::Strange(format!("TLS: {error}")),
            Error::Io(IoError::Io(error)) if is_about_certificates(&error) => {
                Self::Strange(format!("TLS: {error}"))
            }
            // The driver says twice what kind of error it is.
            Error::Io(IoError::Io(error)) => Self::away(&error),
            Error::Driver(error) => Self::away(&error),
            error => Self::away(&error),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server { code, text } => write!(f, "{text} (error {code})"),
            Self::Away(text) | Self::Strange(text) => f.write_str(text),
        }
    }
}

/// Whether TLS failed because of what one side thinks of the other: that does not pass by itself.
fn is_about_certificates(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(
        cause,
        Some(
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::AlertReceived(_)
                | rustls::Error::PeerIncompatible(_)
                | rustls::Error::NoCertificatesPresented
        )
    )
}
