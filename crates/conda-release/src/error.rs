//! What goes wrong: a message, its causes, a code, an exit status, and a hint that names the fix.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    path::PathBuf,
};

use release_manifest::PackageKey;
use serde::Serialize;

use crate::{exit::Status, secret::veiled};

/// Everything a command can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] Box<ConfigError>),
    /// No workspace at or above the folder.
    #[error("no workspace found at or above `{}`: expected a folder with `conda-release.toml`, a Cargo workspace, or a git repository", .0.display())]
    NoWorkspace(PathBuf),
    /// Another run holds the output folder.
    #[error("another run (process {process}) is at work in `{}`", folder.display())]
    Locked {
        /// The output folder.
        folder: PathBuf,
        /// The process that holds the lock, as it wrote itself.
        process: String,
    },
    /// A file of the output folder cannot be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Output {
        /// What was tried: `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A plan, manifest or journal that cannot be understood.
    #[error("cannot use `{}`", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<release_manifest::Error>,
    },
    /// The stored state belongs to another release.
    #[error("`{}` belongs to another release: its {what} is `{found}`, expected `{expected}`", path.display())]
    OtherRelease {
        /// The manifest.
        path: PathBuf,
        /// What differs: mode, channel, target channel or trust.
        what: &'static str,
        /// What the manifest says.
        found: String,
        /// What this run would do.
        expected: String,
    },
    /// A plan that another job made, and that cannot be followed here.
    #[error("`{}` is another plan: its {what} is `{found}`, expected `{expected}`", path.display())]
    OtherPlan {
        /// The plan, or the shards beside it.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the plan says.
        found: String,
        /// What this job has, or was told.
        expected: String,
    },
    /// What another job handed over is not taken.
    #[error("cannot take `{}`: {what}", path.display())]
    Shard {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// A shard builds upon others.
    #[error(
        "shard {shard} needs packages of {}, which were not given",
        numbers(missing)
    )]
    ShardNeeds {
        /// The shard.
        shard: u32,
        /// Those that it needs and that are not there.
        missing: Vec<u32>,
    },
    /// A build job that could sign.
    #[error("the variable `{0}` lets this job have an identity: a shard is built without any")]
    IdentityPresent(String),
    /// A command that continues a release found none.
    #[error("`{}` does not exist: nothing was planned and built there", .0.display())]
    NoRelease(PathBuf),
    /// The channel does not tell the build number of a package, above which one is asked for.
    #[error("the channel's repodata has no build number for {}", cep27::printable(.0))]
    NoBuildNumber(String),
    /// Packages are to be published whose release is not attested as a whole.
    #[error("the release in `{}` is not attested as a whole", .0.display())]
    ReleaseNotAttested(PathBuf),
    /// A step that this build of the program cannot do.
    #[error("{what} is not available for {target}")]
    NotAvailable {
        /// The command or option.
        what: String,
        /// What it was asked for.
        target: String,
        /// What works instead.
        instead: &'static str,
    },
    /// `verify` and `publish --attestation` have no default identity policy.
    #[error("no identity policy was given: who may have signed is for you to say")]
    NoPolicy,
    /// An entry of `[[verify]]` is no policy.
    #[error("entry {entry} of [[verify]] in `{}` cannot be used", file.display())]
    PolicyEntry {
        /// The configuration.
        file: PathBuf,
        /// Which entry, from one.
        entry: usize,
        /// Why.
        source: Box<conda_attest::Error>,
    },
    /// What is signed for real says for which channel.
    #[error("no channel to attest packages for")]
    NoTargetChannel,
    /// A live release goes somewhere.
    #[error("no channel to publish to")]
    NoChannel,
    /// What is attested is a commit: files that differ from it are not what was reviewed.
    #[error("files differ from the commit that would be attested")]
    Dirty,
    /// Recipes whose packages the channel has, made from something else.
    #[error("{} changed since {} published", packages(.0), if .0.len() == 1 { "it was" } else { "they were" })]
    ChangedSincePublished(BTreeSet<PackageKey>),
    /// An event whose workflow may run code of others.
    #[error("the event `{0}` runs code that the repository's owners may not have seen")]
    UntrustedEvent(String),
    /// A channel that would drop what was signed.
    #[error("{0} has no place for attestations")]
    KeepsNoAttestations(String),
    /// A channel that would drop a part of what was signed.
    #[error("{channel} takes {most} attestation a package: there is no place for provenance")]
    KeepsTooFew {
        /// The channel.
        channel: String,
        /// How many it takes.
        most: usize,
    },
    /// Everything that stands in the way of publishing, known before the first upload.
    #[error("nothing was published: {}", list(.0))]
    Preflight(Vec<Error>),
    /// An identity that no live signature may have.
    #[error("the identity token was issued by `{0}`, which is a rehearsal's and can never exist")]
    RehearsedIdentity(String),
    /// A name that no output of the plan has.
    #[error("`{option} {pattern}` matches no output of the plan")]
    NoSuchOutput {
        /// The option.
        option: &'static str,
        /// Its value.
        pattern: String,
        /// The names that were probably meant, the nearest first.
        nearest: Vec<String>,
    },
    /// Packages need others that the command line rules out, and that are nowhere.
    #[error("{}", unselected(needs, *is_live))]
    NeedsUnselected {
        /// What each of them needs.
        needs: BTreeMap<PackageKey, BTreeSet<PackageKey>>,
        /// Whether the channel was asked.
        is_live: bool,
    },
    /// A repository that git cannot read.
    #[error("`git {command}` failed in `{}`: {reason}", folder.display())]
    Git {
        /// The folder in the repository.
        folder: PathBuf,
        /// The command of git.
        command: String,
        /// The message of git.
        reason: String,
    },
    /// A git reference that nothing can be compared with.
    #[error("cannot tell what changed since `{reference}`: {reason}")]
    Reference {
        /// The reference.
        reference: String,
        /// Why.
        reason: &'static str,
    },
    /// A file that would be added to is not TOML, or has something else in the place.
    #[error("cannot add to `{}`", file.display())]
    Toml {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something the command line says cannot be.
    #[error("{0}")]
    Usage(String),
    /// Recipes: finding, rendering, planning.
    #[error(transparent)]
    Recipes(#[from] conda_recipes::Error),
    /// Signing or verifying as a whole.
    #[error(transparent)]
    Attest(Box<conda_attest::Error>),
    /// A channel as a whole.
    #[error(transparent)]
    Publish(#[from] conda_publish::Error),
    /// A file that was given as an attestation is none.
    #[error("`{}` holds no attestation", path.display())]
    NoBundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<conda_attest::Error>,
    },
    /// The rehearsal's Sigstore.
    #[error(transparent)]
    Sandbox(#[from] sigstore_sandbox::Error),
    /// A plan or manifest made by this very run is not one.
    #[error(transparent)]
    Plan(Box<release_manifest::Error>),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted: the same command continues where this one ended")]
    Interrupted(Status),
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration")]
    Read(#[source] io::Error),
    /// It is not what is expected.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Line, from one.
        line: usize,
        /// Column, from one.
        column: usize,
        /// What is wrong.
        message: String,
        /// The known key that an unknown one was probably meant to be.
        nearest: Option<String>,
        /// The text of the file.
        text: String,
        /// The wrong part of it, in bytes.
        span: Range<usize>,
    },
    /// Two places say what the configuration is.
    #[error("two configurations: `{}` and `[workspace.metadata.conda-release]` in `{}`", file.display(), cargo.display())]
    Twice {
        /// The file of its own.
        file: PathBuf,
        /// The Cargo.toml.
        cargo: PathBuf,
    },
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(Box::new(error))
    }
}

impl From<conda_attest::Error> for Error {
    fn from(error: conda_attest::Error) -> Self {
        Self::Attest(Box::new(error))
    }
}

impl From<release_manifest::Error> for Error {
    fn from(error: release_manifest::Error) -> Self {
        Self::Plan(Box::new(error))
    }
}

impl Error {
    /// A plan, manifest or journal that cannot be understood, for `map_err`.
    pub(crate) fn state(path: impl Into<PathBuf>) -> impl FnOnce(release_manifest::Error) -> Self {
        let path = path.into();
        move |source| Self::State {
            path,
            source: Box::new(source),
        }
    }

    /// A file of another job that cannot be understood or believed, for `map_err`.
    pub(crate) fn shard(path: impl Into<PathBuf>) -> impl FnOnce(release_manifest::Error) -> Self {
        let path = path.into();
        move |source| Self::Shard {
            path,
            what: with_causes(&source),
        }
    }

    /// A file that was given as an attestation and is none, for `map_err`.
    pub(crate) fn no_bundle(path: impl Into<PathBuf>) -> impl FnOnce(conda_attest::Error) -> Self {
        let path = path.into();
        move |source| Self::NoBundle {
            path,
            source: Box::new(source),
        }
    }

    /// A failure to read or write `path`, for `map_err`.
    pub fn output(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Output {
            action,
            path,
            source,
        }
    }

    /// The stable code of the error, for scripts.
    pub fn code(&self) -> String {
        match self {
            Self::Config(error) => match **error {
                ConfigError::Read(_) => "config_unreadable",
                ConfigError::Invalid { .. } => "config_invalid",
                ConfigError::Twice { .. } => "config_twice",
            },
            Self::NoWorkspace(_) => "no_workspace",
            Self::Locked { .. } => "locked",
            Self::Output { .. } => "output",
            Self::State { .. } => "state_invalid",
            Self::OtherRelease { .. } => "other_release",
            Self::OtherPlan { .. } => "other_plan",
            Self::Shard { .. } => "shard_refused",
            Self::ShardNeeds { .. } => "shards_missing",
            Self::IdentityPresent(_) => "identity_present",
            Self::NoRelease(_) => "no_release",
            Self::NoBuildNumber(_) => "no_build_number",
            Self::ReleaseNotAttested(_) => "release_not_attested",
            Self::NotAvailable { .. } => "not_available",
            Self::NoPolicy => "no_policy",
            Self::PolicyEntry { source, .. } => source.code(),
            Self::NoTargetChannel => "no_target_channel",
            Self::NoChannel => "no_channel",
            Self::Dirty => "dirty",
            Self::ChangedSincePublished(_) => "changed_since_published",
            Self::KeepsNoAttestations(_) => "keeps_no_attestations",
            Self::KeepsTooFew { .. } => "keeps_too_few_attestations",
            Self::UntrustedEvent(_) => "untrusted_event",
            Self::Preflight(errors) => match &errors[..] {
                [error] => return error.code(),
                _ => "preflight",
            },
            Self::RehearsedIdentity(_) => "rehearsed_identity",
            Self::NoSuchOutput { .. } => "no_such_output",
            Self::NeedsUnselected { .. } => "needs_unselected",
            Self::Reference { .. } => "unknown_reference",
            Self::Git { .. } => "git",
            Self::Toml { .. } => "toml_invalid",
            Self::Usage(_) => "usage",
            Self::Plan(_) => "plan",
            Self::Recipes(error) => return conda_recipes::Failure::from(error).code,
            Self::Attest(error) => return error.code().to_owned(),
            Self::Publish(error) => return error.code().to_owned(),
            Self::NoBundle { source, .. } => return source.code().to_owned(),
            Self::Sandbox(_) => "sandbox",
            Self::Interrupted(_) => "interrupted",
        }
        .to_owned()
    }

    /// The exit status that the error ends the process with.
    pub fn status(&self) -> Status {
        match self {
            Self::Usage(_) | Self::NoSuchOutput { .. } => Status::Usage,
            Self::Config(_)
            | Self::NoWorkspace(_)
            | Self::Locked { .. }
            | Self::Output { .. }
            | Self::State { .. }
            | Self::OtherRelease { .. }
            | Self::OtherPlan { .. }
            | Self::Shard { .. }
            | Self::ShardNeeds { .. }
            | Self::IdentityPresent(_)
            | Self::NoRelease(_)
            | Self::NoBuildNumber(_)
            | Self::NotAvailable { .. }
            | Self::NeedsUnselected { .. }
            | Self::Reference { .. }
            | Self::Git { .. }
            | Self::NoPolicy
            | Self::PolicyEntry { .. }
            | Self::NoTargetChannel
            | Self::Toml { .. }
            | Self::RehearsedIdentity(_)
            | Self::Plan(_)
            | Self::NoChannel
            | Self::Dirty
            | Self::ChangedSincePublished(_)
            | Self::KeepsNoAttestations(_)
            | Self::KeepsTooFew { .. }
            | Self::UntrustedEvent(_)
            | Self::Preflight(_)
            | Self::Recipes(_) => Status::Preflight,
            Self::Attest(error) => attest_status(error),
            Self::NoBundle { .. } => Status::Verify,
            Self::ReleaseNotAttested(_) => Status::Incomplete,
            Self::Sandbox(_) => Status::Sign,
            Self::Publish(error) => publish_status(error),
            Self::Interrupted(status) => *status,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Config(error) => match &**error {
                ConfigError::Read(_) => "name an existing file with --config".to_owned(),
                ConfigError::Invalid { nearest, .. } => match nearest {
                    Some(key) => format!("did you mean `{key}`? `schema config` prints every key with its meaning"),
                    None => "`schema config` prints every key with its meaning".to_owned(),
                },
                ConfigError::Twice { .. } => "keep one of them".to_owned(),
            },
            Self::NoWorkspace(_) => "name the workspace with --root".to_owned(),
            Self::Locked { .. } => "wait for it, or end it; or give this run a folder of its own with --output".to_owned(),
            Self::Output { action: "read", .. } => {
                "name a file or folder that exists and that you may read".to_owned()
            }
            Self::Output { path, .. } => format!(
                "make `{}` writable, with room on its disk, or choose another output folder with --output",
                path.parent().unwrap_or(path).display()
            ),
            Self::State { path, source } => match matches!(**source, release_manifest::Error::SchemaVersion { .. }) {
                true => "a newer version wrote it: use that version, or another --output".to_owned(),
                false => format!("remove `{}` to plan afresh; packages are built again", path.display()),
            },
            Self::OtherRelease { path, .. } => format!(
                "give this release another --output, or remove `{}` to start afresh",
                path.parent().unwrap_or(path).display()
            ),
            Self::OtherPlan { what: "digest", .. } => "take plan and shards from the job whose digests these are".to_owned(),
            Self::OtherPlan { .. } => "check out the commit that was planned, with the same version of this program, and give the options that `plan` was given".to_owned(),
            Self::Shard { .. } => "take the file as its job wrote it, or run that job again".to_owned(),
            Self::ShardNeeds { .. } => "name the folders that they handed over with --from".to_owned(),
            Self::IdentityPresent(_) => "give `id-token: write` to the job that signs alone; build in a job without".to_owned(),
            Self::NoRelease(_) => "`release` or `build` makes it".to_owned(),
            Self::NoBuildNumber(_) => "have the channel indexed anew, or give the number itself: `--build-number 3`".to_owned(),
            Self::ReleaseNotAttested(_) => "`sign` or `release` attests it; `publish.manifest = false` releases packages alone".to_owned(),
            Self::NotAvailable { instead, .. } => (*instead).to_owned(),
            Self::NoPolicy => "give --identity with --issuer, --repo or --owner, or name a file with [[verify]] entries with --config; --allow-any-identity accepts whoever the trust root vouches for, and says little about a package".to_owned(),
            Self::PolicyEntry { .. } => "say whose attestations it accepts: `repository = \"owner/name\"`, or `identity` with `issuer`".to_owned(),
            Self::NoTargetChannel => "set `target-channel` in the configuration to the URL that clients read; `sign` and `publish` also take it as --channel".to_owned(),
            Self::NoChannel => "name one with --to, or configure it as `channel`".to_owned(),
            Self::Dirty => "commit or stash the changes; --allow-dirty releases them all the same".to_owned(),
            Self::ChangedSincePublished(_) => "raise the build number in the recipe, or with --build-number; set `publish.changed = \"warn\"` to only warn".to_owned(),
            Self::UntrustedEvent(event) => format!("release from a push, a tag or by hand; --allow-event {event} does it all the same"),
            Self::KeepsNoAttestations(_) => "publish to a channel that keeps them (prefix.dev, S3, a folder); --without-attestation publishes the packages alone".to_owned(),
            Self::KeepsTooFew { .. } => "set `sign.provenance = false`, or publish to a channel with sidecars (S3, a folder)".to_owned(),
            Self::Preflight(errors) => {
                let hints: Vec<String> = errors.iter().filter_map(Self::hint).collect();
                return (!hints.is_empty()).then(|| hints.join("\n"));
            }
            Self::NoSuchOutput { nearest, .. } => match &nearest[..] {
                [] => "`plan` shows the names of all outputs".to_owned(),
                names => format!("did you mean `{}`?", names.join("`, or `")),
            },
            Self::NeedsUnselected { needs, is_live } => {
                let name = needs.keys().next().map_or("", |package| package.file.name());
                let otherwise = match is_live {
                    true => "or release what it needs first",
                    false => "or rehearse everything first: a rehearsal does not look into the channel",
                };
                format!("select what it needs too, as `--up-to {name}` does, {otherwise}")
            }
            Self::Git { .. } => "install git; if another user owns the checkout, run `git config --global --add safe.directory <folder>`".to_owned(),
            Self::Reference { .. } => "fetch it with its history, as `git fetch --unshallow origin` does; in GitHub Actions, check out with `fetch-depth: 0`".to_owned(),
            Self::Toml { .. } => "mend the file; with --no-xtask nothing is added to it".to_owned(),
            Self::RehearsedIdentity(_) => "sign with a token of your CI system, or leave --execute and --trust out for a rehearsal".to_owned(),
            Self::Recipes(error) => return conda_recipes::Failure::from(error).help,
            Self::Publish(error) => return error.help().map(str::to_owned),
            Self::NoBundle { .. } => {
                "name a Sigstore bundle, JSON lines or an array of them, or a package with one beside it".to_owned()
            }
            Self::Attest(error) => return error.help(),
            Self::Usage(_) | Self::Plan(_) | Self::Sandbox(_) | Self::Interrupted(_) => return None,
        };
        Some(hint)
    }

    /// The messages of everything that led to the error, outermost first.
    pub fn causes(&self) -> Vec<String> {
        if let Self::Recipes(error) = self {
            return conda_recipes::Failure::from(error).causes;
        }
        causes(self).map(ToString::to_string).collect()
    }

    /// What it sums up, where it is several together.
    fn related(&self) -> Vec<RelatedBody> {
        let Self::Recipes(error) = self else {
            return Vec::new();
        };
        let related = conda_recipes::Failure::from(error).related.into_iter();
        related
            .map(|failure| RelatedBody {
                code: failure.code,
                message: veiled(&failure.message),
                causes: failure.causes.iter().map(|cause| veiled(cause)).collect(),
                help: failure.help.as_deref().map(veiled),
            })
            .collect()
    }

    /// The error as one JSON document.
    pub fn document(&self) -> impl Serialize {
        ErrorDocument {
            schema_version: 1,
            error: ErrorBody {
                code: self.code(),
                message: veiled(&self.to_string()),
                causes: self.causes().iter().map(|cause| veiled(cause)).collect(),
                help: self.hint().as_deref().map(veiled),
                exit_status: self.status().code(),
                related: self.related(),
            },
        }
    }
}

/// What was given could not be used, or signing failed.
fn attest_status(error: &conda_attest::Error) -> Status {
    use conda_attest::Error;
    match error {
        Error::Io { .. }
        | Error::NotAFile { .. }
        | Error::FileName { .. }
        | Error::Archive { .. }
        | Error::Index { .. }
        | Error::Trust { .. }
        | Error::TrustRefused { .. }
        | Error::TrustUnavailable { .. }
        | Error::Selector { .. }
        | Error::NoSigningConfig { .. }
        | Error::NoService { .. }
        | Error::Insecure { .. }
        | Error::NoIdentity { .. }
        | Error::Token { .. }
        | Error::TokenExpired { .. }
        | Error::TokenNotYetValid { .. }
        | Error::Audience { .. }
        | Error::SharedAudience { .. }
        | Error::Policy { .. } => Status::Preflight,
        Error::Bundle { .. } => Status::Verify,
        error if error.is_renewal_failure() => Status::Incomplete,
        _ => Status::Sign,
    }
}

/// The channel was named wrongly or cannot be read, so that nothing was started, or publishing failed.
fn publish_status(error: &conda_publish::Error) -> Status {
    use conda_publish::Error;
    match error {
        Error::Location { .. }
        | Error::LocationSecret { .. }
        | Error::ForeignFolder { .. }
        | Error::OtherKind { .. }
        | Error::NotAFolder { .. }
        | Error::ChannelUrl { .. }
        | Error::RattlerConfig { .. }
        | Error::Credentials { .. }
        | Error::Unreachable { .. }
        | Error::Status { .. }
        | Error::TooLarge { .. }
        | Error::Forbidden { .. }
        | Error::NotListed { .. }
        | Error::Repodata { .. }
        | Error::RepodataMissing { .. } => Status::Preflight,
        _ => Status::Publish,
    }
}

/// An error and everything that led to it in one line: `cannot write …: no space left on device`.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    causes(error).fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

fn causes<'a>(
    error: &'a dyn std::error::Error,
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

/// Shards in a sentence: `shard 1`, `shards 1, 2`.
fn numbers(shards: &[u32]) -> String {
    let numbers: Vec<String> = shards.iter().map(u32::to_string).collect();
    let noun = if shards.len() == 1 { "shard" } else { "shards" };
    format!("{noun} {}", numbers.join(", "))
}

/// What packages need that is ruled out, in one line.
fn unselected(needs: &BTreeMap<PackageKey, BTreeSet<PackageKey>>, is_live: bool) -> String {
    /// More of them only hide the first.
    const MOST: usize = 5;
    let channel = if is_live {
        ", is not in the channel"
    } else {
        ""
    };
    let needs = needs.iter().take(MOST).map(|(package, needs)| {
        let needs: Vec<String> = needs.iter().map(|need| format!("`{need}`")).collect();
        let needs = needs.join(", ");
        format!(
            "`{package}` needs {needs}, which is not selected{channel} and was not built before"
        )
    });
    needs.collect::<Vec<_>>().join("; ")
}

/// Packages in one line.
fn packages(keys: &BTreeSet<PackageKey>) -> String {
    let names: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    names.join(", ")
}

/// Several errors in one line.
fn list(errors: &[Error]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| with_causes(error)).collect();
    lines.join("; ")
}

#[derive(Serialize)]
struct ErrorDocument {
    schema_version: u32,
    error: ErrorBody,
}

#[derive(Serialize)]
struct ErrorBody {
    code: String,
    message: String,
    causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    exit_status: u8,
    /// What it sums up, where it is several together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related: Vec<RelatedBody>,
}

#[derive(Serialize)]
struct RelatedBody {
    code: String,
    message: String,
    causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}
