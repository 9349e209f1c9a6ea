//! How to get into a database.

use std::fmt;
use std::path::PathBuf;

use super::trouble::Trouble;

/// How to get into a database.
#[derive(Clone, Default)]
pub struct Access {
    /// The first line of this file is the password,
    pub password_file: Option<PathBuf>,
    /// else this,
    pub password: Option<String>,
    /// else the first line of this file, if it is there.
    pub credential: Option<PathBuf>,
    /// Whether the connection is encrypted; `None`: if it leaves this machine.
    pub tls: Option<bool>,
    /// Certificates (PEM) that vouch for the server; `None`: the public ones.
    pub tls_ca: Option<PathBuf>,
    /// Our own certificate (PEM) and its key.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
}

impl Access {
    /// Read anew for each connection, so that it can be changed while the program runs.
    pub(super) fn password(&self) -> Result<Option<String>, Trouble> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).map_err(|cause| {
                let path = path.display();
                Trouble::strange(format!("cannot read the password file {path}: {cause}"))
            })?;
            Ok(text.lines().next().unwrap_or_default().to_owned())
        };
        if let Some(path) = &self.password_file {
            return read(path).map(Some);
        }
        if self.password.is_some() {
            return Ok(self.password.clone());
        }
        let credential = self.credential.as_ref().filter(|path| path.exists());
        credential.map(read).transpose()
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("password_file", &self.password_file)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("credential", &self.credential)
            .field("tls", &self.tls)
            .field("tls_ca", &self.tls_ca)
            .field("tls_identity", &self.tls_identity)
            .finish()
    }
}
