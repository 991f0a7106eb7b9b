//! `cargo xtask release`: this repository releases itself through its own library.

use std::process::ExitCode;

fn main() -> ExitCode {
    conda_release::main()
}
