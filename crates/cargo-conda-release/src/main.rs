//! `cargo conda-release`: the same command line as `cargo xtask`, installed.

use std::process::ExitCode;

fn main() -> ExitCode {
    conda_release::main()
}
