//! What an attestation says, for people and programs to look at.

use std::collections::BTreeMap;

use cep27::{FileName, Sha256};
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sigstore_crypto::{CertificateInfo, SubjectAltName};
use sigstore_types::TransparencyLogEntry;
use x509_cert::der::{Decode as _, Encode as _};
use x509_tsp::{TimeStampResp, TstInfo};

use crate::bundle::Parsed;
use crate::verdict::Refusal;
use crate::{Error, Predicate};

/// What an attestation says, read but not verified: nothing here is proved.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The type of the bundle.
    pub media_type: String,
    /// Who is said to have signed: the subject alternative name of the certificate.
    pub identity: Option<String>,
    /// What the identity is: `email` or `uri`.
    pub identity_kind: Option<&'static str>,
    /// Who vouches for the identity.
    pub issuer: Option<String>,
    /// The other claims of the certificate, by their names in Fulcio's documentation.
    pub claims: BTreeMap<&'static str, String>,
    /// From when the certificate could sign.
    pub certificate_not_before: Timestamp,
    /// Until when the certificate could sign.
    pub certificate_not_after: Timestamp,
    /// Its entries in transparency logs.
    pub log_entries: Vec<LogEntry>,
    /// What clocks say about when it was signed.
    pub times: Vec<SigningTime>,
    /// What kind of statement it is.
    pub predicate: Predicate,
    /// Whether it comes from GitHub's own instance, which signs for private repositories and logs
    /// nothing.
    pub github_instance: bool,
    /// The statement: subject and predicate.
    pub statement: Value,
    /// Where to look further, as far as it is said: `repository`, `commit`, `run`, `attestations`
    /// (the repository's), `search` and `log_entry` (at search.sigstore.dev, for the public-good
    /// instance's first log), `package` (at prefix.dev).
    pub links: BTreeMap<&'static str, String>,
}

/// An entry in a transparency log.
#[derive(Clone, Debug, Serialize)]
pub struct LogEntry {
    /// Its index.
    pub index: u64,
    /// The identifier of the log, in base64.
    pub log_id: String,
    /// The name of the log, from its checkpoint.
    pub origin: Option<String>,
    /// Kind and version: `hashedrekord 0.0.2`.
    pub kind: String,
}

/// A time, and who says so.
#[derive(Clone, Debug, Serialize)]
pub struct SigningTime {
    /// `rfc3161` for a timestamp authority, `log` for the time that a Rekor v1 log noted.
    pub source: &'static str,
    /// The time.
    pub time: Timestamp,
}

/// Reads a bundle for people and programs to look at.
///
/// # Errors
/// When it is not a bundle of a signed statement, or is not strict JSON.
pub fn inspect(bundle: &[u8]) -> Result<Inspection, Error> {
    let unreadable = |refusal: Refusal| Error::Bundle {
        reason: refusal.message,
    };
    let parsed = Parsed::from_json(bundle).map_err(unreadable)?;
    let statement: Value =
        serde_json::from_slice(parsed.statement()).map_err(|error| Error::Bundle {
            reason: format!("its statement is not JSON: {error}"),
        })?;
    let certificate = &parsed.certificate().map_err(unreadable)?;
    let claims = claims(certificate);
    let stamps = &parsed
        .bundle
        .verification_material
        .timestamp_verification_data
        .rfc3161_timestamps;
    let stamped = stamps
        .iter()
        .filter_map(|stamp| stamp_time(stamp.signed_timestamp.as_bytes()))
        .map(|time| SigningTime {
            source: "rfc3161",
            time,
        });
    let logged = parsed
        .log_entries()
        .iter()
        .filter_map(|entry| entry.integrated_time)
        .map(|time| SigningTime {
            source: "log",
            time,
        });
    let log_entries: Vec<_> = parsed.log_entries().iter().map(log_entry).collect();
    Ok(Inspection {
        media_type: parsed.bundle.media_type().to_string(),
        identity: certificate.identity.as_ref().map(ToString::to_string),
        identity_kind: certificate
            .identity
            .as_ref()
            .map(|identity| match identity {
                SubjectAltName::Email(_) => "email",
                _ => "uri",
            }),
        issuer: certificate.issuer.clone(),
        links: links(&claims, &statement, &log_entries),
        claims,
        certificate_not_before: certificate.not_before,
        certificate_not_after: certificate.not_after,
        log_entries,
        times: stamped.chain(logged).collect(),
        predicate: Predicate::of(parsed.statement()),
        github_instance: parsed.is_github(),
        statement,
    })
}

fn log_entry(entry: &TransparencyLogEntry) -> LogEntry {
    let checkpoint = entry
        .inclusion_proof
        .as_ref()
        .and_then(|proof| proof.checkpoint.checkpoint());
    LogEntry {
        index: entry.log_index.get(),
        log_id: entry.log_id.key_id.to_string(),
        origin: checkpoint.map(|checkpoint| checkpoint.origin().to_owned()),
        kind: format!(
            "{} {}",
            entry.kind_version.kind(),
            entry.kind_version.version()
        ),
    }
}

fn claims(certificate: &CertificateInfo) -> BTreeMap<&'static str, String> {
    let claims = &certificate.ci_claims;
    [
        ("build_signer_uri", &claims.build_signer_uri),
        ("build_signer_digest", &claims.build_signer_digest),
        ("runner_environment", &claims.runner_environment),
        ("source_repository_uri", &claims.source_repository_uri),
        ("source_repository_digest", &claims.source_repository_digest),
        ("source_repository_ref", &claims.source_repository_ref),
        (
            "source_repository_identifier",
            &claims.source_repository_identifier,
        ),
        (
            "source_repository_owner_uri",
            &claims.source_repository_owner_uri,
        ),
        (
            "source_repository_owner_identifier",
            &claims.source_repository_owner_identifier,
        ),
        ("build_config_uri", &claims.build_config_uri),
        ("build_config_digest", &claims.build_config_digest),
        ("build_trigger", &claims.build_trigger),
        ("run_invocation_uri", &claims.run_invocation_uri),
        (
            "source_repository_visibility",
            &claims.source_repository_visibility_at_signing,
        ),
        ("deployment_environment", &claims.deployment_environment),
        ("token_subject", &claims.token_subject),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.clone()?)))
    .collect()
}

fn links(
    claims: &BTreeMap<&'static str, String>,
    statement: &Value,
    entries: &[LogEntry],
) -> BTreeMap<&'static str, String> {
    let repository = claims.get("source_repository_uri");
    let commit = claims.get("source_repository_digest");
    let on_github = repository.filter(|url| url.starts_with("https://github.com/"));
    let subject = &statement["subject"][0];
    // Only this log can be searched.
    let searchable = entries.iter().find(|entry| {
        let origin = entry.origin.as_deref().unwrap_or_default();
        origin.split(' ').next() == Some("rekor.sigstore.dev")
    });
    let sha256 = subject["digest"]["sha256"]
        .as_str()
        .and_then(|digest| digest.parse::<Sha256>().ok());
    [
        ("repository", repository.cloned()),
        (
            "commit",
            repository
                .zip(commit)
                .map(|(url, commit)| format!("{url}/commit/{commit}")),
        ),
        ("run", claims.get("run_invocation_uri").cloned()),
        (
            "attestations",
            on_github.map(|url| format!("{url}/attestations")),
        ),
        (
            "search",
            searchable
                .and(sha256)
                .map(|sha256| format!("https://search.sigstore.dev/?hash={sha256}")),
        ),
        (
            "log_entry",
            searchable
                .map(|entry| format!("https://search.sigstore.dev/?logIndex={}", entry.index)),
        ),
        ("package", package_page(statement)),
    ]
    .into_iter()
    .filter_map(|(name, url)| Some((name, url.filter(|url| url.starts_with("https://"))?)))
    .collect()
}

/// The page of the package in the channel that it was attested for, where that is on prefix.dev.
fn package_page(statement: &Value) -> Option<String> {
    let channel = statement["predicate"]["targetChannel"].as_str()?;
    let channel = channel.strip_prefix("https://prefix.dev/")?;
    // A channel is one name: what has more to it is another page.
    let is_name = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if channel.is_empty() || !channel.chars().all(is_name) {
        return None;
    }
    let file: FileName = statement["subject"][0]["name"].as_str()?.parse().ok()?;
    Some(format!(
        "https://prefix.dev/channels/{channel}/packages/{}",
        file.name()
    ))
}

/// The time in an RFC 3161 timestamp, without its response or within it.
fn stamp_time(der: &[u8]) -> Option<Timestamp> {
    let token = match TimeStampResp::from_der(der) {
        Ok(response) => response.time_stamp_token?,
        Err(_) => ContentInfo::from_der(der).ok()?,
    };
    let signed = SignedData::from_der(&token.content.to_der().ok()?).ok()?;
    let content = signed.encap_content_info.econtent?;
    let info = TstInfo::from_der(content.value()).ok()?;
    let since_1970 = info.gen_time.to_unix_duration();
    Timestamp::from_second(i64::try_from(since_1970.as_secs()).ok()?).ok()
}
