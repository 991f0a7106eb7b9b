//! Where a bucket is, and who we are to it.

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    ConfigBag, Credentials, Intercept, ProvideCredentials as _, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, SharedCredentialsProvider,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::SdkBody;
use aws_sdk_s3::{Client, error::BoxError};
use http_body_util::Limited;
use rattler_config::config::s3::{S3AddressingStyle, S3Options};
use rattler_networking::Authentication;
use url::Url;

use crate::error::with_causes;
use crate::remote::is_loopback;
use crate::settings::Settings;
use crate::{Error, Patience, credentials};

/// Where AWS tools look for credentials first: for the name of a key, and for the key.
pub(crate) const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
pub(crate) const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";

/// What Amazon itself is called in messages.
const AMAZON: &str = "Amazon S3";

/// What compatible servers take where they have no regions.
const DEFAULT_REGION: &str = "us-east-1";

/// How a bucket is reached.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// The server; Amazon's own where there is none.
    pub(super) endpoint: Option<Url>,
    pub(super) region: Option<String>,
    /// Whether the bucket is in the path of URLs, or else in their host.
    pub(super) path_style: bool,
    pub(super) credentials: Option<SharedCredentialsProvider>,
}

/// A connection to the server that has the bucket.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    /// The same for objects, whose bytes are taken as they come.
    pub(super) objects: Client,
    /// The server, as it is named in messages.
    pub(super) server: String,
    credentials: Option<SharedCredentialsProvider>,
}

impl Access {
    /// How rattler and the AWS tools would reach this bucket.
    ///
    /// Credentials that are stored for it come first, then those that AWS tools find. The same for its server:
    /// rattler's `s3-options`, then `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` and the profile's.
    pub(super) async fn find(channel: &Url, settings: &Settings) -> Result<Self, Error> {
        let bucket = channel.host_str().unwrap_or_default();
        let stored = match credentials::stored(settings, channel).await? {
            None => None,
            Some(Authentication::S3Credentials {
                access_key_id,
                secret_access_key,
                session_token,
            }) => Some(SharedCredentialsProvider::new(Credentials::new(
                access_key_id,
                secret_access_key,
                session_token,
                None,
                "rattler",
            ))),
            Some(other) => {
                return Err(Error::NoCredentials {
                    server: channel.to_string(),
                    reason: format!("what is stored for it is a {} login", other.method()),
                });
            }
        };
        let aws = aws_config::load_from_env().await;
        let credentials = stored.or_else(|| aws.credentials_provider());
        if let Some(S3Options {
            endpoint_url,
            region,
            addressing_style,
        }) = settings.config.s3_options.0.get(bucket)
        {
            return Ok(Self {
                endpoint: Some(endpoint_url.clone()),
                region: Some(region.clone()),
                path_style: *addressing_style == S3AddressingStyle::Path,
                credentials,
            });
        }
        let endpoint = std::env::var("AWS_ENDPOINT_URL_S3").ok();
        let endpoint = endpoint
            .filter(|endpoint| !endpoint.is_empty())
            .or_else(|| aws.endpoint_url().map(str::to_owned));
        let endpoint = endpoint.map(|endpoint| {
            Url::parse(&endpoint).map_err(|error| Error::ChannelUrl {
                reason: format!("the endpoint of S3 is not a URL: {error}"),
            })
        });
        let endpoint = endpoint.transpose()?;
        Ok(Self {
            // Every server knows this style; hardly one that isn't Amazon's has a host name for each bucket.
            path_style: endpoint.is_some(),
            endpoint,
            region: aws.region().map(ToString::to_string),
            credentials,
        })
    }
}

impl Connection {
    /// Nothing is asked yet.
    pub(super) fn new(access: Access, patience: &Patience) -> Result<Self, Error> {
        let server = match &access.endpoint {
            None => AMAZON.to_owned(),
            Some(url) => {
                let host = url.host_str().unwrap_or_default();
                let port = url.port().map(|port| format!(":{port}"));
                cep27::printable(&format!("{host}{}", port.unwrap_or_default()))
            }
        };
        if let Some(url) = &access.endpoint
            && !is_safe(url)
        {
            return Err(Error::Unsupported {
                channel: server,
                reason: PLAIN_HTTP,
            });
        }
        let mut config = aws_sdk_s3::Config::builder()
            .region(Region::new(
                access.region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            ))
            .force_path_style(access.path_style)
            // Whatever fails in passing is tried again by us, who can tell the user.
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(patience.connect)
                    .build(),
            )
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled()
                    .grace_period(patience.idle)
                    .build(),
            )
            // What is sent is signed with its hash; not every compatible server knows further checksums.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .interceptor(NotPlain);
        if let Some(url) = access.endpoint {
            config = config.endpoint_url(url.as_str().trim_end_matches('/'));
        }
        if let Some(credentials) = &access.credentials {
            config = config.credentials_provider(credentials.clone());
        }
        let limited = |objects| {
            let limit = Limit { objects };
            Client::from_conf(config.clone().interceptor(limit).build())
        };
        Ok(Self {
            client: limited(false),
            objects: limited(true),
            server,
            credentials: access.credentials,
        })
    }

    /// Makes sure that there are credentials; whether they are good is for the server to say.
    pub(super) async fn check_credentials(&self, patience: &Patience) -> Result<(), Error> {
        let sought = format!(
            "looked in rattler's stores and where AWS tools look: {KEY_ID} and {SECRET_KEY}, AWS_PROFILE, ~/.aws, web \
             identity, instance roles"
        );
        let missing = |reason: String| Error::NoCredentials {
            server: self.server.clone(),
            reason,
        };
        let Some(provider) = &self.credentials else {
            return Err(missing(sought));
        };
        match tokio::time::timeout(patience.answer, provider.provide_credentials()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let why = cep27::printable(&with_causes(&error));
                Err(missing(format!("{why} ({sought})")))
            }
            Err(_) => Err(missing(format!("they take too long ({sought})"))),
        }
    }
}

/// How much of an answer is read, in bytes: a list of a thousand objects with the longest names is less.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// Cuts answers off that get longer than any of S3's: the SDK reads them whole before it looks at them.
#[derive(Debug)]
struct Limit {
    /// Not what is answered well: that is the object.
    objects: bool,
}

impl Intercept for Limit {
    fn name(&self) -> &'static str {
        "Limit"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if !(self.objects && response.status().is_success()) {
            let body = Limited::new(response.take_body(), ANSWER_LIMIT);
            *response.body_mut() = SdkBody::from_body_1_x(body);
        }
        Ok(())
    }
}

const PLAIN_HTTP: &str =
    "is not https: credentials and packages go over plain http to this machine only";

/// Whether requests with credentials may go there.
fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// Stops a request on its way to where none may go, wherever its URL came from.
#[derive(Debug)]
struct NotPlain;

impl Intercept for NotPlain {
    fn name(&self) -> &'static str {
        "NotPlain"
    }

    fn read_before_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match Url::parse(context.request().uri()) {
            Ok(url) if is_safe(&url) => Ok(()),
            _ => Err(format!("the endpoint {PLAIN_HTTP}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        for (endpoint, expected) in [
            ("https://s3.example.com", true),
            ("http://127.0.0.1:7070", true),
            ("http://localhost:7070", true),
            ("http://s3.example.com", false),
            ("http://10.0.0.1", false),
            ("ftp://127.0.0.1", false),
        ] {
            let access = Access {
                endpoint: Some(endpoint.parse().unwrap()),
                ..Access::default()
            };
            let connection = Connection::new(access, &Patience::default());
            assert_eq!(connection.is_ok(), expected, "{endpoint}");
        }
    }
}
