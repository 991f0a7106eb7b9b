//! The fingerprint of an output: equal fingerprint and a good package means not built again.
//!
//! It covers the rendered recipe and its variant, the options that decide the outcome, the recipe's folder, local sources, the
//! hashes of remote ones (which stand in the rendered recipe), the tool, and the fingerprints of what the output builds upon.
//! It doesn't cover the machine: compilers and other tools that a script finds by itself.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use cep27::Sha256;
use ignore::WalkBuilder;
use rattler_build_recipe::{
    Stage1Recipe,
    stage1::{
        Source,
        source::{GitSource, GitUrl, PathSource},
    },
};
use rattler_build_types::{GlobVec, LateBoundGlob};
use release_manifest::{Digest, RelativePath};
use sha2::Digest as _;

use crate::{
    Error, PlanRequest,
    render::{self, RenderedOutput},
};

/// Raised when the same inputs give other packages than before.
const FORMAT: u32 = 1;

/// Files of a workspace's root that every member is built with.
const WORKSPACE_FILES: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "rust-toolchain",
    ".cargo/config.toml",
    ".cargo/config",
];

/// Characters of the hash in the name of a staging output's build folder.
const STAGING_HASH: usize = 10;

/// Environment variables whose values recipes copy, and that differ between machines without deciding anything. HOME comes last:
/// the others lead beneath it.
const PLACES: [&str; 3] = ["CARGO_HOME", "RUSTUP_HOME", "HOME"];

/// The files that outputs are made from. Each is hashed once, however many outputs it goes into.
pub(crate) struct Inputs<'a> {
    request: &'a PlanRequest,
    files: RefCell<HashMap<PathBuf, String>>,
}

/// Relative paths with what is there, which make a digest.
type Listing = BTreeMap<PathBuf, String>;

impl<'a> Inputs<'a> {
    pub(crate) fn new(request: &'a PlanRequest) -> Self {
        Self {
            request,
            files: RefCell::default(),
        }
    }

    /// The fingerprint of an output that builds upon outputs of these fingerprints, given in the order of their keys.
    pub(crate) fn fingerprint(
        &self,
        rendered: &RenderedOutput,
        builds_on: &[Digest],
    ) -> Result<Digest, Error> {
        let configuration = &rendered.output.build_configuration;
        let recipe = &rendered.output.recipe;
        let mut text = format!("fingerprint {FORMAT}\n");
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key} {value}");
        };
        line(
            "tool",
            &format_args!("{} {}", self.request.tool.name, self.request.tool.version),
        );
        line("options", &self.request.options.packaging());
        line("recipe-file", &rendered.recipe);
        line("file", &rendered.file);
        line(
            "platforms",
            &format_args!(
                "{} {} {}",
                configuration.target_platform,
                configuration.host_platform.platform,
                configuration.build_platform.platform
            ),
        );
        line("recipe", &portable(&json(recipe), std::env::var_os));
        line("variant", &json(&render::strings(&configuration.variant)));
        for staging in &recipe.staging_caches {
            line(
                "staging-variant",
                &json(&render::strings(&staging.used_variant)),
            );
        }
        line(
            "inputs",
            &self.inputs(&configuration.directories.recipe_path, recipe)?,
        );
        for digest in builds_on {
            line("builds-on", digest);
        }
        Ok(Digest::of(text.as_bytes()))
    }

    /// The digest of the recipe's folder and of every local source.
    fn inputs(&self, recipe_file: &Path, recipe: &Stage1Recipe) -> Result<Digest, Error> {
        let folder = recipe_file.parent().unwrap_or(recipe_file);
        let mut listing = Listing::new();
        self.add_tree(&mut listing, folder, true, None)?;
        let staging = recipe
            .staging_caches
            .iter()
            .flat_map(|staging| &staging.source);
        for source in recipe.source.iter().chain(staging) {
            match source {
                Source::Path(source) => {
                    self.add_source(&mut listing, recipe_file, recipe, source)?;
                }
                Source::Git(GitSource {
                    url: GitUrl::Path(path),
                    rev,
                    ..
                }) => {
                    let repository = folder.join(path);
                    let commit = commit(&repository, &rev.to_string());
                    listing.insert(repository, format!("commit {commit}"));
                }
                // What they are is said by the rendered recipe: by hash, or by a name that is taken at its word.
                Source::Git(_) | Source::Url(_) => {}
            }
        }
        let mut text = String::new();
        for (path, content) in &listing {
            let path = path.strip_prefix(&self.request.root).unwrap_or(path);
            let _ = writeln!(text, "{content} {}", path.display());
        }
        Ok(Digest::of(text.as_bytes()))
    }

    fn add_source(
        &self,
        listing: &mut Listing,
        recipe_file: &Path,
        recipe: &Stage1Recipe,
        source: &PathSource,
    ) -> Result<(), Error> {
        let folder = recipe_file.parent().unwrap_or(recipe_file);
        let Ok(path) = folder.join(&source.path).canonicalize() else {
            // The build says that it is missing.
            return Ok(());
        };
        if !path.is_dir() {
            return self.add_file(listing, &path);
        }
        let members = self
            .request
            .cargo
            .folders(recipe_file)
            .filter(|_| path == self.request.root);
        let Some(members) = members else {
            return self.add_tree(listing, &path, source.use_gitignore, Some(&source.filter));
        };
        // A workspace of which one member is packaged: the member, what it is built with, and the licences.
        for member in &members {
            self.add_tree(listing, member, source.use_gitignore, None)?;
        }
        let licenses = recipe
            .about
            .license_file
            .iter()
            .flat_map(|globs| globs.entries());
        let files: BTreeSet<&str> = WORKSPACE_FILES
            .into_iter()
            .chain(licenses.map(LateBoundGlob::source))
            .collect();
        for file in files
            .into_iter()
            .map(|file| path.join(file))
            .filter(|file| file.is_file())
        {
            self.add_file(listing, &file)?;
        }
        Ok(())
    }

    /// Adds the files that rattler-build would copy from a folder, without `.git` and what this tool writes.
    fn add_tree(
        &self,
        listing: &mut Listing,
        folder: &Path,
        gitignore: bool,
        filter: Option<&GlobVec>,
    ) -> Result<(), Error> {
        // What either mode writes: the other one's folder lies beside this one's.
        let written = self
            .request
            .output
            .parent()
            .unwrap_or(&self.request.output)
            .to_owned();
        let walk = WalkBuilder::new(folder)
            .hidden(false)
            .ignore(false)
            .git_global(false)
            .git_ignore(gitignore)
            .git_exclude(gitignore)
            .require_git(false)
            .add_custom_ignore_filename(".condapackageignore")
            .filter_entry(move |entry| entry.file_name() != ".git" && entry.path() != written)
            .build();
        for entry in walk {
            let entry = entry.map_err(|error| Error::Read {
                path: folder.to_owned(),
                source: std::io::Error::other(error),
            })?;
            let inside = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            let wanted = filter.is_none_or(|filter| filter.is_empty() || filter.is_match(inside));
            if wanted && entry.file_type().is_some_and(|kind| !kind.is_dir()) {
                self.add_file(listing, entry.path())?;
            }
        }
        Ok(())
    }

    fn add_file(&self, listing: &mut Listing, path: &Path) -> Result<(), Error> {
        let mut files = self.files.borrow_mut();
        let content = match files.get(path) {
            Some(content) => content.clone(),
            None => {
                let content = content(path).map_err(|source| Error::Read {
                    path: path.to_owned(),
                    source,
                })?;
                files.insert(path.to_owned(), content.clone());
                content
            }
        };
        listing.insert(path.to_owned(), content);
        Ok(())
    }
}

/// What tells the build folder of a staging output from those of other recipes and variants.
pub(crate) fn staging_hash(recipe_file: &RelativePath, recipe: &Stage1Recipe) -> String {
    let mut text = format!("{recipe_file}\n");
    for staging in &recipe.staging_caches {
        let variant = json(&render::strings(&staging.used_variant));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} {variant}",
            portable(&json(staging), std::env::var_os)
        );
    }
    let digest = Digest::of(text.as_bytes()).to_string();
    digest
        .chars()
        .skip("sha256:".len())
        .take(STAGING_HASH)
        .collect()
}

/// Rendered text without the places of this machine that recipes write into it.
fn portable(text: &str, place: impl Fn(&'static str) -> Option<OsString>) -> String {
    let mut text = text.to_owned();
    for name in PLACES {
        if let Some(value) = place(name).filter(|value| value.len() > 1) {
            text = text.replace(&*value.to_string_lossy(), &format!("${name}"));
        }
    }
    text
}

/// The commit that a revision of a local repository stands for; the revision where git doesn't know it.
fn commit(repository: &Path, revision: &str) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(repository)
        .args([
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            revision,
        ])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => revision.to_owned(),
    }
}

/// What a file contributes: kind, executable bit and content, or where a link leads.
fn content(path: &Path) -> std::io::Result<String> {
    let metadata = fs_err::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(format!("link {}", fs_err::read_link(path)?.display()));
    }
    if !metadata.is_file() {
        return Ok("special".to_owned());
    }
    let mut hasher = sha2::Sha256::new();
    std::io::copy(&mut fs_err::File::open(path)?, &mut hasher)?;
    let kind = if is_executable(&metadata) {
        "executable"
    } else {
        "file"
    };
    Ok(format!(
        "{kind} {}",
        Sha256::from_bytes(hasher.finalize().into())
    ))
}

#[cfg(unix)]
fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &std::fs::Metadata) -> bool {
    false
}

/// Rendered recipes and string maps always have a JSON form.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_that_keep_cargo_elsewhere_agree() {
        let on = |home: &'static str| {
            let text = format!("env: {{CARGO_HOME: {home}/.cargo, OTHER: {home}/x}}");
            portable(&text, |name| match name {
                "CARGO_HOME" => Some(format!("{home}/.cargo").into()),
                "HOME" => Some(home.into()),
                _ => None,
            })
        };
        assert_eq!(on("/home/a"), on("/root"));
        assert_eq!(
            on("/root"),
            "env: {CARGO_HOME: $CARGO_HOME, OTHER: $HOME/x}"
        );
    }
}
