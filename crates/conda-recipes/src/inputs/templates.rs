//! Reads of a recipe's Jinja besides its variables: files, repositories and the environment.

use rattler_build_core::{env_vars, metadata::Output};
use rattler_build_jinja::Jinja;

/// The function that reads a file.
const LOAD: &str = "load_from_file";

/// The functions that ask a repository for commits and tags.
const GIT: [&str; 2] = ["git.head_rev", "git.latest_tag"];

/// The functions that read the environment.
const ENVIRONMENT: [&str; 2] = ["env.get", "env.exists"];

/// The reads that a recipe's text names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct TemplateReads {
    /// The files that are named by text, as written.
    pub(super) files: Vec<String>,
    /// Set if it reads a file whose name it computes.
    pub(super) has_computed_file: bool,
    /// Set if it reads commits or tags.
    pub(super) has_git: bool,
}

impl TemplateReads {
    /// Finds them in the text of a recipe.
    pub(super) fn find(text: &str) -> Self {
        let mut reads = Self {
            has_git: GIT.iter().any(|function| text.contains(function)),
            ..Self::default()
        };
        for (at, _) in text.match_indices(LOAD) {
            match literal(&text[at + LOAD.len()..]) {
                Some(file) => reads.files.push(file.to_owned()),
                None => reads.has_computed_file = true,
            }
        }
        reads
    }
}

/// The only argument of a call, where it is text without escapes.
fn literal(call: &str) -> Option<&str> {
    let argument = call.trim_start().strip_prefix('(')?.trim_start();
    let quote = argument
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\''))?;
    let (text, rest) = argument[1..].split_once(quote)?;
    let is_plain = !text.contains(['\\', '\n']) && rest.trim_start().starts_with(')');
    is_plain.then_some(text)
}

/// The text of an inline script as the build will render it, where its templates read more than variables: the rendered
/// recipe has the template alone. What depends on the machine or the build's
/// folders is left as the names of the variables.
pub(super) fn rendered_script(output: &Output, text: &str) -> Option<String> {
    let reads = std::iter::once(LOAD).chain(GIT).chain(ENVIRONMENT);
    if !text.contains("${{") || !reads.into_iter().any(|function| text.contains(function)) {
        return None;
    }
    let configuration = output.build_configuration.selector_config();
    let mut jinja = Jinja::new(configuration).with_context(&output.recipe.context);
    for (name, value) in env_vars::vars(output, "BUILD") {
        let value = value
            .filter(|_| name.starts_with("PKG_"))
            .unwrap_or_else(|| format!("${name}"));
        jinja.context_mut().insert(name, value.into());
    }
    // One that does not render is for the build to fail on.
    Some(
        jinja
            .render_str(text)
            .unwrap_or_else(|error| error.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_templates_load_are_found() {
        let reads = TemplateReads::find(
            r#"a: ${{ load_from_file("../a.json").v }}
b: ${{ load_from_file( 'b.toml' ) }}"#,
        );
        assert_eq!(reads.files, ["../a.json", "b.toml"]);
        assert!(!reads.has_computed_file && !reads.has_git);
        for computed in [
            "load_from_file(name)",
            "load_from_file('a' ~ name)",
            r#""${{ load_from_file(\"a\") }}""#,
            "{% set f = load_from_file %}",
        ] {
            assert!(
                TemplateReads::find(computed).has_computed_file,
                "{computed}"
            );
        }
        assert!(TemplateReads::find("${{ git.latest_tag_rev('.') }}").has_git);
    }
}
