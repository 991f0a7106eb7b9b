//! Publishing 500 packages to a server like prefix.dev: with failures against without, and many at a time against one.
//!
//! `cargo bench -p end-to-end --bench publish_batch` fails where a figure of docs/performance.md is missed. It needs the programs that `.ci/run` installs.

#![allow(clippy::unwrap_used, missing_docs)]
#![expect(clippy::print_stdout, reason = "a benchmark says what it has measured")]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use channel_servers::{
    Fault, Hold,
    prefix::{PrefixServer, UPLOAD},
};
use end_to_end::{Attested, COMMIT, PREFIX_KEY, Sigstore, Workspace, prefix_server, write_package};

const PACKAGES: usize = 500;
/// What others publish with other bytes while the batch begins.
const TAKEN: [usize; 3] = [123, 321, 499];
const LATENCY: Duration = Duration::from_millis(50);
/// One after another, each takes the same time: it is the difference between these two, and scaled.
const SAMPLES: [usize; 2] = [10, 50];
/// As many as are sent at the same time.
const FIRST: usize = 16;

#[tokio::main]
async fn main() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let workspace = Workspace::plain();
    let bench = Bench::new(&sigstore, &workspace).await;
    for latency in [Duration::ZERO, LATENCY] {
        let smooth = bench.smooth(latency, PACKAGES).await;
        let rough = bench.rough(latency).await;
        let ratio = rough.as_secs_f64() / smooth.as_secs_f64();
        println!("{PACKAGES} packages, {latency:?} latency: {smooth:.2?}");
        println!(
            "  one of 20 uploads fails: {rough:.2?}, {ratio:.2} times as long, at most 1.25 wanted"
        );
        assert!(ratio <= 1.25);
        if latency == LATENCY {
            let one_by_one = bench.one_by_one().await;
            let ratio = one_by_one.as_secs_f64() / smooth.as_secs_f64();
            println!(
                "  one after another: {one_by_one:.1?}, {ratio:.1} times as long, at least 8 wanted"
            );
            assert!(ratio >= 8.0);
        }
    }
}

struct Bench<'a> {
    workspace: &'a Workspace,
    server: PrefixServer,
    attested: Attested<'a>,
    theirs: [PathBuf; TAKEN.len()],
}

impl<'a> Bench<'a> {
    async fn new(sigstore: &'a Sigstore, workspace: &'a Workspace) -> Self {
        let server = prefix_server(sigstore, None).await;
        let package = |folder: &str, number: usize| {
            let name = format!("noarch/p{number:03}-1-0.conda");
            write_package(&workspace.beside(folder), &name, folder)
        };
        let channel = server.channel();
        let (attested, theirs) = tokio::task::block_in_place(|| {
            let ours = (0..PACKAGES).map(|number| package("ours", number));
            let attested = Attested::by(sigstore, workspace, ours.collect(), &channel);
            (attested, TAKEN.map(|number| package("theirs", number)))
        });
        Self {
            workspace,
            server,
            attested,
            theirs,
        }
    }

    /// How long so many packages take when nothing fails.
    async fn smooth(&self, latency: Duration, count: usize) -> Duration {
        self.prepare(latency, "");
        self.server.faults().always(UPLOAD, Fault::Delay(latency));
        let taken = self.publish(count, None).await;
        assert_eq!(self.server.packages().len(), count);
        taken
    }

    /// How long all packages take when uploads fail, and others publish meanwhile.
    async fn rough(&self, latency: Duration) -> Duration {
        self.prepare(latency, "");
        self.server.faults().every(UPLOAD, 20, Fault::Status(503));
        let hold = Arc::<Hold>::default();
        // Those that are sent at first: nothing is published before others have.
        let held = vec![Fault::Hold(Arc::clone(&hold)); FIRST];
        self.server.faults().next(UPLOAD, held);
        self.server.faults().always(UPLOAD, Fault::Delay(latency));
        let taken = self.publish(PACKAGES, Some(&hold)).await;
        assert_eq!(self.server.uploads().len(), PACKAGES - TAKEN.len());
        taken
    }

    /// How long all packages take, one after another.
    async fn one_by_one(&self) -> Duration {
        let mut taken = [Duration::ZERO; 2];
        for (taken, count) in taken.iter_mut().zip(SAMPLES) {
            self.prepare(LATENCY, "publish.concurrency = 1\n");
            self.server.faults().always(UPLOAD, Fault::Delay(LATENCY));
            *taken = self.publish(count, None).await;
        }
        let [few, many] = taken;
        let each = (many - few) / u32::try_from(SAMPLES[1] - SAMPLES[0]).unwrap();
        each * u32::try_from(PACKAGES).unwrap()
    }

    fn prepare(&self, latency: Duration, config: &str) {
        let config = format!("publish.channel-type = \"prefix\"\n{config}");
        self.workspace.config(&config);
        self.server.clear();
        self.server.faults().clear();
        self.server.faults().always("/", Fault::Delay(latency));
    }

    /// Publishes the first packages, and gives the time from the first upload on. Once that is held, others publish
    /// theirs.
    async fn publish(&self, count: usize, hold: Option<&Hold>) -> Duration {
        let channel = self.server.channel();
        let packages = &self.attested.packages()[..count];
        let mut command = self.attested.publishing(packages, &channel, &["--quiet"]);
        command.env("PREFIX_API_KEY", PREFIX_KEY);
        let before = self.server.attempts();
        let running = self.workspace.start_command(command);
        match hold {
            Some(hold) => {
                hold.reached().await;
                for path in &self.theirs {
                    self.server.publish(path).await;
                }
                hold.open();
            }
            None => {
                while self.server.attempts() == before {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        let began = Instant::now();
        let status = if hold.is_some() { 8 } else { 0 };
        tokio::task::block_in_place(|| running.wait().ends(status));
        began.elapsed()
    }
}
