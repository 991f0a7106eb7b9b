//! Build numbers that depend on what the channel has: found out first, and then planned with.

use conda_recipes::{BuildNumber, Planned, build_numbers, worker::Worker};
use release_manifest::{Manifest, PlannedPackage, Progress};

use super::planning::Planning;
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
        let relative = asked.filter(|number| !matches!(number, BuildNumber::Exactly(_)));
        let earlier = stored.map(|stored| &stored.plan);
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
}

fn is_unfinished(manifest: &Manifest) -> bool {
    let mut packages = manifest.packages().iter();
    packages.any(|package| package.progress < Progress::Published && package.skipped.is_none())
}
