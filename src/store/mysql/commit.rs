//! Flushing a batch once, whatever becomes of the connection.
//!
//! Until COMMIT is sent, nothing of a batch can be in the store: a connection that goes away takes it back.
//! Once it is sent, and not answered with yes, the batch may be in, or get in later. It is then
//! [`Frozen`]: before anything else the writer's row is read on a new connection, and locked, so that a
//! COMMIT which is still on its way is waited for. Only the row says how it ended.

use std::fmt;

use super::flush::{Flush, Stop};
use super::rows::Columns;
use super::statement::sql;
use super::tries::{MAX_TRIES, Tries};
use super::trouble::Trouble;
use super::{DUPLICATE, Mysql};
use crate::store::{Batch, FlushError, Flushed, StoreError, Writer};

/// A batch whose COMMIT was sent and not answered.
pub(super) struct Frozen {
    instance: String,
    seq: u64,
    /// Of all that is in it: a caller that brings another one is told.
    digest: u128,
    first_id: i64,
    /// What is to be said if it landed.
    flushed: Flushed,
}

/// How a transaction ended, if not well.
enum Ended {
    Stopped(Stop),
    /// Its COMMIT was sent, and not answered with yes.
    Unknown(Flushed, Trouble),
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        Self::Stopped(Stop::Failed(trouble))
    }
}

/// What became of one try to flush.
enum Try {
    Done(Flushed),
    Overtaken(String),
    Replaced,
    Failed(Trouble),
}

impl Mysql {
    /// A flush, as [`crate::store::Store::flush`] promises it.
    pub(super) fn commit(
        &mut self,
        writer: &mut Writer,
        node: &str,
        batch: &Batch,
        now: i64,
    ) -> Result<Flushed, FlushError> {
        self.check_users_table()?;
        let mut first_id = draw_id(now);
        if let Some(frozen) = &self.frozen {
            first_id = frozen.first_id;
            let is_same = frozen.instance == writer.instance
                && frozen.seq == writer.seq
                && frozen.digest == digest(batch);
            if !is_same {
                let message = "a flush has no answer yet, and another one was begun: this is a bug";
                return Err(FlushError::Store(StoreError::Unusable {
                    message: self.doing(message),
                }));
            }
        }
        let mut tries = Tries::new();
        loop {
            let mut trouble = match self.try_flush(writer, node, batch, now, first_id) {
                Try::Failed(trouble) => trouble,
                settled => {
                    self.frozen = None;
                    return match settled {
                        Try::Done(flushed) => {
                            writer.seq += 1;
                            Ok(flushed)
                        }
                        Try::Overtaken(what) => Err(FlushError::Overtaken(what)),
                        _ => Err(FlushError::Replaced),
                    };
                }
            };
            if trouble.code() == Some(DUPLICATE) && tries.count < MAX_TRIES {
                // Somebody drew the same ids, or what was sent to another node is landing now.
                if self.frozen.is_none() {
                    first_id = draw_id(now);
                }
                trouble = Trouble::Away(trouble.to_string());
            }
            let what = match self.frozen {
                Some(_) => "finding out whether the last flush was committed",
                None => "flushing",
            };
            let (doing, tell) = (self.doing(what), self.tell);
            if !tries.again(&trouble, self.patience, |why| {
                tell(&format!("{doing}: {why}"))
            }) {
                return Err(FlushError::Store(self.error(what, &trouble)));
            }
        }
    }

    /// One try. A frozen batch is settled first.
    fn try_flush(
        &mut self,
        writer: &Writer,
        node: &str,
        batch: &Batch,
        now: i64,
        first_id: i64,
    ) -> Try {
        if self.frozen.is_some() {
            match self.settle(writer) {
                Ok(None) => {}
                Ok(Some(settled)) => return settled,
                Err(trouble) => return Try::Failed(trouble),
            }
        }
        let users_table = self.users_table.clone();
        let ended = self.on_session(async |session| {
            let mut flush = Flush {
                session: &mut *session,
                node,
                now,
                first_id,
                users_table: users_table.as_deref(),
            };
            match flush.run(writer, batch).await {
                Ok(flushed) => match session.run(sql!("commit")).await {
                    Ok(()) => Ok(flushed),
                    Err(trouble) => {
                        session.give_up();
                        Err(Ended::Unknown(flushed, trouble))
                    }
                },
                Err(stop) => {
                    session.roll_back().await;
                    Err(Ended::Stopped(stop))
                }
            }
        });
        match ended {
            Ok(flushed) => Try::Done(flushed),
            Err(Ended::Unknown(flushed, trouble)) => {
                self.frozen = Some(Frozen {
                    instance: writer.instance.clone(),
                    seq: writer.seq,
                    digest: digest(batch),
                    first_id,
                    flushed,
                });
                Try::Failed(trouble)
            }
            Err(Ended::Stopped(Stop::Overtaken(what))) => Try::Overtaken(what),
            Err(Ended::Stopped(Stop::Failed(trouble))) => Try::Failed(trouble),
            // On a cluster what was sent to another node may land as late as this.
            Err(Ended::Stopped(Stop::Moved)) => match self.settle(writer) {
                Ok(Some(settled)) => settled,
                Ok(None) => {
                    Try::Failed(Trouble::Away("the writer's row could not be moved".into()))
                }
                Err(trouble) => Try::Failed(trouble),
            },
        }
    }

    /// Whether the writer's row says how the last flush ended. `None`: it did not land. The row is locked
    /// for that: so a COMMIT that is still on its way is waited for.
    fn settle(&mut self, writer: &Writer) -> Result<Option<Try>, Trouble> {
        let found = self.on_session(async |session| {
            session.run(sql!("begin")).await?;
            let values = vec![writer.instance.as_str().into()];
            let rows = session.select(sql!("writer_settle"), values).await;
            session.roll_back().await;
            let row = rows?.into_iter().next();
            row.map(|row| Columns::of(row).amount()).transpose()
        })?;
        Ok(match (found, self.frozen.take()) {
            (Some(seq), Some(frozen)) if seq == writer.seq + 1 => Some(Try::Done(frozen.flushed)),
            (Some(seq), frozen) if seq == writer.seq => {
                self.frozen = frozen;
                None
            }
            _ => Some(Try::Replaced),
        })
    }
}

/// The id of the first of some new positions: nearly in the order of time, and most likely nobody else's.
/// It is drawn here and not by the database, so that it is known before COMMIT is sent.
fn draw_id(now: i64) -> i64 {
    const RANDOM_BITS: u32 = 30;
    let random = (crate::store::random() >> (64 - RANDOM_BITS)).cast_signed();
    (now.clamp(1, i64::from(u32::MAX)) << RANDOM_BITS) + random
}

/// Of all that a batch says.
fn digest(batch: &Batch) -> u128 {
    struct Digest(xxhash_rust::xxh3::Xxh3);
    impl fmt::Write for Digest {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }
    let mut digest = Digest(xxhash_rust::xxh3::Xxh3::new());
    // Writing to a hash does not fail.
    let _ = fmt::Write::write_fmt(&mut digest, format_args!("{batch:?}"));
    digest.0.digest128()
}
