//! Variant configuration: the file beside a recipe, the configured files, and inline values.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use rattler_build_variant_config::{VariantConfig, VariantConfigError};
use rattler_conda_types::Subdir;

use crate::{
    BuildOptions, Error,
    error::{self, Invalid},
    is_missing,
};

/// Looked for beside a recipe, in this order; the first one counts, as in rattler-build.
pub(crate) const SIBLINGS: [&str; 2] = ["variants.yaml", "conda_build_config.yaml"];

/// Whether a file beside a recipe holds its variants.
pub(crate) fn is_variant_file(path: &Path) -> bool {
    SIBLINGS.iter().any(|name| path.ends_with(name))
}

/// The variants of a platform. The file beside a recipe loses to the configured ones, and all of them to inline values:
/// rattler-build's precedence.
#[derive(Debug)]
pub(crate) struct Variants {
    /// From the configured files and inline values, which are the same for every recipe.
    configured: VariantConfig,
    takes_siblings: bool,
    target: Subdir,
}

impl Variants {
    /// Those that don't depend on a recipe.
    pub(crate) fn configured(
        root: &Path,
        options: &BuildOptions,
        target: Subdir,
    ) -> Result<Self, Error> {
        let files: Vec<PathBuf> = options
            .variants
            .iter()
            .map(|file| root.join(file))
            .collect();
        let mut configured =
            VariantConfig::from_files(&files, target).map_err(|error| invalid(root, error))?;
        for (key, values) in &options.variant {
            let values = values.iter().map(|value| value.as_str().into());
            configured.insert(key.as_str(), values.collect());
        }
        Ok(Self {
            configured,
            takes_siblings: !options.ignore_recipe_variants,
            target,
        })
    }

    /// Those of a recipe.
    pub(crate) fn of(&self, root: &Path, recipe: &Path) -> Result<Cow<'_, VariantConfig>, Error> {
        let sibling = SIBLINGS
            .iter()
            .map(|name| recipe.with_file_name(name))
            .find(|path| self.takes_siblings && !is_missing(path));
        let Some(sibling) = sibling else {
            return Ok(Cow::Borrowed(&self.configured));
        };
        let mut variants = VariantConfig::from_files(&[sibling], self.target)
            .map_err(|error| invalid(root, error))?;
        variants.merge(self.configured.clone());
        Ok(Cow::Owned(variants))
    }
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
