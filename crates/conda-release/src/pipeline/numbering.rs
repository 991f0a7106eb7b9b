//! Build numbers that depend on what the channel has: found out first, and then planned with.

use conda_recipes::{BuildNumber, Highest, Planned, build_numbers, worker::Worker};
use release_manifest::{Manifest, PlannedPackage, Progress, Skipped};

use super::{planning::Planning, selection::Selection};
use crate::{error::Error, release::Stored, target::Target};

impl Planning {
    /// The plan whose build numbers are what the configuration asks for.
    ///
    /// An unfinished release of an earlier run keeps its numbers while nothing else changed, so that the same command
    /// continues it instead of counting on.
    ///
    /// # Errors
    /// As [`plan`](Self::plan); and the channel cannot be read, which never counts as an empty one.
    pub(super) async fn numbered(
        &mut self,
        worker: &Worker,
        stored: Option<&Stored>,
        target: Option<&Target>,
    ) -> Result<Planned, Error> {
        let asked = self.build_number();
        let earlier = stored.map(|stored| &stored.plan);
        if let Some(number) = asked.filter(|_| self.selects()) {
            let written = self.rendered_as_written(worker, earlier).await?;
            let selection = self.selection(&written)?;
            return self
                .numbered_in_part(worker, stored, target, (number, &written, &selection))
                .await;
        }
        let relative = asked.filter(|number| !matches!(number, BuildNumber::Exactly(_)));
        // A rehearsal plans as if the channel were empty.
        let (Some(relative), Some(target)) = (relative, target) else {
            return self.rendered(worker, earlier).await;
        };
        if let Some(stored) = stored.filter(|stored| is_unfinished(&stored.manifest)) {
            self.set_build_numbers(build_numbers(&stored.plan));
            let planned = self.rendered(worker, earlier).await?;
            if planned.plan.digest() == stored.plan.digest() {
                return Ok(planned);
            }
            self.set_build_numbers(Default::default());
        }
        let planned = self.rendered(worker, earlier).await?;
        let plan = &planned.plan;
        let numbers = relative.of_recipes(plan, &target.highest_build_numbers(plan).await?);
        // Also where the outputs of a recipe differ: planned again with these numbers, they would not.
        let is_right =
            |package: &PlannedPackage| numbers.get(&package.recipe) == Some(&package.build_number);
        if plan.packages.iter().all(is_right) {
            return Ok(planned);
        }
        self.set_build_numbers(numbers);
        self.rendered(worker, earlier).await
    }

    /// The plan in which the number is for what is selected alone; other packages are those of the channel.
    async fn numbered_in_part(
        &mut self,
        worker: &Worker,
        stored: Option<&Stored>,
        target: Option<&Target>,
        (number, written, selection): (BuildNumber, &Planned, &Selection),
    ) -> Result<Planned, Error> {
        let earlier = stored.map(|stored| &stored.plan);
        let is_relative = !matches!(number, BuildNumber::Exactly(_));
        if let Some(stored) = stored.filter(|stored| is_relative && is_unfinished(&stored.manifest))
        {
            self.set_build_numbers(build_numbers(&stored.plan));
            let planned = self.rendered(worker, earlier).await?;
            let selection = self.selection(&planned)?;
            let is_of_same = planned.plan.digest() == stored.plan.digest();
            if is_of_same && is_about(&stored.manifest, &selection) {
                return Ok(planned);
            }
        }
        let plan = &written.plan;
        let highest = match target {
            Some(target) => target.highest_build_numbers(plan).await?,
            None => Highest::new(),
        };
        let keys = plan.packages.iter().map(PlannedPackage::key);
        let selected = keys.filter(|key| selection.has(key)).collect();
        self.set_build_numbers(number.of_selected(plan, &highest, &selected));
        self.rendered(worker, earlier).await
    }
}

/// Returns whether an unfinished release has all selected packages, none of them left out.
fn is_about(manifest: &Manifest, selection: &Selection) -> bool {
    let packages = manifest.packages().iter();
    let mut selected = packages
        .filter(|package| selection.has(&package.key()))
        .peekable();
    selected.peek().is_some()
        && selected.all(|package| !package.skipped.as_ref().is_some_and(Skipped::is_unselected))
}

fn is_unfinished(manifest: &Manifest) -> bool {
    let mut packages = manifest.packages().iter();
    packages.any(|package| package.progress < Progress::Published && package.skipped.is_none())
}
