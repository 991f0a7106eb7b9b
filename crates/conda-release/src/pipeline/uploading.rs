//! Many uploads at once, in an order that never leaves a package without what it runs with.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use conda_publish::{AttestationStore, Channel, Error, Placed, Reporter, Upload};
use futures::{StreamExt as _, stream::FuturesUnordered};
use release_manifest::{PackageKey, PublishResult};
use tokio::{sync::Notify, time::Instant};

use crate::{
    printer::{Printer, duration},
    progress::Activity,
};

/// A package to upload.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The package and its attestations.
    pub(crate) upload: Upload,
    /// Those of the same release that it runs with: they go first.
    pub(crate) after: BTreeSet<PackageKey>,
}

/// What became of a package.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It is in the channel.
    Placed(Placed, Duration),
    /// It is not.
    Failed(Error),
    /// It was not tried, since these failed.
    Blocked(Vec<PackageKey>),
    /// There was no time left for it.
    Left,
}

/// How packages are uploaded.
pub(crate) struct Uploading<'a> {
    /// Where to.
    pub(crate) channel: &'a dyn Channel,
    /// How many of its attestations go into the channel with a package: the first of them.
    pub(crate) attestations: usize,
    /// Where attestations go besides, before the packages do.
    pub(crate) stores: &'a [Box<dyn AttestationStore>],
    /// What the channel has already, with all that it keeps of it: that is not sent again.
    pub(crate) complete: &'a BTreeSet<PackageKey>,
    /// How many at the same time at most; as many again may wait until they are sent once more.
    pub(crate) concurrency: NonZeroUsize,
    /// How long all of it may take.
    pub(crate) deadline: Duration,
}

impl Uploading<'_> {
    /// Uploads packages: each once everything that it runs with is there. What fails stops what runs with it and
    /// nothing else. `fates` already has those of packages that are not to be uploaded.
    pub(crate) async fn run(
        &self,
        items: Vec<Item>,
        mut fates: BTreeMap<PackageKey, Fate>,
        printer: &Printer,
    ) -> BTreeMap<PackageKey, Fate> {
        let total = items.iter().map(|item| size_of(&item.upload)).sum();
        let sending = Sending {
            activity: Activity::bytes(printer, "Publishing", total),
            under_way: Mutex::default(),
            repeats: Notify::new(),
            printer,
        };
        let deadline = Instant::now() + self.deadline;
        let mut waiting: BTreeMap<PackageKey, Item> = items
            .into_iter()
            .map(|item| (item.upload.package.clone(), item))
            .collect();
        let mut under_way = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.concurrency.get() + sending.paused(self.concurrency) {
                let Some(item) = next(&mut waiting, &under_way) else {
                    break;
                };
                let package = item.upload.package.clone();
                let failed = failed_among(&item.after, &fates);
                if !failed.is_empty() {
                    printer.failure("Blocked", &format!("{package} by {}", names(&failed)));
                    fates.insert(package, Fate::Blocked(failed));
                    continue;
                }
                under_way.insert(package);
                running.push(self.put(item.upload, &sending));
            }
            let next = tokio::select! {
                next = tokio::time::timeout_at(deadline, running.next()) => next,
                // Another has its turn meanwhile.
                () = sending.repeats.notified() => continue,
            };
            match next {
                Ok(Some((package, fate))) => {
                    under_way.remove(&package);
                    fates.insert(package, fate);
                }
                Ok(None) => break,
                Err(_) => {
                    let left = waiting.into_keys().chain(under_way);
                    fates.extend(left.map(|package| (package, Fate::Left)));
                    break;
                }
            }
        }
        fates
    }

    async fn put(&self, upload: Upload, sending: &Sending<'_>) -> (PackageKey, Fate) {
        let package = upload.package.clone();
        let name = package.to_string();
        sending.activity.begin("Publishing", &name);
        let started = Instant::now();
        let result = self.store_and_put(&upload, sending).await;
        sending.activity.end(&name);
        sending.ended(&upload);
        let fate = match result {
            Ok(placed) => {
                let taken = started.elapsed();
                let line = super::line(&package, placed.result, taken);
                sending.printer.status("Published", &line);
                Fate::Placed(placed, taken)
            }
            Err(error) => {
                super::failed(&package, &error, sending.printer);
                Fate::Failed(error)
            }
        };
        (package, fate)
    }

    /// Attestations first: a package that somebody finds has them.
    async fn store_and_put(
        &self,
        upload: &Upload,
        reporter: &dyn Reporter,
    ) -> Result<Placed, Error> {
        for store in self.stores {
            for bundle in &upload.bundles {
                store.put(&upload.package, upload.sha256, bundle).await?;
            }
        }
        if self.complete.contains(&upload.package) {
            return Ok(Placed {
                url: self.channel.url(&upload.package),
                sidecar_sha256: None,
                result: PublishResult::Identical,
            });
        }
        let mut upload = upload.clone();
        upload.bundles.truncate(self.attestations);
        self.channel.put(&upload, reporter).await
    }
}

/// The next package whose companions are neither waiting nor under way; packages that run with each other go together.
fn next(
    waiting: &mut BTreeMap<PackageKey, Item>,
    under_way: &BTreeSet<PackageKey>,
) -> Option<Item> {
    let is_free = |item: &Item| {
        let mut after = item.after.iter();
        !after.any(|other| waiting.contains_key(other) || under_way.contains(other))
    };
    let free = waiting.iter().find(|(_, item)| is_free(item));
    let package = match free {
        Some((package, _)) => package.clone(),
        None if under_way.is_empty() => waiting.keys().next()?.clone(),
        None => return None,
    };
    waiting.remove(&package)
}

fn failed_among(
    after: &BTreeSet<PackageKey>,
    fates: &BTreeMap<PackageKey, Fate>,
) -> Vec<PackageKey> {
    let is_failed = |package: &&PackageKey| {
        matches!(
            fates.get(package),
            Some(Fate::Failed(_) | Fate::Blocked(_) | Fate::Left)
        )
    };
    after.iter().filter(is_failed).cloned().collect()
}

fn names(packages: &[PackageKey]) -> String {
    let names: Vec<String> = packages.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What is to be sent, in bytes; a file that can't be looked at is said to when it is read.
fn size_of(upload: &Upload) -> u64 {
    std::fs::symlink_metadata(&upload.source).map_or(0, |found| found.len())
}

/// Shows the bytes that leave, and knows what waits.
struct Sending<'a> {
    activity: Activity,
    under_way: Mutex<BTreeMap<PackageKey, Attempt>>,
    /// Told when a package begins to wait.
    repeats: Notify,
    printer: &'a Printer,
}

/// An attempt to send a package.
#[derive(Debug, Default)]
struct Attempt {
    /// What has left, in bytes.
    sent: u64,
    /// When it begins, if it has to wait.
    begins: Option<Instant>,
}

impl Sending<'_> {
    /// The package is done with, however much of it left.
    fn ended(&self, upload: &Upload) {
        let attempt = self.under_way().remove(&upload.package);
        self.activity
            .back(attempt.map_or(0, |attempt| attempt.sent));
        self.activity.advance(size_of(upload));
    }

    /// How many packages wait now, counted up to so many.
    fn paused(&self, most: NonZeroUsize) -> usize {
        let now = Instant::now();
        let under_way = self.under_way();
        let waits = |attempt: &&Attempt| attempt.begins.is_some_and(|begins| begins > now);
        let waiting = under_way.values().filter(waits);
        waiting.take(most.get()).count()
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<PackageKey, Attempt>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter for Sending<'_> {
    fn sent(&self, package: &PackageKey, bytes: u64) {
        let mut under_way = self.under_way();
        under_way.entry(package.clone()).or_default().sent += bytes;
        drop(under_way);
        self.activity.advance(bytes);
    }

    fn repeating(&self, package: &PackageKey, reason: &str, delay: Duration) {
        let next = Attempt {
            sent: 0,
            begins: Some(Instant::now() + delay),
        };
        let failed = self.under_way().insert(package.clone(), next);
        self.activity.back(failed.map_or(0, |failed| failed.sent));
        self.repeats.notify_one();
        let delay = duration(delay);
        self.printer
            .status("Retrying", &format!("{package} in {delay}: {reason}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::publishing::CONCURRENCY;
    use crate::printer::{ColorChoice, OutputFormat, Verbosity};
    use async_trait::async_trait;
    use conda_publish::{Keeps, Patience, Present};

    /// Remembers the order, and fails what it is told to.
    #[derive(Default)]
    struct Memory {
        order: Mutex<Vec<PackageKey>>,
        failing: BTreeSet<PackageKey>,
        /// Sent again after so long.
        repeating: BTreeMap<PackageKey, Duration>,
        /// How long each attempt takes.
        latency: Duration,
        endless: BTreeSet<PackageKey>,
    }

    #[async_trait]
    impl Channel for Memory {
        fn attestations(&self) -> Keeps {
            Keeps::Nothing
        }
        fn url(&self, package: &PackageKey) -> String {
            package.to_string()
        }
        async fn preflight(&self) -> Result<(), Error> {
            Ok(())
        }
        async fn lookup(
            &self,
            _: &BTreeSet<PackageKey>,
        ) -> Result<BTreeMap<PackageKey, Present>, Error> {
            Ok(BTreeMap::new())
        }
        async fn put(&self, upload: &Upload, reporter: &dyn Reporter) -> Result<Placed, Error> {
            if self.endless.contains(&upload.package) {
                std::future::pending::<()>().await;
            }
            if let Some(&delay) = self.repeating.get(&upload.package) {
                tokio::time::sleep(self.latency).await;
                reporter.repeating(&upload.package, "for a test", delay);
                tokio::time::sleep(delay).await;
            }
            // Others have their turn meanwhile.
            tokio::task::yield_now().await;
            tokio::time::sleep(self.latency).await;
            if self.failing.contains(&upload.package) {
                return Err(Error::Stopped);
            }
            self.order.lock().unwrap().push(upload.package.clone());
            Ok(Placed {
                url: String::new(),
                sidecar_sha256: None,
                result: PublishResult::Uploaded,
            })
        }
        async fn finish(&self) -> Result<(), Error> {
            Ok(())
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(name: &str) -> PackageKey {
        format!("noarch/{name}-1-0.conda").parse().unwrap()
    }

    fn item(name: &str, after: &[&str]) -> Item {
        Item {
            upload: Upload {
                source: "nowhere".into(),
                package: key(name),
                sha256: cep27::Sha256::from_bytes([0; 32]),
                bundles: Vec::new(),
            },
            after: after.iter().map(|name| key(name)).collect(),
        }
    }

    async fn run(channel: &Memory, items: Vec<Item>) -> BTreeMap<PackageKey, Fate> {
        run_for(channel, items, Duration::from_secs(1)).await
    }

    async fn run_for(
        channel: &Memory,
        items: Vec<Item>,
        deadline: Duration,
    ) -> BTreeMap<PackageKey, Fate> {
        let four = NonZeroUsize::new(4).unwrap();
        run_with(channel, items, deadline, four).await
    }

    async fn run_with(
        channel: &Memory,
        items: Vec<Item>,
        deadline: Duration,
        concurrency: NonZeroUsize,
    ) -> BTreeMap<PackageKey, Fate> {
        let printer = Printer::new(OutputFormat::Human, ColorChoice::Never, Verbosity::Quiet);
        let uploading = Uploading {
            channel,
            attestations: usize::MAX,
            stores: &[],
            complete: &BTreeSet::new(),
            concurrency,
            deadline,
        };
        uploading.run(items, BTreeMap::new(), &printer).await
    }

    #[tokio::test]
    async fn a_package_goes_after_what_it_runs_with() {
        let channel = Memory::default();
        let items = vec![
            item("a", &["z"]),
            item("m", &["a"]),
            item("z", &[]),
            item("n", &["not-of-this-release"]),
        ];
        let fates = run(&channel, items).await;
        assert!(fates.values().all(|it| matches!(it, Fate::Placed(..))));
        let order = channel.order.into_inner().unwrap();
        let place = |name| order.iter().position(|it| *it == key(name)).unwrap();
        assert!(
            place("z") < place("a") && place("a") < place("m"),
            "{order:?}"
        );
        assert_eq!(order.len(), 4);
    }

    #[tokio::test]
    async fn packages_that_run_with_each_other_hold_nothing_up() {
        let channel = Memory::default();
        let items = vec![item("a", &["b"]), item("b", &["a"]), item("c", &["a"])];
        assert_eq!(run(&channel, items).await.len(), 3);
        assert_eq!(channel.order.into_inner().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn one_failure_stops_what_runs_with_it_and_nothing_else() {
        let channel = Memory {
            failing: BTreeSet::from([key("lib")]),
            ..Memory::default()
        };
        let items = vec![
            item("app", &["lib"]),
            item("lib", &[]),
            item("plugin", &["app"]),
            item("other", &[]),
        ];
        let fates = run(&channel, items).await;
        assert!(matches!(fates[&key("lib")], Fate::Failed(_)));
        for (name, by) in [("app", "lib"), ("plugin", "app")] {
            assert!(
                matches!(&fates[&key(name)], Fate::Blocked(found) if *found == [key(by)]),
                "{name}"
            );
        }
        assert!(matches!(fates[&key("other")], Fate::Placed(..)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_there_is_no_time_for_is_left() {
        let channel = Memory {
            endless: BTreeSet::from([key("a")]),
            ..Memory::default()
        };
        let items = vec![item("a", &[]), item("b", &[]), item("c", &["a"])];
        let fates = run(&channel, items).await;
        assert!(matches!(fates[&key("a")], Fate::Left));
        assert!(matches!(fates[&key("b")], Fate::Placed(..)));
        assert!(matches!(fates[&key("c")], Fate::Left));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_its_next_attempt_keeps_no_other_from_its_turn() {
        let repeating = ["a", "b", "c", "d"].map(|name| (key(name), MINUTE));
        let channel = Memory {
            repeating: repeating.into(),
            ..Memory::default()
        };
        let items = ["a", "b", "c", "d", "e", "f", "g"].map(|name| item(name, &[]));
        let fates = run_for(&channel, items.into(), Duration::from_secs(90)).await;
        assert!(fates.values().all(|it| matches!(it, Fate::Placed(..))));
        let mut order = channel.order.into_inner().unwrap();
        order.truncate(3);
        order.sort();
        assert_eq!(order, ["e", "f", "g"].map(key));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_twice_as_many_are_begun_when_all_wait() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let channel = Memory {
            repeating: names.map(|name| (key(name), MINUTE)).into(),
            ..Memory::default()
        };
        let items = names.map(|name| item(name, &[]));
        let fates = run_for(&channel, items.into(), Duration::from_secs(90)).await;
        let placed = fates.values().filter(|it| matches!(it, Fate::Placed(..)));
        assert_eq!(placed.count(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn latency_and_failures_in_passing_cost_a_batch_little() {
        const PACKAGES: u32 = 500;
        let latency = Duration::from_millis(50);
        let names: Vec<String> = (0..PACKAGES)
            .map(|number| format!("p{number:03}"))
            .collect();
        let take = async |concurrency, repeating: BTreeMap<PackageKey, Duration>| {
            let channel = Memory {
                latency,
                repeating,
                ..Memory::default()
            };
            let items = names.iter().map(|name| item(name, &[])).collect();
            let began = Instant::now();
            let fates = run_with(&channel, items, MINUTE, concurrency).await;
            assert!(fates.values().all(|it| matches!(it, Fate::Placed(..))));
            began.elapsed()
        };
        let smooth = take(CONCURRENCY, BTreeMap::new()).await;
        assert!(latency * PACKAGES >= smooth * 8, "{smooth:?}");
        // One in twenty, the last included, after the longest first delay that there is.
        let delay = Patience::default().first_delay;
        let failing = names
            .iter()
            .rev()
            .step_by(20)
            .map(|name| (key(name), delay));
        let rough = take(CONCURRENCY, failing.collect()).await;
        assert!(rough * 100 <= smooth * 125, "{rough:?}, {smooth:?}");
    }
}
