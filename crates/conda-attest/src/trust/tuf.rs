//! Trust material from a TUF repository, and what stands in for it.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use sigstore_trust_root::{
    SIGNING_CONFIG_TARGET, SigningConfig, SigstoreInstance, TRUSTED_ROOT_TARGET,
};
use sigstore_tuf::{StoreRepository, TrustedMetadataSet, Updater};
use tokio::task::spawn_blocking;
use url::Url;

use super::cache::{self, Cache};
use super::freshness::EMBEDDED_OF;
use super::transport::{Remote, unreachable_reason};
use super::{Freshness, Purpose, Trust, TrustOptions, list, read_capped, secure_url, unusable};
use crate::error::with_causes;
use crate::{Error, http};

#[cfg(test)]
mod tests;

/// A Sigstore instance that distributes its trust material by TUF.
pub(super) struct Instance {
    /// What it is called.
    pub(super) name: String,
    /// Its TUF repository.
    pub(super) url: Url,
    /// The TUF root metadata where trust in the repository begins.
    pub(super) root: Vec<u8>,
    /// What of it is part of this program.
    pub(super) embedded: Option<SigstoreInstance>,
    /// Whether somebody can sign with it, so that it has a signing configuration.
    pub(super) signs: bool,
}

/// What a repository distributes, verified.
struct Material {
    trusted_root: Vec<u8>,
    signing_config: Option<Vec<u8>>,
}

/// Why a repository gave nothing.
enum Failure {
    /// It could not be reached: nothing is known, and an older copy is the best there is.
    Unreachable(String),
    /// It answered, and wrongly: it may be an attacker, who must not be rewarded with an old copy.
    Refused(String),
    /// It was not even asked.
    Unasked(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Unasked(error)
    }
}

impl Instance {
    /// An instance that this program knows, with its first root metadata.
    pub(super) fn known(name: &str, instance: SigstoreInstance) -> Result<Self, Error> {
        Ok(Self {
            name: name.to_owned(),
            url: secure_url("TUF repository", instance.tuf_url())?,
            root: instance.tuf_root().to_owned(),
            embedded: Some(instance),
            signs: !matches!(instance, SigstoreInstance::GitHub),
        })
    }

    /// Somebody's own instance, with the root metadata they have from its owner.
    pub(super) fn custom(url: &Url, root: &std::path::Path) -> Result<Self, Error> {
        let is_plain = url.username().is_empty() && url.password().is_none();
        if !is_plain || url.query().is_some() || url.fragment().is_some() {
            return Err(Error::TrustUnavailable {
                trust: http::shown(url),
                reason: "the address of a TUF repository has no credentials, query or fragment"
                    .to_owned(),
            });
        }
        let bytes = read_capped(root)?;
        TrustedMetadataSet::from_root(&bytes)
            .map_err(|error| unusable(root, "TUF root", with_causes(&error)))?;
        Ok(Self {
            name: http::shown(url),
            url: secure_url("TUF repository", url.as_str())?,
            root: bytes,
            embedded: None,
            signs: true,
        })
    }

    /// Loads the trust material as it is at `now`, by the rules of [`Trust::load`].
    pub(super) async fn load(
        &self,
        options: &TrustOptions,
        now: Timestamp,
    ) -> Result<Trust, Error> {
        if options.purpose == Purpose::Sign && !self.signs {
            return Err(Error::NoSigningConfig {
                trust: self.name.clone(),
            });
        }
        if options.offline {
            let why = "the network is not to be used".to_owned();
            return match options.purpose {
                Purpose::Verify => self.at_hand(options, why).await,
                Purpose::Sign => Err(self.stale(why)),
            };
        }
        match self.refresh(options, now).await {
            Ok(trust) => Ok(trust),
            Err(Failure::Unasked(error)) => Err(error),
            Err(Failure::Refused(reason)) => Err(Error::TrustRefused {
                trust: self.name.clone(),
                url: http::shown(&self.url),
                reason,
            }),
            Err(Failure::Unreachable(reason)) => {
                let why = format!("{} cannot be reached ({reason})", http::shown(&self.url));
                match options.purpose {
                    Purpose::Verify => self.at_hand(options, why).await,
                    Purpose::Sign => Err(self.stale(why)),
                }
            }
        }
    }

    /// Asks the repository; what it says is kept for the days when it cannot be asked.
    async fn refresh(&self, options: &TrustOptions, now: Timestamp) -> Result<Trust, Failure> {
        let place = cache::place(options.cache.as_deref(), &self.url);
        let cache = match read(place.clone()).await {
            Ok(cache) => cache.unwrap_or_default(),
            Err(error) => {
                tracing::warn!("{}; it is made anew", with_causes(&error));
                Cache::default()
            }
        };
        let cache = Arc::new(cache);
        let remote = Remote::new(&self.url)?;
        let session = async {
            let mut updater = Updater::new(remote, &self.root)?.with_store(Arc::clone(&cache));
            self.session(&mut updater, now).await
        };
        let seconds = options.deadline.as_secs_f32();
        let material = tokio::time::timeout(options.deadline, session)
            .await
            .map_err(|_| format!("no answer, or too slow a one, within {seconds} seconds"))
            .map_err(Failure::Unreachable)?
            .map_err(|error| match unreachable_reason(&error) {
                Some(reason) => Failure::Unreachable(cep27::printable(&reason)),
                None => Failure::Refused(cep27::printable(&with_causes(&error))),
            })?;
        let trust = self
            .trust(&material, Freshness::Refreshed)
            .map_err(Failure::Refused)?;
        if let Some(place) = place {
            let written = spawn_blocking(move || cache.write(&place, now))
                .await
                .map_err(Error::Task)?;
            // A machine whose disk cannot be written to can still verify and sign.
            if let Err(error) = written {
                tracing::warn!("the trust material is not kept: {}", with_causes(&error));
            }
        }
        Ok(trust)
    }

    /// The copy of an earlier run, or that in this program.
    async fn at_hand(&self, options: &TrustOptions, why: String) -> Result<Trust, Error> {
        let place = cache::place(options.cache.as_deref(), &self.url);
        let cached = match read(place).await {
            Ok(Some(cache)) => self.cached(cache, &why).await,
            Ok(None) => Err("there is no copy from an earlier run".to_owned()),
            Err(error) => Err(with_causes(&error)),
        };
        let reason = match cached {
            Ok(trust) => return Ok(trust),
            Err(reason) => format!("{why}, and {reason}"),
        };
        let Some(instance) = self.embedded else {
            return Err(self.stale(reason));
        };
        let material = Material {
            trusted_root: instance.embedded_trusted_root_json().into(),
            signing_config: instance.embedded_signing_config_json().map(Into::into),
        };
        let freshness = Freshness::Embedded {
            of: EMBEDDED_OF,
            why: reason,
        };
        self.trust(&material, freshness)
            .map_err(|reason| self.stale(reason))
    }

    /// Verifies a copy as if it came from the network, but for the expiry of its metadata: that
    /// says when a repository should be asked again, and it cannot be.
    async fn cached(&self, cache: Cache, why: &str) -> Result<Trust, String> {
        let freshness = Freshness::Cached {
            refreshed: cache.refreshed(),
            why: why.to_owned(),
        };
        let cache = Arc::new(cache);
        let verified = async {
            let repository = StoreRepository::new(Arc::clone(&cache));
            let mut updater = Updater::new(repository, &self.root)?.with_store(cache);
            self.session(&mut updater, Timestamp::MIN).await
        };
        let unusable = |reason| format!("the copy from an earlier run is unusable: {reason}");
        let material = verified
            .await
            .map_err(|error| unusable(cep27::printable(&with_causes(&error))))?;
        self.trust(&material, freshness).map_err(unusable)
    }

    /// Both targets in one session.
    async fn session(
        &self,
        updater: &mut Updater,
        now: Timestamp,
    ) -> sigstore_tuf::Result<Material> {
        updater.refresh(now).await?;
        let trusted_root = updater.get_target(TRUSTED_ROOT_TARGET, now).await?;
        let signing_config = match updater.get_target(SIGNING_CONFIG_TARGET, now).await {
            Ok(bytes) => Some(bytes),
            // An instance may let its users verify only.
            Err(sigstore_tuf::Error::TargetNotFound(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(Material {
            trusted_root,
            signing_config,
        })
    }

    fn trust(&self, material: &Material, freshness: Freshness) -> Result<Trust, String> {
        let root = cep27::check_json(&material.trusted_root)
            .map_err(|violations| format!("{TRUSTED_ROOT_TARGET}: {}", list(&violations)))?;
        let signing = match &material.signing_config {
            Some(bytes) if self.signs => {
                let config = cep27::check_json(bytes).map_err(|violations| {
                    format!("{SIGNING_CONFIG_TARGET}: {}", list(&violations))
                })?;
                let config = SigningConfig::from_json(&config.to_string())
                    .map_err(|error| format!("{SIGNING_CONFIG_TARGET}: {}", with_causes(&error)))?;
                Some(config)
            }
            _ => None,
        };
        Trust::new(self.name.clone(), &root, signing, freshness)
            .map_err(|error| format!("{TRUSTED_ROOT_TARGET}: {}", with_causes(&*error)))
    }

    fn stale(&self, reason: String) -> Error {
        Error::TrustUnavailable {
            trust: self.name.clone(),
            reason,
        }
    }
}

async fn read(place: Option<PathBuf>) -> Result<Option<Cache>, Error> {
    match place {
        Some(place) => spawn_blocking(move || Cache::read(&place)).await?,
        None => Ok(None),
    }
}
