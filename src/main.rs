//! The broker's binary: arguments to settings to a running node, to a check of what one has left, or to a
//! change of a password file.
//! Nothing else.

use std::io::Write as _;
use std::process::ExitCode;

use ringmq::config::{self, CheckRequest, Start};
use ringmq::{check, logging, node, passwd};

/// Messages come and go in millions per second and per core.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a check that was made and found damage.
const DAMAGED: u8 = 1;
/// Exit code of a check that could not be made.
const NOT_CHECKED: u8 = 2;

fn main() -> ExitCode {
    ringmq_shards::abort_on_panic();
    let loaded = match config::load(std::env::args_os(), std::env::vars_os()) {
        Ok(Start::Run(loaded)) => loaded,
        Ok(Start::Check(request)) => return run_check(&request),
        Ok(Start::Passwd(arguments)) => {
            return match passwd::run(&arguments) {
                Ok(said) => {
                    let _ = writeln!(std::io::stderr(), "{said}");
                    ExitCode::SUCCESS
                }
                Err(error) => fail(&error),
            };
        }
        Ok(Start::Print(text)) => {
            // A closed pipe is no failure of `--help`.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) if config::asks_for_check(std::env::args_os()) => {
            fail(&error);
            return ExitCode::from(NOT_CHECKED);
        }
        Err(error) => return fail(&error),
    };
    let levels = match logging::start(&loaded.config.main) {
        Ok(levels) => levels,
        Err(error) => return fail(&error),
    };
    match node::run(loaded.config, &loaded.notes, levels) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Verifies a data directory and tells what it found.
fn run_check(request: &CheckRequest) -> ExitCode {
    let report = match check::run(&request.data_dir) {
        Ok(report) => report,
        Err(error) => {
            fail(&error);
            return ExitCode::from(NOT_CHECKED);
        }
    };
    let text =
        if request.json { report.json(request.verbose) } else { report.text(request.verbose) };
    // Whoever stops listening still gets the exit code.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) }
}

/// One line that says what is wrong and what helps.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "ringmq: {error}");
    ExitCode::FAILURE
}
