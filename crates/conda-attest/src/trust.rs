//! What is believed, and who is asked to sign.

use std::path::Path;

use cep27::Sha256;
use jiff::Timestamp;
use serde_json::Value;
use sha2::Digest as _;
use sigstore_trust_root::{SigningConfig, SigstoreInstance, TrustedRoot};
use url::{Host, Url};

use crate::{Error, http};

mod cache;
mod freshness;
mod selection;
mod source;
mod transport;
mod tuf;

pub use freshness::Freshness;
pub(crate) use selection::{RekorService, RekorVersion, Selection};
pub use source::{Purpose, TrustOptions, TrustSource};
use tuf::Instance;

/// What stands in the certificates and the trusted root of a rehearsal's Sigstore, and in no other.
///
/// It equals `sigstore_sandbox::MARK`; a test holds the two together, as this crate must not
/// depend on the sandbox.
pub const SANDBOX_MARK: &str = "conda-release sandbox - NOT FOR PRODUCTION";

/// The organization of GitHub's own Sigstore instance, as in the names of its certificates.
pub(crate) const GITHUB_ORGANIZATION: &str = "GitHub, Inc.";

/// The audience of identity tokens for the public Sigstore instances.
pub const PUBLIC_AUDIENCE: &str = "sigstore";

/// What trusted roots call themselves (`TrustedRoot` in Sigstore's protobuf-specs).
const TRUSTED_ROOT_MEDIA_TYPES: [&str; 2] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// A trust configuration is a few kilobytes; the public one, with its history, less than 64.
const MAX_SIZE: u64 = 4 << 20;

/// What is believed, and who is asked to sign: a trusted root, and where a signing configuration is
/// known, the services of that Sigstore instance.
#[derive(Clone)]
pub struct Trust {
    name: String,
    root: TrustedRoot,
    root_sha256: Sha256,
    signing: Option<SigningConfig>,
    audience: String,
    freshness: Freshness,
}

impl Trust {
    /// Loads trust material from its source.
    ///
    /// That of a TUF repository is refreshed. To *sign*, nothing else will do. To *verify*, where
    /// the repository cannot be reached or the network is not to be used, the copy of an earlier
    /// run is taken, verified again but for the expiry of its metadata; where there is none, the
    /// copy in this program. A repository that answers wrongly (a signature, a hash or a version
    /// that does not hold, metadata that has expired) is an error in any case, and never a reason
    /// to take an older copy.
    ///
    /// # Errors
    /// When no trust material can be had that is fresh enough for its purpose, or it does not
    /// verify, or is not what it should be.
    pub async fn load(source: &TrustSource, options: &TrustOptions) -> Result<Self, Error> {
        let known = |name, instance| Instance::known(name, instance);
        let instance = match source {
            TrustSource::PublicGood => known("public-good", SigstoreInstance::PublicGood)?,
            TrustSource::Staging => known("staging", SigstoreInstance::Staging)?,
            TrustSource::Github => known("github", SigstoreInstance::GitHub)?,
            TrustSource::Tuf { url, root } => Instance::custom(url, root)?,
            TrustSource::File {
                path,
                signing_config,
            } => {
                let trust = Self::from_file(path, signing_config.as_deref())?;
                return Ok(trust.for_audience(options));
            }
        };
        let trust = instance.load(options, Timestamp::now()).await?;
        Ok(trust.for_audience(options))
    }

    fn for_audience(self, options: &TrustOptions) -> Self {
        match &options.audience {
            Some(audience) => self.with_audience(audience),
            None => self,
        }
    }

    /// Reads a `trust_config.json` (trusted root and signing configuration together, as
    /// sigstore-python's `--trust-config`), or a `trusted_root.json` with an optional
    /// `signing_config.json`.
    ///
    /// # Errors
    /// When a file cannot be read, is not strict JSON, or is not what it should be.
    pub fn from_file(path: &Path, signing_config: Option<&Path>) -> Result<Self, Error> {
        let config = read(path, "trust configuration")?;
        let (root, inner_signing) = match config.get("trustedRoot") {
            Some(root) => (root.clone(), config.get("signingConfig").cloned()),
            None => (config, None),
        };
        let signing = match signing_config {
            Some(path) => Some((path, read(path, "signing configuration")?)),
            None => inner_signing.map(|value| (path, value)),
        };
        let signing = signing
            .map(|(path, value)| {
                SigningConfig::from_json(&value.to_string())
                    .map_err(|error| unusable(path, "signing configuration", error))
            })
            .transpose()?;
        let name = path.display().to_string();
        Self::new(name, &root, signing, Freshness::File)
            .map_err(|error| unusable(path, "trusted root", error))
    }

    /// Trusts a `trusted_root.json` at hand, such as those embedded in `sigstore-trust-root`; it
    /// can verify but not sign.
    ///
    /// # Errors
    /// When the text is not a trusted root.
    pub fn from_root_json(name: &str, json: &str) -> Result<Self, Error> {
        let path = Path::new(name);
        let root = cep27::check_json(json.as_bytes())
            .map_err(|violations| unusable(path, "trusted root", list(&violations)))?;
        Self::new(name.to_owned(), &root, None, Freshness::File)
            .map_err(|error| unusable(path, "trusted root", error))
    }

    fn new(
        name: String,
        root: &Value,
        signing: Option<SigningConfig>,
        freshness: Freshness,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut canonical = Vec::new();
        write_canonical(root, &mut canonical)?;
        let root = TrustedRoot::from_json(&root.to_string())?;
        // The library reads whatever is not there as an empty list.
        if !TRUSTED_ROOT_MEDIA_TYPES.contains(&root.media_type.as_str()) {
            return Err(
                format!("its media type is `{}`", cep27::printable(&root.media_type)).into(),
            );
        }
        if root.certificate_authorities.is_empty() {
            return Err("it names no certificate authority".into());
        }
        // The verifier refuses malformed and duplicate keys; better here than when the first
        // package has been built.
        sigstore_verify::Verifier::new(&root)?;
        Ok(Self {
            name,
            root,
            root_sha256: Sha256::from_bytes(sha2::Sha256::digest(&canonical).into()),
            signing,
            audience: PUBLIC_AUDIENCE.to_owned(),
            freshness,
        })
    }

    /// The same trust under a name for people: `public-good` rather than a path.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The audience that identity tokens for this instance carry; `sigstore` unless set.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }

    /// What this trust material is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The SHA-256 of the trusted root in canonical form (keys sorted, no white space): equal for
    /// equal roots, however they are written down.
    #[must_use]
    pub fn root_sha256(&self) -> Sha256 {
        self.root_sha256
    }

    /// The audience that identity tokens for this instance must have.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// How old the trust material is.
    #[must_use]
    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// The identity provider for people who log in with a browser, where the instance names one.
    ///
    /// # Errors
    /// As for signing: when there is no signing configuration, or none that can be used.
    pub fn identity_provider(&self) -> Result<Option<Url>, Error> {
        Ok(self.services()?.oidc)
    }

    /// Whether this is a rehearsal's instance.
    ///
    /// The mark is also sought in the certificates themselves, so that editing the readable part
    /// of the root cannot hide it.
    #[must_use]
    pub fn is_sandbox(&self) -> bool {
        self.names_authority(SANDBOX_MARK)
    }

    /// Whether GitHub's instance for private repositories is trusted ([`TrustSource::Github`], or
    /// its trusted root as a file): it has no transparency log, and what it vouches for is never
    /// published.
    #[must_use]
    pub fn is_github(&self) -> bool {
        self.names_authority(GITHUB_ORGANIZATION)
    }

    /// Whether a text stands in the name of a certificate or timestamp authority.
    fn names_authority(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let authorities = self
            .root
            .certificate_authorities
            .iter()
            .map(|ca| (&ca.subject, &ca.cert_chain))
            .chain(
                self.root
                    .timestamp_authorities
                    .iter()
                    .map(|tsa| (&tsa.subject, &tsa.cert_chain)),
            );
        authorities.into_iter().any(|(subject, chain)| {
            let readable = [&subject.organization, &subject.common_name];
            readable
                .into_iter()
                .flatten()
                .any(|name| name.contains(text))
                || chain.certificates.iter().any(|certificate| {
                    let der = certificate.raw_bytes.as_bytes();
                    der.windows(bytes.len()).any(|window| window == bytes)
                })
        })
    }

    pub(crate) fn root(&self) -> &TrustedRoot {
        &self.root
    }

    /// The services to sign with, as the signing configuration has it for this moment.
    pub(crate) fn services(&self) -> Result<Selection, Error> {
        let config = self
            .signing
            .as_ref()
            .ok_or_else(|| Error::NoSigningConfig {
                trust: self.name.clone(),
            })?;
        Selection::new(self, config, Timestamp::now())
    }

    /// Whether a token with this trust's audience may be sent to `url`: one for `sigstore` goes to
    /// the public instances and to loopback alone.
    pub(crate) fn check_audience(&self, url: &Url) -> Result<(), Error> {
        let public = url
            .host_str()
            .is_some_and(|host| host.ends_with(".sigstore.dev") || host.ends_with(".sigstage.dev"));
        if self.audience == PUBLIC_AUDIENCE && !public && !is_loopback(url) {
            return Err(Error::SharedAudience {
                url: http::shown(url),
            });
        }
        Ok(())
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust")
            .field("name", &self.name)
            .field("root_sha256", &self.root_sha256)
            .field("audience", &self.audience)
            .field("signs", &self.signing.is_some())
            .field("freshness", &self.freshness)
            .finish_non_exhaustive()
    }
}

/// Whether a URL leads to this machine: only then may it be plain http.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Parses a service's URL and refuses what could be read on the way.
pub(crate) fn secure_url(service: &'static str, text: &str) -> Result<Url, Error> {
    let url = match Url::parse(text) {
        Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => {
            return Ok(url);
        }
        Ok(url) => http::shown(&url),
        Err(error) => format!("a URL that cannot be read ({error})"),
    };
    Err(Error::Insecure { service, url })
}

fn read(path: &Path, what: &'static str) -> Result<Value, Error> {
    let bytes = read_capped(path)?;
    cep27::check_json(&bytes).map_err(|violations| unusable(path, what, list(&violations)))
}

fn read_capped(path: &Path) -> Result<Vec<u8>, Error> {
    let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
    crate::package::read_capped(file, path, MAX_SIZE)
}

fn unusable(path: &Path, what: &'static str, reason: impl std::fmt::Display) -> Error {
    Error::Trust {
        path: path.to_owned(),
        what,
        reason: reason.to_string(),
    }
}

pub(crate) fn list(violations: &[cep27::Violation]) -> String {
    let all: Vec<String> = violations.iter().map(ToString::to_string).collect();
    all.join("; ")
}

/// JSON with sorted keys and without white space.
fn write_canonical(value: &Value, out: &mut Vec<u8>) -> serde_json::Result<()> {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            out.push(b'{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write_canonical(value, out)?;
            }
            out.push(b'}');
        }
        Value::Array(elements) => {
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_canonical(element, out)?;
            }
            out.push(b']');
        }
        scalar => serde_json::to_writer(&mut *out, scalar)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_root_does_not_depend_on_its_layout() {
        let root = sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
        let value: Value = serde_json::from_str(root).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let one = Trust::from_root_json("one", root).unwrap();
        let other = Trust::from_root_json("other", &pretty).unwrap();
        assert_eq!(one.root_sha256(), other.root_sha256());
        assert!(!one.is_sandbox());
        let staging =
            Trust::from_root_json("s", sigstore_trust_root::SIGSTORE_STAGING_TRUSTED_ROOT).unwrap();
        assert_ne!(one.root_sha256(), staging.root_sha256());
    }

    #[tokio::test]
    async fn files_are_as_fresh_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trusted_root.json");
        let source = TrustSource::File {
            path: path.clone(),
            signing_config: None,
        };
        let options = TrustOptions {
            audience: Some("acme".to_owned()),
            ..TrustOptions::new(Purpose::Sign)
        };
        let error = Trust::load(&source, &options).await.unwrap_err();
        assert_eq!(error.code(), "io");
        std::fs::write(&path, sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
        let trust = Trust::load(&source, &options).await.unwrap();
        assert_eq!(trust.freshness(), &Freshness::File);
        assert_eq!(trust.audience(), "acme");
        assert_eq!(trust.services().unwrap_err().code(), "no_signing_config");
    }

    #[test]
    fn the_mark_of_a_sandbox_is_found_where_it_stands() {
        let plain =
            Trust::from_root_json("t", sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT)
                .unwrap();
        let mut named = plain.clone();
        named.root.certificate_authorities[0].subject.organization = Some(SANDBOX_MARK.to_owned());
        assert!(named.is_sandbox());
        let mut issued = plain;
        let der = [b"\x30\x40O=", SANDBOX_MARK.as_bytes(), b",CN=x"].concat();
        issued.root.timestamp_authorities[0].cert_chain.certificates[0].raw_bytes = der.into();
        assert!(issued.is_sandbox());
    }

    #[test]
    fn a_public_token_goes_to_public_instances_and_loopback_only() {
        let trust =
            Trust::from_root_json("t", sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT)
                .unwrap();
        let url = |text: &str| Url::parse(text).unwrap();
        for allowed in [
            "https://fulcio.sigstore.dev",
            "https://fulcio.sigstage.dev",
            "http://127.0.0.1:8080",
            "http://[::1]:1",
            "http://localhost",
        ] {
            trust.check_audience(&url(allowed)).unwrap();
        }
        for refused in [
            "https://fulcio.acme.example",
            "https://sigstore.dev.example",
            "https://evilsigstore.dev",
            "https://127.0.0.1.nip.io",
        ] {
            assert_eq!(
                trust.check_audience(&url(refused)).unwrap_err().code(),
                "shared_audience"
            );
            trust
                .clone()
                .with_audience("acme")
                .check_audience(&url(refused))
                .unwrap();
        }
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for refused in [
            "http://example.org",
            "ftp://127.0.0.1",
            "file:///x",
            "nonsense",
        ] {
            assert!(secure_url("log", refused).is_err(), "{refused}");
        }
        secure_url("log", "https://example.org").unwrap();
        secure_url("log", "http://127.0.0.1:1").unwrap();
    }
}
