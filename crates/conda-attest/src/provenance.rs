//! SLSA provenance v1: what a package was built from, beside who published it where.
//!
//! The document behind [`BUILD_TYPE`] describes every field for those who read one.

use std::collections::BTreeMap;

use cep27::{Sha256, Subdir, TargetChannel};
use release_manifest::{Source, SourceDigest};
use serde::{Deserialize, Serialize};
use sigstore_crypto::{CertificateInfo, SubjectAltName};

use crate::PackageFile;

/// The build type of our provenance: what its parameters mean.
pub const BUILD_TYPE: &str =
    "https://github.com/conda-release/conda-release/blob/main/docs/build-type-v1.md";

/// The predicate type of SLSA provenance v1.
pub const PROVENANCE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// What a package was built from, for its provenance: the part of it that the build knows. Who
/// built it, and in which run, is taken from the signing certificate alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildDefinition {
    /// The source that it was built from.
    pub source: Source,
    /// The recipe file, relative to the root of the workspace.
    pub recipe: String,
    /// The variant keys that the package uses, with their values.
    pub variant: BTreeMap<String, String>,
    /// The platform it was built on.
    pub build_platform: Subdir,
    /// The time that its files carry, in seconds since 1970: `SOURCE_DATE_EPOCH`.
    pub timestamp: i64,
    /// The sources of the recipe besides folders, with the commits and hashes that were built.
    pub sources: Vec<SourceDigest>,
}

/// Who built, and in which run: what a certificate says about it.
///
/// Anybody can write a provenance that names somebody else's run, so verifying compares this part
/// of a statement with the certificate that signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunDetails {
    pub(crate) builder: Builder,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Metadata>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Builder {
    pub(crate) id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) invocation_id: Option<String>,
}

impl RunDetails {
    /// The builder is the workflow that signs (.9), else whoever the certificate is for; the
    /// invocation is the run (.21), where there is one.
    pub(crate) fn of(certificate: &CertificateInfo) -> Self {
        let claims = &certificate.ci_claims;
        // A builder's id is a URI.
        let owner = || match &certificate.identity {
            Some(SubjectAltName::Email(address)) => format!("mailto:{address}"),
            Some(name) => name.to_string(),
            None => String::new(),
        };
        let run = claims.run_invocation_uri.clone();
        Self {
            builder: Builder {
                id: claims.build_signer_uri.clone().unwrap_or_else(owner),
            },
            metadata: run.map(|run| Metadata {
                invocation_id: Some(run),
            }),
        }
    }

    /// The run, where there is one.
    pub(crate) fn invocation(&self) -> Option<&str> {
        self.metadata.as_ref()?.invocation_id.as_deref()
    }
}

/// The provenance statement of a package as JSON, to be signed under `certificate`.
pub(crate) fn statement(
    package: &PackageFile,
    definition: &BuildDefinition,
    channel: &TargetChannel,
    certificate: &CertificateInfo,
) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Statement {
        statement_type: cep27::STATEMENT_TYPE,
        subject: [Subject {
            name: package.file.as_str(),
            digest: Digest {
                sha256: package.sha256,
            },
        }],
        predicate_type: PROVENANCE_TYPE,
        predicate: Predicate {
            build_definition: Definition {
                build_type: BUILD_TYPE,
                external_parameters: External {
                    recipe: &definition.recipe,
                    variant: &definition.variant,
                    target_channel: channel.as_str(),
                },
                internal_parameters: Internal {
                    build_platform: definition.build_platform,
                    source_date_epoch: definition.timestamp,
                    tool: concat!("conda-release/", env!("CARGO_PKG_VERSION")),
                },
                resolved_dependencies: checkout(&definition.source, certificate)
                    .into_iter()
                    .chain(definition.sources.iter().cloned())
                    .collect(),
            },
            run_details: RunDetails::of(certificate),
        },
    })
}

/// The commit with the recipe: the certificate's (.12, .13, .14), else the one that was checked out. A package that was
/// built from another commit than the certificate's is of that one, whatever it was called.
/// Of a tree with changes that are in no commit, there is nothing to say.
fn checkout(source: &Source, certificate: &CertificateInfo) -> Option<SourceDigest> {
    if source.dirty {
        return None;
    }
    let claims = &certificate.ci_claims;
    let commit = claims.source_repository_digest.as_ref();
    if let (Some(built), Some(repository)) = (&source.commit, &source.repository)
        && commit.is_some_and(|commit| commit != built)
    {
        return Some(dependency(format!("git+{repository}"), built));
    }
    let repository = claims.source_repository_uri.as_ref();
    let (repository, commit) = repository
        .or(source.repository.as_ref())
        .zip(commit.or(source.commit.as_ref()))?;
    let uri = match &claims.source_repository_ref {
        Some(git_ref) => format!("git+{repository}@{git_ref}"),
        None => format!("git+{repository}"),
    };
    Some(dependency(uri, commit))
}

fn dependency(uri: String, commit: &str) -> SourceDigest {
    SourceDigest {
        uri,
        digest: BTreeMap::from([("gitCommit".to_owned(), commit.to_owned())]),
        annotations: None,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a> {
    #[serde(rename = "_type")]
    statement_type: &'static str,
    subject: [Subject<'a>; 1],
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
struct Subject<'a> {
    name: &'a str,
    digest: Digest,
}

#[derive(Serialize)]
struct Digest {
    sha256: Sha256,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    build_definition: Definition<'a>,
    run_details: RunDetails,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Definition<'a> {
    build_type: &'static str,
    external_parameters: External<'a>,
    internal_parameters: Internal,
    resolved_dependencies: Vec<SourceDigest>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct External<'a> {
    recipe: &'a str,
    variant: &'a BTreeMap<String, String>,
    target_channel: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Internal {
    build_platform: Subdir,
    source_date_epoch: i64,
    tool: &'static str,
}
