//! Forms that a server has signed for uploading a file to a storage of its choice.

use futures::TryStreamExt as _;
use rattler_digest::digest::Digest as _;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use crate::package_server::Site;
use crate::remote::{check_step, is_loopback};
use crate::server::Server;
use crate::source::{Source, Watch};
use crate::{Error, Reporter, Upload};

/// A file's place in a storage, and the fields that let one upload it there.
///
/// The storage is another host than the server: nothing that the server was given goes there.
#[derive(Debug)]
pub(crate) struct SignedForm<'a> {
    storage: Server,
    url: Url,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> SignedForm<'a> {
    /// Takes what a server answered for `what`.
    ///
    /// # Errors
    /// The form leads to where no package may go, or is none.
    pub(crate) fn new(
        site: &Site,
        what: &str,
        url: &str,
        fields: &'a Map<String, Value>,
    ) -> Result<Self, Error> {
        let Site {
            server,
            url: api,
            settings,
            patience,
            ..
        } = site;
        let url = Url::parse(url)
            .map_err(|error| server.unexpected(what, format!("the storage is no URL: {error}")))?;
        check_step(&url, is_loopback(api))
            .map_err(|reason| server.unexpected(what, format!("the storage's URL {reason}")))?;
        let fields = fields.iter().map(|(name, value)| match value {
            Value::String(value) => Ok((name.as_str(), value.as_str())),
            _ => Err(server.unexpected(
                what,
                format!("the form's field {} is no text", cep27::printable(name)),
            )),
        });
        Ok(Self {
            storage: Server::new(&url, patience.clone(), settings)?,
            fields: fields.collect::<Result<_, _>>()?,
            url,
        })
    }

    /// Adds a field.
    pub(crate) fn with(mut self, name: &'a str, value: &'a str) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Uploads the package as the form's last part, `file`.
    pub(crate) async fn send(
        &self,
        upload: &Upload,
        source: &Source,
        reporter: &dyn Reporter,
    ) -> Result<(), Error> {
        let request = async |watch| {
            let body = Body::wrap_stream(source.bytes(watch).await?);
            let file = upload.package.file.as_str().to_owned();
            let part = Part::stream_with_length(body, source.size()).file_name(file);
            let form = self.fields.iter().fold(Form::new(), |form, (name, value)| {
                form.text((*name).to_owned(), (*value).to_owned())
            });
            Ok(self
                .storage
                .http()
                .post(self.url.clone())
                .multipart(form.part("file", part)))
        };
        let answer = self.storage.send(upload, source, reporter, request).await?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(()),
            _ => {
                let help = match answer.status.as_u16() {
                    400 => {
                        "run the same command again: the bytes arrived otherwise than they were announced"
                    }
                    403 => {
                        "run the same command again: what the server signed for this upload has ended"
                    }
                    413 | 507 => "the storage takes no file of this size, or has no room left",
                    _ => "run the same command again",
                };
                let what = upload.package.to_string();
                Err(self.storage.refused(&what, &answer, help))
            }
        }
    }
}

/// The MD5 of a package, which storages compare, and no more than a checksum; read with its attested hash.
pub(crate) async fn md5(source: &Source) -> Result<[u8; 16], Error> {
    let mut bytes = std::pin::pin!(source.bytes(Watch::new(source.size())).await?);
    let mut hasher = rattler_digest::Md5::new();
    while let Some(chunk) = bytes
        .try_next()
        .await
        .map_err(|fault| source.error(&fault))?
    {
        hasher.update(&chunk);
    }
    Ok(hasher.finalize().into())
}
