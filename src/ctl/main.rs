//! `ringmqctl`: what operators of LavinMQ and RabbitMQ type, over the HTTP API of a broker: by its
//! socket in the data directory, as its owner, or by address with a login.
//!
//! May import nothing of the broker: only what the API says.
#![forbid(unsafe_code)]

mod client;
mod commands;
mod connections;
mod failure;
mod node;
mod options;
mod output;
mod permissions;
mod users;
mod vhosts;

use std::io::Write as _;
use std::process::ExitCode;

use failure::Failure;
use options::{Asked, Options};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody reading it is no reason to fail differently.
            let _ = writeln!(std::io::stderr(), "Error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run() -> Result<(), Failure> {
    let text = match Options::parse(std::env::args().skip(1))? {
        Asked::Help => commands::help(),
        Asked::Version => format!("{}\n", env!("CARGO_PKG_VERSION")),
        Asked::Run { command, arguments, options } => {
            commands::run(&command, &arguments, &options)?
        }
    };
    // A closed pipe is no failure of a list.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}
