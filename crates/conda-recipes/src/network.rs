//! The way to channels: what rattler's own files say of credentials and mirrors.

use std::{collections::HashMap, path::PathBuf};

use rattler_build_core::tool_configuration::reqwest_client_from_auth_storage;
use rattler_config::{
    CommonConfig, ConfigBase, ConfigLayer, ConfigLocation, NoExtension,
    locations::{shared_system_config_path, shared_user_config_paths},
};
use rattler_networking::mirror_middleware::Mirror;
use url::Url;

use crate::{Error, is_missing};

/// The client for channels, with the credentials and mirrors that hold for every rattler-based tool on this machine.
///
/// # Errors
/// rattler's `config.toml` or its credentials cannot be read.
pub(crate) fn client() -> Result<rattler_build_networking::BaseClient, Error> {
    let config = config()?;
    // The environment names a file for this run; the configuration, for every one.
    let named = std::env::var_os("RATTLER_AUTH_FILE").map(PathBuf::from);
    let credentials = match named {
        Some(_) => None,
        None => config.authentication_override_file.clone(),
    };
    // rattler takes a missing file for one without credentials.
    if let Some(file) = named
        .as_ref()
        .or(credentials.as_ref())
        .filter(|it| is_missing(it))
    {
        return Err(Error::Credentials {
            source: format!("{} is missing", file.display()).into(),
        });
    }
    let mirrors = config
        .mirrors
        .iter()
        .map(|(url, mirrors)| (folder(url), mirrors.iter().map(mirror).collect()))
        .collect::<HashMap<_, _>>();
    reqwest_client_from_auth_storage(credentials, mirrors, None).map_err(|source| {
        Error::Credentials {
            source: Box::new(source),
        }
    })
}

/// The `config.toml` files that rattler-based tools share: the machine's, then the user's, which wins.
fn config() -> Result<CommonConfig, Error> {
    let paths = std::iter::once(shared_system_config_path()).chain(shared_user_config_paths());
    let locations = paths
        .filter(|path| !is_missing(path))
        .map(|path| ConfigLocation {
            path,
            layer: ConfigLayer::Shared,
        });
    let loaded = ConfigBase::<NoExtension>::load_from_locations(locations);
    loaded
        .map(|config| config.common)
        .map_err(|source| Error::RattlerConfig {
            source: Box::new(source),
        })
}

fn mirror(url: &Url) -> Mirror {
    Mirror {
        url: folder(url),
        no_zstd: false,
        no_bz2: false,
        max_failures: None,
    }
}

/// A URL that others are joined to: without the slash at its end, they would replace its last part.
fn folder(url: &Url) -> Url {
    let mut url = url.clone();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}
