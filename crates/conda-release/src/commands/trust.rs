//! Under whose trust signatures are made and judged: the words of `--trust` and `sign.trust`.

use std::path::{Path, PathBuf};

use clap::Args;
use conda_attest::{Freshness, Purpose, Trust, TrustOptions, TrustSource};
use release_manifest::Mode;
use url::Url;

use crate::{config::Config, error::Error, pipeline, printer::Printer, workspace::Workspace};

/// The word for the public instance of Sigstore, which is meant where nothing else is said.
pub(crate) const PUBLIC_GOOD: &str = "public-good";

/// Under whose trust signatures are made or judged.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Trust")]
pub struct TrustArgs {
    /// The Sigstore instance: `public-good`, `staging`, `github` (verifies only), `sandbox`, a trust_config.json, a trusted_root.json, or a TUF repository's URL
    #[arg(long, value_name = "TRUST", env = "CONDA_RELEASE_TRUST")]
    trust: Option<String>,

    /// The services of the instance whose trusted_root.json --trust names
    #[arg(long, value_name = "FILE", env = "CONDA_RELEASE_SIGNING_CONFIG")]
    signing_config: Option<PathBuf>,

    /// The root.json that the TUF repository of --trust begins with
    #[arg(long, value_name = "FILE", env = "CONDA_RELEASE_TUF_ROOT")]
    tuf_root: Option<PathBuf>,
}

/// What a word of `--trust` or `sign.trust` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Instance {
    /// The rehearsal's own Sigstore.
    Sandbox,
    /// A Sigstore that exists.
    Sigstore(TrustSource),
}

impl TrustArgs {
    /// Whether something else than the sandbox is named.
    pub(crate) fn names_a_sigstore(&self) -> bool {
        let word = self.trust.as_deref();
        word.is_some_and(|word| word != pipeline::REHEARSAL_TRUST)
    }

    /// The instance to sign with: the one that is named, else for real that of the configuration or
    /// the public one, and the sandbox for a rehearsal.
    ///
    /// # Errors
    /// A word that names nothing, a file beside it that it has no use for, and an instance that
    /// does not sign what was asked for.
    pub(crate) fn to_sign(&self, is_live: bool, workspace: &Workspace) -> Result<Instance, Error> {
        let configured = workspace.config().sign.trust.as_deref();
        let instance = match (&self.trust, is_live, configured) {
            (Some(word), ..) => self.instance(word, workspace.current())?,
            (None, true, Some(word)) => self.instance(word, workspace.root())?,
            (None, true, None) => self.instance(PUBLIC_GOOD, workspace.root())?,
            (None, false, _) => self.instance(pipeline::REHEARSAL_TRUST, workspace.root())?,
        };
        match instance {
            Instance::Sandbox if is_live => Err(Error::Usage(
                "the sandbox signs rehearsals alone: name another instance with --trust, or leave --execute out".to_owned(),
            )),
            Instance::Sigstore(TrustSource::Github) => Err(Error::Usage(
                "`--trust github` verifies only: that instance signs for GitHub's own `actions/attest` in private repositories".to_owned(),
            )),
            instance => Ok(instance),
        }
    }

    /// The trust material to verify with: that of the instance that is named, else of the one that a configuration
    /// named with `--config` tells, else of the public one. Says what it is where it could not be refreshed.
    ///
    /// # Errors
    /// Trust material that is missing, or that does not verify itself; and a rehearsal's root that
    /// was not asked for by name.
    pub(crate) async fn to_verify(
        &self,
        told: Option<(&Path, &Config)>,
        workspace: impl FnOnce() -> Result<Workspace, Error>,
        offline: bool,
        printer: &Printer,
    ) -> Result<Trust, Error> {
        match self.to_judge(told)? {
            Instance::Sandbox => {
                let folder = workspace()?.folder(Mode::Rehearsal);
                pipeline::rehearsal_trust(&folder)?
                    .ok_or_else(|| Error::NoRelease(folder.sandbox()))
            }
            Instance::Sigstore(source) => {
                let options = TrustOptions {
                    offline,
                    ..TrustOptions::new(Purpose::Verify)
                };
                let trust = load(&source, &options).await?;
                announce(&trust, printer);
                Ok(trust)
            }
        }
    }

    /// The trust material for attestations of sources: that of the instance that is named, else of the configured one, else of
    /// the public one. Also in a rehearsal, whose own Sigstore signed none of them.
    ///
    /// # Errors
    /// Trust material that is missing, or that does not verify itself.
    pub(crate) async fn to_verify_sources(
        &self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Trust, Error> {
        let configured = workspace.config().sign.trust.as_deref();
        let instance = match (&self.trust, configured) {
            (Some(word), _) => self.instance(word, workspace.current())?,
            (None, Some(word)) => self.instance(word, workspace.root())?,
            (None, None) => self.instance(PUBLIC_GOOD, workspace.root())?,
        };
        let Instance::Sigstore(source) = instance else {
            let folder = workspace.folder(Mode::Rehearsal);
            return pipeline::rehearsal_trust(&folder)?
                .ok_or_else(|| Error::NoRelease(folder.sandbox()));
        };
        let trust = load(&source, &TrustOptions::new(Purpose::Verify)).await?;
        announce(&trust, printer);
        Ok(trust)
    }

    /// The instance whose signatures are judged. What a checkout configures by itself has no say in it.
    fn to_judge(&self, told: Option<(&Path, &Config)>) -> Result<Instance, Error> {
        let configured =
            told.and_then(|(file, config)| Some((file, config.sign.trust.as_deref()?)));
        match (&self.trust, configured) {
            (Some(word), _) => self.instance(word, Path::new("")),
            (None, Some((file, word))) => {
                self.instance(word, file.parent().unwrap_or(Path::new("")))
            }
            (None, None) => self.instance(PUBLIC_GOOD, Path::new("")),
        }
    }

    /// What `word` stands for, with the files that go with it; a path is seen from `folder`.
    fn instance(&self, word: &str, folder: &Path) -> Result<Instance, Error> {
        let source = match word {
            pipeline::REHEARSAL_TRUST => return self.without_files(Instance::Sandbox),
            PUBLIC_GOOD => TrustSource::PublicGood,
            "staging" => TrustSource::Staging,
            "github" => TrustSource::Github,
            url if url.contains("://") => return self.tuf(url),
            file => return self.file(file, folder),
        };
        self.without_files(Instance::Sigstore(source))
    }

    fn without_files(&self, instance: Instance) -> Result<Instance, Error> {
        match (&self.signing_config, &self.tuf_root) {
            (None, None) => Ok(instance),
            (Some(_), _) => Err(no_use("--signing-config", "a trusted_root.json")),
            (None, Some(_)) => Err(no_use("--tuf-root", "the URL of a TUF repository")),
        }
    }

    fn tuf(&self, url: &str) -> Result<Instance, Error> {
        // What cannot be read as a URL may carry a secret all the same: it is not repeated.
        let url = url
            .parse::<Url>()
            .map_err(|error| Error::Usage(format!("the URL of --trust is none: {error}")))?;
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !is_bare {
            return Err(Error::Usage(
                "expected the URL of a TUF repository without credentials, query and fragment"
                    .to_owned(),
            ));
        }
        match (&self.signing_config, &self.tuf_root) {
            (Some(_), _) => Err(no_use("--signing-config", "a trusted_root.json")),
            (None, Some(root)) => Ok(Instance::Sigstore(TrustSource::Tuf {
                url,
                root: root.clone(),
            })),
            (None, None) => Err(Error::Usage(format!(
                "a TUF repository is trusted from a root that you have: name the root.json of {url} with --tuf-root"
            ))),
        }
    }

    fn file(&self, file: &str, folder: &Path) -> Result<Instance, Error> {
        let path = folder.join(file);
        if self.tuf_root.is_some() {
            return Err(no_use("--tuf-root", "the URL of a TUF repository"));
        }
        // A misspelt word must not become a complaint about a file.
        if !path.exists() && !file.contains(['/', '.', '\\']) {
            return Err(Error::Usage(format!(
                "`{file}` is neither a file nor one of {PUBLIC_GOOD}, staging, github and {}",
                pipeline::REHEARSAL_TRUST
            )));
        }
        Ok(Instance::Sigstore(TrustSource::File {
            path,
            signing_config: self.signing_config.clone(),
        }))
    }
}

/// Loads trust material that is nobody's rehearsal.
///
/// # Errors
/// It cannot be had, does not verify itself, or is a rehearsal's.
pub(crate) async fn load(source: &TrustSource, options: &TrustOptions) -> Result<Trust, Error> {
    let trust = Trust::load(source, options).await?;
    if trust.is_sandbox() {
        return Err(Error::Usage(format!(
            "`{}` is the trusted root of a rehearsal: ask for it with `--trust sandbox`",
            trust.name()
        )));
    }
    Ok(trust)
}

/// Says under whose trust a command works, and how old that is.
pub(crate) fn announce(trust: &Trust, printer: &Printer) {
    let said = format!("{}, {}", trust.name(), trust.freshness());
    match trust.freshness() {
        Freshness::File | Freshness::Refreshed => printer.detail("Trust", &said),
        // What is not as fresh as it could be is said to everybody.
        Freshness::Cached { .. } | Freshness::Embedded { .. } => printer.status("Trust", &said),
    }
}

fn no_use(option: &str, needs: &str) -> Error {
    Error::Usage(format!("{option} goes with a --trust that is {needs}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        trust: TrustArgs,
    }

    fn named(line: &str) -> Result<Instance, String> {
        let words = std::iter::once("test").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).unwrap();
        line.trust.to_judge(None).map_err(|error| error.to_string())
    }

    #[test]
    fn every_instance_has_its_word() {
        let is = |line, expected| assert_eq!(named(line).unwrap(), expected, "{line}");
        is("", Instance::Sigstore(TrustSource::PublicGood));
        is("--trust sandbox", Instance::Sandbox);
        for (word, source) in [
            ("public-good", TrustSource::PublicGood),
            ("staging", TrustSource::Staging),
            ("github", TrustSource::Github),
        ] {
            let line = format!("--trust {word}");
            assert_eq!(named(&line).unwrap(), Instance::Sigstore(source));
        }
        is(
            "--trust a/trust_config.json",
            Instance::Sigstore(TrustSource::File {
                path: "a/trust_config.json".into(),
                signing_config: None,
            }),
        );
        is(
            "--trust root.json --signing-config signing.json",
            Instance::Sigstore(TrustSource::File {
                path: "root.json".into(),
                signing_config: Some("signing.json".into()),
            }),
        );
        is(
            "--trust https://tuf.example --tuf-root root.json",
            Instance::Sigstore(TrustSource::Tuf {
                url: "https://tuf.example".parse().unwrap(),
                root: "root.json".into(),
            }),
        );
    }

    #[test]
    fn a_secret_in_a_url_is_refused_and_not_repeated() {
        for url in [
            "https://me:s3cret@tuf.example",
            "https://s3cret@tuf.example",
            "https://tuf.example/?token=s3cret",
            "https://tuf.example/#s3cret",
            "https://me:s3cret@",
        ] {
            let error = named(&format!("--trust {url} --tuf-root r.json")).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (line, expected) in [
            (
                "--trust public-god",
                "neither a file nor one of public-good",
            ),
            ("--trust https://tuf.example", "--tuf-root"),
            ("--trust https://", "the URL of --trust is none"),
            ("--trust staging --tuf-root r.json", "--tuf-root goes with"),
            ("--trust r.json --tuf-root r.json", "--tuf-root goes with"),
            (
                "--trust sandbox --signing-config s.json",
                "--signing-config goes with",
            ),
            (
                "--trust https://tuf.example --tuf-root r.json --signing-config s.json",
                "--signing-config goes with",
            ),
        ] {
            let error = named(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
