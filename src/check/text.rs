//! A report for people. Names of others are escaped: a terminal obeys what it prints. May import
//! `report`.

use std::fmt::{self, Write as _};

use ringmq_shards::log::{BootInfo, Lsn};

use super::logs::KINDS;
use super::report::{ControlContent, Report, Severity, ShardLog, Vhost};

impl Report {
    /// For people; `verbose` with each file of the log and the names of all exchanges and bindings.
    #[must_use]
    pub fn text(&self, verbose: bool) -> String {
        let mut out = String::new();
        // Nothing that is written to a string fails.
        let _ = self.write(verbose, &mut out);
        out
    }

    fn write(&self, verbose: bool, out: &mut String) -> fmt::Result {
        writeln!(out, "data directory: {}", self.root.escape_debug())?;
        match &self.boot {
            Some(boot) => write_boot(boot, out)?,
            None => writeln!(out, "BOOT: not known")?,
        }
        if let Some(control) = &self.control {
            write_control(control, out)?;
        }
        for log in &self.logs {
            write_log(log, verbose, out)?;
        }
        for checkpoint in &self.checkpoints {
            writeln!(out, "{}: {} definitions", checkpoint.path, checkpoint.definitions)?;
        }
        for (name, vhost) in &self.vhosts {
            write_vhost(name, vhost, verbose, out)?;
        }
        if self.dangling > 0 {
            writeln!(out, "definitions of what names something deleted: {}", self.dangling)?;
        }
        self.write_queues(out)?;
        for finding in &self.findings {
            let severity = match finding.severity {
                Severity::Damage => "damage",
                Severity::Note => "note",
            };
            let (path, what) = (finding.path.escape_debug(), finding.what.escape_debug());
            writeln!(out, "{severity}: {path}: {what}")?;
        }
        if self.lost_records > 0 {
            writeln!(out, "records lost: {}", self.lost_records)?;
        }
        writeln!(out, "{}", if self.is_sound() { "sound" } else { "damaged" })
    }

    fn write_queues(&self, out: &mut String) -> fmt::Result {
        if !self.queues.is_empty() {
            let columns = ["messages", "octets", "segments", "octets", "settled"];
            let [messages, octets, segments, segment_octets, settled] = columns;
            writeln!(
                out,
                "{messages:>12} {octets:>16} {segments:>9} {segment_octets:>16} {settled:>12}  \
                 {:16}  vhost queue",
                "uid"
            )?;
        }
        for queue in &self.queues {
            writeln!(
                out,
                "{:>12} {:>16} {:>9} {:>16} {:>12}  {}  {} {}",
                queue.messages,
                queue.body_bytes,
                queue.segments,
                queue.segment_bytes,
                queue.settled,
                queue.uid,
                queue.vhost.escape_debug(),
                queue.name.escape_debug()
            )?;
        }
        let messages: u64 = self.queues.iter().map(|queue| queue.messages).sum();
        let body_bytes: u64 = self.queues.iter().map(|queue| queue.body_bytes).sum();
        writeln!(
            out,
            "total: {} queues, {messages} messages of {body_bytes} octets, {} segments of {} \
             octets with {} good entries",
            self.queues.len(),
            self.segments.files,
            self.segments.file_bytes,
            self.segments.entries_good
        )
    }
}

fn write_boot(boot: &BootInfo, out: &mut String) -> fmt::Result {
    let BootInfo { format, dir_id, boot, groups, shards, was_clean } = boot;
    let end = if *was_clean {
        format!("ended cleanly, with {shards} shards")
    } else {
        "did not end cleanly".to_owned()
    };
    writeln!(out, "BOOT: format {format}, id {dir_id:016x}, {groups} groups; boot {boot} {end}")
}

fn write_control(control: &ControlContent, out: &mut String) -> fmt::Result {
    let ControlContent { snapshot, changes, users, vhosts, permissions, .. } = control;
    let snapshot = snapshot.map_or_else(|| "no snapshot".to_owned(), |n| format!("snapshot {n}"));
    writeln!(
        out,
        "control: {users} users, {vhosts} vhosts, {permissions} permissions, {} topic permissions, {} \
         global parameters; {snapshot} and {changes} changes",
        control.topic_permissions, control.global_parameters
    )
}

fn write_log(log: &ShardLog, verbose: bool, out: &mut String) -> fmt::Result {
    let ShardLog { boot, shard, files, durable, kinds } = log;
    writeln!(
        out,
        "log of boot {boot}, shard {shard:02}: {} files, {} records of {} octets, {}, durable up \
         to {}",
        files.len(),
        log.records(),
        log.record_bytes(),
        range_of(log.range()),
        durable.0
    )?;
    let counts: Vec<String> = KINDS
        .iter()
        .zip(kinds)
        .filter(|(_, count)| **count > 0)
        .map(|((_, name), count)| format!("{count} {name}"))
        .chain((log.marks() > 0).then(|| format!("{} marks", log.marks())))
        .collect();
    if !counts.is_empty() {
        writeln!(out, "  {}", counts.join(", "))?;
    }
    for file in files.iter().filter(|_| verbose) {
        let range = range_of(file.range);
        let (records, octets) = (file.records, file.record_bytes);
        let (path, bytes) = (&file.path, file.file_bytes);
        writeln!(out, "  {path}: {records} records of {octets} octets in {bytes}, {range}")?;
    }
    Ok(())
}

fn range_of(range: Option<(Lsn, Lsn)>) -> String {
    range.map_or_else(|| "none".to_owned(), |(first, last)| format!("{} to {}", first.0, last.0))
}

fn write_vhost(name: &str, vhost: &Vhost, verbose: bool, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "vhost {}: {} exchanges, {} queues, {} bindings",
        name.escape_debug(),
        vhost.exchanges.len(),
        vhost.queues,
        vhost.bindings.len()
    )?;
    if !verbose {
        return Ok(());
    }
    for (name, kind) in &vhost.exchanges {
        writeln!(out, "  exchange {} ({})", name.escape_debug(), kind.escape_debug())?;
    }
    for binding in &vhost.bindings {
        writeln!(
            out,
            "  binding {} -> {} {} with key '{}'",
            binding.exchange.escape_debug(),
            if binding.to_queue { "queue" } else { "exchange" },
            binding.to.escape_debug(),
            binding.key.escape_debug()
        )?;
    }
    Ok(())
}
