//! What a session tells operators of its connection. There are no channels.
//! May import the files of this folder, `stats`, `value`.

use crate::stats::{ConnectionReport, ConnectionState};
use crate::value::{Table, Value};

use super::session::{Mqtt, Phase};
use super::wire::Version;

impl Mqtt {
    pub(super) fn describe_to(&self, report: &mut ConnectionReport) {
        let link = &self.link;
        report.protocol = match link.version {
            Version::V3 => "MQTT 3.1",
            Version::V4 => "MQTT 3.1.1",
            Version::V5 => "MQTT 5.0",
        };
        report.state = match self.phase {
            Phase::Silent
            | Phase::Checking(_)
            | Phase::Refusing { .. }
            | Phase::Proving(_)
            | Phase::Opening(_) => ConnectionState::Starting,
            Phase::Open if self.is_paused || self.held_until_ms.is_some() => ConnectionState::Flow,
            Phase::Open => ConnectionState::Running,
            Phase::Closed => ConnectionState::Closing,
        };
        report.client_name = link.client.clone();
        report.client_properties = Table(vec![
            ("client_id".into(), Value::text(&link.client)),
            ("product".into(), Value::text("MQTT client")),
        ]);
        report.mechanism = "PLAIN".into();
        report.frame_bytes_max = link.packet_bytes_max;
        report.timeout_s = self.live.keep_alive_s();
        report.messages = self.counted.as_deref().copied().unwrap_or_default();
    }
}
