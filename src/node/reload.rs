//! Settings that change while the node runs: SIGHUP has them read again. May import `config`,
//! `logging`.

use crate::config::{self, Config, Start};
use crate::logging::Switch;

/// What is in force, and where a change goes.
#[derive(Debug)]
pub(super) struct Reload {
    in_force: Config,
    levels: Switch,
}

impl Reload {
    pub(super) const fn new(in_force: Config, levels: Switch) -> Self {
        Self { in_force, levels }
    }

    /// Reads the settings again. What cannot be read changes nothing.
    pub(super) fn read_again(&mut self) {
        match config::load(std::env::args_os(), std::env::vars_os()) {
            Ok(Start::Run(loaded)) => self.take(&loaded.config),
            // The arguments are those that started the broker.
            Ok(Start::Check(_) | Start::Passwd(_) | Start::Print(_)) => {}
            Err(error) => {
                tracing::error!(%error, "the settings cannot be read again; nothing changed");
            }
        }
    }

    fn take(&mut self, now: &Config) {
        self.in_force.main.log_level = now.main.log_level;
        self.in_force.main.log_levels.clone_from(&now.main.log_levels);
        self.levels.turn(&now.main);
        let needs_restart = self.in_force != *now;
        tracing::info!(needs_restart, "the settings were read again");
    }
}
