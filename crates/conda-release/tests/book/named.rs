use std::{fs, path::Path};

use crate::{Page, pages, root};

/// The Rust sources of the repository.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

fn all_sources() -> String {
    let mut text = String::new();
    sources(&root().join("crates"), &mut text);
    sources(&root().join("tests"), &mut text);
    text
}

fn page(path: &str) -> Page {
    let mut pages = pages().into_iter();
    pages.find(|page| page.path == Path::new(path)).unwrap()
}

/// What stands between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_security_model_names_tests_that_exist() {
    let (page, sources) = (page("docs/security.md"), all_sources());
    let prose = page.prose();
    let is_test = |name: &&str| {
        name.contains('_') && name.chars().all(|it| it.is_ascii_lowercase() || it == '_')
    };
    let known = [
        "identity_policy",
        "credentials",
        "foreign_text",
        "log_and_time",
        "channel_binding",
    ];
    let named: Vec<&str> = code(&prose)
        .filter(|name| is_test(name) || known.contains(name))
        .collect();
    assert!(named.len() > 8, "{named:?}");
    for name in named {
        let definition = format!("fn {name}()");
        assert!(sources.contains(&definition), "no test is called {name}");
    }
}

#[test]
fn errors_that_are_explained_exist() {
    let (page, sources) = (page("docs/troubleshooting.md"), all_sources());
    let rows = page.text.lines().filter(|line| line.starts_with("| `"));
    let mut explained = 0;
    for row in rows {
        let cell = row.split('|').nth(1).unwrap();
        for error in code(cell) {
            explained += 1;
            assert!(
                sources.contains(&format!("\"{error}\"")),
                "no error is called {error}"
            );
        }
    }
    assert!(explained > 20);
}
