//! A report for programs, as one JSON document. Names of fields are what scripts rely on: add to
//! them, do not change them. May import `report`.

use ringmq_shards::log::{BootInfo, Lsn};
use serde_json::{Map, Value};

use super::logs::KINDS;
use super::report::{
    Binding, ControlContent, Finding, LogFileContent, QueueContent, Report, Severity, ShardLog,
    Vhost,
};

impl Report {
    /// For programs; `verbose` with the names of all exchanges and bindings.
    #[must_use]
    pub fn json(&self, verbose: bool) -> String {
        let checkpoints = self.checkpoints.iter().map(|checkpoint| {
            object([
                ("path", text(&checkpoint.path)),
                ("definitions", checkpoint.definitions.into()),
            ])
        });
        let vhosts = self.vhosts.iter().map(|(name, vhost)| of_vhost(name, vhost, verbose));
        let messages: u64 = self.queues.iter().map(|queue| queue.messages).sum();
        let octets: u64 = self.queues.iter().map(|queue| queue.body_bytes).sum();
        let totals = object([
            ("queues", (self.queues.len() as u64).into()),
            ("messages", messages.into()),
            ("octets", octets.into()),
            ("segments", self.segments.files.into()),
            ("segment_octets", self.segments.file_bytes.into()),
            ("entries_good", self.segments.entries_good.into()),
            ("definitions_dangling", self.dangling.into()),
            ("records_lost", self.lost_records.into()),
        ]);
        let document = object([
            ("data_dir", text(&self.root)),
            ("sound", self.is_sound().into()),
            ("boot", self.boot.as_ref().map_or(Value::Null, of_boot)),
            ("control", self.control.as_ref().map_or(Value::Null, of_control)),
            ("logs", self.logs.iter().map(of_log).collect()),
            ("checkpoints", checkpoints.collect()),
            ("vhosts", vhosts.collect()),
            ("queues", self.queues.iter().map(of_queue).collect()),
            ("totals", totals),
            ("findings", self.findings.iter().map(of_finding).collect()),
        ]);
        format!("{document:#}\n")
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn number(lsn: Option<Lsn>) -> Value {
    lsn.map_or(Value::Null, |lsn| lsn.0.into())
}

fn of_boot(boot: &BootInfo) -> Value {
    object([
        ("format", boot.format.into()),
        // Hexadecimal, as everywhere: it is a name.
        ("dir_id", text(&format!("{:016x}", boot.dir_id))),
        ("boot", boot.boot.into()),
        ("groups", boot.groups.into()),
        ("shards", boot.shards.into()),
        ("clean", boot.was_clean.into()),
    ])
}

fn of_control(control: &ControlContent) -> Value {
    object([
        ("snapshot", control.snapshot.map_or(Value::Null, Value::from)),
        ("changes", control.changes.into()),
        ("users", control.users.into()),
        ("vhosts", control.vhosts.into()),
        ("permissions", control.permissions.into()),
        ("topic_permissions", control.topic_permissions.into()),
        ("global_parameters", control.global_parameters.into()),
    ])
}

fn of_log(log: &ShardLog) -> Value {
    let mut kinds: Map<String, Value> = KINDS
        .iter()
        .zip(&log.kinds)
        .map(|((_, name), count)| ((*name).to_owned(), (*count).into()))
        .collect();
    kinds.insert("marks".to_owned(), log.marks().into());
    let (first, last) = log.range().unzip();
    object([
        ("boot", log.boot.into()),
        ("shard", log.shard.into()),
        ("records", log.records().into()),
        ("octets", log.record_bytes().into()),
        ("first_lsn", number(first)),
        ("last_lsn", number(last)),
        ("durable_lsn", log.durable.0.into()),
        ("kinds", Value::Object(kinds)),
        ("files", log.files.iter().map(of_log_file).collect()),
    ])
}

fn of_log_file(file: &LogFileContent) -> Value {
    let (first, last) = file.range.unzip();
    object([
        ("path", text(&file.path)),
        ("file_octets", file.file_bytes.into()),
        ("records", file.records.into()),
        ("octets", file.record_bytes.into()),
        ("first_lsn", number(first)),
        ("last_lsn", number(last)),
    ])
}

fn of_vhost(name: &str, vhost: &Vhost, verbose: bool) -> Value {
    let mut fields = object([
        ("name", text(name)),
        ("exchanges", (vhost.exchanges.len() as u64).into()),
        ("queues", vhost.queues.into()),
        ("bindings", (vhost.bindings.len() as u64).into()),
    ]);
    if let Some(fields) = fields.as_object_mut().filter(|_| verbose) {
        let exchange = |(name, kind): &(Box<str>, Box<str>)| {
            object([("name", text(name)), ("type", text(kind))])
        };
        let exchanges = vhost.exchanges.iter().map(exchange).collect();
        fields.insert("exchange_names".to_owned(), exchanges);
        let bindings = vhost.bindings.iter().map(of_binding).collect();
        fields.insert("binding_names".to_owned(), bindings);
    }
    fields
}

fn of_binding(binding: &Binding) -> Value {
    object([
        ("source", text(&binding.exchange)),
        ("key", text(&binding.key)),
        ("destination_type", text(if binding.to_queue { "queue" } else { "exchange" })),
        ("destination", text(&binding.to)),
    ])
}

fn of_queue(queue: &QueueContent) -> Value {
    object([
        ("vhost", text(&queue.vhost)),
        ("name", text(&queue.name)),
        ("uid", text(&queue.uid.to_string())),
        ("messages", queue.messages.into()),
        ("octets", queue.body_bytes.into()),
        ("segments", queue.segments.into()),
        ("segment_octets", queue.segment_bytes.into()),
        ("settled", queue.settled.into()),
    ])
}

fn of_finding(finding: &Finding) -> Value {
    let severity = match finding.severity {
        Severity::Damage => "damage",
        Severity::Note => "note",
    };
    object([
        ("severity", text(severity)),
        ("path", text(&finding.path)),
        ("what", text(&finding.what)),
    ])
}
