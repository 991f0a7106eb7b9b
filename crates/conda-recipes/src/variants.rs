//! Variant configuration: the file beside a recipe, the configured files, and inline values.

use std::path::{Path, PathBuf};

use rattler_build_variant_config::{VariantConfig, VariantConfigError};
use rattler_conda_types::Subdir;

use crate::{
    BuildOptions, Error,
    error::{self, Invalid},
};

/// Looked for beside a recipe, in this order; the first one counts, as in rattler-build.
const SIBLINGS: [&str; 2] = ["variants.yaml", "conda_build_config.yaml"];

/// Whether a file beside a recipe holds its variants.
pub(crate) fn is_variant_file(path: &Path) -> bool {
    SIBLINGS.iter().any(|name| path.ends_with(name))
}

/// The variants of a recipe for a platform. The file beside the recipe loses to the configured ones, and all of them to inline
/// values: rattler-build's precedence.
pub(crate) fn load(
    root: &Path,
    recipe: &Path,
    options: &BuildOptions,
    target: Subdir,
) -> Result<VariantConfig, Error> {
    let files = files(root, recipe, options);
    let mut config =
        VariantConfig::from_files(&files, target).map_err(|error| invalid(root, error))?;
    for (key, values) in &options.variant {
        config.insert(
            key.as_str(),
            values.iter().map(|value| value.as_str().into()).collect(),
        );
    }
    Ok(config)
}

fn files(root: &Path, recipe: &Path, options: &BuildOptions) -> Vec<PathBuf> {
    let sibling = SIBLINGS
        .iter()
        .map(|name| recipe.with_file_name(name))
        .find(|path| !options.ignore_recipe_variants && path.is_file());
    let configured = options.variants.iter().map(|file| root.join(file));
    sibling.into_iter().chain(configured).collect()
}

fn invalid(root: &Path, error: VariantConfigError) -> Error {
    match error {
        VariantConfigError::ParseError { path, source } => {
            let file = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            match error::read(&path) {
                Ok(text) => Invalid::new(&file, &text, &source).into(),
                Err(unreadable) => unreadable,
            }
        }
        VariantConfigError::IoError(path, source) => Error::Read { path, source },
        VariantConfigError::InvalidConfig(reason) => Error::InvalidOption {
            option: "variants",
            reason,
        },
    }
}
