//! The `qrdrop` program: a frame around [`qrdrop::cli::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(qrdrop::cli::run(std::env::args_os()))
}
