//! `build --plan FILE --shard K`: one job of many, without any identity.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::PathBuf,
};

use release_manifest::{Event, Mode, PackageKey, Plan, Progress};

use crate::{
    commands::trust::TrustArgs,
    error::Error,
    exit::Status,
    guard::GuardArgs,
    pipeline::{self, Known, Part, PlanFlags, Planning, SourceTrust},
    printer::{Printer, count},
    release::Release,
    run::Run,
    shards::{Assignment, DigestArgs, hand_over, read_all, tell_jobs},
    workspace::Workspace,
};

/// A shard to build.
pub(super) struct ShardBuild<'a> {
    /// The plan's file.
    pub(super) plan: PathBuf,
    /// The shard's number.
    pub(super) shard: u32,
    /// What shards of earlier waves handed over.
    pub(super) from: Vec<PathBuf>,
    /// What other jobs said.
    pub(super) digests: DigestArgs,
    /// The build options that the plan was made with.
    pub(super) flags: &'a PlanFlags,
    /// What it may start from.
    pub(super) guard: &'a GuardArgs,
    /// The trust for attestations of sources.
    pub(super) trust: &'a TrustArgs,
}

impl ShardBuild<'_> {
    /// Builds and tests the packages of the shard, and hands them over.
    pub(super) async fn run(
        self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        refuse_identity(std::env::vars_os())?;
        let assignment = Assignment::read(&self.plan, &self.digests)?;
        let plan = &assignment.plan;
        let shards = &assignment.shards;
        let shard = shards.shard(self.shard)?;
        let planning = Planning::following(workspace, self.flags, (plan, &assignment.path)).await?;
        if plan.mode == Mode::Live {
            self.guard.check(&planning.checkout().source)?;
        }
        let handed = read_all(&self.from, &assignment, &self.digests)?;
        if !handed.is_empty() {
            assignment.is_vouched_for(&self.digests)?;
        }
        let needs = shards.needs(plan, shard);
        let missing: Vec<u32> = needs
            .keys()
            .copied()
            .filter(|number| !handed.contains_key(number))
            .collect();
        if !missing.is_empty() {
            return Err(Error::ShardNeeds {
                shard: self.shard,
                missing,
            });
        }

        let (folder, _lock, stored) = Run::hold(workspace, plan.mode, printer)?;
        let mut release = Release::begin_shard(folder, plan.clone(), stored, self.shard)?;
        pipeline::check(&mut release, &Known::built(), printer)?;
        let output = release.folder().path().to_owned();
        let mut copied = BTreeMap::new();
        let mut not_built = BTreeSet::new();
        for (number, packages) in &needs {
            for package in packages {
                let handed = &handed[number];
                match handed.digest(package) {
                    Some(digest) => {
                        handed.copy_package(package, &output)?;
                        copied.insert(package.clone(), digest);
                    }
                    None => drop(not_built.insert(package.clone())),
                }
            }
        }
        let blocked = block(&mut release, plan, &shard.packages, &not_built, printer)?;
        let part = Part {
            packages: shard.packages.difference(&blocked).cloned().collect(),
            handed: copied,
        };
        let worker = pipeline::worker(workspace)?;
        let trust = SourceTrust {
            trust: self.trust,
            workspace,
        };
        pipeline::build_part(&mut release, &planning, &worker, &trust, &part, printer).await?;
        release.compact()?;

        let over = hand_over(&release, shard)?;
        // Each job of a matrix has an output of its own.
        let (output, digest) = (format!("shard-{}", self.shard), over.digest.to_string());
        tell_jobs([(&*output, &*digest)])?;
        printer.status(
            "Handed over",
            &format!(
                "{} of {} in `{}`",
                over.packages,
                count(shard.packages.len(), "package"),
                workspace.shown(&over.folder)
            ),
        );
        printer.status(
            "Digest",
            &format!("--digest {}={}", self.shard, over.digest),
        );
        printer.json(release.manifest())?;
        let is_ours = |package: &PackageKey| shard.packages.contains(package);
        Ok(pipeline::outcome_of(&release, Progress::Tested, is_ours))
    }
}

/// A shard is built where nobody could sign: what its recipes might find, they must not.
fn refuse_identity(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), Error> {
    let identifies = |name: &str| {
        let name = name.to_ascii_uppercase();
        name.starts_with("ACTIONS_ID_TOKEN_REQUEST_") || name.ends_with("_ID_TOKEN")
    };
    let mut names = variables
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.into_string().ok());
    match names.find(|name| identifies(name)) {
        Some(name) => Err(Error::IdentityPresent(name)),
        None => Ok(()),
    }
}

/// Records which packages cannot be built, since what they need was not: what a solver would find
/// instead is not what was planned.
fn block(
    release: &mut Release,
    plan: &Plan,
    ours: &BTreeSet<PackageKey>,
    not_built: &BTreeSet<PackageKey>,
    printer: &Printer,
) -> Result<BTreeSet<PackageKey>, Error> {
    let mut blocked = BTreeSet::new();
    for package in plan.dependents(not_built).intersection(ours) {
        let needs_one = |needed: &&PackageKey| {
            plan.dependents(&[(*needed).clone()].into())
                .contains(package)
        };
        let by: Vec<PackageKey> = not_built.iter().filter(needs_one).cloned().collect();
        let names: Vec<String> = by.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        printer.failure(
            "Blocked",
            &format!("{package} by {names}, which no earlier shard built"),
        );
        release.record(package, Event::Blocked { by })?;
        blocked.insert(package.clone());
    }
    Ok(blocked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_not_built_where_somebody_could_sign() {
        let refused = |name: &str, value: &str| {
            refuse_identity([(name.into(), value.into())].into_iter()).is_err()
        };
        for name in [
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "SIGSTORE_ID_TOKEN",
            "ACME_ID_TOKEN",
        ] {
            assert!(refused(name, "secret"), "{name}");
            assert!(!refused(name, ""), "{name}");
        }
        for name in [
            "PATH",
            "GITHUB_ACTIONS",
            "GITHUB_TOKEN",
            "RATTLER_AUTH_FILE",
        ] {
            assert!(!refused(name, "value"), "{name}");
        }
    }
}
