//! The HTTP client of a build: archives whose hash is known come from the store.

use std::collections::HashMap;

use async_trait::async_trait;
use cep27::Sha256;
use fs_err as fs;
use http::Extensions;
use rattler_build_networking::BaseClient;
use reqwest::{
    Body, Method, Request, Response,
    header::{CONTENT_DISPOSITION, CONTENT_LENGTH},
};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next, Result};
use tokio::sync::Mutex;
use url::Url;

use super::store::{Archive, SourceStore};

/// A client that answers requests for `archives` from `store`, and adds to it what is missing. It sends everything else as
/// `inner` does.
pub(super) fn with_store(
    inner: &BaseClient,
    store: SourceStore,
    archives: HashMap<Url, Sha256>,
) -> BaseClient {
    let inner = inner.get_client().client().clone();
    let client = ClientBuilder::new(reqwest::Client::new())
        .with(Stored {
            inner,
            store,
            archives: archives
                .into_iter()
                .map(|(url, sha256)| (url, (sha256, Mutex::new(()))))
                .collect(),
        })
        .build();
    BaseClient::new_from_clients(client.clone(), client, None)
}

struct Stored {
    inner: ClientWithMiddleware,
    store: SourceStore,
    /// The hash of each archive, and the lock that lets one job at a time download it.
    archives: HashMap<Url, (Sha256, Mutex<()>)>,
}

#[async_trait]
impl Middleware for Stored {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        _: Next<'_>,
    ) -> Result<Response> {
        let url = request.url().clone();
        let (expected, lock) = match self.archives.get(&url) {
            Some((expected, lock)) if request.method() == Method::GET => (*expected, lock),
            _ => {
                return self
                    .inner
                    .execute_with_extensions(request, extensions)
                    .await;
            }
        };
        let _one_download = lock.lock().await;
        let found = self.store.find(&url, expected).await;
        if let Some(archive) = found.map_err(Error::middleware)? {
            tracing::info!("Found the source in the store: sha256:{expected}");
            return answer(archive);
        }
        let response = self
            .inner
            .execute_with_extensions(request, extensions)
            .await?;
        if !response.status().is_success() {
            return Ok(response);
        }
        let received = self.store.receive(&url, response).await;
        let download = received.map_err(Error::middleware)?;
        let archive = match download.sha256 == expected {
            true => self.store.keep(&url, download),
            // rattler-build says that it is not what the recipe expects.
            false => download.into_archive(),
        };
        answer(archive.map_err(Error::middleware)?)
    }
}

/// An archive as its server would send it.
fn answer(archive: Archive) -> Result<Response> {
    let Archive { file, disposition } = archive;
    let length = file.metadata().map_err(Error::middleware)?.len();
    let mut response = http::Response::builder().header(CONTENT_LENGTH, length);
    if let Some(disposition) = disposition {
        response = response.header(CONTENT_DISPOSITION, disposition);
    }
    let (file, _): (std::fs::File, _) = fs::File::into_parts(file);
    let response = response.body(Body::from(tokio::fs::File::from_std(file)));
    Ok(response.map_err(Error::middleware)?.into())
}
