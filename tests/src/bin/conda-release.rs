//! The program under test: `conda-release` as it is installed, under the name that users type.

use std::process::ExitCode;

fn main() -> ExitCode {
    conda_release::main()
}
