//! The state of one release on disk: plan, manifest and journal.
//!
//! The manifest is rewritten at the end of each phase; between, every transition is appended to
//! the journal and made durable before anything relies on it. A killed run loses nothing that it
//! had reported.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use cep27::TargetChannel;
use fs_err as fs;
use release_manifest::{
    DOCUMENT_LIMIT, Event, Isolation, JOURNAL_LIMIT, Manifest, Mode, PackageKey, Plan, Progress,
    ReleaseRecord, Skipped, Timestamp, read_journal,
};

use crate::{
    error::Error,
    input,
    output::{OutputFolder, remove_half_written, write_atomically},
    pipeline,
};

/// A planned release and how far each of its packages is.
#[derive(Debug)]
pub(crate) struct Release {
    folder: OutputFolder,
    plan: Plan,
    manifest: Manifest,
    journal: File,
}

/// What an earlier run left.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The plan, if it can still be read as one.
    pub(crate) plan: Plan,
    /// Manifest and journal, joined.
    pub(crate) manifest: Manifest,
}

impl Stored {
    /// Reads what an earlier run left in `folder`; nothing if it never planned there.
    ///
    /// # Errors
    /// A file that is unreadable, of a newer version, or no plan, manifest or journal.
    pub(crate) fn read(folder: &OutputFolder) -> Result<Option<Self>, Error> {
        let (Some(plan), Some(manifest)) = (
            read(&folder.plan(), DOCUMENT_LIMIT)?,
            read(&folder.manifest(), DOCUMENT_LIMIT)?,
        ) else {
            return Ok(None);
        };
        let plan = Plan::from_json(&plan).map_err(Error::state(folder.plan()))?;
        let mut manifest =
            Manifest::from_json(&manifest).map_err(Error::state(folder.manifest()))?;
        if let Some(journal) = read(&folder.journal(), JOURNAL_LIMIT)? {
            // A torn last line is what a killed run leaves: its step was not reported to anybody.
            let (entries, _torn) =
                read_journal(&journal).map_err(Error::state(folder.journal()))?;
            manifest
                .replay(&entries)
                .map_err(Error::state(folder.journal()))?;
        }
        Ok(Some(Self { plan, manifest }))
    }

    /// Whether this is a release of the mode that a run is about; a rehearsal, under the rehearsal's trust.
    ///
    /// # Errors
    /// It is another release's, so that nothing of it may be used.
    pub(crate) fn belongs_to(&self, folder: &OutputFolder, mode: Mode) -> Result<(), Error> {
        same(folder, "mode", self.manifest.mode.as_str(), mode.as_str())?;
        match (mode, &self.manifest.trust) {
            (Mode::Rehearsal, Some(found)) => {
                same(folder, "trust", &found.name, pipeline::REHEARSAL_TRUST)
            }
            _ => Ok(()),
        }
    }

    /// Whether this is a release of that plan, and of the part of it that a run is about: a shard, or the whole.
    ///
    /// # Errors
    /// It is another release's.
    pub(crate) fn follows(
        &self,
        folder: &OutputFolder,
        plan: &Plan,
        shard: Option<u32>,
    ) -> Result<(), Error> {
        let part = |shard: Option<u32>| match shard {
            Some(number) => format!("shard {number}"),
            None => "the whole plan".to_owned(),
        };
        let digests = [self.manifest.plan_digest, plan.digest()].map(|it| it.to_string());
        same(folder, "plan", &digests[0], &digests[1])?;
        same(folder, "part", &part(self.manifest.shard), &part(shard))
    }
}

/// Whether a part of a stored release is what a run is about.
fn same(
    folder: &OutputFolder,
    what: &'static str,
    found: &str,
    expected: &str,
) -> Result<(), Error> {
    match found == expected {
        true => Ok(()),
        false => Err(Error::OtherRelease {
            path: folder.manifest(),
            what,
            found: found.to_owned(),
            expected: expected.to_owned(),
        }),
    }
}

impl Release {
    /// Begins or continues the release of `plan`.
    ///
    /// Of what an earlier run `stored`, packages of equal fingerprint are kept as far as they are.
    /// What is left out is told anew each time, with a reason; what is published is not.
    ///
    /// # Errors
    /// The output folder cannot be written.
    pub(crate) fn begin(
        folder: OutputFolder,
        plan: Plan,
        stored: Option<Stored>,
        left_out: impl IntoIterator<Item = (PackageKey, Skipped)>,
    ) -> Result<Self, Error> {
        if stored.is_none() {
            // A journal that has lost its manifest: its numbers would not follow those of a new one.
            start_journal(&folder.journal())?;
        }
        let trust = stored
            .as_ref()
            .and_then(|stored| stored.manifest.trust.clone());
        let mut manifest = Manifest::new(&plan, trust, Isolation::Worker);
        if let Some(stored) = stored {
            manifest.carry_over(&stored.manifest);
            if stored.manifest.plan_digest == manifest.plan_digest {
                manifest.isolation = stored.manifest.isolation;
            }
        }
        for (package, Skipped { reason, in_channel }) in left_out {
            let is_published = manifest
                .package(&package)
                .is_some_and(|package| package.progress == Progress::Published);
            if !is_published {
                // Not by the journal: the manifest is written right away, and the plan after it.
                let entry = manifest.entry(now(), package, Event::Skipped { reason, in_channel });
                manifest.apply(&entry)?;
            }
        }
        Self::write(folder, plan, manifest)
    }

    /// Begins or continues the share that one job has of `plan`.
    ///
    /// # Errors
    /// What was stored is of another plan or another part of it, or the output folder cannot be written.
    pub(crate) fn begin_shard(
        folder: OutputFolder,
        plan: Plan,
        stored: Option<Stored>,
        shard: u32,
    ) -> Result<Self, Error> {
        let manifest = match stored {
            Some(stored) => {
                stored.follows(&folder, &plan, Some(shard))?;
                stored.manifest
            }
            None => {
                start_journal(&folder.journal())?;
                let mut manifest = Manifest::new(&plan, None, Isolation::SeparateJob);
                manifest.shard = Some(shard);
                manifest
            }
        };
        Self::write(folder, plan, manifest)
    }

    /// Takes what was merged of `plan`. What went on since an earlier merge with the very same
    /// packages is kept.
    ///
    /// # Errors
    /// What was stored is of another plan or of a shard, or the output folder cannot be written.
    pub(crate) fn merged(
        folder: OutputFolder,
        plan: Plan,
        mut manifest: Manifest,
        stored: Option<Stored>,
    ) -> Result<Self, Error> {
        match stored {
            Some(stored) => {
                stored.follows(&folder, &plan, None)?;
                manifest.keep_progress(&stored.manifest);
            }
            None => drop(start_journal(&folder.journal())?),
        }
        Self::write(folder, plan, manifest)
    }

    /// Takes what an earlier run stored as it stands.
    ///
    /// # Errors
    /// The output folder cannot be written.
    pub(crate) fn resume(folder: OutputFolder, stored: Stored) -> Result<Self, Error> {
        Self::write(folder, stored.plan, stored.manifest)
    }

    fn write(folder: OutputFolder, plan: Plan, manifest: Manifest) -> Result<Self, Error> {
        remove_half_written(folder.path())?;
        // The plan goes last: a manifest without its plan is planned anew and nothing is lost.
        write_atomically(&folder.manifest(), &manifest.to_json())?;
        write_atomically(&folder.plan(), &plan.to_json())?;
        let journal = start_journal(&folder.journal())?;
        Ok(Self {
            folder,
            plan,
            manifest,
            journal,
        })
    }

    /// Where the release lies.
    pub(crate) fn folder(&self) -> &OutputFolder {
        &self.folder
    }

    /// What is released.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How far it is.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Names the trust root that the attestations stand under.
    pub(crate) fn set_trust(&mut self, trust: release_manifest::Trust) {
        self.manifest.trust = Some(trust);
    }

    /// Records the attestation of the release as a whole, or that there is none; durable when this returns.
    ///
    /// # Errors
    /// The output folder cannot be written.
    pub(crate) fn set_attestation(&mut self, record: Option<ReleaseRecord>) -> Result<(), Error> {
        self.manifest.release = record;
        self.compact()
    }

    /// Whether it was planned for the channel that clients read at this URL.
    ///
    /// # Errors
    /// It was planned for another.
    pub(crate) fn is_for(&self, channel: &TargetChannel) -> Result<(), Error> {
        let planned = self.plan.target_channel.as_str();
        same(&self.folder, "target channel", planned, channel.as_str())
    }

    /// Whether the attestations of an earlier run stand under this trust.
    ///
    /// # Errors
    /// They stand under another one.
    pub(crate) fn stands_under(&self, trust: &str) -> Result<(), Error> {
        match &self.manifest.trust {
            Some(found) => same(&self.folder, "trust", &found.name, trust),
            None => Ok(()),
        }
    }

    /// Records that something happened to a package: durable when this returns.
    ///
    /// # Errors
    /// The journal cannot be written, or the step is not possible from where the package is.
    pub(crate) fn record(&mut self, package: &PackageKey, event: Event) -> Result<(), Error> {
        let path = self.folder.journal();
        let entry = self.manifest.entry(now(), package.clone(), event);
        self.manifest
            .apply(&entry)
            .map_err(Error::state(path.clone()))?;
        self.journal
            .write_all(&entry.to_line())
            .and_then(|()| self.journal.sync_data())
            .map_err(Error::output("write", path))
    }

    /// Writes manifest and plan, and starts the journal afresh.
    ///
    /// # Errors
    /// The output folder cannot be written.
    pub(crate) fn compact(&mut self) -> Result<(), Error> {
        write_atomically(&self.folder.manifest(), &self.manifest.to_json())?;
        // What is on disk is what was followed, whatever a recipe made of it meanwhile.
        write_atomically(&self.folder.plan(), &self.plan.to_json())?;
        self.journal = start_journal(&self.folder.journal())?;
        Ok(())
    }
}

/// The current time, for records.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(jiff::Timestamp::now().as_second())
}

/// An empty journal. Entries that a run killed right before this left behind are in the manifest
/// already: their sequence numbers say so.
fn start_journal(path: &Path) -> Result<File, Error> {
    write_atomically(path, b"")?;
    File::options()
        .append(true)
        .open(path)
        .map_err(Error::output("write", path))
}

/// The bytes of a state file, if it is there: a regular file of no more than the tool writes.
fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => input::read(path, limit).map(Some),
        Ok(_) => Err(Error::output("read", path)(io::Error::other(
            "expected a regular file",
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::output("read", path)(error)),
    }
}
