//! Building one output.

use std::{io, sync::Arc, time::Instant};

use cep27::Sha256;
use miette::IntoDiagnostic as _;
use rattler_build_core::{
    build::{WorkingDirectoryBehavior, run_build},
    metadata::Output,
    render::resolved_dependencies::RunExportsDownload,
    tool_configuration::Configuration,
};
use release_manifest::PlannedPackage;

use crate::{
    Failure, failure,
    job_channel::JobChannel,
    local_channel::LocalChannel,
    package_caches::{Installs, PackageCaches},
    package_record::sha256,
    remove::remove_folder,
    sources::JobSources,
};

/// A package that was built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Built {
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
    pub(crate) milliseconds: u64,
}

/// Builds `output`, which is `planned`.
pub(crate) async fn build(
    planned: &PlannedPackage,
    mut output: Output,
    channel: &LocalChannel,
    caches: &PackageCaches,
    sources: &JobSources,
    tool: &Configuration,
) -> Result<Built, Box<Failure>> {
    let begun = Instant::now();
    let package = planned.key();
    let job = prepare(planned, &mut output, channel, sources).map_err(|error| {
        Box::new(failure::io(
            "prepare_failed",
            "cannot prepare the build folder",
            &error,
        ))
    })?;
    let mut tool = tool.clone();
    // No other job writes to this one's folder.
    tool.output_dir_lock = Arc::default();
    let failed = |report: miette::Report| Box::new(failure::of_build(&package, &report));
    let mut installs = match output.build_configuration.channels.is_empty() {
        true => Installs::Planned,
        false => Installs::Remote,
    };
    // What a staging output installs is known to rattler-build alone, while it builds.
    if output.recipe.staging_caches.is_empty() {
        output = output
            .resolve_dependencies(&tool, RunExportsDownload::DownloadMissing)
            .await
            .into_diagnostic()
            .map_err(failed)?;
        if !installs_others(&output, &job) {
            installs = Installs::Planned;
        }
    }
    tool.package_cache = caches.for_build(job.packages(), installs, job.folder());

    let is_alone = output.recipe.inherits_from.is_none();
    let archive = package.under(job.folder());
    let built = run_build(output, &tool, WorkingDirectoryBehavior::Cleanup).await;
    let (output, path) = built.map_err(|report| {
        // A package without the contents that its recipe expects was made all the same.
        match channel.set_aside_from(&package, &archive) {
            Ok(_) => failed(report),
            Err(error) => Box::new(failure::io(
                "prepare_failed",
                "cannot set the package aside",
                &error,
            )),
        }
    })?;
    output.record_build_end();

    if path != archive {
        let message = format!("built `{}`, but the plan says `{package}`", path.display());
        return Err(Box::new(failure::plain("unplanned_package", message)));
    }
    let record = tokio::task::block_in_place(|| {
        let record = channel.take(&package, &archive)?;
        if is_alone && !tool.no_clean {
            job.remove()?;
        }
        io::Result::Ok(record)
    })
    .map_err(|error| {
        Box::new(failure::io(
            "unreadable_package",
            "cannot read the package that was built",
            &error,
        ))
    })?;
    let (Some(sha256), Some(size)) = (sha256(&record), record.size) else {
        return Err(Box::new(failure::plain(
            "unreadable_package",
            "the package has no digest",
        )));
    };
    Ok(Built {
        sha256,
        size,
        milliseconds: milliseconds(begun),
    })
}

/// Makes the folders of a build, with the channel that it solves against.
///
/// `Directories::recreate_directories` would make the folder of the channel too: while there is none, rattler-build solves against
/// the configured channels alone.
fn prepare(
    planned: &PlannedPackage,
    output: &mut Output,
    channel: &LocalChannel,
    sources: &JobSources,
) -> io::Result<JobChannel> {
    let job = channel.job(&planned.build_folder, &planned.builds_on)?;
    let directories = &mut output.build_configuration.directories;
    directories.output_dir = job.folder().to_owned();
    directories.cache_dir = job.folder().join("build_cache");
    // What an earlier run left in $PREFIX would be packaged.
    remove_folder(&directories.build_dir)?;
    for folder in [
        &directories.work_dir,
        &directories.build_prefix,
        &directories.host_prefix,
    ] {
        fs_err::create_dir_all(folder)?;
    }
    sources.prepare(output, &job.folder().join("src_cache"))?;
    channel.forget_broken(&planned.key())?;
    Ok(job)
}

/// Returns whether an output installs packages from outside the plan.
fn installs_others(output: &Output, job: &JobChannel) -> bool {
    let Some(dependencies) = &output.finalized_dependencies else {
        return false;
    };
    let environments = dependencies.build.iter().chain(&dependencies.host);
    environments
        .flat_map(|environment| &environment.resolved)
        .any(|record| {
            let path = record.url.to_file_path();
            !path.is_ok_and(|path| path.starts_with(job.folder()))
        })
}

/// Milliseconds since `begun`.
pub(crate) fn milliseconds(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
