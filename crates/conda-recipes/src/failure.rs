//! Upstream's errors about one package, as they are shown.

use std::{error::Error as StdError, path::Path};

use release_manifest::{PackageKey, RelativePath};

use crate::{Excerpt, Failure, error::causes};

/// A failure with nothing beneath it.
pub(crate) fn plain(code: &str, message: impl Into<String>) -> Failure {
    Failure {
        code: code.to_owned(),
        message: message.into(),
        causes: Vec::new(),
        help: None,
        excerpt: None,
        related: Vec::new(),
    }
}

/// A failure of the file system.
pub(crate) fn io(code: &str, message: &str, error: &std::io::Error) -> Failure {
    let error: &(dyn StdError + 'static) = error;
    Failure {
        causes: causes(Some(error)),
        ..plain(code, message)
    }
}

/// What `run_build` says. Its reports carry no types, only texts.
pub(crate) fn of_build(package: &PackageKey, report: &miette::Report) -> Failure {
    let text = report.to_string();
    let file = &package.file;
    if text == "Script failed to execute" {
        plain(
            "script_failed",
            format!("the build script of `{file}` failed"),
        )
    } else if text.starts_with("failed package content tests") {
        // rattler-build runs these tests as part of the build.
        let message = format!("`{file}` does not contain what its recipe expects");
        of_report("package_contents", message, report)
    } else {
        of_report("build_failed", format!("cannot build `{file}`"), report)
    }
}

/// A report beneath a message of ours.
pub(crate) fn of_report(code: &str, message: String, report: &miette::Report) -> Failure {
    Failure {
        causes: report.chain().map(ToString::to_string).collect(),
        help: report.help().map(|help| help.to_string()),
        ..plain(code, message)
    }
}

/// Where a recipe names an output: the line `name: OUTPUT`, else, where the name is computed, the recipe's first `name:`.
pub(crate) fn excerpt(root: &Path, recipe: &RelativePath, output: &str) -> Option<Excerpt> {
    let text = fs_err::read_to_string(recipe.under(root)).ok()?;
    let (offset, length) = name_in(&text, output)?;
    let label = format!("the output `{output}`");
    Some(Excerpt {
        file: recipe.to_string(),
        text,
        offset,
        length,
        label,
    })
}

fn name_in(text: &str, output: &str) -> Option<(usize, usize)> {
    let mut first = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start().trim_start_matches("- ").trim_start();
        if let Some(value) = content.strip_prefix("name:") {
            let value = value.split(" #").next().unwrap_or_default().trim();
            let start = offset + line.find("name:").unwrap_or_default();
            let place = (start, line.trim_end().len() - (start - offset));
            if value.trim_matches(['"', '\'']) == output {
                return Some(place);
            }
            first = first.or(Some(place));
        }
        offset += line.len();
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_found_by_its_name_else_the_recipe_is_shown() {
        let text = "recipe:\n  name: all\noutputs:\n  - package:\n      name: \"lib\"  # é\n  - package: { }\n";
        let shown =
            |output| name_in(text, output).map(|(offset, length)| &text[offset..offset + length]);
        assert_eq!(shown("lib"), Some("name: \"lib\"  # é"));
        assert_eq!(shown("computed"), Some("name: all"));
        assert_eq!(name_in("package: {}", "x"), None);
    }
}
