//! Find recipe files by glob, folder or file name.

use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use ignore::WalkBuilder;

use crate::{Error, variants};

/// The file that makes a folder a recipe.
const RECIPE_FILE: &str = "recipe.yaml";

/// Finds the recipe files that `patterns` name: each a folder with a `recipe.yaml`, a recipe file, or a glob of either, relative
/// to `root`.
///
/// The result is absolute, sorted and without duplicates. In globs `*` stays within one folder and `**` crosses folders; what is
/// hidden or ignored by git is found only when named. A glob passes over folders without a recipe; a name must lead to one.
///
/// # Errors
/// [`Error::MissingRecipe`] for a pattern that leads to no recipe, [`Error::OutsideRoot`] for a recipe that the plan could not
/// name relative to `root`, [`Error::InvalidPattern`] for what is no glob.
pub fn find(root: &Path, patterns: &[String]) -> Result<Vec<PathBuf>, Error> {
    let root = real(root)?;
    let mut recipes = Vec::new();
    for pattern in patterns {
        let name = pattern.trim_end_matches('/');
        if is_glob(name) && !root.join(name).exists() {
            recipes.extend(matching(&root, name)?);
        } else {
            recipes.push(named(&root, name)?);
        }
    }
    recipes.sort();
    recipes.dedup();
    Ok(recipes)
}

/// The path without links and dots.
pub(crate) fn real(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', '{'])
}

fn named(root: &Path, name: &str) -> Result<PathBuf, Error> {
    let path = root.join(name);
    let recipe = if path.is_dir() {
        path.join(RECIPE_FILE)
    } else {
        path
    };
    if !recipe.is_file() {
        return Err(missing(name, &recipe));
    }
    let recipe = real(&recipe)?;
    if !recipe.starts_with(root) {
        return Err(Error::OutsideRoot {
            recipe,
            root: root.to_owned(),
        });
    }
    Ok(recipe)
}

fn matching(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let pattern = pattern.trim_start_matches("./");
    let glob = GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|source| Error::InvalidPattern {
            pattern: pattern.to_owned(),
            source,
        })?
        .compile_matcher();
    // The walk begins at the last folder that the pattern spells out, and goes no deeper than the pattern can reach.
    let literal: PathBuf = pattern
        .split('/')
        .take_while(|part| !is_glob(part))
        .collect();
    let start = root.join(&literal);
    let depth = pattern.split('/').count() - literal.components().count();
    let names_files = pattern.ends_with(".yaml") || pattern.ends_with(".yml");

    let mut recipes = Vec::new();
    let walk = WalkBuilder::new(&start)
        .max_depth((!pattern.contains("**")).then_some(depth))
        .build();
    for entry in walk.filter_map(Result::ok) {
        let path = entry.path();
        let Ok(relative) = path.strip_prefix(root) else {
            continue;
        };
        if !glob.is_match(relative) {
            continue;
        }
        let recipe = if path.is_dir() {
            path.join(RECIPE_FILE)
        } else {
            path.to_owned()
        };
        let is_recipe =
            recipe.ends_with(RECIPE_FILE) || (names_files && !variants::is_variant_file(&recipe));
        if is_recipe && recipe.is_file() {
            recipes.push(recipe);
        }
    }
    if recipes.is_empty() {
        return Err(missing(pattern, &root.join(pattern).join(RECIPE_FILE)));
    }
    Ok(recipes)
}

fn missing(pattern: &str, searched: &Path) -> Error {
    Error::MissingRecipe {
        pattern: pattern.to_owned(),
        searched: vec![format!("`{}`", searched.display())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        root
    }

    fn found(root: &tempfile::TempDir, patterns: &[&str]) -> Vec<String> {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let real = root.path().canonicalize().unwrap();
        find(root.path(), &patterns)
            .unwrap()
            .iter()
            .map(|path| path.strip_prefix(&real).unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn globs_folders_and_files_lead_to_recipe_files_once() {
        let root = tree(&[
            "recipes/b/recipe.yaml",
            "recipes/a/recipe.yaml",
            "recipes/notes/README.md",
            "deep/x/y/recipe.yaml",
            "single.yaml",
        ]);
        assert_eq!(
            found(&root, &["recipes/*"]),
            ["recipes/a/recipe.yaml", "recipes/b/recipe.yaml"]
        );
        assert_eq!(
            found(&root, &["recipes/b/", "recipes/*", "recipes/b/recipe.yaml"]),
            ["recipes/a/recipe.yaml", "recipes/b/recipe.yaml"]
        );
        assert_eq!(found(&root, &["deep/**"]), ["deep/x/y/recipe.yaml"]);
        assert_eq!(found(&root, &["./single.yaml"]), ["single.yaml"]);
    }

    #[test]
    fn a_glob_of_files_leaves_variant_files_out() {
        let root = tree(&[
            "all/one.yaml",
            "all/two.yaml",
            "all/variants.yaml",
            "all/conda_build_config.yaml",
        ]);
        assert_eq!(
            found(&root, &["all/*.yaml"]),
            ["all/one.yaml", "all/two.yaml"]
        );
    }

    #[test]
    fn a_star_does_not_cross_folders() {
        let root = tree(&["recipes/a/recipe.yaml", "recipes/a/nested/recipe.yaml"]);
        assert_eq!(found(&root, &["recipes/*"]), ["recipes/a/recipe.yaml"]);
    }

    #[test]
    fn what_is_missing_is_named_with_the_place_looked_at() {
        let root = tree(&["recipes/a/README.md"]);
        for pattern in ["recipes/a", "recipes/b", "recipes/*", "nothing/*"] {
            let error = find(root.path(), &[pattern.to_owned()]).unwrap_err();
            assert!(matches!(error, Error::MissingRecipe { .. }), "{error:?}");
            let message = error.to_string();
            assert!(
                message.contains(&format!("`{pattern}`")) && message.contains("recipe.yaml")
                    || pattern == "recipes/b",
                "{message}"
            );
        }
    }

    #[test]
    fn a_recipe_outside_of_the_root_is_refused() {
        let outside = tree(&["recipe.yaml"]);
        let root = tree(&["recipes/a/recipe.yaml"]);
        let error = find(root.path(), &[outside.path().display().to_string()]).unwrap_err();
        assert!(matches!(error, Error::OutsideRoot { .. }), "{error:?}");
    }
}
