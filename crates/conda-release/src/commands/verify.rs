//! `verify`: the attestations of packages, of a channel, or of a release.

use std::path::{Path, PathBuf};

use cep27::Rule;
use clap::Args;
use conda_attest::{Outcome, Package, Policy, Trust, Verdict, Verifier, bundles_in, read_bundle};
use conda_publish::ChannelReader;
use rayon::prelude::*;
use release_manifest::{DOCUMENT_LIMIT, Manifest};
use serde::Serialize;

use super::{policy::PolicyArgs, trust::TrustArgs};
use crate::{
    error::{Error, with_causes},
    exit::Status,
    foreign::harmless,
    input,
    printer::{OutputFormat, Printer},
    table::table,
    workspace::Workspace,
};

/// Verify the attestations of packages, a channel or a release
///
/// A package is verified when one of its attestations passes every check: the bundle against the
/// trusted root, log and time; the signer against your policy; the statement against the rules of
/// CEP-27, the package's bytes, its name and its own index.json.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release verify foo-1.0-0.conda --repo acme/pkgs --trust trusted_root.json
  conda-release verify channel/ --trust sandbox --identity ID --issuer URL
  conda-release verify *.conda --bundle bundles.jsonl --owner acme --trust trusted_root.json")]
pub struct VerifyArgs {
    /// Packages, a channel's folder, or a release manifest
    #[arg(value_name = "PACKAGE|CHANNEL|MANIFEST", required = true)]
    targets: Vec<String>,

    /// Where the attestations are, if not beside the packages: bundles, JSON lines, arrays, sidecars
    #[arg(long, value_name = "FILE")]
    bundle: Vec<PathBuf>,

    /// The channel that must have been attested
    #[arg(long, value_name = "URL")]
    channel: Option<String>,

    /// Ask nobody: everything needed is in the files (always so in this version)
    #[arg(long)]
    offline: bool,

    /// Under whose trust
    #[command(flatten)]
    trust: TrustArgs,

    /// Who may have signed
    #[command(flatten)]
    policy: PolicyArgs,
}

/// A package with the attestations that are to prove it.
struct Subject {
    package: Package,
    bundles: Result<Vec<Vec<u8>>, String>,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    trust: String,
    rehearsal: bool,
    packages: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    file: String,
    path: String,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    attestations: Vec<Verdict>,
}

impl Entry {
    /// A package whose attestations break the rules of CEP-27 and are good otherwise is that
    /// rather than unverified. An attestation of something else (rule 8) is no attestation of it.
    fn status(&self) -> Status {
        let only_breaks_rules = |verdict: &Verdict| {
            let mut failed = verdict
                .checks
                .iter()
                .filter(|check| matches!(check.result, Outcome::Failed { .. }));
            let mut violations = verdict.violations.iter();
            violations.any(|violation| violation.rule != Rule::Match)
                && failed.all(|check| check.code == "statement")
        };
        match self.verified {
            true => Status::Done,
            false if self.attestations.iter().any(only_breaks_rules) => Status::Cep27,
            false => Status::Verify,
        }
    }
}

impl VerifyArgs {
    /// Verifies everything, on all cores.
    ///
    /// # Errors
    /// No policy, no trust, or a target that cannot be read; an attestation that does not verify is
    /// in the report and in the status.
    pub(crate) async fn run(
        self,
        workspace: impl FnOnce() -> Result<Workspace, Error>,
        printer: &Printer,
    ) -> Result<Status, Error> {
        let policy = self.policy.policy()?;
        let trust = self
            .trust
            .to_verify(workspace, self.offline, printer)
            .await?;
        let verifier = Verifier::new(&trust)?;
        let given = match self.bundle.as_slice() {
            [] => None,
            files => Some(read_bundles(files)?),
        };
        let mut subjects = Vec::new();
        for target in &self.targets {
            subjects.extend(subjects_of(target, given.as_deref())?);
        }
        if subjects.is_empty() {
            return Err(Error::Usage(format!(
                "nothing to verify in {}",
                self.targets.join(", ")
            )));
        }
        let channel = self.channel.as_deref();
        let packages: Vec<Entry> = subjects
            .into_par_iter()
            .map(|subject| judge(&verifier, subject, &policy, channel))
            .collect();
        let status = packages
            .iter()
            .map(Entry::status)
            .fold(Status::Done, Status::and);
        show(&packages, &trust, printer)?;
        let report = Report {
            schema_version: 1,
            trust: trust.name().to_owned(),
            rehearsal: trust.is_sandbox(),
            packages,
        };
        printer.json(&report)?;
        Ok(status)
    }
}

/// Everything that a target names, with its attestations.
fn subjects_of(target: &str, given: Option<&[Vec<u8>]>) -> Result<Vec<Subject>, Error> {
    let path = Path::new(target);
    if target.starts_with("http://") || target.starts_with("https://") {
        return Err(Error::NotAvailable {
            what: "`verify`".to_owned(),
            target: format!("the channel `{target}`"),
            instead: "verify a folder, or packages you have downloaded",
        });
    }
    let is_manifest = path
        .extension()
        .is_some_and(|extension| extension == "json");
    if given.is_some() && (is_manifest || path.is_dir()) {
        return Err(Error::Usage(format!(
            "--bundle goes with packages: `{target}` names the attestations of its packages itself"
        )));
    }
    if path.is_dir() {
        return of_channel(path);
    }
    if is_manifest {
        return of_manifest(path);
    }
    let package = Package::at(path)?;
    std::fs::metadata(path).map_err(Error::output("read", path))?;
    let bundles = match given {
        Some(given) => Ok(about(&package, given)),
        None => bundles_at(&beside(path)),
    };
    Ok(vec![Subject { package, bundles }])
}

/// The bundles of a file, or why there are none.
fn bundles_at(file: &Path) -> Result<Vec<Vec<u8>>, String> {
    if let Ok(false) = file.try_exists() {
        return Err(format!(
            "no attestation: `{}` does not exist; --bundle names another file",
            file.display()
        ));
    }
    let bytes = read_bundle(file).map_err(|error| with_causes(&error))?;
    bundles_in(&bytes).map_err(|error| format!("`{}`: {error}", file.display()))
}

/// The packages of a channel, as clients find them: through repodata and the hashed sidecar (CEP-50).
fn of_channel(folder: &Path) -> Result<Vec<Subject>, Error> {
    let reader = ChannelReader::open(folder)?;
    reader
        .packages()
        .map(|listed| {
            let listed = listed?;
            let bundles = match reader.sidecar(&listed.package) {
                Ok(Some(sidecar)) => Ok(sidecar
                    .bundles()
                    .map(|bundle| bundle.as_bytes().to_vec())
                    .collect()),
                Ok(None) => Ok(Vec::new()),
                Err(error) => Err(error.to_string()),
            };
            let package = Package {
                path: reader.path(&listed.package),
                file: listed.package.file.clone(),
                subdir: Some(listed.package.subdir),
                sha256: listed.sha256,
            };
            Ok(Subject { package, bundles })
        })
        .collect()
}

/// The packages of a release, with the bundles that its manifest names.
fn of_manifest(path: &Path) -> Result<Vec<Subject>, Error> {
    let bytes = input::read(path, DOCUMENT_LIMIT)?;
    let manifest = Manifest::from_json(&bytes).map_err(Error::state(path))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(manifest
        .packages()
        .iter()
        .map(|package| Subject {
            package: Package {
                path: package.key().under(&folder.join("packages")),
                file: package.file.clone(),
                subdir: Some(package.subdir),
                sha256: package.sha256,
            },
            bundles: match &package.attestation {
                None => Ok(Vec::new()),
                Some(attestation) => read_bundle(&attestation.bundle.under(folder))
                    .map(|bundle| vec![bundle])
                    .map_err(|error| error.to_string()),
            },
        })
        .collect())
}

/// The bundle beside a package: `<package>.sigstore.json`.
pub(super) fn beside(package: &Path) -> PathBuf {
    let mut path = package.as_os_str().to_owned();
    path.push(".sigstore.json");
    path.into()
}

fn read_bundles(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, Error> {
    let mut all = Vec::new();
    for file in files {
        let bytes = input::read(file, cep27::JSON_LIMIT)?;
        all.extend(bundles_in(&bytes).map_err(Error::no_bundle(file))?);
    }
    Ok(all)
}

/// Of several bundles, those that name the package; all of them where none does, so that each says why not.
fn about(package: &Package, given: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let names = |bundle: &&Vec<u8>| {
        let document = cep27::validate_document(bundle);
        document
            .statements
            .iter()
            .any(|statement| statement.file == package.file)
    };
    let named: Vec<_> = given.iter().filter(names).cloned().collect();
    if named.is_empty() {
        given.to_vec()
    } else {
        named
    }
}

fn judge(verifier: &Verifier, subject: Subject, policy: &Policy, channel: Option<&str>) -> Entry {
    let Subject { package, bundles } = subject;
    let (file, path) = (package.file.to_string(), package.path.display().to_string());
    let (attestations, error) = match bundles {
        Ok(bundles) if bundles.is_empty() => {
            (Vec::new(), Some("no attestation was found".to_owned()))
        }
        Ok(bundles) => {
            let verdicts = verifier.verify_all(package, &bundles, policy, channel);
            let by_whom = "it says how the package was built, but nothing says who published it";
            let only_built = verdicts.iter().all(Verdict::passed)
                && !verdicts.iter().any(Verdict::verifies_package);
            (verdicts, only_built.then(|| by_whom.to_owned()))
        }
        Err(error) => (Vec::new(), Some(error)),
    };
    let verified = attestations.iter().any(Verdict::verifies_package);
    Entry {
        file,
        path,
        verified,
        error,
        attestations,
    }
}

/// A line for each package with every check that failed, then a table of who signed what.
fn show(packages: &[Entry], trust: &Trust, printer: &Printer) -> Result<(), Error> {
    if printer.format() == OutputFormat::Json {
        return Ok(());
    }
    if trust.is_sandbox() {
        printer.result("REHEARSAL: signed by a sandbox on somebody's machine, which proves nothing to others\n")?;
    }
    printer.result(&format!(
        "policy: as given on the command line, under the trust of `{}`",
        harmless(trust.name())
    ))?;
    for entry in packages {
        let mark = if entry.verified { "✓" } else { "✗" };
        printer.result(&format!("{mark} {}", harmless(&entry.path)))?;
        if entry.verified {
            continue;
        }
        if let Some(error) = &entry.error {
            printer.result(&format!("    {}", harmless(error)))?;
        }
        for verdict in &entry.attestations {
            for check in &verdict.checks {
                if let Outcome::Failed { message, .. } = &check.result {
                    printer.result(&format!("    {}: {}", check.name, harmless(message)))?;
                }
            }
        }
    }
    let rows = packages.iter().filter_map(|entry| {
        let signed = entry
            .attestations
            .iter()
            .find(|verdict| verdict.verifies_package())?
            .signed
            .as_ref()?;
        let channel = signed
            .target_channel
            .clone()
            .unwrap_or_else(|| "(none)".to_owned());
        Some([
            entry.file.clone(),
            signed.identity.clone(),
            signed.signed_at.to_string(),
            channel,
        ])
    });
    let rows: Vec<_> = rows.collect();
    let verified = packages.iter().filter(|entry| entry.verified).count();
    if !rows.is_empty() {
        printer.result(&format!(
            "\n{}",
            table(&["PACKAGE", "SIGNED BY", "AT", "FOR CHANNEL"], rows)
        ))?;
    }
    printer.result(&format!("\n{verified} of {} verified", packages.len()))
}
