//! Attestations of the sources of packages, which their publishers signed.

use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cep27::Sha256;
use reqwest::{Client, redirect};
use serde_json::{Value, json};
use std::time::Duration;
use url::Url;

use crate::http::{self, shown};
use crate::{Error, Evidence, GITHUB_ISSUER, Github, Matcher, Policy, Verifier, bundles_in};

/// The largest answer that is read.
const LARGEST: usize = 4 << 20;
/// The time limit of a request.
const PATIENCE: Duration = Duration::from_secs(30);
/// GitHub keeps the assets of releases on other hosts.
const REDIRECTS: usize = 5;
/// The issuer of identities on GitLab.com.
const GITLAB_ISSUER: &str = "https://gitlab.com";

/// A repository whose workflows publish sources: `github:owner/repository` or `gitlab:owner/repository`, with `@refs/…` where
/// only one ref may.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publisher {
    /// The URL of the repository.
    pub repository: String,
    /// The issuer of the identities of its workflows.
    pub issuer: String,
    /// The full ref that it publishes from, if only one may.
    pub git_ref: Option<String>,
}

impl Publisher {
    /// The policy that certificates of this publisher meet.
    ///
    /// A workflow of the repository signed, and it ran for the repository: a reusable workflow that others call has the same
    /// identity for all of them.
    ///
    /// # Errors
    /// The ref is not a full one.
    pub fn policy(&self) -> Result<Policy, Error> {
        let repository = regex::escape(&self.repository);
        Github {
            identity: Some(Matcher::regex(&format!("{repository}[/@].*"))?),
            issuer: Some(self.issuer.clone()),
            repo: Some(self.repository.clone()),
            git_ref: self.git_ref.clone(),
            ..Github::default()
        }
        .into_policy()
    }
}

impl FromStr for Publisher {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, git_ref) = match text.split_once('@') {
            Some((name, git_ref)) => (name, Some(git_ref.to_owned())),
            None => (text, None),
        };
        let (host, issuer) = match name.split_once(':') {
            Some(("github", repository)) => {
                (format!("https://github.com/{repository}"), GITHUB_ISSUER)
            }
            Some(("gitlab", repository)) => {
                (format!("https://gitlab.com/{repository}"), GITLAB_ISSUER)
            }
            _ => {
                let found = cep27::printable(text);
                return Err(Error::Policy {
                    reason: format!(
                        "expected the publisher `github:owner/repository` or `gitlab:owner/repository`, found `{found}`"
                    ),
                });
            }
        };
        Ok(Self {
            repository: host,
            issuer: issuer.to_owned(),
            git_ref,
        })
    }
}

/// Downloads the bundles at `url`: a Sigstore bundle, several of them, or the provenance of a file on PyPI (PEP 740).
///
/// # Errors
/// The server cannot be reached, has no such file, or answers with anything else or more than 4 MiB.
pub async fn fetch_source_bundles(url: &Url) -> Result<Vec<Vec<u8>>, Error> {
    let failed = |reason: String| Error::Service {
        service: "source attestation",
        url: shown(url),
        reason,
        transient: false,
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(failed("expected an http or https URL".to_owned()));
    }
    let client = Client::builder()
        .timeout(PATIENCE)
        .redirect(redirect::Policy::limited(REDIRECTS))
        .user_agent(concat!("conda-release/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let request = client.get(url.clone());
    let answer = http::send(request, "source attestation", url, LARGEST).await?;
    let mut bundles = Vec::new();
    for document in bundles_in(&answer)? {
        match from_pypi(&document) {
            Some(converted) => bundles.extend(converted?),
            None => bundles.push(document),
        }
    }
    Ok(bundles)
}

/// Verifies that every publisher signed a statement about the source with this digest. Returns who did, in their order.
///
/// # Errors
/// No publisher is named, or no bundle verifies for one of them.
pub fn verify_source(
    verifier: &Verifier,
    sha256: Sha256,
    bundles: &[Vec<u8>],
    publishers: &[Publisher],
) -> Result<Vec<Evidence>, Error> {
    let refused = |reason: String| Error::Bundle { reason };
    if publishers.is_empty() {
        let reason = "no publisher is named, so anybody could have signed it";
        return Err(refused(reason.to_owned()));
    }
    let mut signed = Vec::new();
    for publisher in publishers {
        let policy = publisher.policy()?;
        let mut reasons = Vec::new();
        let found = bundles.iter().find_map(|bundle| {
            match verifier.verify_artifact(sha256, bundle, &policy) {
                Ok(evidence) => Some(evidence),
                Err(reason) => {
                    reasons.push(reason.to_string());
                    None
                }
            }
        });
        reasons.dedup();
        signed.push(found.ok_or_else(|| {
            let reasons = match reasons.is_empty() {
                true => "there is no bundle".to_owned(),
                false => reasons.join("; "),
            };
            refused(format!("not signed by {}: {reasons}", publisher.repository))
        })?);
    }
    Ok(signed)
}

/// The bundles in a provenance object of PyPI (PEP 740); nothing where it is something else.
fn from_pypi(document: &[u8]) -> Option<Result<Vec<Vec<u8>>, Error>> {
    let value: Value = serde_json::from_slice(document).ok()?;
    let groups = value.get("attestation_bundles")?.as_array()?;
    let attestations = groups
        .iter()
        .filter_map(|group| group.get("attestations")?.as_array())
        .flatten();
    Some(attestations.map(bundle_of_pypi).collect())
}

fn bundle_of_pypi(attestation: &Value) -> Result<Vec<u8>, Error> {
    let text = |part: &str, name: &str| {
        let found = attestation
            .get(part)
            .and_then(|part| part.get(name)?.as_str());
        found
            .filter(|text| STANDARD.decode(text).is_ok())
            .ok_or_else(|| Error::Bundle {
                reason: format!("expected base64 in `{part}.{name}` of an attestation of PyPI"),
            })
    };
    let material = attestation.get("verification_material");
    let entries = material.and_then(|material| material.get("transparency_entries"));
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "certificate": { "rawBytes": text("verification_material", "certificate")? },
            "tlogEntries": entries.cloned().unwrap_or_else(|| json!([])),
        },
        "dsseEnvelope": {
            "payload": text("envelope", "statement")?,
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": text("envelope", "signature")? }],
        },
    });
    serde_json::to_vec(&bundle).map_err(|error| Error::Bundle {
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_are_read_as_recipes_have_them() {
        let publisher: Publisher = "github:acme/lib@refs/tags/v1".parse().unwrap();
        assert_eq!(publisher.repository, "https://github.com/acme/lib");
        assert_eq!(publisher.issuer, GITHUB_ISSUER);
        assert_eq!(publisher.git_ref.as_deref(), Some("refs/tags/v1"));
        assert!(publisher.policy().is_ok());
        let publisher: Publisher = "gitlab:acme/lib".parse().unwrap();
        assert_eq!(publisher.repository, "https://gitlab.com/acme/lib");
        assert!("acme/lib".parse::<Publisher>().is_err());
        let short: Publisher = "github:acme/lib@v1".parse().unwrap();
        assert!(short.policy().is_err());
    }
}
