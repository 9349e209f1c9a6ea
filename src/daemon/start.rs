//! A store that is away when the daemon starts is waited for; one that cannot be used is not.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;

use super::flusher::jittered;
use super::notify;
use crate::store::StoreError;

/// The first pause before the store is asked again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Begins, again and again, until the store is there. `None`: a signal came first.
///
/// # Errors
/// What will not pass by itself.
pub(super) fn once_there<T>(
    runtime: &Runtime,
    ends: [&mut Signal; 2],
    mut begin: impl FnMut() -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let [terminate, interrupt] = ends;
    let mut pause = FIRST_PAUSE;
    let mut away = false;
    loop {
        match begin() {
            Ok(begun) => {
                if away {
                    tracing::info!("the store is there");
                }
                return Ok(Some(begun));
            }
            Err(error @ StoreError::Unusable { .. }) => return Err(error),
            Err(error) if !away => {
                tracing::error!("{error}; waiting until the store is there");
                // The service is up, as far as it depends on us.
                notify::ready();
                notify::status("waiting for the store");
            }
            Err(_) => {}
        }
        away = true;
        notify::alive();
        let has_ended = runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => true,
                _ = interrupt.recv() => true,
                () = tokio::time::sleep(jittered(pause)) => false,
            }
        });
        if has_ended {
            return Ok(None);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
