//! Real builds in real workers: no network, empty channels, small recipes.
//!
//! The worker is this test binary itself, started again; so is the release that some tests kill. That is why it has a `main`
//! of its own instead of the standard harness.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod builds;
mod bytes;
#[cfg(unix)]
mod oracle;
mod processes;
mod release;
mod traps;
mod workspace;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// The tests of a module, by the names of their functions.
macro_rules! tests {
    ($($module:ident: [$($test:ident),* $(,)?])*) => {
        vec![$($(Trial::test(concat!(stringify!($module), "::", stringify!($test)), || {
            $module::$test();
            Ok(())
        })),*),*]
    };
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(workspace::SERVE) => return conda_recipes::worker::serve(),
        Some(release::RELEASE) => return release::main(),
        _ => {}
    }
    let tests = tests! {
        builds: [
            a_recipe_is_built_hashed_and_tested,
            eight_outputs_are_built_after_what_they_need,
            two_runs_give_the_same_bytes,
            cores_are_shared_out_to_scripts,
            a_failing_script_shows_its_end_and_blocks_only_what_needs_it,
            a_package_that_fails_its_test_is_set_aside_and_not_built_upon,
            a_package_without_its_contents_is_set_aside,
            tests_that_do_not_run_are_seen,
            chatty_parallel_builds_keep_their_logs,
            a_changed_recipe_is_not_built_under_the_old_plan,
            what_another_platform_builds_is_not_built_here,
            a_sandbox_that_is_not_installed_is_named_before_anything_is_built,
            the_mirrors_of_rattlers_configuration_are_asked_instead,
            only_what_is_asked_for_is_built,
        ]
        bytes: [
            a_changed_package_is_tested_by_its_own_tests,
            the_users_cache_never_has_a_package_of_the_plan,
            an_entry_of_the_users_cache_is_not_tested_instead,
            a_package_that_was_exchanged_is_not_built_upon,
            sixty_packages_that_need_each_other_are_built_in_any_order,
            two_checkouts_on_one_machine_do_not_disturb_each_other,
        ]
        traps: [
            files_of_a_failed_run_do_not_reach_the_next_package,
            variants_of_one_name_in_parallel_are_not_empty,
            a_rebuilt_package_gets_its_own_record,
            packages_of_another_plan_are_gone,
            consumers_of_a_staging_output_get_the_files_of_today,
            exact_pins_lead_to_the_same_variant,
            a_long_output_folder_is_refused,
            the_step_summary_of_ci_is_not_written,
            recipes_see_no_secret,
        ]
        processes: [
            a_background_process_is_found_and_ended,
            a_background_process_is_found_in_a_container,
            a_background_process_does_not_hold_the_build_up,
            nothing_outlives_a_killed_release,
            nothing_outlives_a_cancelled_build,
            a_worker_that_dies_is_an_error,
            a_program_that_is_no_worker_is_an_error,
        ]
    };
    #[cfg(unix)]
    let tests = {
        let mut tests = tests;
        tests.extend(tests! { oracle: [no_edit_that_changes_bytes_is_unchanged] });
        tests
    };
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
