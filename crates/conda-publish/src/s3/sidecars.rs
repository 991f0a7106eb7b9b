//! The attestations of a package in a bucket: read, added to and written under a condition, until nobody else wrote
//! meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use cep27::Sha256;
use release_manifest::PackageKey;

use super::bucket::{Bucket, Condition, Content, Object};
use crate::retry::Retries;
use crate::sidecar::{BundleText, SIDECAR_LIMIT, Sidecar, hashed_name};
use crate::{Error, Patience, disk};

const JSON: &str = "application/json";

/// So often may others be quicker: each time is one of theirs that went through.
const ROUNDS: u32 = 100;

/// A package's sidecar as it was read, and the condition under which another takes its place.
#[derive(Debug, Default)]
pub(super) struct Current {
    pub(super) sidecar: Option<Sidecar>,
    etag: Option<String>,
}

impl Current {
    /// The sidecar with further bundles, if that is not too large.
    pub(super) fn with(
        &self,
        package: &PackageKey,
        bundles: &[BundleText],
    ) -> Result<Option<Sidecar>, Error> {
        let sidecar = Sidecar::with(self.sidecar.clone(), bundles.to_vec());
        let size = sidecar
            .as_ref()
            .map_or(0, |sidecar| sidecar.as_bytes().len() as u64);
        match size > SIDECAR_LIMIT {
            true => Err(Error::SidecarFull {
                package: Box::new(package.clone()),
                size,
            }),
            false => Ok(sidecar),
        }
    }
}

impl Bucket {
    /// The sidecar that a package has.
    pub(super) async fn current(&self, package: &PackageKey) -> Result<Current, Error> {
        let mutable = mutable_key(package);
        let mut before: Option<Object> = None;
        for _ in 0..ROUNDS {
            let Some(object) = self.get(&mutable, SIDECAR_LIMIT).await? else {
                return Ok(Current::default());
            };
            // Gateways may take an object's bytes and its tag one after the other, and somebody else write between:
            // with the tag of the new one, the old bytes would take its place. Twice the same is no such thing.
            match before {
                Some(before) if before.etag == object.etag && before.bytes == object.bytes => {
                    return Ok(Current {
                        sidecar: Some(self.parse(&mutable, &object)?),
                        etag: Some(object.etag),
                    });
                }
                _ => before = Some(object),
            }
        }
        Err(self.unexpected(&mutable, "it is another one each time"))
    }

    /// Whether a package has a sidecar.
    pub(super) async fn has_sidecar(&self, package: &PackageKey) -> Result<bool, Error> {
        Ok(self.head(&mutable_key(package)).await?.is_some())
    }

    /// Adds bundles to the sidecar of a package, which was `current` a moment ago, and gives the hash of what it is
    /// then; `None` where it has none.
    ///
    /// The hashed sidecar is written first (CEP-50).
    pub(super) async fn attest(
        &self,
        package: &PackageKey,
        bundles: &[BundleText],
        mut current: Current,
    ) -> Result<Option<Sha256>, Error> {
        let mutable = mutable_key(package);
        let patience = Patience {
            retries: ROUNDS,
            ..self.patience.clone()
        };
        let mut rounds = Retries::new(&patience);
        loop {
            let Some(sidecar) = current.with(package, bundles)? else {
                return Ok(None);
            };
            self.keep(package, &sidecar).await?;
            if current.sidecar.as_ref() == Some(&sidecar) {
                return Ok(Some(sidecar.sha256()));
            }
            let condition = current.etag.map_or(Condition::Absent, Condition::Is);
            let content = Content {
                no_cache: true,
                ..content(&sidecar)
            };
            if self.put(&mutable, &content, &condition).await?.is_some() {
                // Looked at again: what was added is there, or is added to what somebody else made of it.
                current = self.current(package).await?;
                let kept = current.with(package, bundles)?;
                if let Some(there) = current
                    .sidecar
                    .as_ref()
                    .filter(|it| Some(*it) == kept.as_ref())
                {
                    return Ok(Some(there.sha256()));
                }
                continue;
            }
            let Some(delay) = rounds.delay(Duration::ZERO) else {
                return Err(Error::NotSent {
                    server: self.connection.server.clone(),
                    what: mutable,
                    attempts: rounds.attempts(),
                    reason: "others keep writing it".to_owned(),
                });
            };
            // Who loses has only to let the other pass.
            tokio::time::sleep(delay.min(self.patience.first_delay)).await;
            current = self.current(package).await?;
        }
    }

    /// Adds again to the sidecar of a package what it had as `given`, if it is not in it any more; whether it was not.
    ///
    /// A gateway may compare an object's tag and replace the object one after the other, so that of two who write at the
    /// same time both are told that they did, and only one has.
    pub(super) async fn restore(&self, package: &PackageKey, given: Sha256) -> Result<bool, Error> {
        let hashed = hashed_key(package, given);
        let Some(object) = self.get(&hashed, SIDECAR_LIMIT).await? else {
            return Ok(false);
        };
        let bundles = self.parse(&hashed, &object)?.into_bundles();
        let current = self.current(package).await?;
        if current.with(package, &bundles)? == current.sidecar {
            return Ok(false);
        }
        self.attest(package, &bundles, current).await?;
        Ok(true)
    }

    /// Makes sure that a sidecar is there under its hash.
    pub(super) async fn keep(&self, package: &PackageKey, sidecar: &Sidecar) -> Result<(), Error> {
        let hashed = hashed_key(package, sidecar.sha256());
        let written = self
            .put(&hashed, &content(sidecar), &Condition::Absent)
            .await?;
        if written.is_some() {
            return Ok(());
        }
        let there = self.get(&hashed, SIDECAR_LIMIT).await?;
        match there.map(|object| disk::hash_of(&object.bytes)) {
            Some(found) if found == sidecar.sha256() => Ok(()),
            Some(found) => Err(Error::Sidecar {
                path: PathBuf::from(self.url(&hashed)),
                reason: format!("its content has the sha256 {found}"),
            }),
            None => Err(self.unexpected(&hashed, "it is there and it isn't")),
        }
    }

    fn parse(&self, key: &str, object: &Object) -> Result<Sidecar, Error> {
        Sidecar::parse(&object.bytes).map_err(|reason| Error::Sidecar {
            path: PathBuf::from(self.url(key)),
            reason,
        })
    }
}

/// The name of the sidecar that grows.
pub(super) fn mutable_key(package: &PackageKey) -> String {
    format!("{package}.sigs")
}

/// The name of a sidecar whose bytes never change.
pub(super) fn hashed_key(package: &PackageKey, sha256: Sha256) -> String {
    format!("{}/{}", package.subdir, hashed_name(package, sha256))
}

fn content(sidecar: &Sidecar) -> Content {
    Content {
        bytes: sidecar.as_bytes().to_vec().into(),
        content_type: JSON,
        ..Content::default()
    }
}
