//! The commands of the book do what its pages say.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use end_to_end::Workspace;
use fs_err as fs;

/// The commands of a page in their order; those that need an outside service are marked and left out.
fn script(page: &str) -> String {
    let mut script = String::new();
    let mut is_run = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(info) => is_run = matches!(info, "console" | "sh"),
            // A line of its own, or of the document that the one before writes.
            None if is_run => {
                let line = line.strip_prefix("$ ").unwrap_or(line);
                // A shell that ends with the first failure does not end with one that was to be.
                let line = match line.strip_prefix("! ") {
                    Some(failing) => format!("if {failing}; then exit 99; fi"),
                    None => line.to_owned(),
                };
                script.push_str(&line);
                script.push('\n');
            }
            None => {}
        }
    }
    script
}

#[test]
fn every_page_can_be_typed_as_it_stands() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut pages = 0;
    for entry in fs::read_dir(docs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let script = script(&fs::read_to_string(&path).unwrap());
        if script.is_empty() {
            continue;
        }
        pages += 1;
        let workspace = Workspace::with_two_packages();
        let output = workspace.run_script(&format!("set -x\n{script}"));
        assert_eq!(output.status, Some(0), "{}\n{output}", path.display());
    }
    assert!(pages > 0);
}

#[test]
fn a_page_of_documents_and_commands_is_one_script() {
    let page = "text\n```console\n$ cat > a <<'END'\nhello\nEND\n```\n```console outside\n$ false\n```\n```toml\nx = 1\n```\n";
    assert_eq!(script(page), "cat > a <<'END'\nhello\nEND\n");
}
