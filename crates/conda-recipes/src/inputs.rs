//! What outputs are made from besides their rendered recipes: recipe folders, local sources, and what a workspace member is
//! built with.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    path::{Component, Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
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
use release_manifest::Digest;
use sha2::Digest as _;

use crate::{Error, PlanRequest, changed::Changed, render::RenderedOutput};

/// Files of a workspace's root that every member is built with.
const WORKSPACE_FILES: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "rust-toolchain",
    ".cargo/config.toml",
    ".cargo/config",
];

/// Something that an output is made from.
#[derive(Clone, Debug)]
enum Input {
    /// The files of a folder that rattler-build would copy.
    Tree {
        folder: PathBuf,
        gitignore: bool,
        filter: Option<GlobVec>,
    },
    /// A file.
    File(PathBuf),
    /// What is not there, as the build will say.
    Missing(PathBuf),
    /// A commit of a local repository.
    Commit {
        repository: PathBuf,
        revision: String,
    },
}

/// The inputs of outputs. Each file and each whole folder is hashed once, however many outputs it goes into.
pub(crate) struct Inputs<'a> {
    request: &'a PlanRequest,
    files: Mutex<HashMap<PathBuf, String>>,
    trees: Mutex<HashMap<(PathBuf, bool), Digest>>,
    commits: Mutex<HashMap<(PathBuf, String), String>>,
}

impl<'a> Inputs<'a> {
    pub(crate) fn new(request: &'a PlanRequest) -> Self {
        Self {
            request,
            files: Mutex::default(),
            trees: Mutex::default(),
            commits: Mutex::default(),
        }
    }

    /// The digest of everything that an output is made from besides its rendered recipe.
    ///
    /// # Errors
    /// A file or folder cannot be read.
    pub(crate) fn digest(&self, output: &RenderedOutput) -> Result<Digest, Error> {
        let mut lines = BTreeSet::new();
        for input in self.of(output) {
            let (path, content) = match input {
                Input::Missing(_) => continue,
                Input::File(path) => {
                    let content = self.file(&path)?;
                    (path, content)
                }
                Input::Commit {
                    repository,
                    revision,
                } => {
                    let content = format!("commit {}", self.commit(&repository, revision));
                    (repository, content)
                }
                Input::Tree {
                    folder,
                    gitignore,
                    filter,
                } => {
                    let digest = self.tree(&folder, gitignore, filter.as_ref())?;
                    (folder, format!("tree {digest}"))
                }
            };
            lines.insert(format!("{content} {}\n", self.relative(&path).display()));
        }
        Ok(Digest::of(String::from_iter(lines).as_bytes()))
    }

    /// Whether one of the changed files goes into an output. For what a workspace member is packaged from, these are also its
    /// manifest and its path dependencies, whatever the source is: name and version come from there.
    pub(crate) fn are_touched(&self, output: &RenderedOutput, changed: &Changed) -> bool {
        let recipe_file = recipe_file(output);
        let cargo = &self.request.cargo;
        let members = cargo.folders(recipe_file).into_iter().flatten();
        let manifests = cargo
            .members
            .values()
            .filter(|_| output.reads_members)
            .map(|member| member.folder.join("Cargo.toml"));
        let is_packaged = cargo.packaged.contains_key(recipe_file);
        let shared = WORKSPACE_FILES
            .iter()
            .filter(|_| is_packaged || output.reads_members)
            .map(|file| self.request.root.join(file));
        self.of(output).iter().any(|input| match input {
            Input::Tree { folder, filter, .. } => changed.reaches(folder, |inside| {
                filter
                    .as_ref()
                    .is_none_or(|filter| filter.is_empty() || filter.is_match(inside))
            }),
            Input::File(path) | Input::Missing(path) => changed.reaches(path, |_| true),
            Input::Commit { repository, .. } => changed.reaches(repository, |_| true),
        }) || members
            .chain(manifests)
            .chain(shared)
            .any(|path| changed.reaches(&path, |_| true))
    }

    /// The recipe's folder and every local source.
    fn of(&self, output: &RenderedOutput) -> Vec<Input> {
        let recipe_file = recipe_file(output);
        let recipe = &output.output.recipe;
        let folder = recipe_file.parent().unwrap_or(recipe_file);
        let mut inputs = vec![Input::Tree {
            folder: folder.to_owned(),
            gitignore: true,
            filter: None,
        }];
        let staging = recipe
            .staging_caches
            .iter()
            .flat_map(|staging| &staging.source);
        for source in recipe.source.iter().chain(staging) {
            match source {
                Source::Path(source) => {
                    inputs.extend(self.of_source(recipe_file, recipe, source));
                }
                Source::Git(GitSource {
                    url: GitUrl::Path(path),
                    rev,
                    ..
                }) => inputs.push(Input::Commit {
                    repository: folder.join(path),
                    revision: rev.to_string(),
                }),
                // What they are is said by the rendered recipe: by hash, or by a name that is taken at its word.
                Source::Git(_) | Source::Url(_) => {}
            }
        }
        inputs
    }

    fn of_source(
        &self,
        recipe_file: &Path,
        recipe: &Stage1Recipe,
        source: &PathSource,
    ) -> Vec<Input> {
        let folder = recipe_file.parent().unwrap_or(recipe_file);
        let named = folder.join(&source.path);
        let Ok(path) = named.canonicalize() else {
            return vec![Input::Missing(without_dots(&named))];
        };
        if !path.is_dir() {
            return vec![Input::File(path)];
        }
        let tree = |folder, filter| Input::Tree {
            folder,
            gitignore: source.use_gitignore,
            filter,
        };
        let members = self
            .request
            .cargo
            .folders(recipe_file)
            .filter(|_| path == self.request.root);
        let Some(members) = members else {
            let filter = Some(source.filter.clone()).filter(|filter| !filter.is_empty());
            return vec![tree(path, filter)];
        };
        // A workspace of which one member is packaged: the member, what it is built with, and the licences.
        let licenses = recipe
            .about
            .license_file
            .iter()
            .flat_map(|globs| globs.entries());
        let files: BTreeSet<&str> = WORKSPACE_FILES
            .into_iter()
            .chain(licenses.map(LateBoundGlob::source))
            .collect();
        let files = files
            .into_iter()
            .map(|file| path.join(file))
            .filter(|file| file.is_file())
            .map(Input::File);
        members
            .into_iter()
            .map(|member| tree(member, None))
            .chain(files)
            .collect()
    }

    /// The digest of the files that rattler-build would copy from a folder, without `.git` and what this tool writes.
    fn tree(
        &self,
        folder: &Path,
        gitignore: bool,
        filter: Option<&GlobVec>,
    ) -> Result<Digest, Error> {
        let key = (folder.to_owned(), gitignore);
        let known = filter
            .is_none()
            .then(|| held(&self.trees).get(&key).copied());
        if let Some(digest) = known.flatten() {
            return Ok(digest);
        }
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
        let mut files = BTreeSet::new();
        for entry in walk {
            let entry = entry.map_err(|error| Error::Read {
                path: folder.to_owned(),
                source: std::io::Error::other(error),
            })?;
            let inside = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            let wanted = filter.is_none_or(|filter| filter.is_match(inside));
            if wanted && entry.file_type().is_some_and(|kind| !kind.is_dir()) {
                files.insert(entry.into_path());
            }
        }
        let mut text = String::new();
        for file in &files {
            let inside = file.strip_prefix(folder).unwrap_or(file);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} {}", self.file(file)?, inside.display());
        }
        let digest = Digest::of(text.as_bytes());
        if filter.is_none() {
            held(&self.trees).insert(key, digest);
        }
        Ok(digest)
    }

    fn file(&self, path: &Path) -> Result<String, Error> {
        if let Some(content) = held(&self.files).get(path) {
            return Ok(content.clone());
        }
        let content = content(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        held(&self.files).insert(path.to_owned(), content.clone());
        Ok(content)
    }

    fn commit(&self, repository: &Path, revision: String) -> String {
        let key = (repository.to_owned(), revision);
        if let Some(commit) = held(&self.commits).get(&key) {
            return commit.clone();
        }
        let commit = commit(&key.0, &key.1);
        held(&self.commits).insert(key, commit.clone());
        commit
    }

    fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.request.root).unwrap_or(path)
    }
}

fn recipe_file(output: &RenderedOutput) -> &Path {
    &output.output.build_configuration.directories.recipe_path
}

/// What a lock guards. Whoever panicked while holding it left whole entries.
fn held<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A path that leads nowhere, as it is written.
fn without_dots(path: &Path) -> PathBuf {
    let mut seen = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                let _had_one = seen.pop();
            }
            Component::CurDir => {}
            part => seen.push(part),
        }
    }
    seen
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
