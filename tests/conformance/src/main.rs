//! A client for [sigstore-conformance](https://github.com/sigstore/sigstore-conformance), over the
//! code by which conda-release verifies and signs.
//!
//! The protocol (`docs/cli_protocol.md` there) knows two commands; the exit status is the verdict.
//! conda-release judges attestations of conda packages and nothing else, so the client says on
//! stderr where the protocol wants something that conda-release refuses by its own rules.

#![expect(clippy::print_stderr, reason = "a program says on stderr what it does")]

mod artifact;
mod sign;
mod verify;

use std::{error::Error, process::ExitCode};

use clap::Parser;

/// What went wrong, in words: the protocol has no use for more than the exit status.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A client for the sigstore-conformance suite
#[derive(Debug, Parser)]
#[command(name = "conformance-client")]
enum Client {
    SignBundle(sign::SignBundle),
    VerifyBundle(verify::VerifyBundle),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Client::parse() {
        Client::SignBundle(command) => command.run().await,
        Client::VerifyBundle(command) => command.run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
