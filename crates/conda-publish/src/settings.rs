//! What rattler's own files say of the way to channels.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rattler_config::{
    CommonConfig, ConfigBase, ConfigLayer, ConfigLocation, NoExtension,
    locations::{shared_system_config_path, shared_user_config_paths},
};
use rattler_networking::authentication_storage::StorageBackend as _;
use rattler_networking::authentication_storage::backends::{
    file::FileStorage, memory::MemoryStorage,
};
use rattler_networking::{Authentication, AuthenticationStorage};
use url::Url;

use crate::blocking::blocking;
use crate::credentials::Secret;
use crate::{Error, disk};

/// The settings that hold for every rattler-based tool on this machine.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Mirrors and proxies.
    pub(crate) config: CommonConfig,
    /// Credentials by host: `RATTLER_AUTH_FILE`, else the file that the configuration names; the keyring; rattler's
    /// own file; `.netrc`.
    pub(crate) credentials: AuthenticationStorage,
}

impl Settings {
    /// Reads the `config.toml` files that rattler-based tools share, the machine's and then the user's, which wins;
    /// and opens the stores of credentials.
    pub(crate) fn read() -> Result<Self, Error> {
        let paths = std::iter::once(shared_system_config_path()).chain(shared_user_config_paths());
        let locations = paths
            .filter(|path| !disk::is_missing(path))
            .map(|path| ConfigLocation {
                path,
                layer: ConfigLayer::Shared,
            });
        let config = ConfigBase::<NoExtension>::load_from_locations(locations)
            .map_err(|source| Error::RattlerConfig {
                source: Box::new(source),
            })?
            .common;
        let named = std::env::var_os("RATTLER_AUTH_FILE").map(PathBuf::from);
        if let Some(path) = &named {
            named_file(path)?;
        }
        let mut credentials = AuthenticationStorage::from_env_and_defaults().map_err(unreadable)?;
        if let (None, Some(path)) = (named, &config.authentication_override_file) {
            credentials.backends.insert(0, Arc::new(named_file(path)?));
        }
        Ok(Self {
            config,
            credentials,
        })
    }

    /// The same, with credentials that are looked for in this file first.
    pub(crate) async fn read_with(auth_file: Option<PathBuf>) -> Result<Self, Error> {
        blocking(move || {
            let mut settings = Self::read()?;
            if let Some(path) = auth_file {
                let file = named_file(&path)?;
                settings.credentials.backends.insert(0, Arc::new(file));
            }
            Ok(settings)
        })
        .await
    }

    /// Uses these credentials for the host of `url`, before any that are stored.
    pub(crate) fn prefer(
        &mut self,
        url: &Url,
        authentication: &Authentication,
    ) -> Result<(), Error> {
        let memory = MemoryStorage::new();
        let host = url.host_str().unwrap_or_default();
        memory.store(host, authentication).map_err(unreadable)?;
        self.credentials.backends.insert(0, Arc::new(memory));
        Ok(())
    }

    /// The same, but this token is what there is for exactly the host of this URL.
    pub(crate) fn with_bearer(&self, url: &Url, token: &Secret) -> Result<Self, Error> {
        let only = MemoryStorage::new();
        only.store(
            url.host_str().unwrap_or_default(),
            &Authentication::BearerToken(token.expose().to_owned()),
        )
        .map_err(unreadable)?;
        // Not a clone: it would remember what the others had for this host.
        let mut credentials = AuthenticationStorage::empty();
        credentials.add_backend(Arc::new(only));
        credentials
            .backends
            .extend(self.credentials.backends.iter().cloned());
        Ok(Self {
            config: self.config.clone(),
            credentials,
        })
    }
}

/// Reads a file of credentials that the user names. rattler takes a missing one for one without credentials.
fn named_file(path: &Path) -> Result<FileStorage, Error> {
    if disk::is_missing(path) {
        return Err(Error::Credentials {
            source: format!("{} is missing", path.display()).into(),
        });
    }
    FileStorage::from_path(path.to_owned()).map_err(unreadable)
}

fn unreadable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Credentials {
        source: Box::new(source),
    }
}
