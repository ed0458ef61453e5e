//! What a session tells operators of its connection and channels (amqp.md R107, R108).
//! May import the files of this folder, `stats`.

use crate::protocol::octets::Reader;
use crate::stats::{ChannelReport, ConnectionReport, ConnectionState};

use super::channel::{Channel, Mode};
use super::session::{Amqp, Phase, Slot};
use super::wire::field_table::TableRef;

impl Amqp {
    pub(super) fn describe_to(&self, report: &mut ConnectionReport) {
        let link = &self.link;
        report.protocol = "AMQP 0-9-1";
        report.state = match self.phase {
            Phase::AwaitingHeader
            | Phase::AwaitingStartOk
            | Phase::CheckingLogin(_)
            | Phase::Refusing { .. }
            | Phase::AwaitingTuneOk
            | Phase::AwaitingOpen => ConnectionState::Starting,
            Phase::Running if self.is_blocked => ConnectionState::Blocked,
            Phase::Running if self.is_paused => ConnectionState::Flow,
            Phase::Running => ConnectionState::Running,
            Phase::Ending { .. } | Phase::Closing { .. } | Phase::Closed => {
                ConnectionState::Closing
            }
        };
        if let Some(said) = &link.said {
            report.client_name = said.name.clone();
            let properties = TableRef::read(&mut Reader::new(&said.properties));
            report.client_properties = properties.map(|said| said.to_value()).unwrap_or_default();
            report.mechanism = said.mechanism.clone();
        }
        report.channel_max = link.channel_max;
        report.frame_bytes_max = link.frame_bytes_max;
        report.timeout_s = self.live.interval_s();
        report.channels = self
            .slots
            .iter()
            .filter_map(|slot| match slot {
                Slot::Used(channel) => Some(channel.describe()),
                Slot::Fresh | Slot::Closed { .. } => None,
            })
            .collect();
        let past = self.past.as_deref().copied().unwrap_or_default();
        report.messages =
            report.channels.iter().fold(past, |sum, channel| sum.plus(&channel.messages));
    }
}

impl Channel {
    fn describe(&self) -> ChannelReport {
        let mut report = ChannelReport {
            number: self.number,
            consumers: u32::try_from(self.consumers.len()).unwrap_or(u32::MAX),
            prefetch: self.prefetch,
            unsettled: u64::try_from(self.unacked.len()).unwrap_or(u64::MAX),
            messages: self.counts,
            ..ChannelReport::default()
        };
        match &self.mode {
            Mode::Plain => {}
            Mode::Confirm(confirms) => {
                report.reports = true;
                report.unreported = confirms.unreported();
            }
            Mode::Transaction(transaction) => {
                report.is_transactional = true;
                report.uncommitted = transaction.publish_count();
                report.uncommitted_settlements = transaction.settlement_count();
            }
        }
        report
    }
}
