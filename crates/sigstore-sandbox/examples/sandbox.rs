//! Runs a sandbox until its standard input ends, for trying other Sigstore clients against it.
//!
//! ```sh
//! cargo run -p sigstore-sandbox --example sandbox -- target/sandbox v1
//! ```
//!
//! has Rekor v1 (`v2` and `both` are the others, `v2` when nothing is said), and
//! prints the environment of a GitHub Actions job that the sandbox issues tokens for, and the files
//! that lead clients to it.

#![allow(clippy::print_stdout)]

use std::{env, error::Error, io, path::PathBuf};

use sigstore_sandbox::{AUDIENCE, Options, RekorVersions, Sandbox};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    const USAGE: &str = "usage: sandbox FOLDER [v1|v2|both]";
    let folder = env::args_os().nth(1).map(PathBuf::from).ok_or(USAGE)?;
    let rekor = match env::args().nth(2).as_deref() {
        None | Some("v2") => RekorVersions::V2,
        Some("v1") => RekorVersions::V1,
        Some("both") => RekorVersions::Both,
        Some(_) => return Err(USAGE.into()),
    };
    let options = Options {
        rekor,
        ..Options::default()
    };
    let sandbox = Sandbox::start(&folder, options).await?;
    let endpoint = sandbox.token_endpoint();
    println!("export ACTIONS_ID_TOKEN_REQUEST_URL='{}'", endpoint.url);
    println!(
        "export ACTIONS_ID_TOKEN_REQUEST_TOKEN='{}'",
        endpoint.bearer
    );
    println!("export SANDBOX_AUDIENCE='{AUDIENCE}'");
    println!(
        "export SANDBOX_IDENTITY='{}' SANDBOX_ISSUER='{}'",
        sandbox.identity(),
        sandbox.issuer()
    );
    println!(
        "export SANDBOX_TRUST_CONFIG='{}'",
        sandbox.trust_config().display()
    );
    println!(
        "export SANDBOX_TRUSTED_ROOT='{}'",
        sandbox.trusted_root().display()
    );
    tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await??;
    sandbox.stop().await;
    Ok(())
}
