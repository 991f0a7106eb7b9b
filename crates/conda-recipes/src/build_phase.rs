//! Building one output.

use std::{io, path::Path, time::Instant};

use cep27::Sha256;
use rattler_build_core::{
    build::{WorkingDirectoryBehavior, run_build},
    metadata::Output,
    tool_configuration::Configuration,
};
use release_manifest::PackageKey;
use sha2::Digest as _;

use crate::{Failure, failure, local_channel::LocalChannel};

/// A package that was built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Built {
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
    pub(crate) milliseconds: u64,
}

/// Builds `output`, whose file in the channel is `package`.
pub(crate) async fn build(
    package: &PackageKey,
    output: Output,
    uses_channel: bool,
    channel: &LocalChannel,
    tool: &Configuration,
) -> Result<Built, Box<Failure>> {
    let begun = Instant::now();
    let configuration = &output.build_configuration;
    let prepare = async {
        // What an earlier run left in $PREFIX would be packaged.
        configuration.directories.recreate_directories()?;
        channel.forget_broken(package)?;
        if uses_channel {
            channel.refresh(configuration, tool).await?;
        }
        io::Result::Ok(())
    };
    prepare.await.map_err(|error| {
        Box::new(failure::io(
            "prepare_failed",
            "cannot prepare the build folder",
            &error,
        ))
    })?;

    let (output, archive) = run_build(output, tool, WorkingDirectoryBehavior::Cleanup)
        .await
        .map_err(|report| Box::new(failure::of_build(package, &report)))?;
    output.record_build_end();

    let expected = channel.path(package);
    if archive.file_name() != expected.file_name() {
        let message = format!(
            "built `{}`, but the plan says `{}`",
            archive.display(),
            expected.display()
        );
        return Err(Box::new(failure::plain("unplanned_package", message)));
    }
    let (sha256, size) = tokio::task::spawn_blocking(move || hash(&expected))
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| {
            Box::new(failure::io(
                "unreadable_package",
                "cannot hash the package",
                &error,
            ))
        })?;
    Ok(Built {
        sha256,
        size,
        milliseconds: milliseconds(begun),
    })
}

/// Milliseconds since `begun`.
pub(crate) fn milliseconds(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The SHA-256 and size in bytes of a file, which is never in memory as a whole.
fn hash(path: &Path) -> io::Result<(Sha256, u64)> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let size = io::copy(&mut file, &mut hasher)?;
    Ok((Sha256::from_bytes(hasher.finalize().into()), size))
}
