//! `merge`: join what build jobs made of one plan.

use std::path::PathBuf;

use clap::Args;
use rayon::prelude::*;
use release_manifest::{Event, Manifest, Progress, Skipped};

use crate::{
    error::Error,
    exit::Status,
    pipeline,
    printer::{Printer, count},
    release::Release,
    report,
    run::Run,
    shards::{Assignment, DigestArgs, read_all},
    workspace::Workspace,
};

/// Join what build jobs made of one plan
///
/// Takes from each shard the packages that the plan gave it to build, by their hash, with their
/// times and logs, and believes nothing else that it says. What results is the state that `sign` and
/// `publish` continue from. For real, the digest of plan and shards and that of each shard's
/// manifest must be given as the jobs printed them.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release merge --plan shards/plan.json built/          rehearse: every shard below built/
  conda-release merge --plan shards/plan.json --shards-digest \"$SHARDS\" --digests \"$BUILT\" built/
  conda-release merge --plan shards/plan.json shard-1/release-manifest.json shard-2/release-manifest.json")]
pub struct MergeArgs {
    /// What build jobs handed over: manifests, folders with one, or folders of such folders
    #[arg(value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,

    /// The plan that was built, with `shards.json` beside it
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,

    /// What other jobs said
    #[command(flatten)]
    digests: DigestArgs,
}

impl MergeArgs {
    /// Joins the shards that are there, and names those that are missing.
    ///
    /// # Errors
    /// A shard that is not the plan's, or not as its job made it: then the release is not changed.
    pub(crate) fn run(self, workspace: &Workspace, printer: &Printer) -> Result<Status, Error> {
        let assignment = Assignment::read(&self.plan, &self.digests)?;
        assignment.is_vouched_for(&self.digests)?;
        let Assignment { plan, shards, .. } = &assignment;
        let handed = read_all(&self.manifests, &assignment, &self.digests)?;
        let manifest = Manifest::merge(plan, handed.values().map(|it| it.as_shard()))?;

        let (folder, _lock, stored) = Run::hold(workspace, plan.mode, printer)?;
        if let Some(stored) = &stored {
            stored.follows(&folder, plan, None)?;
        }
        let output = folder.path().to_owned();
        let packages: Vec<_> = handed
            .values()
            .flat_map(|handed| handed.built().map(move |package| (handed, package)))
            .collect();
        packages.par_iter().try_for_each(|(handed, package)| {
            handed.copy_package(&package.key(), &output)?;
            handed.copy_log(package, &output)
        })?;
        let with_reasons = |manifest: &Manifest| {
            let shards = handed.values().map(|handed| handed.as_shard());
            manifest.with_reasons(shards)
        };
        let reasons = with_reasons(&manifest);
        for handed in handed.values() {
            handed.copy_logs_of_failures(&reasons, &output)?;
        }
        let mut release = Release::merged(folder, plan.clone(), manifest, stored)?;
        for (package, skipped) in &shards.left_out {
            let is_left_out = release
                .manifest()
                .package(package)
                .is_some_and(|package| package.skipped.is_some());
            if !is_left_out {
                let Skipped { reason, in_channel } = skipped.clone();
                release.record(package, Event::Skipped { reason, in_channel })?;
            }
        }
        release.compact()?;
        printer.status(
            "Merged",
            &format!(
                "{} of {}",
                handed.len(),
                count(shards.shards.len(), "shard")
            ),
        );
        let (folder, plan) = (release.folder(), release.plan());
        let shown = with_reasons(release.manifest());
        report::leave(folder, plan, &shown, workspace, printer)?;
        printer.result(&pipeline::packages_table(&release, workspace.current()))?;
        printer.json(release.manifest())?;
        for shard in &shards.shards {
            let number = shard.shard;
            let packages = shard.packages.iter();
            let left = packages
                .filter_map(|key| release.manifest().package(key))
                .filter(|package| package.progress < Progress::Tested)
                .count();
            if !handed.contains_key(&number) {
                printer.failure(
                    "Missing",
                    &format!("shard {number}: build it with `build --plan FILE --shard {number}`, and merge again"),
                );
            } else if left > 0 {
                printer.failure(
                    "Unfinished",
                    &format!(
                        "shard {number} left {} unbuilt or untested: its job says why. Run it again, and merge again",
                        count(left, "package")
                    ),
                );
            }
        }
        Ok(pipeline::outcome(&release, Progress::Tested))
    }
}
