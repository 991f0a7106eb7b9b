//! A starter recipe for a workspace member with programs.

use std::path::{Component, Path};

use conda_recipes::Member;
use fs_err as fs;
use serde_yaml::Value;

use super::{
    repository::Repository,
    yaml::{document, list, map, put},
};
use crate::error::Error;

const COMMENTS: &str = "\
# yaml-language-server: $schema=https://raw.githubusercontent.com/prefix-dev/recipe-format/main/schema.json
#
# A member of this workspace as a conda package: what the `cargo` variables say comes from its Cargo.toml. It is built with
# this machine's Rust and linked as cargo links it; programs that use libraries of conda packages name those under
# `requirements` and have their paths rewritten (`dynamic_linking`).

";

/// The recipe's text, or why the member can have none that would work.
///
/// # Errors
/// The member's folder cannot be listed.
pub(super) fn starter(
    name: &str,
    member: &Member,
    repository: &Repository,
    folder: &Path,
) -> Result<Result<String, String>, Error> {
    let package = name.to_lowercase();
    if format!("{package}-1-0.conda")
        .parse::<cep27::FileName>()
        .is_err()
    {
        return Ok(Err("its name is no name of a conda package".to_owned()));
    }
    let Some(path) = relative(&repository.root, &member.folder) else {
        return Ok(Err("its folder is not below the workspace's".to_owned()));
    };
    let up = vec![".."; folder.components().count() + 1].join("/");
    let mut about = map([]);
    let field = |is_there: bool, text: &str| is_there.then(|| Value::from(text));
    put(
        &mut about,
        "summary",
        field(member.description.is_some(), "${{ cargo.description }}"),
    );
    put(
        &mut about,
        "license",
        member.license.as_deref().map(license),
    );
    let files = license_files(repository, member, &path)?;
    put(
        &mut about,
        "license_file",
        (!files.is_empty()).then(|| list(files)),
    );
    for key in ["homepage", "repository"] {
        put(
            &mut about,
            key,
            field(member.repository.is_some(), "${{ cargo.repository }}"),
        );
    }
    let recipe = map([
        (
            "package",
            map([
                (
                    "name",
                    match package == name {
                        true => "${{ cargo.name }}",
                        false => "${{ cargo.name | lower }}",
                    }
                    .into(),
                ),
                // Conda's versions have no hyphen; `1.0.0_beta.1` comes before `1.0.0`, as it should.
                (
                    "version",
                    "${{ cargo.version | replace(\"-\", \"_\") }}".into(),
                ),
            ]),
        ),
        // As git sees the workspace: cargo needs every member's manifest, whichever it builds.
        ("source", map([("path", up.into())])),
        ("build", build(&path, repository.keeps_lockfile)),
        ("about", about),
        ("tests", tests(member)),
    ]);
    document(COMMENTS, &recipe).map(Ok)
}

fn build(member: &str, keeps_lockfile: bool) -> Value {
    // Not by `env`: rattler-build writes its values where bash expands them.
    let member = match member.starts_with('-') {
        true => format!("./{member}"),
        false => member.to_owned(),
    };
    let bash = shlex::try_quote(&member).unwrap_or_default();
    let cmd = format!("\"{member}\"");
    let locked = if keeps_lockfile { " --locked" } else { "" };
    let install = |path: &str, root: &str| {
        literal(&format!(
            "cargo install{locked} --no-track --bins --path {path} --root \"{root}\""
        ))
    };
    map([
        ("number", 0.into()),
        (
            "script",
            map([
                (
                    "env",
                    map([
                        // A build's HOME is its work folder, where cargo and rustup find neither crates nor a toolchain.
                        ("CARGO_HOME", "${{ env.get(\"CARGO_HOME\") }}".into()),
                        ("RUSTUP_HOME", "${{ env.get(\"RUSTUP_HOME\") }}".into()),
                    ]),
                ),
                (
                    "content",
                    list([map([
                        ("if", "unix".into()),
                        ("then", install(&bash, "$PREFIX").into()),
                        ("else", install(&cmd, "%LIBRARY_PREFIX%").into()),
                    ])]),
                ),
            ]),
        ),
        (
            "dynamic_linking",
            map([("binary_relocation", false.into())]),
        ),
    ])
}

/// The programs are there, and each of them starts.
fn tests(member: &Member) -> Value {
    // rustc lets a program's name be letters, digits, hyphens and underscores: a word of every shell.
    let run = member.binaries.iter().map(|name| format!("{name} --help"));
    list([
        map([(
            "package_contents",
            map([("bin", list(member.binaries.iter().map(String::as_str)))]),
        )]),
        map([("script", list(run))]),
    ])
}

/// Cargo's old way to write a choice of licences is no SPDX expression.
fn license(expression: &str) -> Value {
    match expression.contains('/') {
        true => "${{ cargo.license | replace(\"/\", \" OR \") }}".into(),
        false => "${{ cargo.license }}".into(),
    }
}

/// The member's licence file, else what looks like one in its folder, else at the root; as globs from the root.
fn license_files(
    repository: &Repository,
    member: &Member,
    path: &str,
) -> Result<Vec<String>, Error> {
    let named = member
        .license_file
        .as_ref()
        .filter(|file| file.is_file())
        .and_then(|file| relative(&repository.root, &fs::canonicalize(file).ok()?));
    if let Some(file) = named {
        return Ok(vec![literal(&globset::escape(&file))]);
    }
    for folder in [path, "."] {
        let mut files = Vec::new();
        let listed = repository.root.join(folder);
        for entry in fs::read_dir(&listed).map_err(Error::output("read", &listed))? {
            let entry = entry.map_err(Error::output("read", &listed))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let upper = name.to_uppercase();
            let is_license = ["LICENSE", "LICENCE", "COPYING", "UNLICENSE"]
                .iter()
                .any(|begin| upper.starts_with(begin));
            if is_license && entry.path().is_file() {
                let file = match folder {
                    "." => name,
                    folder => format!("{folder}/{name}"),
                };
                files.push(literal(&globset::escape(&file)));
            }
        }
        files.sort();
        if !files.is_empty() {
            return Ok(files);
        }
    }
    Ok(Vec::new())
}

/// Text that a recipe takes as it stands, where it could be read as a template.
fn literal(text: &str) -> String {
    match text.contains("${{") {
        true => format!("${{{{ {} }}}}", serde_json::Value::from(text)),
        false => text.to_owned(),
    }
}

/// A path below the root, its parts joined as recipes join them; `.` for the root itself.
fn relative(root: &Path, path: &Path) -> Option<String> {
    let parts = path.strip_prefix(root).ok()?.components();
    let parts: Option<Vec<&str>> = parts
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect();
    let joined = parts?.join("/");
    Some(if joined.is_empty() {
        ".".to_owned()
    } else {
        joined
    })
}
