//! The fingerprint of an output: equal fingerprint and a good package means not built again.
//!
//! It covers the rendered recipe and its variant, the options that decide the outcome, every local file that rattler-build reads
//! (`inputs`), the hashes of remote sources (which stand in the rendered recipe), the tool, and the fingerprints of what the output
//! builds upon.
//! It doesn't cover the machine: compilers and other tools that a script finds by itself.

use std::{ffi::OsString, fmt::Write as _};

use rattler_build_recipe::Stage1Recipe;
use release_manifest::{Digest, RelativePath};

use crate::{
    PlanRequest,
    render::{self, RenderedOutput},
};

/// Raised when the same inputs give other packages than before.
const FORMAT: u32 = 3;

/// Characters of the hash in the name of a staging output's build folder.
const STAGING_HASH: usize = 10;

/// Environment variables whose values recipes copy, and that differ between machines without deciding anything. HOME comes last:
/// the others lead beneath it.
const PLACES: [&str; 3] = ["CARGO_HOME", "RUSTUP_HOME", "HOME"];

/// The fingerprint of an output, but for what it builds upon.
#[derive(Clone, Debug)]
pub(crate) struct OwnFingerprint(Digest);

impl OwnFingerprint {
    /// Of an output of the plan that `request` asks for, made from inputs of this digest.
    pub(crate) fn new(request: &PlanRequest, rendered: &RenderedOutput, inputs: Digest) -> Self {
        let configuration = &rendered.output.build_configuration;
        let recipe = &rendered.output.recipe;
        let mut text = format!("fingerprint {FORMAT}\n");
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key} {value}");
        };
        line(
            "tool",
            &format_args!("{} {}", request.tool.name, request.tool.version),
        );
        line("options", &request.options.packaging());
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
        line("inputs", &inputs);
        Self(Digest::of(text.as_bytes()))
    }

    /// The whole fingerprint of an output that builds upon outputs of these, given in the order of their keys.
    pub(crate) fn with(&self, builds_on: &[Digest]) -> Digest {
        let mut text = format!("own {}\n", self.0);
        for digest in builds_on {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "builds-on {digest}");
        }
        Digest::of(text.as_bytes())
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
