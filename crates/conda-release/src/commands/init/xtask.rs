//! The monorepo's own `cargo xtask`: a workspace of its own, and an alias that leads to it.

use std::path::{Path, PathBuf};

use fs_err as fs;
use toml_edit::{DocumentMut, Item, Table, TableLike, value};

use super::{change::Change, repository::Repository};
use crate::error::Error;

/// Who answers to `cargo xtask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Xtask {
    /// Nobody, and it shall be us.
    Written,
    /// A program that has our commands.
    Ours,
    /// A program of the user that hasn't.
    Theirs,
    /// Nobody, and it shall stay so.
    Unwanted,
}

const MAIN: &str = r#"//! `cargo xtask release`: the packages of this repository. `conda_release::main` has all commands; how to add commands of
//! your own stands in its documentation, <https://docs.rs/conda-release>.

use std::process::ExitCode;

fn main() -> ExitCode {
    conda_release::main()
}
"#;

const MANIFEST: &str = r#"[package]
name = "xtask"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]

# A workspace of its own: what it is built of stays out of the lockfile above.
[workspace]
"#;

/// Cargo reads a relative path from the current folder, so that the alias works at the root alone.
const ALIAS: &str = "run --quiet --manifest-path xtask/Cargo.toml --";

impl Xtask {
    /// Decides, from what is there and what is wished.
    ///
    /// # Errors
    /// An xtask is wished where there is no `Cargo.toml`, or a file that says whose it is cannot be read.
    pub(super) fn decide(repository: &Repository, wish: Option<bool>) -> Result<Self, Error> {
        match (repository.is_cargo, wish) {
            (false, Some(true)) => {
                return Err(Error::Usage(format!(
                    "--xtask: `{}` has no Cargo.toml",
                    repository.root.display()
                )));
            }
            (false, _) | (_, Some(false)) => return Ok(Self::Unwanted),
            (true, _) => {}
        }
        let own = repository.root.join("xtask");
        let member = repository.cargo.members.get("xtask");
        let folder = member.map_or(&own, |member| &member.folder);
        let manifest = folder.join("Cargo.toml");
        if manifest.is_file() {
            let has_us = read(&manifest)?
                .get("dependencies")
                .and_then(Item::as_table_like)
                .is_some_and(|it| it.contains_key("conda-release"));
            return Ok(if has_us { Self::Ours } else { Self::Theirs });
        }
        let config = config_file(&repository.root);
        let has_alias = config.is_file() && has_alias(&read(&config)?);
        Ok(match has_alias || own.exists() {
            true => Self::Theirs,
            false => Self::Written,
        })
    }

    /// Whether `cargo xtask release` is a command of the repository.
    pub(super) fn has_us(self) -> bool {
        matches!(self, Self::Written | Self::Ours)
    }

    /// The files that make it so. The manifest comes last, since it is what tells that all of them are there.
    ///
    /// # Errors
    /// A file cannot be read, or not be added to.
    pub(super) fn changes(self, repository: &Repository) -> Result<Vec<Change>, Error> {
        if !self.has_us() {
            return Ok(Vec::new());
        }
        let root = &repository.root;
        let mut changes = vec![Change::addition(config_file(root), |text| {
            with_alias(&config_file(root), text)
        })?];
        if self == Self::Written {
            let own = root.join("xtask");
            changes.push(Change::starter(own.join("src/main.rs"), MAIN)?);
            changes.push(Change::starter(own.join(".gitignore"), "/target/\n")?);
            changes.push(Change::starter(own.join("Cargo.toml"), own_manifest()?)?);
        }
        Ok(changes)
    }
}

/// The manifest of the xtask, which asks for this version of us.
fn own_manifest() -> Result<String, Error> {
    let mut manifest = parse(Path::new("xtask/Cargo.toml"), MANIFEST)?;
    manifest["dependencies"]["conda-release"] = value(env!("CARGO_PKG_VERSION"));
    Ok(manifest.to_string())
}

/// Cargo's configuration of the workspace: under its old name where only that exists, which cargo prefers.
fn config_file(root: &Path) -> PathBuf {
    let old = root.join(".cargo/config");
    match old.is_file() {
        true => old,
        false => root.join(".cargo/config.toml"),
    }
}

fn has_alias(config: &DocumentMut) -> bool {
    let alias = config.get("alias").and_then(Item::as_table_like);
    alias.is_some_and(|alias| alias.contains_key("xtask"))
}

/// The configuration with the alias, if it has none of that name.
fn with_alias(file: &Path, text: &str) -> Result<String, Error> {
    let mut config = parse(file, text)?;
    if !has_alias(&config) {
        table(&mut config, file, "alias")?.insert("xtask", value(ALIAS));
    }
    Ok(config.to_string())
}

/// A table of the document, made where there is none.
fn table<'a>(
    document: &'a mut DocumentMut,
    file: &Path,
    key: &str,
) -> Result<&'a mut dyn TableLike, Error> {
    let item = document.entry(key).or_insert(Item::Table(Table::new()));
    item.as_table_like_mut()
        .ok_or_else(|| not_toml(file)(format!("`{key}` is no table")))
}

fn read(file: &Path) -> Result<DocumentMut, Error> {
    let text = fs::read_to_string(file).map_err(Error::output("read", file))?;
    parse(file, &text)
}

fn parse(file: &Path, text: &str) -> Result<DocumentMut, Error> {
    text.parse::<DocumentMut>().map_err(not_toml(file))
}

fn not_toml<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    file: &Path,
) -> impl FnOnce(E) -> Error {
    let file = file.to_owned();
    move |source| Error::Toml {
        file,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_added_and_nothing_else_changes() {
        let file = Path::new("config.toml");
        let add = |text: &str| with_alias(file, text).unwrap();
        let line = format!("xtask = \"{ALIAS}\"\n");
        assert_eq!(add(""), format!("[alias]\n{line}"));
        let before = "# Ours.\n[build]\njobs = 2 # few\n\n[alias]\nb = \"build\" # often\n\n[net]\noffline = true\n";
        assert_eq!(
            add(before),
            before.replace("often\n", &format!("often\n{line}"))
        );
        assert!(add("alias = { b = \"build\" }\n").contains(&line[..line.len() - 1]));
        assert_eq!(add(&add(before)), add(before));
        let theirs = "[alias]\nxtask = [\"run\", \"-p\", \"tasks\"]\n";
        assert_eq!(add(theirs), theirs);
    }

    #[test]
    fn what_is_no_toml_is_refused_by_its_name() {
        for text in ["alias = 1\n", "[alias\n"] {
            let error = with_alias(Path::new(".cargo/config.toml"), text).unwrap_err();
            assert_eq!(error.code(), "toml_invalid");
            assert!(error.to_string().contains(".cargo/config.toml"), "{error}");
        }
    }
}
