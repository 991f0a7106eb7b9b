//! Everything local that an output is made from besides its rendered recipe, by the rules of rattler-build.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use rattler_build_recipe::{
    Stage1Recipe,
    stage1::{
        Source, TestType,
        build::BuildPlan,
        source::{GitSource, GitUrl, PathSource},
    },
};
use rattler_build_script::Script;
use rattler_build_types::{GlobVec, LateBoundGlob, LateBoundPath};

use super::{
    copied_tree::{CopiedTree, IgnoreRules},
    links,
    scripts::{ScriptPlace, ScriptRead},
    templates::{self, TemplateReads},
};
use crate::{Error, PlanRequest, render::RenderedOutput, variants::SIBLINGS};

/// Files of a workspace's root that every member is built with.
pub(super) const WORKSPACE_FILES: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "rust-toolchain",
    ".cargo/config.toml",
    ".cargo/config",
];

/// Something that an output is made from.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// Files of a folder, and the links that led to it.
    Tree(CopiedTree, Vec<PathBuf>),
    /// A file that is read through links, or a place that is looked at for one.
    File(PathBuf),
    /// A file that decides how the recipe is rendered, or a place that is looked at for one. The rendered recipe states what
    /// came of it.
    Rendering(PathBuf),
    /// An inline script as the build renders it.
    Script(String),
    /// A commit of a local repository.
    Commit {
        repository: PathBuf,
        revision: String,
    },
}

/// Returns the inputs of an output.
///
/// # Errors
/// A script cannot be read.
pub(super) fn reads(
    request: &PlanRequest,
    rendered: &RenderedOutput,
    templates: &TemplateReads,
) -> Result<Vec<Input>, Error> {
    let directories = &rendered.output.build_configuration.directories;
    let mut reads = Reads {
        request,
        rendered,
        recipe_file: &directories.recipe_path,
        recipe_dir: &directories.recipe_dir,
        inputs: Vec::new(),
    };
    reads.recipe_folder();
    reads.templates(templates);
    let recipe = &rendered.output.recipe;
    reads.licenses(recipe);
    reads.tests(recipe)?;
    reads.plan(&recipe.build().plan)?;
    reads.sources(&recipe.source);
    for staging in &recipe.staging_caches {
        reads.plan(&staging.build.plan)?;
        reads.sources(&staging.source);
    }
    Ok(reads.inputs)
}

struct Reads<'a> {
    request: &'a PlanRequest,
    rendered: &'a RenderedOutput,
    recipe_file: &'a Path,
    recipe_dir: &'a Path,
    inputs: Vec<Input>,
}

impl Reads<'_> {
    /// Adds the files that are copied into `info/recipe` (`packaging.rs`, `write_recipe_folder`), and hidden files.
    fn recipe_folder(&mut self) {
        self.tree(self.recipe_dir, IgnoreRules::PackageAndGit, None);
        self.inputs.push(Input::File(self.recipe_file.to_owned()));
        let variants = SIBLINGS.map(|name| self.recipe_dir.join(name));
        self.inputs.extend(variants.map(Input::Rendering));
    }

    /// Adds the files that are read while rendering.
    fn templates(&mut self, templates: &TemplateReads) {
        let current = std::env::current_dir().unwrap_or_default();
        for file in &templates.files {
            for folder in [self.recipe_dir, &current] {
                self.inputs.push(Input::Rendering(folder.join(file)));
            }
        }
    }

    /// `copy_license_files` of `packaging.rs`. Those of the work folder come from sources.
    fn licenses(&mut self, recipe: &Stage1Recipe) {
        let Some(licenses) = &recipe.about.license_file else {
            return;
        };
        let globs = licenses.ordinary_globs().include_globs();
        let (absolute, relative): (Vec<&str>, Vec<&str>) = globs
            .iter()
            .map(|glob| glob.source())
            .partition(|glob| Path::new(glob).is_absolute());
        let absolute = absolute.into_iter().map(PathBuf::from);
        self.inputs.extend(absolute.map(Input::File));
        if !relative.is_empty() {
            let globs = GlobVec::from_vec(relative, None);
            self.tree(self.recipe_dir, IgnoreRules::Package, Some(globs));
        }
        for license in licenses.late_bound() {
            let path = license.resolve(|name| self.known_folder(name));
            self.late_bound(license, &path);
        }
    }

    fn late_bound(&mut self, license: &LateBoundGlob, path: &Path) {
        if LateBoundPath::new(path.to_string_lossy()).is_late_bound() {
            return;
        }
        // Where a glob begins, the folder before it is read.
        let is_glob = |part: &Path| part.to_string_lossy().contains(['*', '?', '[', '{']);
        let folder = path.ancestors().filter(|it| is_glob(it)).last();
        match folder.and_then(Path::parent) {
            Some(folder) => self.tree(folder, IgnoreRules::Package, None),
            None if license.is_late_bound() && path.is_dir() => {
                self.tree(path, IgnoreRules::Package, None);
            }
            None => self.inputs.push(Input::File(path.to_owned())),
        }
    }

    /// `write_command_test_files` of `package_test/serialize_test.rs`.
    fn tests(&mut self, recipe: &Stage1Recipe) -> Result<(), Error> {
        for test in &recipe.tests {
            let TestType::Commands(test) = test else {
                continue;
            };
            self.script(&test.script)?;
            if !test.files.recipe.is_empty() {
                let globs = Some(test.files.recipe.clone());
                self.tree(self.recipe_dir, IgnoreRules::Package, globs);
            }
        }
        Ok(())
    }

    fn plan(&mut self, plan: &BuildPlan) -> Result<(), Error> {
        match plan {
            BuildPlan::Script(script) => self.script(script),
            BuildPlan::Steps(steps) => steps
                .iter()
                .try_for_each(|step| self.script(&step.to_script())),
        }
    }

    fn script(&mut self, script: &Script) -> Result<(), Error> {
        let configuration = &self.rendered.output.build_configuration;
        let on_windows = configuration.build_platform.platform.is_windows();
        let place = ScriptPlace::new(self.recipe_dir, on_windows);
        for read in place.reads(script)? {
            match read {
                ScriptRead::File(path) => self.inputs.push(Input::File(path)),
                ScriptRead::Folder(folder) => self.folder_of_script(&folder),
                ScriptRead::Inline(text) => {
                    let text = templates::rendered_script(&self.rendered.output, &text);
                    self.inputs.extend(text.map(Input::Script));
                }
            }
        }
        Ok(())
    }

    /// Scripts read a folder without ignore rules. In a folder that holds the workspace, where builds of all kinds leave files,
    /// what git ignores is left out all the same.
    fn folder_of_script(&mut self, folder: &Path) {
        let rules = match self.request.root.starts_with(links::end(folder)) {
            true => IgnoreRules::Git,
            false => IgnoreRules::Package,
        };
        self.tree(folder, rules, None);
    }

    /// `fetch_source` of `source/mod.rs`.
    fn sources(&mut self, sources: &[Source]) {
        for source in sources {
            let patches = match source {
                Source::Path(source) => {
                    self.path(source);
                    &source.patches
                }
                Source::Git(source) => {
                    self.repository(source);
                    &source.patches
                }
                Source::Url(source) => {
                    let files = source.url.iter().filter_map(|url| url.to_file_path().ok());
                    self.inputs.extend(files.map(Input::File));
                    &source.patches
                }
            };
            for patch in patches {
                let path = self
                    .recipe_dir
                    .join(patch.resolve(|it| self.known_folder(it)));
                if !LateBoundPath::new(path.to_string_lossy()).is_late_bound() {
                    self.inputs.push(Input::File(path));
                }
            }
        }
    }

    fn repository(&mut self, source: &GitSource) {
        let repository = match &source.url {
            GitUrl::Path(path) => Some(self.recipe_dir.join(path)),
            GitUrl::Url(url) => url.to_file_path().ok(),
            // The rendered recipe says what remote ones are.
            GitUrl::Ssh(_) => None,
        };
        let input = repository.map(|repository| Input::Commit {
            repository,
            revision: source.rev.to_string(),
        });
        self.inputs.extend(input);
    }

    fn path(&mut self, source: &PathSource) {
        let path = self.recipe_dir.join(&source.path);
        if !path.is_dir() {
            self.inputs.push(Input::File(path));
            return;
        }
        let members = self
            .request
            .cargo
            .folders(self.recipe_file)
            .filter(|_| links::end(&path) == self.request.root);
        let Some(members) = members else {
            let rules = match source.use_gitignore {
                true => IgnoreRules::PackageAndGit,
                false => IgnoreRules::Package,
            };
            let filter = Some(source.filter.clone()).filter(|filter| !filter.is_empty());
            self.tree(&path, rules, filter);
            return;
        };
        // A workspace of which one member is packaged: the member, what it is built with, and the licenses.
        let licenses = self.rendered.output.recipe.about.license_file.iter();
        let licenses = licenses.flat_map(|globs| globs.entries());
        let files: BTreeSet<&str> = WORKSPACE_FILES
            .into_iter()
            .chain(licenses.map(LateBoundGlob::source))
            .collect();
        let files = files.into_iter().map(|file| path.join(file));
        self.inputs.extend(files.map(Input::File));
        for member in members {
            self.tree(&member, IgnoreRules::Git, None);
        }
    }

    fn tree(&mut self, folder: &Path, rules: IgnoreRules, filter: Option<GlobVec>) {
        let mut passed = links::trail(folder);
        let tree = CopiedTree {
            folder: passed.pop().unwrap_or_default(),
            rules,
            filter,
        };
        self.inputs.push(Input::Tree(tree, passed));
    }

    /// The folders of late-bound paths that exist before the build.
    fn known_folder(&self, name: &str) -> Option<PathBuf> {
        (name == "RECIPE_DIR").then(|| self.recipe_dir.to_owned())
    }
}
