//! What goes wrong between us and a bucket's server, and what it means.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStreamError;
use reqwest::StatusCode;
use url::Url;

use super::bucket::Bucket;
use crate::Error;
use crate::error::with_causes;
use crate::retry::is_transient;

/// Why one attempt at a request failed.
#[derive(Debug)]
pub(super) enum Miss {
    /// It may succeed later.
    Passing {
        reason: String,
        retry_after: Duration,
    },
    /// The server answered that it won't.
    Final(Failure),
    /// It never left.
    Unsent(String),
}

/// What a server answers instead of doing what it was asked.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: u16,
    /// S3's name for it; empty where it gives none, as for every `HEAD`.
    pub(super) code: String,
    message: String,
    location: Option<String>,
}

impl Miss {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self::Passing {
            reason: reason.into(),
            retry_after: Duration::ZERO,
        }
    }
}

impl<E: StdError + ProvideErrorMetadata + 'static> From<SdkError<E>> for Miss {
    fn from(error: SdkError<E>) -> Self {
        let Some(response) = error.raw_response() else {
            return match &error {
                SdkError::ConstructionFailure(_) => {
                    Self::Unsent(cep27::printable(&with_causes(&error)))
                }
                _ => Self::passing(cep27::printable(&with_causes(&error))),
            };
        };
        let header = |name| response.headers().get(name).map(str::to_owned);
        let failure = Failure {
            status: response.status().as_u16(),
            code: error.code().unwrap_or_default().to_owned(),
            message: error.message().unwrap_or_default().to_owned(),
            location: header("location"),
        };
        let retry_after = header("retry-after")
            .and_then(|seconds| seconds.parse().ok())
            .map_or(Duration::ZERO, Duration::from_secs);
        let is_whole = matches!(error, SdkError::ServiceError(_));
        if failure.is_passing() || !is_whole {
            let reason = match is_whole {
                true => format!(
                    "it answers with HTTP status {}: {}",
                    failure.status,
                    failure.reason()
                ),
                false => cep27::printable(&with_causes(&error)),
            };
            return Self::Passing {
                reason,
                retry_after,
            };
        }
        Self::Final(failure)
    }
}

impl From<ByteStreamError> for Miss {
    fn from(error: ByteStreamError) -> Self {
        Self::passing(cep27::printable(&with_causes(&error)))
    }
}

impl Failure {
    /// Something else is there than the request's condition says (RFC 9110 §13.1).
    pub(super) fn is_condition(&self) -> bool {
        self.status == 412
    }

    /// There is no such object or upload; not: no such bucket.
    pub(super) fn is_absence(&self) -> bool {
        self.status == 404 && matches!(&*self.code, "" | "NotFound" | "NoSuchKey" | "NoSuchUpload")
    }

    /// The server doesn't have what it was asked for among its abilities.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.status, 405 | 501) || self.code == "NotImplemented"
    }

    /// Of what is refused with another status than those that tell, the rest is told by its name. A conflict is
    /// with a request at the same moment: asked again, it is answered one way or the other.
    fn is_passing(&self) -> bool {
        StatusCode::from_u16(self.status).is_ok_and(is_transient) && !self.is_unknown()
            || matches!(
                &*self.code,
                "ConditionalRequestConflict"
                    | "InternalError"
                    | "OperationAborted"
                    | "RequestTimeout"
                    | "ServiceUnavailable"
                    | "SlowDown"
                    | "Throttling"
            )
    }

    fn reason(&self) -> String {
        let said = match (&*self.code, &*self.message) {
            ("", "") => StatusCode::from_u16(self.status)
                .ok()
                .and_then(|status| status.canonical_reason())
                .unwrap_or("no reason given")
                .to_owned(),
            (code, "") => code.to_owned(),
            ("", message) => message.to_owned(),
            (code, message) => format!("{code}: {message}"),
        };
        cep27::printable(&said)
    }

    fn help(&self) -> &'static str {
        match (self.status, &*self.code) {
            (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => {
                "the credentials have expired: renew them and run the same command again, it continues"
            }
            (
                _,
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "InvalidToken"
                | "InvalidClientTokenId",
            ) => "the access key or its secret is wrong, or belongs to another server",
            (_, "RequestTimeTooSkewed") => "set this machine's clock right",
            (_, "NoSuchBucket") => {
                "create the bucket, or check its name, the region (`AWS_REGION`) and the endpoint (`AWS_ENDPOINT_URL_S3`)"
            }
            (
                _,
                "PermanentRedirect"
                | "TemporaryRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException",
            ) => "set `AWS_REGION` to the bucket's region",
            (401 | 403, _) => {
                "the credentials need to list the bucket, to read and write objects and to abort multipart uploads below the channel, and to delete below its `.conda-release/`"
            }
            (413, _) | (_, "EntityTooLarge") => "the server takes no files as large as that",
            (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull") => {
                "free some space there and run the same command again: it continues"
            }
            _ => "see the server's own documentation and log",
        }
    }
}

impl Bucket {
    /// What was answered; `None` where there is no such object or upload.
    pub(super) fn found<T>(
        &self,
        what: &str,
        answer: Result<T, Failure>,
    ) -> Result<Option<T>, Error> {
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.is_absence() => Ok(None),
            Err(failure) => Err(self.refused(what, &failure)),
        }
    }

    /// The error for an answer that refuses.
    pub(super) fn refused(&self, what: &str, failure: &Failure) -> Error {
        let server = self.connection.server.clone();
        if (200..300).contains(&failure.status) {
            return self.unexpected(what, "expected an answer of S3, found something else");
        }
        if let (300..400, Some(location)) = (failure.status, &failure.location) {
            let to = Url::parse(location).ok();
            let to = to.and_then(|url| Some(format!("{}://{}/…", url.scheme(), url.host_str()?)));
            return Error::Redirected {
                server,
                // The rest may carry a token.
                to: to.map_or_else(|| "elsewhere".to_owned(), |to| cep27::printable(&to)),
            };
        }
        Error::Refused {
            server,
            what: what.to_owned(),
            status: failure.status,
            reason: failure.reason(),
            help: failure.help(),
        }
    }

    /// The error for an answer that S3 doesn't have.
    pub(super) fn unexpected(&self, what: &str, reason: impl Into<String>) -> Error {
        Error::Answer {
            server: self.connection.server.clone(),
            what: what.to_owned(),
            reason: reason.into(),
        }
    }
}
