//! Packages that are published from their files, with attestations that a job of GitHub Actions made before.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use channel_servers::package;
use release_manifest::PackageKey;

use crate::{process::Output, sigstore::Sigstore, workspace::Workspace};

/// Packages in a folder, each with the attestation of a job beside it.
pub struct Attested<'a> {
    workspace: &'a Workspace,
    sigstore: &'a Sigstore,
    packages: Vec<PathBuf>,
}

impl<'a> Attested<'a> {
    /// Has a job attest packages for the channel of this URL.
    ///
    /// # Panics
    /// That fails.
    #[track_caller]
    pub fn by(
        sigstore: &'a Sigstore,
        workspace: &'a Workspace,
        packages: Vec<PathBuf>,
        channel: &str,
    ) -> Self {
        let attested = Self {
            workspace,
            sigstore,
            packages,
        };
        let mut sign = attested.command(&["sign", "-x", "--channel", channel]);
        sign.args(&attested.packages);
        sign.envs(sigstore.job());
        workspace.run_command(sign).ends(0);
        attested
    }

    /// Their files.
    pub fn packages(&self) -> &[PathBuf] {
        &self.packages
    }

    /// The program that publishes these of them to a channel, as anybody who isn't a job, and waits for no client.
    pub fn publishing(&self, packages: &[PathBuf], to: &str, args: &[&str]) -> Command {
        let policy = ["--repo", "acme/pkgs", "--issuer", self.sigstore.issuer()];
        let to = ["publish", "-x", "--no-wait", "--to", to];
        let mut command = self.command(&[&to[..], &policy, args].concat());
        command.args(packages);
        command
    }

    /// Publishes all of them to a channel with these variables.
    pub fn publish(&self, to: &str, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.publishing(&self.packages, to, args);
        command.envs(variables.iter().copied());
        self.workspace.run_command(command)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.workspace.command(args);
        command.env("CONDA_RELEASE_TRUST", self.sigstore.trust_config());
        command
    }
}

/// Writes a small package of this name, as `subdir/file`, whose content is `content`, into a folder that is made.
pub fn write_package(folder: &Path, name: &str, content: &str) -> PathBuf {
    let package: PackageKey = name.parse().expect("a package's name");
    fs_err::create_dir_all(folder).expect("a folder");
    let path = folder.join(package.file.as_str());
    package::write(&path, package.subdir, &package.file, content.as_bytes());
    path
}
