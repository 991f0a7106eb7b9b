//! Providers that are asked through a program of theirs.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::token::MAX_TOKEN;
use crate::{Error, IdentityToken, Provider};

/// How long a program may take; both ask a server.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that prints an identity token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenCommand {
    pub(crate) provider: Provider,
    pub(crate) program: &'static str,
    arguments: Vec<String>,
}

impl TokenCommand {
    /// <https://buildkite.com/docs/agent/cli/reference/oidc>
    pub(crate) fn buildkite(audience: &str) -> Self {
        let arguments = ["oidc", "request-token", "--audience", audience];
        Self {
            provider: Provider::Buildkite,
            program: "buildkite-agent",
            arguments: arguments.map(str::to_owned).into(),
        }
    }

    /// <https://circleci.com/docs/guides/permissions-authentication/oidc-tokens-with-custom-claims/>;
    /// the issuer that Fulcio knows is the root one.
    pub(crate) fn circleci(audience: &str) -> Self {
        let claims = serde_json::json!({ "aud": audience }).to_string();
        let arguments = ["run", "oidc", "get", "--root-issuer", "--claims", &claims];
        Self {
            provider: Provider::CircleCi,
            program: "circleci",
            arguments: arguments.map(str::to_owned).into(),
        }
    }

    /// Has the program make a new token.
    pub(crate) async fn run(&self) -> Result<IdentityToken, Error> {
        let output = tokio::time::timeout(PATIENCE, self.output())
            .await
            .map_err(|_| self.failed(format!("it did not end within {} s", PATIENCE.as_secs())))?;
        let token = output.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => self.failed("it is not on the PATH".to_owned()),
            _ => self.failed(error.to_string()),
        })??;
        IdentityToken::from_jwt(&token, self.provider)
    }

    async fn output(&self) -> std::io::Result<Result<String, Error>> {
        let mut child = Command::new(self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr) = tokio::try_join!(read(stdout), read(stderr))?;
        let status = child.wait().await?;
        let token = String::from_utf8_lossy(&stdout).into_owned();
        if status.success() {
            return Ok(Ok(token));
        }
        let complaint = complaint(&String::from_utf8_lossy(&stderr));
        Ok(Err(self.failed(format!("{status}: {complaint}"))))
    }

    fn failed(&self, reason: String) -> Error {
        Error::Identity {
            endpoint: format!("`{}`", self.program),
            reason,
        }
    }
}

/// What a pipe has, up to one byte more than a token may be long. The rest is read to no end, so
/// that the program at its other end does not wait.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let limit = u64::try_from(MAX_TOKEN)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        (&mut pipe).take(limit).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

/// What a program wrote before it failed, without anything that might be a secret: words as long as
/// tokens and keys are.
fn complaint(text: &str) -> String {
    let words = text.split_whitespace().map(|word| match word.len() {
        ..40 => word,
        _ => "(…)",
    });
    cep27::printable(&words.collect::<Vec<_>>().join(" "))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> TokenCommand {
        TokenCommand {
            provider: Provider::Buildkite,
            program: "sh",
            arguments: vec!["-c".to_owned(), script.to_owned()],
        }
    }

    async fn message(script: &str) -> String {
        shell(script).run().await.unwrap_err().to_string()
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_does_not_end_is_not_waited_for() {
        let message = message("sleep 600").await;
        assert!(message.contains("did not end"), "{message}");
    }

    #[tokio::test]
    async fn a_program_that_fails_says_why_but_no_secret() {
        let secret = "c".repeat(40);
        let message = message(&format!(
            "echo \"403 Forbidden\x1b[31m {secret} k={secret}\" >&2; exit 3"
        ))
        .await;
        assert!(message.contains("exit status: 3"), "{message}");
        assert!(message.contains("403 Forbidden"), "{message}");
        assert!(
            !message.contains("ccc") && !message.contains('\x1b'),
            "{message}"
        );
    }

    #[tokio::test]
    async fn what_a_program_prints_is_a_token_or_an_error() {
        for (script, expected) in [
            ("true", "it is empty"),
            ("echo hello", "expected a JWT"),
            ("yes | head -c 1000000", "longer than 64 KiB"),
        ] {
            let message = message(script).await;
            assert!(message.contains(expected), "{script}: {message}");
        }
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_named() {
        let command = TokenCommand {
            program: "no-such-agent",
            ..shell("")
        };
        let message = command.run().await.unwrap_err().to_string();
        assert!(
            message.contains("`no-such-agent`: it is not on the PATH"),
            "{message}"
        );
    }
}
