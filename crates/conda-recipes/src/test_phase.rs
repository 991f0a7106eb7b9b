//! Testing one package that was built.

use std::{path::Path, time::Instant};

use rattler_build_core::{
    metadata::Output,
    package_test::{TestConfiguration, TestError, run_test},
    tool_configuration::Configuration,
};
use rattler_build_recipe::stage1::TestType;
use rattler_conda_types::Subdir;
use release_manifest::PackageKey;

use crate::{Failure, TestMode, build_phase::milliseconds, failure, local_channel::LocalChannel};

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
    package: &PackageKey,
    output: &Output,
    channel: &LocalChannel,
    tool: &Configuration,
) -> Result<u64, Box<Failure>> {
    let begun = Instant::now();
    let configuration = &output.build_configuration;
    let channels = channel
        .refresh(configuration, tool)
        .await
        .map_err(|error| {
            Box::new(failure::io(
                "index_failed",
                "cannot index the local channel",
                &error,
            ))
        })?;
    let output_dir = configuration.directories.output_dir.clone();
    let setup = TestConfiguration {
        test_prefix: output_dir.join("test"),
        target_platform: Some(configuration.target_platform),
        host_platform: Some(configuration.host_platform.clone()),
        current_platform: configuration.build_platform.clone(),
        keep_test_prefix: tool.no_clean,
        test_index: None,
        channels,
        channel_priority: configuration.channel_priority,
        solve_strategy: configuration.solve_strategy,
        tool_configuration: tool.clone(),
        output_dir,
        exclude_newer: configuration.exclude_newer_with_build_outputs(),
        env_isolation: configuration.env_isolation,
    };
    run_test(&channel.path(package), &setup, None)
        .await
        .map_err(|error| of_test(package, &channel.path_of_broken(package), error))?;
    Ok(milliseconds(begun))
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
