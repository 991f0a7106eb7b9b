//! The plan and who builds what of it, as the job that planned wrote them.

use std::path::{Path, PathBuf};

use release_manifest::{DOCUMENT_LIMIT, Digest, Mode, Plan, Shards};

use super::{DigestArgs, PLAN, SHARDS};
use crate::{error::Error, input};

/// A plan and its shards.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// Where the plan was read.
    pub(crate) path: PathBuf,
    /// The plan.
    pub(crate) plan: Plan,
    /// Who builds what of it.
    pub(crate) shards: Shards,
}

impl Assignment {
    /// Reads the plan, which may be named by its folder, and `shards.json` beside it.
    ///
    /// # Errors
    /// They cannot be read, do not belong together, or are not those of the digests that were given.
    pub(crate) fn read(path: &Path, digests: &DigestArgs) -> Result<Self, Error> {
        let path = match path.is_dir() {
            true => path.join(PLAN),
            false => path.to_owned(),
        };
        let plan = input::read(&path, DOCUMENT_LIMIT)?;
        let plan = Plan::from_json(&plan).map_err(Error::shard(&path))?;
        same(&path, "digest", plan.digest(), digests.plan())?;
        let beside = path.with_file_name(SHARDS);
        let shards = input::read(&beside, DOCUMENT_LIMIT)?;
        let shards = Shards::from_json(&shards, &plan).map_err(Error::shard(&beside))?;
        same(&beside, "digest", shards.digest(), digests.shards())?;
        Ok(Self { path, plan, shards })
    }

    /// Whether packages may be taken from other jobs: live, only where the digest of the assignment
    /// came from the job that planned.
    ///
    /// # Errors
    /// It is live, and no digest was given.
    pub(crate) fn is_vouched_for(&self, digests: &DigestArgs) -> Result<(), Error> {
        match (self.plan.mode, digests.shards()) {
            (Mode::Live, None) => Err(Error::Usage(
                "for real, what other jobs built is taken with --shards-digest, which the job that planned printed: whoever could replace a job's folder could replace the plan beside it".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

fn same(
    path: &Path,
    what: &'static str,
    found: Digest,
    expected: Option<Digest>,
) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != found => Err(Error::OtherPlan {
            path: path.to_owned(),
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        }),
        _ => Ok(()),
    }
}
