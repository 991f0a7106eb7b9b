//! GitHub Actions: what a run tells it beside its log, through the files and commands of the runner. GitLab has the log alone.
//!
//! A job summary, annotations where something failed, outputs for later steps, and a log that folds. None of it decides
//! how a run ends: a file that cannot be written is a warning.

mod command;
mod log;
mod markdown;
mod outputs;
mod runner;
mod summary;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use fs_err as fs;
use release_manifest::{Package, PlannedPackage, Progress, RelativePath};
use release_report::Report;

pub(crate) use command::{Annotation, harmless_json};
use command::{Level, Place};
pub(crate) use log::{Fold, Log};
pub(crate) use outputs::Outputs;
pub(crate) use runner::Runner;

use crate::{
    exit::Status, output::OutputFolder, printer::Printer, shown::Shown, workspace::Workspace,
};

/// What GitHub takes of a step's summary, in bytes.
const SUMMARY_LIMIT: u64 = 1 << 20;

/// GitHub's runner of a job, as its environment describes it.
#[derive(Debug)]
pub(crate) struct Actions {
    summary: Option<PathBuf>,
    outputs: Option<Outputs>,
    checkout: Option<PathBuf>,
}

impl Actions {
    /// The runner, if there is one.
    pub(crate) fn detect() -> Option<Self> {
        let path = |name| std::env::var_os(name).filter(|path| !path.is_empty());
        let path = |name| path(name).map(PathBuf::from);
        (Runner::detect() == Some(Runner::GitHub)).then(|| Self {
            summary: path("GITHUB_STEP_SUMMARY"),
            outputs: Outputs::detect(),
            checkout: path("GITHUB_WORKSPACE"),
        })
    }

    /// Tells of a release: summary, annotations, outputs.
    pub(crate) fn tell(
        &self,
        report: &Report,
        folder: &OutputFolder,
        workspace: &Workspace,
        printer: &Printer,
    ) {
        for package in report.manifest.packages() {
            if let Some(annotation) = self.annotation(package, workspace) {
                printer.annotate(&annotation);
            }
        }
        self.add_to_summary(printer, |room| summary::of_release(report, room));
        let packages = report.manifest.packages();
        let number = |is: fn(&&Package) -> bool| packages.iter().filter(is).count().to_string();
        let outputs = [
            ("manifest", folder.manifest().display().to_string()),
            ("report", folder.report().display().to_string()),
            ("packages", packages.len().to_string()),
            (
                "published",
                number(|package| package.progress == Progress::Published),
            ),
            ("failed", number(|package| package.error.is_some())),
        ];
        self.add_outputs(printer, &outputs);
    }

    /// Tells of an error that concerns a run as a whole.
    pub(crate) fn tell_error(&self, error: &Shown, printer: &Printer) {
        self.annotate(error, printer);
        self.add_to_summary(printer, |room| summary::of_error(&error.text(), room));
    }

    /// Shows what is wrong where it is: each part of an error that has several.
    pub(crate) fn annotate(&self, error: &Shown, printer: &Printer) {
        for part in error.parts() {
            printer.annotate(&Annotation {
                level: Level::Error,
                place: part.place().and_then(|(file, at)| {
                    let file = self.in_checkout(Path::new(file))?;
                    Some(Place { file, at: Some(at) })
                }),
                title: "conda-release".to_owned(),
                message: part.text(),
            });
        }
    }

    /// The file as GitHub knows it. Errors name files from the root of the workspace, which is the repository or where this
    /// runs, or whole.
    fn in_checkout(&self, file: &Path) -> Option<String> {
        let checkout = self.checkout.as_deref()?;
        let here = std::env::current_dir().ok()?;
        let whole = [checkout, &here].map(|folder| folder.join(file));
        let found = whole.iter().find(|file| file.is_file())?;
        let inside = found.strip_prefix(checkout).ok()?;
        Some(inside.display().to_string())
    }

    /// Tells how the run ended.
    pub(crate) fn tell_end(&self, status: Status, printer: &Printer) {
        self.add_outputs(printer, &[("status", status.name().to_owned())]);
    }

    /// What failed of a package, at its recipe.
    fn annotation(&self, package: &Package, workspace: &Workspace) -> Option<Annotation> {
        let error = package.error.as_ref()?;
        Some(Annotation {
            level: Level::Error,
            place: Some(self.place(&package.recipe, workspace)),
            title: format!("{} failed to {}", package.key(), error.phase),
            message: error.message.clone(),
        })
    }

    /// Warns at the recipe of a package that it changed since it was published.
    pub(crate) fn annotate_changed(
        &self,
        package: &PlannedPackage,
        workspace: &Workspace,
        printer: &Printer,
    ) {
        printer.annotate(&Annotation {
            level: Level::Warning,
            place: Some(self.place(&package.recipe, workspace)),
            title: format!("{} changed since it was published", package.key()),
            message: "raise the build number".to_owned(),
        });
    }

    /// A recipe as GitHub knows it.
    fn place(&self, recipe: &RelativePath, workspace: &Workspace) -> Place {
        let recipe = recipe.under(workspace.root());
        let checkout = self.checkout.as_deref().unwrap_or(workspace.root());
        let file = recipe.strip_prefix(checkout).unwrap_or(&recipe);
        Place {
            file: file.display().to_string(),
            at: None,
        }
    }

    fn add_to_summary(&self, printer: &Printer, text: impl FnOnce(usize) -> String) {
        let Some(path) = &self.summary else { return };
        let added = room(path).and_then(|room| append(path, &text(room)));
        warn(added, "summary of the job", path, printer);
    }

    fn add_outputs(&self, printer: &Printer, outputs: &[(&str, String)]) {
        let Some(file) = &self.outputs else { return };
        let outputs = outputs.iter().map(|(name, value)| (*name, &**value));
        let set = file.set(outputs);
        warn(set, "outputs of the step", file.path(), printer);
    }
}

/// How many bytes a summary can still take.
fn room(summary: &Path) -> io::Result<usize> {
    let taken = fs::metadata(summary)?.len();
    Ok(usize::try_from(SUMMARY_LIMIT.saturating_sub(taken)).unwrap_or(0))
}

/// Appends to a file that the runner made. What else may be in its place could be without end.
fn append(path: &Path, text: &str) -> io::Result<()> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("expected a regular file"));
    }
    let mut file = fs::File::options().append(true).open(path)?;
    file.write_all(text.as_bytes())
}

fn warn(added: io::Result<()>, what: &str, path: &Path, printer: &Printer) {
    if let Err(error) = added {
        let path = path.display();
        printer.warning(&format!(
            "the {what} could not be written to `{path}`: {error}"
        ));
    }
}
