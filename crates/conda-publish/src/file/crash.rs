//! Processes killed at every moment between two changes to the disk, and within the indexer.
//!
//! A test starts this very test binary again, as the process to be killed.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use cep27::Subdir;
use release_manifest::{Mode, PackageKey};
use tempfile::tempdir;

use super::{FileChannel, Kind};
use crate::fixture::{bundle, key, snapshot, upload};
use crate::repodata::Repodata;
use crate::{ChannelReader, Sidecar, Upload, disk};

const ROOT: &str = "CONDA_PUBLISH_TEST_ROOT";
const SOURCES: &str = "CONDA_PUBLISH_TEST_SOURCES";
const STORY: &str = "CONDA_PUBLISH_TEST_STORY";
const STEPS: &str = "CONDA_PUBLISH_TEST_STEPS";

/// Called before each change to the disk: the process whose number of steps is up ends like by `kill -9`.
pub(crate) fn step() {
    static LEFT: LazyLock<Option<AtomicUsize>> =
        LazyLock::new(|| Some(AtomicUsize::new(env::var(STEPS).ok()?.parse().unwrap())));
    if let Some(left) = &*LEFT
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .unwrap();
    }
}

/// What the process to be killed does, and what is to be so in the end.
#[derive(Debug, Clone, Copy)]
enum Story {
    /// A plan changes: one package rebuilt, one gone, one new.
    Mirror,
    /// A package gains an attestation, another is new.
    Target,
    /// A new folder becomes a channel.
    First,
    /// Many packages at once, for a long index.
    Many,
}

impl Story {
    fn kind(self) -> Kind {
        match self {
            Self::Mirror => Kind::Rehearsal,
            Self::Target | Self::First | Self::Many => Kind::Target(Mode::Live),
        }
    }

    fn before(self, sources: &Path) -> Vec<Upload> {
        match self {
            Self::Mirror => vec![
                upload(sources, "noarch/a-1-0.conda", "old"),
                upload(sources, "linux-64/gone-1-0.conda", "x"),
            ],
            Self::Target => vec![upload(sources, "noarch/a-1-0.conda", "same")],
            Self::First | Self::Many => Vec::new(),
        }
    }

    fn after(self, sources: &Path) -> Vec<Upload> {
        match self {
            Self::Mirror => vec![
                upload(sources, "noarch/a-1-0.conda", "new"),
                upload(sources, "noarch/b-1-0.conda", "x"),
            ],
            Self::Target => {
                let mut again = upload(sources, "noarch/a-1-0.conda", "same");
                again.bundles = vec![bundle(sources, "second")];
                vec![again, upload(sources, "linux-64/b-1-0.conda", "x")]
            }
            Self::First => vec![upload(sources, "linux-64/a-1-0.conda", "x")],
            Self::Many => (0..30)
                .map(|n| upload(sources, &format!("noarch/p{n}-1-0.conda"), "x"))
                .collect(),
        }
    }

    async fn run(self, root: &Path, uploads: &[Upload]) {
        let channel = FileChannel::open(root, self.kind()).unwrap();
        if self.kind() == Kind::Rehearsal {
            channel.retain(&packages(uploads)).unwrap();
        }
        for upload in uploads {
            channel.put(upload).await.unwrap();
        }
        channel.finish().await.unwrap();
    }

    fn start(self, root: &Path, sources: &Path, steps: Option<usize>) -> Child {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "file::crash::the_process_to_be_killed",
                "--ignored",
            ])
            .env(ROOT, root)
            .env(SOURCES, sources)
            .env(STORY, format!("{self:?}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(steps) = steps {
            command.env(STEPS, steps.to_string());
        }
        command.spawn().unwrap()
    }
}

#[tokio::test]
#[ignore = "is started by the tests here"]
async fn the_process_to_be_killed() {
    let folder = |name| PathBuf::from(env::var_os(name).unwrap());
    let story = match env::var(STORY).unwrap().as_str() {
        "Mirror" => Story::Mirror,
        "Target" => Story::Target,
        "First" => Story::First,
        "Many" => Story::Many,
        other => panic!("no story {other}"),
    };
    let sources = folder(SOURCES);
    story.run(&folder(ROOT), &story.after(&sources)).await;
}

#[tokio::test]
async fn a_mirror_survives_a_kill_at_any_step() {
    survives_a_kill_at_any_step(Story::Mirror).await;
}

#[tokio::test]
async fn a_target_survives_a_kill_at_any_step() {
    survives_a_kill_at_any_step(Story::Target).await;
}

#[tokio::test]
async fn a_first_run_survives_a_kill_at_any_step() {
    survives_a_kill_at_any_step(Story::First).await;
}

#[tokio::test]
async fn a_first_run_survives_a_kill_within_the_indexer() {
    let story = Story::Many;
    let sources = tempdir().unwrap();
    let uploads = story.after(sources.path());
    for moment in 0..8 {
        let root = tempdir().unwrap();
        let mut child = story.start(root.path(), sources.path(), None);
        let begun = root.path().join(".conda-release/indexing-noarch");
        let mut ended = None;
        // As long as the index is not begun; then a few looks more, so that each kill comes at another moment.
        let mut looks = 0;
        while ended.is_none() && looks <= moment * 20 {
            looks += u32::from(begun.exists());
            ended = child.try_wait().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        check_nothing_torn(root.path(), &uploads);
        check_order(root.path(), story);
        story.run(root.path(), &uploads).await;
        check_complete(root.path(), &uploads);
    }
}

#[tokio::test]
async fn processes_adding_attestations_at_once_lose_none() {
    let (sources, root) = (tempdir().unwrap(), tempdir().unwrap());
    let children: Vec<_> = (0..6)
        .map(|_| Story::Target.start(root.path(), sources.path(), None))
        .collect();
    // Meanwhile from here, each bundle from a process's view of its own.
    for n in 0..10 {
        let channel = FileChannel::open(root.path(), Story::Target.kind()).unwrap();
        let mut put = upload(sources.path(), "noarch/a-1-0.conda", "same");
        put.bundles = vec![bundle(sources.path(), &format!("{n}"))];
        channel.put(&put).await.unwrap();
        channel.finish().await.unwrap();
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let sidecar = ChannelReader::open(root.path())
        .unwrap()
        .sidecar(&key("noarch/a-1-0.conda"))
        .unwrap()
        .unwrap();
    assert_eq!(sidecar.bundles().len(), 11);
}

async fn survives_a_kill_at_any_step(story: Story) {
    let sources = tempdir().unwrap();
    let (before, after) = (story.before(sources.path()), story.after(sources.path()));
    let known: Vec<_> = before.iter().chain(&after).cloned().collect();
    let mut kills = 0;
    loop {
        let root = tempdir().unwrap();
        if !before.is_empty() {
            story.run(root.path(), &before).await;
        }
        let ended = story
            .start(root.path(), sources.path(), Some(kills + 1))
            .wait()
            .unwrap();
        if ended.success() {
            break;
        }
        assert!(was_killed(ended), "{ended}");
        kills += 1;
        check_nothing_torn(root.path(), &known);
        check_order(root.path(), story);
        story.run(root.path(), &after).await;
        check_complete(root.path(), &after);
        if matches!(story, Story::Target) {
            let sidecar = ChannelReader::open(root.path())
                .unwrap()
                .sidecar(&before[0].package)
                .unwrap()
                .unwrap();
            assert_eq!(
                sidecar.bundles().len(),
                2,
                "each attestation once, the first kept"
            );
        }
        // And then there is nothing left to do.
        let complete = snapshot(root.path());
        story.run(root.path(), &after).await;
        assert_eq!(snapshot(root.path()), complete);
    }
    assert!(kills > 15, "only {kills} steps were found");
}

fn was_killed(ended: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    ended.signal() == Some(9)
}

/// Whatever has a name is whole.
fn check_nothing_torn(root: &Path, known: &[Upload]) {
    for subdir in Subdir::ALL {
        let folder = root.join(subdir.as_str());
        if !folder.exists() {
            continue;
        }
        Repodata::read(&folder).unwrap();
        for file in super::index::files(&folder).unwrap() {
            let sha256 = disk::hash(&file.path).unwrap().unwrap();
            if super::index::owner(&file.name) == Some(&file.name) {
                let package = PackageKey {
                    subdir: *subdir,
                    file: file.name.parse().unwrap(),
                };
                assert!(
                    known
                        .iter()
                        .any(|upload| upload.package == package && upload.sha256 == sha256)
                );
            } else if file.name.contains(".sigs") {
                Sidecar::parse(&fs::read(&file.path).unwrap()).unwrap();
                assert!(file.name.ends_with(".sigs") || file.name.ends_with(&sha256.to_string()));
            }
        }
    }
}

/// Whatever a client learns of is there: CEP-50's order of publishing.
fn check_order(root: &Path, story: Story) {
    for path in snapshot(root).into_keys() {
        if let Some(package) = path.to_str().unwrap().strip_suffix(".sigs") {
            let sha256 = disk::hash(&path).unwrap().unwrap();
            assert!(super::folder::hashed_name(&path, sha256).exists());
            assert!(Path::new(package).exists() || story.kind() == Kind::Rehearsal);
        }
    }
    // A mirror forgets packages and replaces their bytes before its repodata can say so.
    if story.kind() != Kind::Rehearsal
        && let Ok(reader) = ChannelReader::open(root)
    {
        for listed in reader.packages() {
            let listed = listed.unwrap();
            let path = reader.path(&listed.package);
            assert_eq!(disk::hash(&path).unwrap(), listed.sha256);
            assert!(reader.sidecar(&listed.package).unwrap().is_some());
        }
    }
}

/// The channel offers these packages with these attestations, and nothing is left over.
fn check_complete(root: &Path, uploads: &[Upload]) {
    let reader = ChannelReader::open(root).unwrap();
    let listed: Vec<_> = reader.packages().map(Result::unwrap).collect();
    assert_eq!(
        listed
            .iter()
            .map(|listed| listed.package.clone())
            .collect::<BTreeSet<_>>(),
        packages(uploads)
    );
    for upload in uploads {
        let listed = listed
            .iter()
            .find(|listed| listed.package == upload.package)
            .unwrap();
        assert_eq!(listed.sha256, Some(upload.sha256));
        let path = reader.path(&listed.package);
        assert_eq!(disk::hash(&path).unwrap(), Some(upload.sha256));
        let sidecar = reader.sidecar(&upload.package).unwrap().unwrap();
        for bundle in &upload.bundles {
            let text = fs::read_to_string(&bundle.path).unwrap();
            assert!(sidecar.bundles().any(|there| there == text.trim()));
        }
    }
    let own: Vec<_> = snapshot(&root.join(".conda-release"))
        .into_keys()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(own, ["channel.json", "users.lock", "write.lock"]);
    assert!(
        snapshot(root)
            .into_keys()
            .all(|path| !path.to_str().unwrap().contains("/.tmp/"))
    );
}

fn packages(uploads: &[Upload]) -> BTreeSet<PackageKey> {
    uploads
        .iter()
        .map(|upload| upload.package.clone())
        .collect()
}
