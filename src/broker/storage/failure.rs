//! When the disk fails: what was not stored is not confirmed, nothing more is taken, and the process
//! ends. A write or sync is never tried again: after a failed one the system says that the next
//! went well although the data is not there (reliability.md 2.1, F7).

use ringmq_shards::log::DiskError;

use super::{Broker, Lsn};

impl Broker {
    pub(super) fn fail_storage(&mut self, error: DiskError) {
        let Some(storage) = &mut self.storage else { return };
        if storage.failed.is_some() {
            return;
        }
        tracing::error!(%error, "the disk has failed: nothing more is stored, the broker stops");
        storage.failed = Some(error);
        self.refuse_waits();
    }

    /// Whoever waits for the disk, or has come to wait since it failed, waits in vain.
    pub(super) fn refuse_waits(&mut self) {
        if self.storage_failure().is_none() {
            return;
        }
        let end = Lsn(u64::MAX);
        while let Some(storage) = &mut self.storage
            && let Some(waiter) = storage.waits.next(end, end)
        {
            self.serve(waiter, false);
        }
    }

    /// Why nothing can be stored any more; the process is to end.
    pub fn storage_failure(&self) -> Option<&DiskError> {
        self.storage.as_ref()?.failed.as_ref()
    }
}
