//! Testing one package that was built.

use std::{io, path::Path, time::Instant};

use rattler_build_core::{
    metadata::Output,
    package_test::{TestConfiguration, TestError, run_test},
    tool_configuration::Configuration,
};
use rattler_build_recipe::stage1::TestType;
use rattler_conda_types::Subdir;
use release_manifest::{Digest, PackageKey, PlannedPackage};

use crate::{
    Failure, TestMode, build_phase::milliseconds, failure, local_channel::LocalChannel,
    package_caches::PackageCaches, tested_package,
};

/// Why the tests of `output` don't run, if they don't.
pub(crate) fn skipped(output: &Output, mode: TestMode) -> Option<String> {
    match mode {
        TestMode::Skip => Some("tests are switched off".to_owned()),
        // What the package contains was tested while it was built.
        _ if !output.recipe.tests().iter().any(needs_environment) => {
            Some("the recipe has no tests that install it".to_owned())
        }
        _ => deferred(output, mode),
    }
}

/// Why the tests of `output` are left to another machine than the one that builds it, if they are.
pub(crate) fn deferred(output: &Output, mode: TestMode) -> Option<String> {
    let configuration = &output.build_configuration;
    let (here, host) = (
        configuration.build_platform.platform,
        configuration.host_platform.platform,
    );
    let is_native = configuration.target_platform == Subdir::NoArch || here == host;
    let has_tests = output.recipe.tests().iter().any(needs_environment);
    (mode == TestMode::Native && !is_native && has_tests)
        .then(|| format!("tests for {host} do not run on {here}"))
}

fn needs_environment(test: &TestType) -> bool {
    !matches!(test, TestType::PackageContents { .. })
}

/// Runs the tests of a package; returns how many milliseconds they took.
pub(crate) async fn test(
    planned: &PlannedPackage,
    output: &Output,
    channel: &LocalChannel,
    caches: &PackageCaches,
    tool: &Configuration,
) -> Result<u64, Box<Failure>> {
    let begun = Instant::now();
    let package = planned.key();
    let configuration = &output.build_configuration;
    let prepare = async {
        let job = channel.job(&folder_name(&package), &planned.test_needs)?;
        let channels = job.url()?.into_iter().chain(configuration.channels.clone());
        if !configuration.channels.is_empty() {
            caches.show_remote_packages().await?;
        }
        io::Result::Ok((channels.collect(), job))
    };
    let (channels, job) = prepare.await.map_err(|error| {
        Box::new(failure::io(
            "prepare_failed",
            "cannot prepare the test environment",
            &error,
        ))
    })?;
    let mut configuration = configuration.clone();
    configuration.directories.output_dir = job.folder().to_owned();
    let prefix = job.folder().join("test");
    let setup = TestConfiguration {
        test_prefix: prefix.clone(),
        target_platform: Some(configuration.target_platform),
        host_platform: Some(configuration.host_platform.clone()),
        current_platform: configuration.build_platform.clone(),
        // What was installed and tested is compared with the package afterwards.
        keep_test_prefix: true,
        test_index: None,
        channels,
        channel_priority: configuration.channel_priority,
        solve_strategy: configuration.solve_strategy,
        tool_configuration: tool.clone(),
        output_dir: job.folder().to_owned(),
        exclude_newer: configuration.exclude_newer_with_build_outputs(),
        env_isolation: configuration.env_isolation,
    };
    let path = channel.path(&package);
    run_test(&path, &setup, None)
        .await
        .map_err(|error| of_test(&package, &channel.path_of_broken(&package), error))?;
    tokio::task::block_in_place(|| {
        let record = channel.record(&package)?;
        let tests = output.recipe.tests();
        let must_be_installed = tests
            .iter()
            .any(|test| needs_environment(test) && !matches!(test, TestType::Downstream(_)));
        tested_package::check(&prefix, &path, &record, must_be_installed)?;
        if !tool.no_clean {
            job.remove()?;
        }
        Ok(())
    })
    .map_err(|error: io::Error| {
        Box::new(failure::io(
            "another_package_tested",
            "failed to verify that the tests of this very package ran",
            &error,
        ))
    })?;
    Ok(milliseconds(begun))
}

/// The folder of a test, short: the paths of its environments must fit the placeholder in binary files.
fn folder_name(package: &PackageKey) -> String {
    const CHARACTERS: usize = 12;
    let digest = Digest::of(package.to_string().as_bytes()).to_string();
    let hex = digest.trim_start_matches("sha256:");
    format!("test-{}", &hex[..CHARACTERS.min(hex.len())])
}

fn of_test(package: &PackageKey, broken: &Path, error: TestError) -> Box<Failure> {
    let help = format!("the package is kept as `{}`", broken.display());
    let report = error.into_report();
    let failure = failure::of_report(
        "test_failed",
        format!("a test of `{}` failed", package.file),
        &report,
    );
    Box::new(Failure {
        help: failure.help.or(Some(help)),
        ..failure
    })
}
