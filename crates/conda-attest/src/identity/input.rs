//! Tokens that somebody else put somewhere: a file, or the standard input.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::token::MAX_TOKEN;
use crate::{Error, IdentityToken, Provider};

/// Where the user says that a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenInput {
    /// In a file. It is read again when another token is needed, as a CI may have replaced it.
    File(PathBuf),
    /// On the standard input, to its end.
    Stdin,
}

/// A token file, and the last good token that was in it.
pub(crate) struct TokenFile {
    path: PathBuf,
    token: IdentityToken,
    /// A pipe gives what it has once.
    is_regular: bool,
}

impl TokenFile {
    pub(crate) async fn open(path: PathBuf) -> Result<Self, Error> {
        let (token, is_regular) = read_file(path.clone()).await?;
        Ok(Self {
            path,
            token,
            is_regular,
        })
    }

    pub(crate) fn held(&self) -> &IdentityToken {
        &self.token
    }

    /// What the file has now, or what it had when that is still the better one.
    pub(crate) async fn token(&self) -> Result<IdentityToken, Error> {
        if !self.is_regular {
            return still_valid(&self.token, None);
        }
        match read_file(self.path.clone()).await {
            Ok((fresh, _)) if fresh.expires_at() > self.token.expires_at() => {
                still_valid(&fresh, None)
            }
            Ok(_) => still_valid(&self.token, None),
            Err(error) => still_valid(&self.token, Some(error)),
        }
    }
}

/// The token, unless it has ended: then `error` tells why there is no newer one.
pub(crate) fn still_valid(
    token: &IdentityToken,
    error: Option<Error>,
) -> Result<IdentityToken, Error> {
    if token.is_expired() {
        return Err(Error::CannotRenew {
            provider: token.provider(),
            expired_at: token.expires_at(),
            source: error.map(Box::new),
        });
    }
    Ok(token.clone())
}

/// Reads the token on the standard input.
pub(crate) async fn read_stdin() -> Result<IdentityToken, Error> {
    spawn_blocking(|| {
        read(
            std::io::stdin(),
            Path::new("standard input"),
            Provider::Stdin,
        )
    })
    .await?
}

async fn read_file(path: PathBuf) -> Result<(IdentityToken, bool), Error> {
    spawn_blocking(move || {
        let file = File::open(&path).map_err(|error| match looks_like_a_token(&path) {
            // Other clients take the token itself there. An error must not repeat it.
            true => Error::Token {
                provider: Provider::File,
                reason: "expected the name of a file that has the token, found the token"
                    .to_owned(),
            },
            false => Error::io("read", &path)(error),
        })?;
        let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        Ok((read(file, &path, Provider::File)?, is_regular))
    })
    .await?
}

/// Whether a path is no path: a token begins with the base64 of `{"`.
fn looks_like_a_token(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.trim_start().starts_with("eyJ") && text.contains('.')
}

fn read(from: impl Read, path: &Path, provider: Provider) -> Result<IdentityToken, Error> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a token of the longest size from a longer one.
    from.take(
        u64::try_from(MAX_TOKEN)
            .unwrap_or(u64::MAX)
            .saturating_add(1),
    )
    .read_to_end(&mut bytes)
    .map_err(Error::io("read", path))?;
    let text = String::from_utf8(bytes).map_err(|_| Error::Token {
        provider,
        reason: "it is no text in ASCII or UTF-8".to_owned(),
    })?;
    IdentityToken::from_jwt(&text, provider)
}
