//! Errors as the gRPC gateways of Fulcio and Rekor answer them.

use axum::{
    Json,
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::Error;

/// A gRPC status on its way to an HTTP client: `{"code", "message", "details"}`.
#[derive(Debug)]
pub(crate) struct Status {
    http: StatusCode,
    code: u8,
    message: String,
    log_index: Option<u64>,
}

impl Status {
    /// Code 3: the request is wrong, sending it again won't help.
    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, 3, message)
    }

    /// Code 6: the log has the entry already, at this index.
    pub(crate) fn already_exists(index: u64) -> Self {
        let message = format!(
            "an equivalent entry already exists in the transparency log with index {index}"
        );
        Self {
            log_index: Some(index),
            ..Self::new(StatusCode::CONFLICT, 6, message)
        }
    }

    fn new(http: StatusCode, code: u8, message: impl Into<String>) -> Self {
        Self {
            http,
            code,
            message: message.into(),
            log_index: None,
        }
    }
}

/// Code 13: our own failure.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, 13, error.to_string())
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let body = json!({ "code": self.code, "message": self.message, "details": [] });
        let log_index = self
            .log_index
            .map(|index| [(HeaderName::from_static("x-log-index"), index.to_string())]);
        (self.http, log_index, Json(body)).into_response()
    }
}
