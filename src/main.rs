//! The broker's binary: arguments to settings to a running node. Nothing else.

use std::io::Write as _;
use std::process::ExitCode;

use ringmq::config::{self, Start};
use ringmq::{logging, node};

/// Messages come and go in millions per second and per core.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ringmq_shards::abort_on_panic();
    let loaded = match config::load(std::env::args_os(), std::env::vars_os()) {
        Ok(Start::Run(loaded)) => loaded,
        Ok(Start::Print(text)) => {
            // A closed pipe is no failure of `--help`.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error),
    };
    let main = &loaded.config.main;
    if let Err(error) = logging::start(main.log_level, main.log_format) {
        return fail(&error);
    }
    match node::run(loaded.config, &loaded.notes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// One line that says what is wrong and what helps.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "ringmq: {error}");
    ExitCode::FAILURE
}
