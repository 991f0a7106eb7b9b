//! The inputs of outputs besides their rendered recipes: the files and repositories of this machine that rattler-build
//! reads for them. Fingerprints and `--changed-since` both come from the one list of [`reads`].

mod content;
mod copied_tree;
mod links;
mod reads;
mod scripts;
mod templates;

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    fs::FileType,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use release_manifest::Digest;

use self::{
    copied_tree::{CopiedTree, EntryKind, IgnoreRules, TreeEntry},
    reads::{Input, WORKSPACE_FILES},
    templates::TemplateReads,
};
use crate::{
    Error, PlanRequest, changed::Changed, error, own_output::OwnOutput, render::RenderedOutput,
};

/// The inputs of outputs. Each file and each whole folder is hashed once, however many outputs it goes into.
pub(crate) struct Inputs<'a> {
    request: &'a PlanRequest,
    own: OwnOutput,
    files: Mutex<HashMap<PathBuf, String>>,
    trees: Mutex<HashMap<(PathBuf, IgnoreRules), Arc<Tree>>>,
    commits: Mutex<HashMap<(PathBuf, String), String>>,
}

/// The files of a folder.
struct Tree {
    entries: Vec<TreeEntry>,
    linked: Linked,
}

/// The targets of a tree's links outside of it.
#[derive(Default)]
struct Linked {
    files: BTreeSet<PathBuf>,
    /// The links, files and folders on the way, whether they exist or not.
    passed: BTreeSet<PathBuf>,
}

impl Tree {
    /// Returns whether one of the files that were read is a changed one, wherever a link led.
    fn is_touched(&self, changed: &Changed) -> bool {
        let has_repository = || {
            let mut entries = self.entries.iter();
            entries.any(|entry| entry.kind == EntryKind::Repository)
        };
        let entries = self.entries.iter().map(|entry| &entry.path);
        changed.has_commits && has_repository()
            || entries
                .chain(&self.linked.files)
                .any(|it| changed.contains(it))
            || self.linked.passed.iter().any(|it| changed.reaches(it))
    }
}

/// The result of reading the inputs of an output.
pub(crate) struct Made {
    /// The digest of everything that it is made from besides its rendered recipe.
    pub(crate) digest: Digest,
    /// Set if a changed file is among them.
    pub(crate) is_touched: bool,
}

impl<'a> Inputs<'a> {
    pub(crate) fn new(request: &'a PlanRequest) -> Self {
        Self {
            request,
            own: OwnOutput::new(&request.output),
            files: Mutex::default(),
            trees: Mutex::default(),
            commits: Mutex::default(),
        }
    }

    /// Reads the inputs of an output.
    ///
    /// # Errors
    /// A file or folder cannot be read, or releases write it.
    pub(crate) fn read(&self, output: &RenderedOutput) -> Result<Made, Error> {
        let text = error::read(recipe_file(output))?;
        let templates = TemplateReads::find(&text);
        let inputs = reads::reads(self.request, output, &templates)?;
        self.refuse_own_output(output, &inputs)?;
        let changed = self.request.changed.as_ref();
        Ok(Made {
            is_touched: match changed {
                Some(changed) => {
                    self.are_touched(&inputs, changed)?
                        || templates_are_touched(&templates, changed)
                        || self.member_is_touched(output, changed)
                }
                None => false,
            },
            digest: self.digest(inputs)?,
        })
    }

    fn refuse_own_output(&self, output: &RenderedOutput, inputs: &[Input]) -> Result<(), Error> {
        let is_own = |path: &Path| {
            self.own.contains(&links::end(path)) || self.own.is_left_out(&links::end(path))
        };
        let own = inputs.iter().find_map(|input| match input {
            Input::Tree(tree, _) => Some(&tree.folder).filter(|path| is_own(path)),
            Input::File(path) | Input::Rendering(path) => Some(path).filter(|path| is_own(path)),
            Input::Script(_) | Input::Commit { .. } => None,
        });
        match own {
            None => Ok(()),
            Some(path) => Err(Error::ReadsOutput {
                recipe: output.recipe.to_string(),
                path: self.relative(&links::end(path)),
            }),
        }
    }

    fn digest(&self, inputs: Vec<Input>) -> Result<Digest, Error> {
        let mut lines = BTreeSet::new();
        for input in inputs {
            let line = match input {
                Input::Rendering(_) => continue,
                Input::Script(text) => format!("script {}", Digest::of(text.as_bytes())),
                Input::File(path) => match self.file(&path)? {
                    Some(content) => format!("{content} {:?}", self.relative(&path)),
                    None => continue,
                },
                Input::Commit {
                    repository,
                    revision,
                } => {
                    let commit = self.commit(&repository, revision)?;
                    format!("commit {commit} {:?}", self.relative(&repository))
                }
                Input::Tree(tree, _) => {
                    let digest = self.tree_digest(&tree)?;
                    format!("tree {digest} {:?}", self.relative(&tree.folder))
                }
            };
            lines.insert(line + "\n");
        }
        Ok(Digest::of(String::from_iter(lines).as_bytes()))
    }

    fn are_touched(&self, inputs: &[Input], changed: &Changed) -> Result<bool, Error> {
        for input in inputs {
            let is_touched = match input {
                Input::Script(_) => false,
                Input::File(path) | Input::Rendering(path) => {
                    links::trail(path).iter().any(|it| changed.reaches(it))
                }
                Input::Commit { repository, .. } => {
                    changed.has_commits || changed.reaches(&links::end(repository))
                }
                Input::Tree(tree, passed) => {
                    let is_wanted = |inside: &Path| tree.is_wanted(inside);
                    passed.iter().any(|it| changed.reaches(it))
                        || changed.reaches_in(&tree.folder, is_wanted)
                        || self.tree(tree)?.is_touched(changed)
                }
            };
            if is_touched {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether a changed file is a manifest or path dependency of the workspace member that is packaged, whatever the
    /// source is: name and version come from there.
    fn member_is_touched(&self, output: &RenderedOutput, changed: &Changed) -> bool {
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
        members
            .chain(manifests)
            .chain(shared)
            .any(|path| changed.reaches(&path))
    }

    fn tree_digest(&self, tree: &CopiedTree) -> Result<Digest, Error> {
        let files = self.tree(tree)?;
        let mut text = String::new();
        for entry in &files.entries {
            let inside = entry.path.strip_prefix(&tree.folder);
            let inside = inside.unwrap_or(&entry.path);
            let content = match entry.kind {
                EntryKind::Repository => {
                    let folder = entry.path.parent().unwrap_or(&entry.path);
                    format!("commit {}", self.commit(folder, "HEAD".to_owned())?)
                }
                EntryKind::Plain | EntryKind::Link => self.entry(&entry.path)?,
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{content} {inside:?}");
        }
        for path in &files.linked.files {
            let content = self.entry(path)?;
            let _ = writeln!(text, "linked {content} {:?}", self.relative(path));
        }
        Ok(Digest::of(text.as_bytes()))
    }

    fn tree(&self, tree: &CopiedTree) -> Result<Arc<Tree>, Error> {
        let key = (tree.folder.clone(), tree.rules);
        if tree.filter.is_none()
            && let Some(known) = held(&self.trees).get(&key)
        {
            return Ok(Arc::clone(known));
        }
        let entries = tree.entries(&self.own)?;
        let linked = self.linked(tree, &entries)?;
        let files = Arc::new(Tree { entries, linked });
        if tree.filter.is_none() {
            held(&self.trees).insert(key, Arc::clone(&files));
        }
        Ok(files)
    }

    /// Follows the links of a tree. A copied link leads where it led before if it is absolute; and scripts read the
    /// recipe's folder in its place. Folders outside of the workspace are part of the machine.
    fn linked(&self, tree: &CopiedTree, entries: &[TreeEntry]) -> Result<Linked, Error> {
        let mut linked = Linked::default();
        let mut open: Vec<PathBuf> = links_of(entries).collect();
        if open.is_empty() {
            return Ok(linked);
        }
        let inside: BTreeSet<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
        while let Some(link) = open.pop() {
            let passed = links::trail(&link);
            let end = passed.last().cloned().unwrap_or_default();
            let is_new = !linked.passed.contains(&end);
            linked.passed.extend(passed);
            if !is_new || self.own.contains(&end) || inside.contains(&*end) {
                continue;
            }
            let Some(kind) = kind_of(&end)? else {
                continue;
            };
            if kind.is_file() {
                linked.files.insert(end);
            } else if kind.is_dir() && end.starts_with(&self.request.root) {
                let behind = CopiedTree {
                    // A folder that holds the tree also holds what builds leave.
                    rules: match tree.folder.starts_with(&end) {
                        true => IgnoreRules::Git,
                        false => IgnoreRules::Package,
                    },
                    folder: end,
                    filter: None,
                };
                let entries = behind.entries(&self.own)?;
                open.extend(links_of(&entries));
                let plain = entries.into_iter();
                let plain = plain.filter(|entry| entry.kind == EntryKind::Plain);
                linked.files.extend(plain.map(|entry| entry.path));
            }
        }
        Ok(linked)
    }

    /// The content of a file that is read through links; nothing where there is none.
    fn file(&self, path: &Path) -> Result<Option<String>, Error> {
        let end = links::end(path);
        match kind_of(&end)?.is_some_and(|kind| kind.is_file()) {
            true => self.entry(&end).map(Some),
            false => Ok(None),
        }
    }

    fn entry(&self, path: &Path) -> Result<String, Error> {
        if let Some(content) = held(&self.files).get(path) {
            return Ok(content.clone());
        }
        let content = content::of_entry(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        held(&self.files).insert(path.to_owned(), content.clone());
        Ok(content)
    }

    fn commit(&self, repository: &Path, revision: String) -> Result<String, Error> {
        let key = (repository.to_owned(), revision);
        if let Some(commit) = held(&self.commits).get(&key) {
            return Ok(commit.clone());
        }
        let commit = commit(&key.0, &key.1).map_err(|source| Error::Read {
            path: key.0.clone(),
            source,
        })?;
        held(&self.commits).insert(key, commit.clone());
        Ok(commit)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        links::seen_from(&self.request.root, path)
    }
}

fn links_of(entries: &[TreeEntry]) -> impl Iterator<Item = PathBuf> {
    let links = entries.iter().filter(|entry| entry.kind == EntryKind::Link);
    links.map(|link| link.path.clone())
}

fn kind_of(path: &Path) -> Result<Option<FileType>, Error> {
    content::kind_of(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn recipe_file(output: &RenderedOutput) -> &Path {
    &output.output.build_configuration.directories.recipe_path
}

/// A template that computes file names or reads commits may read anything that changed.
fn templates_are_touched(templates: &TemplateReads, changed: &Changed) -> bool {
    (templates.has_computed_file || templates.has_git) && changed.is_any()
}

/// What a lock guards. Whoever panicked while holding it left whole entries.
fn held<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The exit status of `git rev-parse --quiet` for a revision without a commit, such as the HEAD of a new repository.
const NO_COMMIT: i32 = 1;

/// The commit that a revision of a local repository stands for; the revision where the repository has no such commit.
fn commit(repository: &Path, revision: &str) -> io::Result<String> {
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
        .env_remove("GIT_DIR")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run git: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    // Also a repository of another user fails, with status 128: without its commit, every commit would look the same.
    if output.status.code() == Some(NO_COMMIT) {
        return Ok(revision.to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().map(str::trim).find(|line| !line.is_empty());
    Err(io::Error::other(
        reason.unwrap_or("git failed without a message"),
    ))
}
