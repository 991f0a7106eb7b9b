//! What a person sees when a run is over.

use std::path::Path;

use release_manifest::{Manifest, Package, Progress, Skipped};

use crate::{
    commands::trust::PUBLIC_GOOD,
    printer::{count, size},
    release::Release,
    table::table,
    target::{ReadAt, Target},
    workspace::Workspace,
};

/// Every package: size, digest, log index, and where it is or why it is nowhere.
pub(crate) fn packages_table(release: &Release, current: &Path) -> String {
    let is_out = |package: &&Package| {
        let is_unselected = package.skipped.as_ref().is_some_and(Skipped::is_unselected);
        is_unselected && package.progress == Progress::Planned
    };
    let packages = release.manifest().packages();
    let shown = packages.iter().filter(|package| !is_out(package));
    let rows = shown.map(|package| {
        let index = package
            .attestation
            .as_ref()
            .and_then(|attestation| attestation.log_index);
        [
            package.key().to_string(),
            package.size.map_or_else(String::new, size),
            package
                .sha256
                .map_or_else(String::new, |sha256| sha256.to_string()[..12].to_owned()),
            index.map_or_else(String::new, |index| index.to_string()),
            place(package, current),
        ]
    });
    let table = table(&["PACKAGE", "SIZE>", "SHA-256", "LOG>", "WHERE"], rows);
    match packages.iter().filter(is_out).count() {
        0 => table,
        out => format!("{table}\n\nNot selected: {}", count(out, "other package")),
    }
}

fn place(package: &Package, current: &Path) -> String {
    match (&package.error, &package.published) {
        (Some(error), _) => format!("failed to {}", error.phase),
        (None, Some(published)) => match published.url.strip_prefix("file://") {
            Some(path) => Path::new(path)
                .strip_prefix(current)
                .unwrap_or(Path::new(path))
                .display()
                .to_string(),
            None => published.url.clone(),
        },
        (None, None) if let Some(skipped) = &package.skipped => match skipped.is_unselected() {
            true => format!("{}, not selected", package.progress),
            false if skipped.is_changed() => {
                "in the channel before, changed since it was published".to_owned()
            }
            false => "in the channel before".to_owned(),
        },
        (None, None) if let [first, more @ ..] = package.blocked_by.as_slice() => {
            let first = format!("{}, blocked by {}", package.progress, first.file.name());
            match more.len() {
                0 => first,
                more => format!("{first} and {more} more"),
            }
        }
        (None, None) => package.progress.to_string(),
    }
}

/// Commands that look further at what was published, ours and other people's; all of them work as they stand.
pub(crate) fn next_steps(
    release: &Release,
    invocation: &str,
    workspace: &Workspace,
) -> Option<String> {
    let current = workspace.current();
    let packages = release.manifest().packages();
    let package = packages
        .iter()
        .find(|package| package.progress == Progress::Published)?;
    let (attestation, sha256) = (package.attestation.as_ref()?, package.sha256?);
    let folder = release.folder();
    let shown = |path: &Path| quoted(path.strip_prefix(current).unwrap_or(path));
    let file = shown(&package.key().under(&folder.packages()));
    let bundle = shown(&attestation.bundle.under(folder.path()));
    let channel = shown(&folder.channel());
    let trusted_root = shown(&folder.sandbox().join("trusted_root.json"));
    let trust_config = shown(&folder.sandbox().join("trust_config.json"));
    let (identity, issuer) = (
        quoted(Path::new(&attestation.identity)),
        quoted(Path::new(&attestation.issuer)),
    );
    let predicate = cep27::PREDICATE_TYPE;
    let named = workspace.named().iter();
    let named: String = named
        .map(|(option, path)| format!(" {option} {}", quoted(path)))
        .collect();
    Some(format!(
        "\
Look at an attestation:
  {invocation} inspect {file}

Verify one, or the whole channel:
  {invocation} verify{named} {file} --trust sandbox --identity {identity} --issuer {issuer}
  {invocation} verify{named} {channel} --trust sandbox --identity {identity} --issuer {issuer}

The same with other people's verifiers:
  cosign verify-blob-attestation --bundle {bundle} --type {predicate} --trusted-root {trusted_root} --certificate-identity {identity} --certificate-oidc-issuer {issuer} {file}
  sigstore --trust-config {trust_config} verify identity --offline --bundle {bundle} --cert-identity {identity} --cert-oidc-issuer {issuer} sha256:{sha256}"
    ))
}

/// Commands that look at what was released, as anybody can.
pub(crate) fn next_steps_live(
    release: &Release,
    invocation: &str,
    target: &Target,
) -> Option<String> {
    let packages = release.manifest().packages();
    let package = packages
        .iter()
        .find(|package| package.progress == Progress::Published)?;
    let attestation = package.attestation.as_ref()?;
    let (identity, issuer) = (
        quoted(Path::new(&attestation.identity)),
        quoted(Path::new(&attestation.issuer)),
    );
    let channel = match target.read_at().ok()? {
        ReadAt::Folder(path) => quoted(&path),
        ReadAt::Url(url) => quoted(Path::new(url.as_str())),
    };
    let trust = trust_option(release.manifest());
    Some(format!(
        "\
Anybody can verify what was released:
  {invocation} verify {channel}{trust} --identity {identity} --issuer {issuer}"
    ))
}

/// What a command that verifies the release says about trust: nothing where it stands under the public instance.
pub(crate) fn trust_option(manifest: &Manifest) -> String {
    match manifest.trust.as_ref().map(|trust| trust.name.as_str()) {
        None | Some(PUBLIC_GOOD) => String::new(),
        Some(name) => format!(" --trust {}", quoted(Path::new(name))),
    }
}

/// The text as one word of a shell command.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@=%,".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::quoted;

    #[test]
    fn suggested_commands_survive_spaces_and_quotes() {
        assert_eq!(
            quoted(Path::new("target/a-1.0-0.conda")),
            "target/a-1.0-0.conda"
        );
        assert_eq!(quoted(Path::new("a b")), "'a b'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }
}
