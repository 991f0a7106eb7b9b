//! The actions of others that our workflows use, played: what they take, what they make, and what they need for it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use conda_attest::{ActionsEndpoint, Trust, sign_statement};
use fs_err as fs;
use regex::Regex;
use serde_json::{Value, json};

use crate::{
    expression::as_text,
    machine::{Done, Machine},
    runner::REPOSITORY,
};

/// The inputs of an action, each of which must be taken.
struct Inputs<'a>(BTreeMap<&'a str, String>);

impl Inputs<'_> {
    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn end(self, action: &str) {
        assert!(
            self.0.is_empty(),
            "inputs of {action} that are not played: {:?}",
            self.0
        );
    }
}

/// Runs the action of this name.
pub(crate) fn run(action: &str, with: &BTreeMap<String, Value>, machine: &Machine<'_>) -> Done {
    let inputs = with
        .iter()
        .map(|(name, value)| (name.as_str(), as_text(value)));
    let mut inputs = Inputs(inputs.collect());
    let done = match action {
        "actions/checkout" => checkout(&mut inputs, machine),
        "actions/upload-artifact" => upload(&mut inputs, machine),
        "actions/download-artifact" => download(&mut inputs, machine),
        "actions/attest" => attest(&mut inputs, machine),
        "actions/attest-build-provenance" => attest_build(&mut inputs, machine),
        other => panic!("the action {other} is not played"),
    };
    inputs.end(action);
    done
}

fn checkout(inputs: &mut Inputs<'_>, machine: &Machine<'_>) -> Done {
    assert_eq!(inputs.take("persist-credentials").as_deref(), Some("false"));
    assert!(
        machine.permissions.contains_key("contents"),
        "checking out takes `contents: read`"
    );
    let work = machine.work().display().to_string();
    let git = |args: &[&str]| machine.github.workspace.git(args);
    git(&["clone", "--quiet", ".", &work]);
    let url = format!("https://github.com/{REPOSITORY}");
    git(&["-C", &work, "remote", "set-url", "origin", &url]);
    Done::with(&[])
}

fn upload(inputs: &mut Inputs<'_>, machine: &Machine<'_>) -> Done {
    let name = inputs.take("name").unwrap();
    let missing = inputs.take("if-no-files-found");
    let replaces = inputs.take("overwrite").as_deref() == Some("true");
    inputs.take("retention-days");
    let paths = matching(&machine.work().join(inputs.take("path").unwrap()));
    let artifact = machine.github.artifacts().join(&name);
    assert!(
        !name.contains(['/', '\\', ':', '"', '<', '>', '|', '*', '?']),
        "{name}"
    );
    if paths.is_empty() {
        return match missing.as_deref() {
            Some("ignore") => Done::with(&[]),
            _ => Done::failed("no files with the path"),
        };
    }
    match artifact.exists() {
        true if replaces => fs::remove_dir_all(&artifact).unwrap(),
        true => return Done::failed(format!("there is an artifact {name}")),
        false => {}
    }
    for path in paths {
        match path.is_dir() {
            true => copy(&path, &artifact),
            false => {
                fs::create_dir_all(&artifact).unwrap();
                fs::copy(&path, artifact.join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    Done::with(&[])
}

/// What is there of a path, whose last part may be a pattern.
fn matching(path: &Path) -> Vec<PathBuf> {
    let name = pattern(path.file_name().unwrap().to_str().unwrap());
    let entries = fs::read_dir(path.parent().unwrap()).into_iter().flatten();
    let entries = entries.map(|entry| entry.unwrap());
    let entries = entries.filter(|it| name.is_match(it.file_name().to_str().unwrap()));
    entries.map(|entry| entry.path()).collect()
}

fn download(inputs: &mut Inputs<'_>, machine: &Machine<'_>) -> Done {
    let to = machine.work().join(inputs.take("path").unwrap());
    let artifacts = machine.github.artifacts();
    if let Some(name) = inputs.take("name") {
        if !artifacts.join(&name).is_dir() {
            return Done::failed(format!("there is no artifact {name}"));
        }
        copy(&artifacts.join(name), &to);
        return Done::with(&[]);
    }
    let pattern = pattern(inputs.take("pattern").as_deref().unwrap_or("*"));
    let merges = inputs.take("merge-multiple").as_deref() == Some("true");
    let names = fs::read_dir(&artifacts).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| pattern.is_match(name)).collect();
    for name in &names {
        // The only one gets no folder of its own.
        let to = if names.len() == 1 || merges {
            to.clone()
        } else {
            to.join(name)
        };
        copy(&artifacts.join(name), &to);
    }
    Done::with(&[])
}

/// A pattern with `*` and `@(a|b)`.
fn pattern(text: &str) -> Regex {
    let escaped = regex::escape(text);
    let pattern = escaped
        .replace(r"@\(", "(?:")
        .replace(r"\|", "|")
        .replace(r"\)", ")");
    let pattern = pattern.replace(r"\*", "[^/]*");
    Regex::new(&format!("^(?:{pattern})$")).unwrap()
}

/// Everything below a folder that is not hidden.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, name) = (entry.path(), entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            _ if name.to_str().unwrap().starts_with('.') => {}
            true => copy(&from, &to.join(name)),
            false => drop(fs::copy(from, to.join(name)).unwrap()),
        }
    }
}

/// As the action does it, with the Sigstore that the job's identity is known to.
fn attest(inputs: &mut Inputs<'_>, machine: &Machine<'_>) -> Done {
    if !machine.may("id-token") || !machine.may("attestations") {
        return Done::failed("attesting takes `id-token: write` and `attestations: write`");
    }
    let [name, digest, kind, predicate] = [
        "subject-name",
        "subject-digest",
        "predicate-type",
        "predicate",
    ]
    .map(|input| {
        inputs
            .take(input)
            .unwrap_or_else(|| panic!("the input {input}"))
    });
    let (algorithm, digest) = digest.split_once(':').unwrap();
    let predicate: Value = serde_json::from_str(&predicate).unwrap();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": { algorithm: digest }}],
        "predicateType": kind,
        "predicate": predicate,
    });
    let env = machine.environment();
    let sigstore = machine.github.sigstore.unwrap();
    let sign = async {
        let trust = Trust::from_file(Path::new(sigstore.trust_config()), None).unwrap();
        let (url, bearer) = (
            &env["ACTIONS_ID_TOKEN_REQUEST_URL"],
            &env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"],
        );
        let identity = ActionsEndpoint::new(url, bearer.clone(), "sigstore").unwrap();
        let (text, patience) = (statement.to_string(), Duration::from_secs(60));
        sign_statement(&trust, &identity, text.as_bytes(), patience, &())
            .await
            .unwrap()
    };
    // On a thread of its own, since the test may have a runtime already.
    let bundle = std::thread::scope(|scope| {
        let signing = scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(sign));
        signing.join().unwrap()
    });
    let path = machine.folder.join("temp/attestation.json");
    fs::write(&path, bundle).unwrap();
    Done::with(&[("bundle-path", path.display().to_string())])
}

/// Attests what a list of checksums names. Nothing here reads it: that it could be made is all.
fn attest_build(inputs: &mut Inputs<'_>, machine: &Machine<'_>) -> Done {
    if !machine.may("id-token") || !machine.may("attestations") {
        return Done::failed("attesting takes `id-token: write` and `attestations: write`");
    }
    let sums = machine
        .work()
        .join(inputs.take("subject-checksums").unwrap());
    let sums = fs::read_to_string(sums).unwrap();
    assert!(sums.lines().all(|line| line.contains("  ")), "{sums}");
    Done::with(&[])
}
