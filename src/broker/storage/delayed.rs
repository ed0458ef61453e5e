//! Messages that wait for their time, in the log: they outlive the process if they are persistent
//! and their exchange is durable. Unlike those of queues they never move into segments: all of them
//! stay in memory, count against its watermark, and are written again whenever the file of the log
//! that has them is left.
//!
//! A message that is due is settled when it is stored where it went, as one that is dead: a crash
//! between makes it come twice.
//!
//! May import `entry`, `recovery`, `clockwork`, `definitions`.

use std::collections::HashMap;

use bytes::Bytes;
use ringmq_shards::log::LogFile;
use ringmq_shards::log::ids::{BOOT_SHIFT, COUNT_MAX};

use super::entry::{self, DELAYED_UID, Delayed, PARKED, Parked, SettledRun};
use super::leave::earlier_boots;
use super::waits::Put;
use super::{Broker, LAZY_MS};
use crate::broker::clockwork::Waiting;
use crate::broker::definitions::ExchangeUid;
use crate::broker::queue::store::Safe;
use crate::broker::subscriber::wills::KeptWill;
use crate::broker::topology::ExchangeEntry;
use crate::command::Now;
use crate::ids::{ExchangeId, VhostId};

/// Octets of waiting messages that are written again in one turn.
const CARRIED_BYTES_PER_TURN: u64 = 512 * 1024;

/// What the log has to know of a message that outlives the process. The publisher's shard says it,
/// since the owner may hear of the exchange later or know already that it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lasting {
    exchange: ExchangeUid,
    group: u16,
}

/// A will that recovery found.
#[derive(Debug)]
pub(crate) struct FoundWill {
    pub(crate) will: Parked,
    /// For [`entry::read_message`].
    pub(crate) octets: Bytes,
}

/// Where the log has a waiting message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logged {
    lasting: Lasting,
    position: u64,
    pub(in crate::broker) file: LogFile,
    /// Octets it takes there.
    pub(in crate::broker) bytes: u64,
}

/// A waiting message that recovery found.
#[derive(Debug)]
pub(crate) struct FoundDelayed {
    pub(crate) delayed: Delayed,
    /// For [`entry::read_message`].
    pub(crate) octets: Bytes,
}

impl Broker {
    /// How a message for this exchange outlives the process; `None`: it does not.
    pub(in crate::broker) fn lasting(
        &self,
        entry: &ExchangeEntry,
        persistent: bool,
    ) -> Option<Lasting> {
        self.storage.as_ref().filter(|_| persistent)?;
        let exchange = entry.uid?;
        let vhost = self.vhosts.get(entry.vhost.0 as usize)?;
        Some(Lasting { exchange, group: self.placement.group(&vhost.name, &entry.name) })
    }

    /// Logs a message that is about to wait. One that cannot be logged is refused.
    pub(in crate::broker) fn log_delayed(
        &mut self,
        waiting: &mut Waiting,
        lasting: Lasting,
    ) -> Put {
        let Some(position) = self.delayed_position() else { return Put::REFUSED };
        let Some(safe) = self.append_delayed(waiting, lasting, position) else { return Put::DONE };
        Put { accepted: true, safe }
    }

    /// The next position, of no other message of the data directory. `None`: those of this boot
    /// are at an end.
    fn delayed_position(&self) -> Option<u64> {
        let number = self.delayed.number.checked_add(1)?;
        let count = number.checked_mul(u64::from(self.placement.shards()))?;
        let count =
            count.checked_add(u64::from(self.shard.0)).filter(|count| *count < COUNT_MAX)?;
        Some((u64::from(self.boot) << BOOT_SHIFT) | count)
    }

    fn append_delayed(
        &self,
        waiting: &mut Waiting,
        lasting: Lasting,
        position: u64,
    ) -> Option<Safe> {
        let mut shelf = self.storage.as_ref()?.shelf.borrow_mut();
        let mut bytes = 0;
        let which = (position, waiting.due_ms);
        let keys = waiting.keys.as_deref().unwrap_or_default();
        let will = self.parked(waiting, position);
        let kind = if will.is_some() { entry::WILL } else { entry::DELAYED };
        let lsn = shelf.log.append(u32::from(lasting.group), kind, 0, |out| {
            let start = out.len();
            match &will {
                Some(will) => entry::write_will(will, &waiting.message, out),
                None => entry::write_delayed(which, lasting.exchange, keys, &waiting.message, out),
            }
            bytes = (out.len() - start) as u64;
        });
        shelf.sync_within(Some(LAZY_MS));
        let file = shelf.log.file_of_open_batch();
        waiting.logged = Some(Logged { lasting, position, file, bytes });
        Some(Safe::Synced(lsn))
    }

    /// What the log is told of a will.
    fn parked(&self, waiting: &Waiting, position: u64) -> Option<Parked> {
        let will = waiting.will.as_ref()?;
        let vhost = self.vhosts.get(will.vhost.0 as usize)?;
        Some(Parked {
            position,
            due_ms: waiting.due_ms,
            delay_ms: will.delay_ms,
            retain: will.retain,
            vhost: (&*vhost.name).into(),
            session: will.session.clone(),
        })
    }

    /// Logs a will that is about to be kept. Without space for it only this process has it: nobody
    /// was promised more.
    pub(in crate::broker) fn log_will(&self, waiting: &mut Waiting) -> Option<Safe> {
        let will = waiting.will.as_ref()?;
        let vhost = self.vhosts.get(will.vhost.0 as usize)?;
        let group = self.placement.group(&vhost.name, &will.session);
        let lasting = Lasting { exchange: ExchangeUid::PREDECLARED, group };
        self.check_storage().ok()?;
        let position = self.delayed_position()?;
        self.append_delayed(waiting, lasting, position)
    }

    /// A waiting message is done with.
    pub(in crate::broker) fn settle_delayed(&mut self, logged: Logged) {
        let Some(storage) = &self.storage else { return };
        let mut shelf = storage.shelf.borrow_mut();
        let Logged { lasting: Lasting { group, .. }, position, .. } = logged;
        let to = position.saturating_add(1);
        shelf.settle(SettledRun { group, queue: DELAYED_UID, from: position, to });
        shelf.sync_within(Some(LAZY_MS));
    }

    /// Writes what waits and is in this file of the log, or an earlier one, again: some of it.
    /// True: there is nothing left.
    pub(super) fn leave_delayed(&mut self, file: LogFile) -> bool {
        let mut left = CARRIED_BYTES_PER_TURN;
        while let Some(mut listed) =
            self.delayed.files.first_entry().filter(|listed| *listed.key() <= file)
        {
            if left == 0 {
                return false;
            }
            let Some(number) = listed.get_mut().pop() else {
                listed.remove();
                continue;
            };
            // A will that has changed stands in a later file, too.
            let logged = self.delayed.waiting.get(&number).and_then(|waiting| waiting.logged);
            if logged.is_some_and(|logged| logged.file <= file) {
                left = left.saturating_sub(self.carry_delayed(number));
            }
        }
        true
    }

    /// Writes a waiting message again. Octets written.
    pub(in crate::broker) fn carry_delayed(&mut self, number: u64) -> u64 {
        let Some(mut waiting) = self.delayed.waiting.remove(&number) else { return 0 };
        let mut before = 0;
        if let Some(Logged { lasting, position, bytes, .. }) = waiting.logged {
            before = bytes;
            self.append_delayed(&mut waiting, lasting, position);
        }
        let mut bytes = 0;
        if let Some(logged) = waiting.logged {
            let known = &mut self.delayed.logged_bytes;
            bytes = logged.bytes;
            *known = known.saturating_sub(before).saturating_add(bytes);
            self.delayed.files.entry(logged.file).or_default().push(number);
        }
        self.delayed.waiting.insert(number, waiting);
        bytes
    }

    /// Takes what recovery found, in the order in which it came.
    pub(super) fn restore_delayed(&mut self, found: Vec<FoundDelayed>, now: Now) {
        let exchanges: HashMap<ExchangeUid, ExchangeId> = if found.is_empty() {
            HashMap::new()
        } else {
            let known = self.exchanges.iter();
            known.filter_map(|(id, exchange)| Some((exchange.uid?, *id))).collect()
        };
        let (mut homeless, mut unreadable) = (0_u64, 0_u64);
        for FoundDelayed { delayed, octets } in found {
            let Some(exchange) = exchanges.get(&delayed.exchange).copied() else {
                homeless += 1;
                continue;
            };
            let Some(waiting) = self.waiting_again(exchange, delayed, &octets) else {
                unreadable += 1;
                continue;
            };
            self.keep_waiting(waiting, now);
        }
        if homeless > 0 || unreadable > 0 {
            tracing::error!(
                homeless,
                unreadable,
                "delayed messages are left out: their exchange is not understood, or they are not"
            );
        }
    }

    fn waiting_again(
        &self,
        exchange: ExchangeId,
        delayed: Delayed,
        octets: &Bytes,
    ) -> Option<Waiting> {
        let storage = self.storage.as_ref()?;
        let message = storage.shelf.borrow_mut().read_message(octets)?;
        let entry = self.exchanges.get(&exchange)?;
        let logged = Logged {
            lasting: self.lasting(entry, true)?,
            position: delayed.position,
            file: earlier_boots(storage.boot),
            bytes: octets.len() as u64,
        };
        // The delay at most, if it seems to come from the future (abuse row 116).
        let began_ms = storage.shelf.borrow().began_ms;
        let ahead_ms = message.received_ms().saturating_sub(began_ms);
        let due_ms = delayed.due_ms.saturating_sub(ahead_ms);
        let message = storage.shelf.borrow().of_earlier(message, 0).message;
        let keys = delayed.keys;
        let keys = (!keys.is_empty()).then(|| keys.into_boxed_slice());
        let logged = Some(logged);
        Some(Waiting { due_ms, exchange, keys, message, logged, will: None })
    }

    /// Takes the wills that recovery found: one whose client was connected when the process ended
    /// waits its delay from now on.
    pub(super) fn restore_wills(&mut self, found: Vec<FoundWill>, now: Now) {
        let mut homeless = 0_u64;
        for found in found {
            match self.will_again(found, now) {
                Some(waiting) => self.keep_waiting(waiting, now),
                None => homeless += 1,
            }
        }
        if homeless > 0 {
            tracing::error!(
                homeless,
                "wills are left out: their virtual host is not there, or they are not understood"
            );
        }
    }

    fn will_again(&self, FoundWill { will, octets }: FoundWill, now: Now) -> Option<Waiting> {
        let storage = self.storage.as_ref()?;
        let message = storage.shelf.borrow_mut().read_message(&octets)?;
        let Parked { position, due_ms, delay_ms, retain, vhost, session } = will;
        let group = self.placement.group(&vhost, &session);
        let index = self.vhosts.iter().position(|known| *known.name == *vhost)?;
        let vhost = VhostId(u32::try_from(index).ok()?);
        let (exchange, _) = self.filters_of(vhost)?;
        let due_ms = match due_ms {
            // Its session ended with the process.
            PARKED if !self.has_session(vhost, &session) => now.mono_ms,
            PARKED => now.mono_ms.saturating_add(delay_ms).min(PARKED - 1),
            // No later than its delay from now: the wall clock may have gone back.
            due => due.min(now.mono_ms.saturating_add(delay_ms)),
        };
        let logged = Some(Logged {
            lasting: Lasting { exchange: ExchangeUid::PREDECLARED, group },
            position,
            file: earlier_boots(storage.boot),
            bytes: octets.len() as u64,
        });
        let will =
            KeptWill { vhost, session, delay_ms, retain, connection: None, published: false };
        let will = Some(Box::new(will));
        Some(Waiting { due_ms, exchange, keys: None, message, logged, will })
    }
}
