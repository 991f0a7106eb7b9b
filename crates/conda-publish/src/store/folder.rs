//! A folder of attestations: `<sha256 of the package>/<sha256 of the bundle>.sigstore.json`.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cep27::Sha256;
use release_manifest::PackageKey;

use super::AttestationStore;
use crate::blocking::blocking;
use crate::disk::{self, Scratch};
use crate::sidecar::BundleText;
use crate::{Bundle, Error};

/// Each file's name is the hash of its bytes, so that nothing is ever there twice or changed.
pub(super) struct FolderStore {
    root: PathBuf,
}

impl FolderStore {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

#[async_trait]
impl AttestationStore for FolderStore {
    async fn preflight(&self) -> Result<(), Error> {
        let root = self.root.clone();
        blocking(move || {
            disk::create_folder(&root)?;
            // Gone again when it is dropped: what can be written is known now, not after the first upload.
            Scratch::new(root.clone())
                .write(b"", &root.join("preflight"))
                .map(drop)
        })
        .await
    }

    async fn put(
        &self,
        package: &PackageKey,
        sha256: Sha256,
        bundle: &Bundle,
    ) -> Result<(), Error> {
        let (root, package, bundle) = (self.root.clone(), package.clone(), bundle.clone());
        blocking(move || {
            let text = BundleText::read(&bundle, &package)?;
            write(&root, sha256, text.as_str().as_bytes())
        })
        .await
    }
}

fn write(root: &Path, package: Sha256, bytes: &[u8]) -> Result<(), Error> {
    let folder = root.join(package.to_string());
    let sha256 = disk::hash_of(bytes);
    let path = folder.join(format!("{sha256}.sigstore.json"));
    disk::create_folder(root)?;
    disk::create_folder(&folder)?;
    if disk::hash(&path)? == Some(sha256) {
        return Ok(());
    }
    Scratch::new(folder.clone())
        .write(bytes, &path)?
        .replace()?;
    disk::sync_folder(&folder)?;
    disk::sync_folder(root)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture::{bundle, bundle_text, key, snapshot};

    #[tokio::test]
    async fn an_attestation_is_stored_once_byte_for_byte_under_its_packages_digest() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let store = FolderStore::new(root.clone());
        store.preflight().await.unwrap();
        let package = key("noarch/foo-1-0.conda");
        let sha256 = disk::hash_of(b"package");
        let first = bundle(folder.path(), "first");
        let second = bundle(folder.path(), "second");
        for bundle in [&first, &second] {
            store.put(&package, sha256, bundle).await.unwrap();
        }
        let before = snapshot(&root);
        store.put(&package, sha256, &first).await.unwrap();
        assert_eq!(snapshot(&root), before, "nothing was written again");

        let expected: std::collections::BTreeSet<_> = ["first", "second"]
            .into_iter()
            .map(|says| {
                let hash = disk::hash_of(bundle_text(says).as_bytes());
                root.join(format!("{sha256}/{hash}.sigstore.json"))
            })
            .collect();
        assert_eq!(
            before
                .into_keys()
                .collect::<std::collections::BTreeSet<_>>(),
            expected
        );
    }

    #[tokio::test]
    async fn a_torn_attestation_is_made_whole_and_a_changed_bundle_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path().join("store"));
        let package = key("noarch/foo-1-0.conda");
        let sha256 = disk::hash_of(b"package");
        let says = bundle(folder.path(), "it");
        store.put(&package, sha256, &says).await.unwrap();
        let stored = snapshot(&store.root).into_keys().next().unwrap();
        fs::write(&stored, b"{").unwrap();
        store.put(&package, sha256, &says).await.unwrap();
        assert_eq!(fs::read_to_string(&stored).unwrap(), bundle_text("it"));

        fs::write(&says.path, b"{}").unwrap();
        let error = store.put(&package, sha256, &says).await.unwrap_err();
        assert!(matches!(error, Error::BundleChanged { .. }), "{error}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn nothing_is_stored_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let root = folder.path().join("store");
        fs::create_dir(&root).unwrap();
        let sha256 = disk::hash_of(b"package");
        std::os::unix::fs::symlink(&elsewhere, root.join(sha256.to_string())).unwrap();
        let says = bundle(folder.path(), "it");
        let store = FolderStore::new(root);
        let stored = store.put(&key("noarch/foo-1-0.conda"), sha256, &says).await;
        assert!(matches!(stored, Err(Error::Link { .. })), "{stored:?}");
        assert!(snapshot(&elsewhere).is_empty());
    }
}
