//! What a rehearsal leaves behind: whether it is sound, and what changed since.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use fs_err as fs;
use release_manifest::{Digest, Package, Progress};
use serde_json::Value;

use crate::{process::Output, workspace::Workspace};

/// A file at one moment: replaced, rewritten or touched, it is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    inode: u64,
    modified: std::time::SystemTime,
    content: Digest,
}

impl Workspace {
    /// Every file of the rehearsal, by its path below its folder.
    pub fn footprints(&self) -> BTreeMap<PathBuf, Footprint> {
        let root = self.rehearsal("");
        let mut found = BTreeMap::new();
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                if metadata.is_dir() {
                    open.push(path);
                } else {
                    let footprint = Footprint {
                        inode: inode(&metadata),
                        modified: metadata.modified().unwrap(),
                        content: Digest::of(&fs::read(&path).unwrap()),
                    };
                    found.insert(path.strip_prefix(&root).unwrap().to_owned(), footprint);
                }
            }
        }
        found
    }

    /// The package of this name in the manifest.
    #[track_caller]
    pub fn recorded(&self, name: &str) -> Package {
        let manifest = self.manifest();
        let mut packages = manifest.packages().iter();
        packages
            .find(|package| package.file.name() == name)
            .unwrap_or_else(|| panic!("no package `{name}` in the manifest"))
            .clone()
    }

    /// The file of a package in the local channel.
    #[track_caller]
    pub fn built(&self, name: &str) -> PathBuf {
        self.recorded(name).key().under(&self.rehearsal("packages"))
    }

    /// The file of a package in the rehearsal's channel.
    #[track_caller]
    pub fn published(&self, name: &str) -> PathBuf {
        self.recorded(name).key().under(&self.rehearsal("channel"))
    }

    /// Changes the manifest as somebody with an editor would.
    pub fn forge(&self, change: impl FnOnce(&mut Value)) {
        let file = self.rehearsal("release-manifest.json");
        let mut manifest = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        change(&mut manifest);
        fs::write(file, serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
    }

    /// Verifies the rehearsal's channel, as a stranger would with its trusted root.
    pub fn verify_channel(&self) -> Output {
        self.run([
            "verify",
            self.rehearsal("channel").to_str().unwrap(),
            "--trust",
            "sandbox",
            "--identity",
            "https://sandbox.conda-release.invalid/rehearsal",
            "--issuer",
            "https://sandbox.conda-release.invalid",
        ])
    }

    /// Asserts that the rehearsal is complete and that nothing in it contradicts anything else: every package
    /// is published and attested once, the channel has exactly the plan's packages, each with the recorded
    /// bytes and both of its sidecars, and a verifier accepts all of them.
    #[track_caller]
    pub fn assert_sound(&self) {
        let manifest = self.manifest();
        let planned: BTreeSet<_> = self.plan().packages.iter().map(|p| p.key()).collect();
        let recorded: BTreeSet<_> = manifest.packages().iter().map(Package::key).collect();
        assert_eq!(recorded, planned, "the manifest is of the plan");
        assert!(self.journal().is_empty(), "the manifest says it all");

        let mut entries = BTreeSet::new();
        let mut expected =
            BTreeSet::from(["repodata.json".to_owned(), "repodata.json.zst".to_owned()]);
        let repodata = self.repodata("noarch");
        for package in manifest.packages() {
            let key = package.key();
            assert_eq!(package.progress, Progress::Published, "{key}");
            assert!(
                package.error.is_none() && package.blocked_by.is_empty(),
                "{key}"
            );
            let attestation = package.attestation.as_ref().unwrap();
            assert!(
                entries.insert(attestation.log_index.unwrap()),
                "{key} shares a log entry"
            );

            let sha256 = package.sha256.unwrap().to_string();
            for folder in ["packages", "channel"] {
                assert_eq!(
                    hash(&key.under(&self.rehearsal(folder))),
                    sha256,
                    "{key} in {folder}"
                );
            }
            let provenance = attestation.provenance.as_ref();
            let bundles: Vec<_> = [&attestation.bundle]
                .into_iter()
                .chain(provenance.map(|provenance| &provenance.bundle))
                .map(|bundle| fs::read(bundle.under(&self.rehearsal(""))).unwrap())
                .collect();
            let bundles: Vec<_> = bundles.iter().map(|bundle| bundle.trim_ascii()).collect();
            let sidecar = package.published.as_ref().unwrap().sidecar_sha256.unwrap();
            let name = package.file.as_str();
            let names = [format!("{name}.sigs"), format!("{name}.sigs.{sidecar}")];
            for name in &names {
                let file = self.rehearsal("channel/noarch").join(name);
                assert_eq!(hash(&file), sidecar.to_string(), "{name}");
                let text = fs::read(file).unwrap();
                assert_eq!(
                    text,
                    [b"[", &bundles.join(&b","[..])[..], b"]"].concat(),
                    "{name}"
                );
            }
            let record = &repodata["packages.conda"][name];
            assert_eq!(record["sha256"], sha256, "{key} in repodata");
            assert_eq!(
                record["attestations_sha256"],
                sidecar.to_string(),
                "{key} in repodata"
            );
            expected.insert(name.to_owned());
            expected.extend(names);
        }
        let records = repodata["packages.conda"].as_object().unwrap();
        assert_eq!(
            records.len(),
            recorded.len(),
            "repodata lists the plan's packages"
        );
        let found = self.files(format!("{}/channel/noarch", crate::REHEARSAL));
        assert_eq!(found, Vec::from_iter(expected), "the channel's files");
        let count = recorded.len();
        let verified = self.verify_channel().ends(0);
        assert!(
            verified.mentions(&format!("{count} of {count} verified"))
                || verified
                    .stdout
                    .contains(&format!("{count} of {count} verified")),
            "{verified}"
        );
    }

    /// The text of a file that a package installs.
    #[track_caller]
    pub fn content(&self, package: &str, path: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        rattler_package_streaming::fs::extract(&self.built(package), folder.path()).unwrap();
        fs::read_to_string(folder.path().join(path)).unwrap()
    }

    /// The processes at work in the workspace's folder, with their ids and command lines.
    #[cfg(target_os = "linux")]
    pub fn processes(&self) -> BTreeMap<u32, String> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // A process that ends meanwhile, or is dead, has neither.
            let is_here = std::fs::read_link(entry.path().join("cwd"))
                .is_ok_and(|folder| folder.starts_with(self.root()));
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if is_here {
                found.insert(pid, String::from_utf8_lossy(&command).replace('\0', " "));
            }
        }
        found
    }
}

/// The SHA-256 of a regular file, in hexadecimal digits.
#[track_caller]
fn hash(file: &Path) -> String {
    assert!(
        fs::symlink_metadata(file).unwrap().is_file(),
        "{} is a regular file",
        file.display()
    );
    let digest = Digest::of(&fs::read(file).unwrap()).to_string();
    digest.trim_start_matches("sha256:").to_owned()
}

#[cfg(unix)]
fn inode(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> u64 {
    0
}
