//! The gateway's program: reads the command line and the environment, and does what they say.

use std::process::ExitCode;

use opencredits::cli::Cli;
use opencredits::verbs;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let environment: Vec<_> = std::env::vars().collect();
    match Cli::parse_from_line(std::env::args_os()) {
        Ok(cli) => verbs::run(&cli, &environment),
        Err(error) => error.exit(),
    }
}
