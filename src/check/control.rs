//! What the control thread keeps: users, virtual hosts, permissions, read as a start reads them. May
//! import `report`, `control`, and of `ringmq_shards` the log's files.

use std::io;
use std::path::Path;

use ringmq_shards::log::Files as _;

use super::Checking;
use super::report::{ControlContent, Severity};
use crate::control::{self, Trouble, TroubleKind};

const DIR: &str = "control";

impl Checking {
    pub(super) fn check_control(&mut self, root: &Path) -> io::Result<()> {
        let Some(read) = control::left_behind(root)? else {
            self.report.note(DIR, "is not there: no broker has got as far as to serve");
            return Ok(());
        };
        for entry in self.files.list(DIR)? {
            let number = ["snapshot.", "journal."].iter().find_map(|kind| {
                entry.name.strip_prefix(kind).and_then(|number| number.parse::<u64>().ok())
            });
            let path = format!("{DIR}/{}", entry.name);
            if entry.name == "snapshot.new" && !entry.is_dir {
                self.report
                    .note(&path, "was not finished being written; the next start replaces it");
            } else if number.is_none() || entry.is_dir {
                self.stranger(&path, entry.is_dir);
            }
        }
        for Trouble { name, why, kind } in &read.troubles {
            let severity = match kind {
                TroubleKind::Unreadable | TroubleKind::Damaged => Severity::Damage,
                TroubleKind::Torn => Severity::Note,
            };
            self.report.find(severity, &format!("{DIR}/{name}"), why);
        }
        let Some(state) = read.state else {
            self.report
                .note(DIR, "has nothing that can be read: a start begins with the default user");
            return Ok(());
        };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let leaving = state.vhosts.iter().filter(|(_, vhost)| vhost.is_leaving);
        for (name, _) in leaving {
            let what = format!("the deletion of vhost {name} is not over; the next start ends it");
            self.report.note(DIR, &what);
        }
        self.report.control = Some(ControlContent {
            snapshot: read.snapshot,
            changes: read.changes,
            users: count(state.users.len()),
            vhosts: count(state.vhosts.len()),
            permissions: count(state.permissions.len()),
            topic_permissions: count(state.topic_permissions.len()),
            global_parameters: count(state.global_parameters.len()),
        });
        Ok(())
    }
}
