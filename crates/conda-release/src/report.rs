//! `report.html`: a release as a page to look at, beside its manifest.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use conda_attest::{inspect, read_bundle};
use fs_err as fs;
use rayon::prelude::*;
use release_manifest::{Attestation, Manifest, Mode, Package, PackageKey, Plan};
use release_report::{Command, Details, Report};

use crate::{
    commands::{inspect::CLAIMS, trust::PUBLIC_GOOD},
    error::Error,
    output::{OutputFolder, OutputLock, write_atomically},
    pipeline::{quoted, trust_option},
    printer::Printer,
    release::Stored,
    workspace::Workspace,
};

/// How many lines of a log are shown of what failed.
const TAIL: usize = 40;
/// In how many bytes at its end they are looked for.
const TAIL_BYTES: u64 = 64 << 10;
/// How much of a line is shown, in characters.
const LINE: usize = 500;

/// Leaves what people look at when a release is over: the page beside its manifest; on GitHub Actions also a summary,
/// annotations and outputs.
///
/// # Errors
/// The page cannot be written.
pub(crate) fn leave(
    folder: &OutputFolder,
    plan: &Plan,
    manifest: &Manifest,
    workspace: &Workspace,
    printer: &Printer,
) -> Result<(), Error> {
    let writer = Writer {
        folder,
        plan,
        manifest,
        workspace,
    };
    let report = writer.report();
    write_atomically(&folder.report(), report.to_html().as_bytes())?;
    if let Some(actions) = printer.actions() {
        actions.tell(&report, folder, workspace, printer);
    }
    Ok(())
}

/// The same for a release that was interrupted, as far as it is recorded. Where nothing is recorded, or another run works
/// there by now, nothing is left.
pub(crate) fn leave_as_recorded(workspace: &Workspace, mode: Mode, printer: &Printer) {
    let folder = workspace.folder(mode);
    if !folder.manifest().is_file() {
        return;
    }
    let Ok(_lock) = OutputLock::take(workspace.output()) else {
        return;
    };
    let left = Stored::read(&folder).and_then(|stored| match stored {
        Some(stored) => leave(&folder, &stored.plan, &stored.manifest, workspace, printer),
        None => Ok(()),
    });
    if let Err(error) = left {
        printer.warning(&format!("no report was written: {error}"));
    }
}

/// The end of a log, as lines without escape sequences; none where there is no such file.
fn log_tail(log: &Path) -> Vec<String> {
    tail(log).unwrap_or_default()
}

fn tail(log: &Path) -> std::io::Result<Vec<String>> {
    // A recipe may have put a link there, to a file that is nobody's business.
    if !fs::symlink_metadata(log)?.is_file() {
        return Ok(Vec::new());
    }
    let mut file = fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut lines = VecDeque::with_capacity(TAIL);
    for line in BufReader::new(file.take(TAIL_BYTES)).split(b'\n') {
        let line = line?;
        if lines.len() == TAIL {
            lines.pop_front();
        }
        let line = String::from_utf8_lossy(&line);
        let line = console::strip_ansi_codes(line.trim_end_matches('\r'));
        lines.push_back(line.chars().take(LINE).collect());
    }
    Ok(lines.into())
}

/// Reads and decides what a page needs beside plan and manifest.
struct Writer<'a> {
    folder: &'a OutputFolder,
    plan: &'a Plan,
    manifest: &'a Manifest,
    workspace: &'a Workspace,
}

impl<'a> Writer<'a> {
    fn report(&self) -> Report<'a> {
        // Each reads a bundle and the certificate in it.
        let packages = self.manifest.packages().par_iter();
        let details = packages.map(|package| (package.key(), self.details(package)));
        Report {
            manifest: self.manifest,
            plan: self.plan,
            details: details.collect::<BTreeMap<PackageKey, Details>>(),
            verify: [self.verify_all(), self.verify_release()]
                .into_iter()
                .flatten()
                .collect(),
        }
    }

    fn details(&self, package: &Package) -> Details {
        let log = package.error.as_ref().and_then(|error| error.log.as_ref());
        let log_tail = log.map(|log| log_tail(&log.under(self.folder.path())));
        let details = Details {
            log_tail: log_tail.unwrap_or_default(),
            ..Details::default()
        };
        match &package.attestation {
            None => details,
            Some(attestation) => self.attested(package, attestation, details),
        }
    }

    /// Adds what the attestation says, and how it is verified.
    fn attested(&self, package: &Package, attestation: &Attestation, details: Details) -> Details {
        let bundle = attestation.bundle.under(self.folder.path());
        let verify = self.verify(package, attestation, &bundle);
        // It was verified when it was made; one that cannot be read since has nothing to say.
        let bundle = read_bundle(&bundle).ok();
        let Some(says) = bundle.and_then(|bundle| inspect(&bundle).ok()) else {
            return Details { verify, ..details };
        };
        let claims = CLAIMS.iter().filter_map(|(claim, name)| {
            let value = says.claims.get(claim)?;
            Some(((*name).to_owned(), value.clone()))
        });
        let is_live = self.manifest.mode == Mode::Live;
        let mut links = says.links;
        let log_entry = links.remove("log_entry").filter(|_| is_live);
        let links = links.into_iter().filter(|_| is_live);
        Details {
            claims: claims.collect(),
            log_entry,
            links: links
                .map(|(name, address)| (name.replace('_', " "), address))
                .collect(),
            verify,
            ..details
        }
    }

    /// How a package is verified, by us and by others.
    fn verify(&self, package: &Package, attestation: &Attestation, bundle: &Path) -> Vec<Command> {
        let file = package.key().under(&self.folder.packages());
        let (file, bundle) = (self.shown(&file), self.shown(bundle));
        let on_the_web = package
            .published
            .as_ref()
            .map(|published| published.url.as_str());
        let on_the_web = on_the_web.filter(|url| url.starts_with("http"));
        let target = on_the_web.map_or_else(|| file.clone(), |url| quoted(Path::new(url)));
        let mut commands = vec![Command {
            title: "conda-release".to_owned(),
            line: format!("{} {target}{}", self.program(), self.who(attestation)),
        }];
        let trusted_root = match self.manifest.mode {
            Mode::Rehearsal => Some(format!(
                " --trusted-root {}",
                self.shown(&self.folder.sandbox().join("trusted_root.json"))
            )),
            Mode::Live => {
                let trust = self.manifest.trust.as_ref();
                trust
                    .filter(|trust| trust.name == PUBLIC_GOOD)
                    .map(|_| String::new())
            }
        };
        if let Some(trusted_root) = trusted_root {
            commands.push(Command {
                title: "cosign, with the package and its bundle at hand".to_owned(),
                line: format!(
                    "cosign verify-blob-attestation --bundle {bundle} --type {}{trusted_root} --certificate-identity {} --certificate-oidc-issuer {} {file}",
                    cep27::PREDICATE_TYPE,
                    quoted(Path::new(&attestation.identity)),
                    quoted(Path::new(&attestation.issuer)),
                ),
            });
        }
        commands
    }

    /// How the channel is verified as a whole: as the identity of the first package, which is that of all.
    fn verify_all(&self) -> Option<Command> {
        let packages = self.manifest.packages().iter();
        let published = packages.filter(|package| package.published.is_some());
        let attestation = published
            .filter_map(|package| package.attestation.as_ref())
            .next()?;
        let channel = match (self.manifest.mode, &self.manifest.channel) {
            (Mode::Rehearsal, _) | (Mode::Live, None) => self.shown(&self.folder.channel()),
            (Mode::Live, Some(channel)) => match channel.contains("://") {
                true => quoted(Path::new(self.manifest.target_channel.as_str())),
                false => quoted(Path::new(channel)),
            },
        };
        Some(Command {
            title: "All packages of the channel".to_owned(),
            line: format!("{} {channel}{}", self.program(), self.who(attestation)),
        })
    }

    /// How the release is verified as it was attested, with the packages that it names: it is signed with them.
    fn verify_release(&self) -> Option<Command> {
        let record = self.manifest.release.as_ref()?;
        let packages = self.manifest.packages().iter();
        let attestation = packages
            .filter_map(|package| package.attestation.as_ref())
            .next()?;
        let manifest = record.manifest.under(self.folder.path());
        Some(Command {
            title: "The release as a whole, by its attested manifest".to_owned(),
            line: format!(
                "{} {}{}",
                self.program(),
                self.shown(&manifest),
                self.who(attestation)
            ),
        })
    }

    fn program(&self) -> String {
        let named = match self.manifest.mode {
            // A rehearsal's trust lies in this workspace.
            Mode::Rehearsal => self.workspace.named(),
            Mode::Live => &[],
        };
        let named = named
            .iter()
            .map(|(option, path)| format!(" {option} {}", quoted(path)));
        format!("conda-release verify{}", named.collect::<String>())
    }

    fn who(&self, attestation: &Attestation) -> String {
        format!(
            "{} --identity {} --issuer {}",
            trust_option(self.manifest),
            quoted(Path::new(&attestation.identity)),
            quoted(Path::new(&attestation.issuer)),
        )
    }

    /// A path as a word of a command, relative to the folder that this one was given in.
    fn shown(&self, path: &Path) -> String {
        quoted(path.strip_prefix(self.workspace.current()).unwrap_or(path))
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::{LINE, TAIL, log_tail};

    #[test]
    fn the_end_of_a_log_has_so_many_lines_of_such_a_length_without_escapes() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let lines = (0..100_000).map(|line| format!("\u{1b}[31mline {line}\u{1b}[0m\r\n"));
        fs::write(&log, lines.collect::<String>() + &"x".repeat(1000)).unwrap();
        let tail = log_tail(&log);
        assert_eq!(tail.len(), TAIL);
        assert_eq!(tail[TAIL - 2], "line 99999");
        assert_eq!(tail[TAIL - 1], "x".repeat(LINE));
        assert!(log_tail(&folder.path().join("nothing")).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_a_log_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, log) = (folder.path().join("secret"), folder.path().join("log"));
        fs::write(&secret, "hush").unwrap();
        std::os::unix::fs::symlink(&secret, &log).unwrap();
        assert!(log_tail(&log).is_empty());
    }
}
