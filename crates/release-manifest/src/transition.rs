//! The one function that changes a manifest, and which steps it allows.

use crate::{
    Error, Event, JournalEntry, Manifest, Package, PackageKey, Phase, Progress, SchemaVersion,
    Skipped, Taken, Timestamp,
};

impl Manifest {
    /// The next entry of the journal: this event, which just happened to this package.
    ///
    /// Nothing changes yet. Write the entry to the journal, then [`Manifest::apply`] it.
    #[must_use]
    pub fn entry(&self, at: Timestamp, package: PackageKey, event: Event) -> JournalEntry {
        JournalEntry {
            schema_version: SchemaVersion,
            // Only a forged number is the last one: then applying the entry is an error.
            sequence: self.sequence.saturating_add(1),
            at,
            plan_digest: self.plan_digest,
            package,
            event,
        }
    }

    /// Records what happened. On an error nothing changes.
    ///
    /// | event | possible at | leads to |
    /// |---|---|---|
    /// | built | planned | built |
    /// | tested, tests skipped | built | tested |
    /// | attested | tested | attested |
    /// | published | attested | published |
    /// | seen | published | the same |
    /// | skipped | all but published | the same, and no further |
    /// | failed | the step whose next one belongs to the error's phase | the same |
    /// | blocked | all but published | the same |
    /// | returned | any later step | the step it names |
    ///
    /// Each of them clears an earlier error and what blocked the package. One that is skipped takes none of the steps, and
    /// stays skipped when it is returned.
    ///
    /// # Errors
    /// When the entry isn't the next one, is of another plan, names a package that isn't part of
    /// the release, or is a step that this package cannot take.
    pub fn apply(&mut self, entry: &JournalEntry) -> Result<(), Error> {
        let JournalEntry {
            schema_version: SchemaVersion,
            sequence,
            at,
            plan_digest,
            package: key,
            event,
        } = entry;
        if self.sequence.checked_add(1) != Some(*sequence) {
            return Err(Error::Sequence {
                package: key.clone(),
                expected: self.sequence.saturating_add(1),
                found: *sequence,
            });
        }
        if *plan_digest != self.plan_digest {
            return Err(Error::OtherPlan {
                package: Box::new(key.clone()),
                expected: self.plan_digest,
                found: *plan_digest,
            });
        }
        let position = self.position(key).ok_or_else(|| Error::UnknownPackage {
            package: key.clone(),
        })?;
        if let Event::Blocked { by } = event
            && let Some(edge) = by.iter().find(|by| self.position(by).is_none())
        {
            return Err(Error::Edge {
                package: key.clone(),
                edge: Box::new(edge.clone()),
            });
        }
        let mut next = step(&self.packages[position], *at, event)?;
        if let Event::Built { .. } = event {
            next.source = Some(self.source.clone());
            next.timestamp = self.timestamp;
        }
        if next.attestation != self.packages[position].attestation {
            // What was attested of the release as a whole named other attestations.
            self.release = None;
        }
        self.packages[position] = next;
        self.sequence = *sequence;
        Ok(())
    }

    /// Compaction: brings the manifest up to date with a journal that was kept since. Entries
    /// that it contains already are left out.
    ///
    /// # Errors
    /// As for [`Manifest::apply`]; entries before the one at fault are applied.
    pub fn replay(&mut self, journal: &[JournalEntry]) -> Result<(), Error> {
        let contained = self.sequence;
        journal
            .iter()
            .skip_while(|entry| entry.sequence <= contained)
            .try_for_each(|entry| self.apply(entry))
    }
}

/// The package after this event.
fn step(package: &Package, at: Timestamp, event: &Event) -> Result<Package, Error> {
    let from = package.progress;
    let taken = |milliseconds: &u64| {
        Some(Taken {
            at,
            milliseconds: *milliseconds,
        })
    };
    let is_skipped = package.skipped.is_some();
    let mut next = package.clone();
    next.go_back_to(from);
    let is_legal = match event {
        Event::Built {
            sha256,
            size,
            milliseconds,
            log,
        } => {
            next.progress = Progress::Built;
            next.sha256 = Some(*sha256);
            next.size = Some(*size);
            next.times.built = taken(milliseconds);
            next.log.clone_from(log);
            from == Progress::Planned && !is_skipped
        }
        Event::Tested { milliseconds } => {
            next.progress = Progress::Tested;
            next.times.tested = taken(milliseconds);
            from == Progress::Built && !is_skipped
        }
        Event::TestsSkipped { reason } => {
            next.progress = Progress::Tested;
            next.tests_skipped = Some(Skipped::because(reason));
            from == Progress::Built && !is_skipped
        }
        Event::Attested {
            attestation,
            milliseconds,
        } => {
            next.progress = Progress::Attested;
            next.attestation = Some(attestation.clone());
            next.times.attested = taken(milliseconds);
            from == Progress::Tested && !is_skipped
        }
        Event::Published {
            published,
            milliseconds,
        } => {
            next.progress = Progress::Published;
            next.published = Some(published.clone());
            next.times.published = taken(milliseconds);
            from == Progress::Attested && !is_skipped
        }
        Event::Seen => {
            if let Some(published) = &mut next.published {
                published.seen = Some(at);
            }
            from == Progress::Published
        }
        Event::Skipped { reason, in_channel } => {
            next.skipped = Some(Skipped {
                reason: reason.clone(),
                in_channel: *in_channel,
            });
            from < Progress::Published
        }
        Event::Failed { error } => {
            next.error = Some(error.clone());
            error.phase.can_fail_at(from) && !is_skipped
        }
        Event::Blocked { by } => {
            next.blocked_by = by.clone();
            next.blocked_by.sort();
            next.blocked_by.dedup();
            from < Progress::Published
                && !is_skipped
                && !by.is_empty()
                && !by.contains(&package.key())
        }
        Event::Returned { to, reason: _ } => {
            next.go_back_to(*to);
            next.skipped.clone_from(&package.skipped);
            *to < from
        }
    };
    if is_legal {
        Ok(next)
    } else {
        Err(Error::Transition {
            package: package.key(),
            from,
            event: event.describe(),
        })
    }
}

impl Event {
    /// The event in a few words, for messages.
    fn describe(&self) -> String {
        match self {
            Self::Built { .. } => "built".to_owned(),
            Self::Tested { .. } => "tested".to_owned(),
            Self::TestsSkipped { .. } => "tested (tests skipped)".to_owned(),
            Self::Attested { .. } => "attested".to_owned(),
            Self::Published { .. } => "published".to_owned(),
            Self::Seen => "seen".to_owned(),
            Self::Skipped { .. } => "skipped".to_owned(),
            Self::Failed { error } => format!("failed ({})", Phase::as_str(error.phase)),
            Self::Blocked { .. } => "blocked".to_owned(),
            Self::Returned { to, .. } => format!("returned to {to}"),
        }
    }
}
