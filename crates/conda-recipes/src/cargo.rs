//! What `cargo metadata` knows about the workspace: `${{ cargo.… }}` of recipes, and what a member's package is made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use cargo_metadata::MetadataCommand;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, find, is_missing};

/// Which workspace member a recipe packages: an entry of `[[package]]`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PackageLink {
    /// The recipe's folder or file, relative to the workspace.
    pub recipe: String,
    /// The name of the workspace member.
    pub cargo_package: String,
}

/// The workspace as recipes see it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CargoContext {
    /// The members by name.
    pub members: BTreeMap<String, Member>,
    /// The member that each recipe packages, by recipe file.
    pub packaged: BTreeMap<PathBuf, String>,
}

/// A workspace member.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Member {
    /// Its version.
    pub version: String,
    /// Its licence expression.
    pub license: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Its repository.
    pub repository: Option<String>,
    /// The names of its programs, but those that need features which are off by default.
    pub binaries: BTreeSet<String>,
    /// The file with its licence, where the licence is not one that has an expression.
    pub license_file: Option<PathBuf>,
    /// Its folder.
    pub folder: PathBuf,
    /// The folders of its path dependencies, of every kind but development.
    pub path_dependencies: BTreeSet<PathBuf>,
}

/// Asks `cargo metadata` about the workspace at `root`. Without a `Cargo.toml` there the context is empty.
///
/// A recipe packages the member that `links` says, else the one with the name of the recipe's folder.
///
/// # Errors
/// [`Error::CargoMetadata`], and [`Error::UnknownMember`] for a link to no member.
pub fn cargo_context(
    root: &Path,
    links: &[PackageLink],
    recipes: &[PathBuf],
) -> Result<CargoContext, Error> {
    let root = &find::real(root)?;
    let manifest = root.join("Cargo.toml");
    if is_missing(&manifest) {
        return Ok(CargoContext::default());
    }
    let metadata = MetadataCommand::new()
        .manifest_path(&manifest)
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .map_err(|source| Error::CargoMetadata {
            manifest,
            source: Box::new(source),
        })?;
    let members: BTreeMap<String, Member> = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| (package.name.to_string(), Member::from(package)))
        .collect();
    for link in links {
        if !members.contains_key(&link.cargo_package) {
            return Err(Error::UnknownMember {
                recipe: link.recipe.clone(),
                member: link.cargo_package.clone(),
                known: members.keys().map(|name| format!("`{name}`")).collect(),
            });
        }
    }
    let packaged = recipes
        .iter()
        .filter_map(|recipe| Some((recipe.clone(), packaged(root, links, &members, recipe)?)))
        .collect();
    Ok(CargoContext { members, packaged })
}

fn packaged(
    root: &Path,
    links: &[PackageLink],
    members: &BTreeMap<String, Member>,
    recipe: &Path,
) -> Option<String> {
    let folder = recipe.parent()?;
    if let Some(link) = links.iter().find(|link| {
        let named = root.join(&link.recipe);
        named == recipe || named == folder
    }) {
        return Some(link.cargo_package.clone());
    }
    let name = folder.file_name()?.to_str()?;
    members.contains_key(name).then(|| name.to_owned())
}

impl From<&cargo_metadata::Package> for Member {
    fn from(package: &cargo_metadata::Package) -> Self {
        let folder = |manifest: &cargo_metadata::camino::Utf8Path| {
            manifest
                .parent()
                .unwrap_or(manifest)
                .as_std_path()
                .to_owned()
        };
        Self {
            version: package.version.to_string(),
            license: package.license.clone(),
            description: package.description.clone(),
            repository: package.repository.clone(),
            binaries: package
                .targets
                .iter()
                .filter(|target| target.is_bin() && target.required_features.is_empty())
                .map(|target| target.name.clone())
                .collect(),
            license_file: package.license_file().map(Into::into),
            folder: folder(&package.manifest_path),
            path_dependencies: package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind != cargo_metadata::DependencyKind::Development)
                .filter_map(|dependency| dependency.path.as_ref())
                .map(|path| path.as_std_path().to_owned())
                .collect(),
        }
    }
}

impl CargoContext {
    /// What `${{ cargo }}` is in a recipe: the member it packages, and, where they are read, every member under `packages`.
    /// Nothing outside of a workspace, so that the recipe's use of it is an error that names it.
    pub(crate) fn variable(&self, recipe: &Path, with_all: bool) -> Option<serde_json::Value> {
        if self.members.is_empty() {
            return None;
        }
        let mut cargo = self.own_fields(recipe).unwrap_or_default();
        if with_all {
            let packages = self
                .members
                .iter()
                .map(|(name, member)| (name.clone(), member.fields(name).into()))
                .collect::<serde_json::Map<_, _>>();
            cargo.insert("packages".to_owned(), packages.into());
        }
        Some(cargo.into())
    }

    /// What [`variable`](Self::variable) says of the member that the recipe packages alone.
    pub(crate) fn own(&self, recipe: &Path) -> Option<serde_json::Value> {
        self.own_fields(recipe).map(Into::into)
    }

    fn own_fields(&self, recipe: &Path) -> Option<serde_json::Map<String, serde_json::Value>> {
        let name = self.packaged.get(recipe)?;
        Some(self.members.get(name)?.fields(name))
    }

    /// The folders that the member packaged by `recipe` is made of: its own and those of its path dependencies, however deep.
    pub(crate) fn folders(&self, recipe: &Path) -> Option<BTreeSet<PathBuf>> {
        let member = self.members.get(self.packaged.get(recipe)?)?;
        let mut folders = BTreeSet::new();
        let mut open = vec![member.folder.clone()];
        while let Some(folder) = open.pop() {
            if !folders.insert(folder.clone()) {
                continue;
            }
            // A path dependency outside of the workspace is taken whole, without its own dependencies.
            let member = self.members.values().find(|member| member.folder == folder);
            open.extend(
                member
                    .into_iter()
                    .flat_map(|member| member.path_dependencies.iter().cloned()),
            );
        }
        Some(folders)
    }
}

impl Member {
    fn fields(&self, name: &str) -> serde_json::Map<String, serde_json::Value> {
        let Self {
            version,
            license,
            description,
            repository,
            binaries: _,
            license_file: _,
            folder: _,
            path_dependencies: _,
        } = self;
        [
            ("name", Some(name)),
            ("version", Some(version)),
            ("license", license.as_deref()),
            ("description", description.as_deref()),
            ("repository", repository.as_deref()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?.into())))
        .collect()
    }
}
