//! The socket on which a daemon says how it is: one line of request, one line of JSON, the end.
//!
//! Whoever connects can cost it little: so many connections at a time, each for a short time, and
//! nothing of what they do is waited for by the threads that read and flush.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::service::Service;

/// The one request that there is.
pub const STATUS_REQUEST: &str = "status\n";

/// Connections at a time; others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// Who connects and does not ask within this time is hung up on.
const ASK_WITHIN: Duration = Duration::from_millis(500);
/// Who does not take the answer within this time as well.
const TAKE_WITHIN: Duration = Duration::from_secs(5);
const MAX_REQUEST_BYTES: usize = 64;

/// A listening socket; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens. What an earlier daemon has left there is replaced: the caller holds the lock that
    /// keeps out another living one. Where one listens all the same, it counts into another store,
    /// and is left alone. To be called in a runtime.
    ///
    /// # Errors
    /// As the system says.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let message = "a daemon of this node with another store listens there: give each a runtime \
                           directory or a node name of its own";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        // Nobody can connect by the final name before the mode is right.
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&beside)?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o660))?;
        std::fs::rename(&beside, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers whoever asks, for ever.
    pub(super) async fn serve(self, service: Arc<Service>) {
        const AFTER_ERROR: Duration = Duration::from_secs(1);
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let service = Arc::clone(&service);
                    tokio::spawn(async move {
                        // Who hangs up early has had enough.
                        let _ = answer(stream, &service).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("nobody can ask for the status now: {error}");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(mut stream: UnixStream, service: &Service) -> io::Result<()> {
    let request = timeout(ASK_WITHIN, request(&mut stream)).await??;
    let mut answer = match request.as_slice() {
        asked if asked == STATUS_REQUEST.as_bytes() => {
            serde_json::to_vec(&service.status().await).map_err(io::Error::other)?
        }
        _ => br#"{"error":"unknown request"}"#.to_vec(),
    };
    answer.push(b'\n');
    let take = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    };
    timeout(TAKE_WITHIN, take).await?
}

/// Up to and with the newline.
async fn request(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    while request.len() < MAX_REQUEST_BYTES {
        let byte = stream.read_u8().await?;
        request.push(byte);
        if byte == b'\n' {
            break;
        }
    }
    Ok(request)
}
