//! The jobs for GitLab CI.

use serde_yaml::Value;

use super::{
    proposal::Job,
    yaml::{document, list, map, put},
};
use crate::error::Error;

/// Where the jobs lie, from the top of the repository.
pub(super) const FILE: &str = ".gitlab/conda-release.yml";
/// What GitLab reads, which is the user's.
pub(super) const ENTRY: &str = ".gitlab-ci.yml";

const COMMENTS: &str = "\
# Written by `conda-release init`, which says with --check whether it is current.
#
# A merge request is rehearsed: built, tested and attested on the machine of the job, with no right to anything. What is
# merged is released: `conda-plan` compiles conda-release and plans, `conda-build` builds and tests without an identity, and
# `conda-release` signs and publishes, the only job with identity tokens. It takes neither files nor variables that GitLab
# would bring in from the other jobs, but fetches their artifacts by the numbers of the jobs.
#
# Protect the environment `release` and the default branch. Unless the project's pipelines are public, make a project access
# token (role Reporter, scope read_api) and keep it in the variable JOBS_TOKEN: masked, protected, and for the environment
# `release` alone, so that no other job has it.

";

/// Defines `fetch`, for the job with the identity.
const FETCH: &str = include_str!("gitlab_artifacts.sh");

const PLAN: &str = "\
made=$(mktemp -d)
plan=$(CONDA_RELEASE_OUTPUT=$made \"$program/bin/cargo-conda-release\" plan -x --shards 1 --output-format json)
handed=$CI_PROJECT_DIR/conda-release-handed
mkdir \"$handed\"
mv \"$made/live/shards\" \"$handed/plan\"
printf '%s\\n' \"$plan\" | sed -n 's/.*\"shards_digest\": *\"\\([^\"]*\\)\".*/\\1/p' > \"$handed/plan/digest\"
mv \"$program/bin/cargo-conda-release\" \"$handed/plan/conda-release\"
";

const BUILD: &str = "\
handed=$(mktemp -d)
mv \"$CI_PROJECT_DIR/conda-release-handed/plan\" \"$handed/\"
rmdir \"$CI_PROJECT_DIR/conda-release-handed\"
if ! grep -q '\"shard\":1' \"$handed/plan/matrix-1.json\"; then
  exit 0 # the channel has all packages
fi
status=0
export CONDA_RELEASE_OUTPUT=$(mktemp -d)
\"$handed/plan/conda-release\" build --plan \"$handed/plan/plan.json\" --shard 1 \\
  --shards-digest \"$(cat \"$handed/plan/digest\")\" || status=$?
mkdir \"$CI_PROJECT_DIR/conda-release-handed\"
mv \"$CONDA_RELEASE_OUTPUT/live/shard-1\" \"$CI_PROJECT_DIR/conda-release-handed/\"
exit \"$status\"
";

const RELEASE: &str = "\
fetch conda-plan conda-release-handed/plan \"$handed\"
plan=$handed/conda-release-handed/plan
if ! grep -q '\"shard\":1' \"$plan/matrix-1.json\"; then
  exit 0
fi
fetch conda-build conda-release-handed/shard-1 \"$handed/build\"
built=$handed/build/conda-release-handed/shard-1
digest=sha256:$(sha256sum < \"$built/release-manifest.json\" | cut -d ' ' -f 1)
chmod +x \"$plan/conda-release\"
export CONDA_RELEASE_OUTPUT=$(mktemp -d)
\"$plan/conda-release\" merge --plan \"$plan/plan.json\" --shards-digest \"$(cat \"$plan/digest\")\" --digest \"1=$digest\" \"$built\"
\"$plan/conda-release\" sign -x
\"$plan/conda-release\" publish -x
";

/// The text of what GitLab reads, where there is none yet.
///
/// # Errors
/// Never.
pub(super) fn entry() -> Result<String, Error> {
    document(
        "",
        &map([("include", list([map([("local", FILE.into())])]))]),
    )
}

/// The text of the jobs.
///
/// # Errors
/// Never for a job as `init` describes one.
pub(super) fn jobs(job: &Job) -> Result<String, Error> {
    let request = "$CI_PIPELINE_SOURCE == \"merge_request_event\"";
    let merged = "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH";
    let rehearse = job.install().into_iter().chain([job.command().to_owned()]);
    let rehearsal_conditions: &[&str] = match job.is_live {
        true => &[request],
        false => &[request, merged],
    };
    let mut jobs = map([(
        "conda-rehearsal",
        described(job, rehearsal_conditions, rehearse),
    )]);
    if !job.is_live {
        return document(COMMENTS, &jobs);
    }

    let compile = format!(
        "program=$(mktemp -d)\n{} --root \"$program\"",
        Job::install_program()
    );
    let mut plan = described(job, &[merged], [compile, PLAN.to_owned()]);
    put(
        &mut plan,
        "artifacts",
        Some(artifacts("plan", "on_success")),
    );
    put(&mut jobs, "conda-plan", Some(plan));

    let mut build = described(job, &[merged], [BUILD.to_owned()]);
    put(&mut build, "needs", Some(list(["conda-plan"])));
    put(
        &mut build,
        "artifacts",
        Some(artifacts("shard-1", "always")),
    );
    put(&mut jobs, "conda-build", Some(build));

    let mut release = described(job, &[merged], [FETCH.to_owned(), RELEASE.to_owned()]);
    // Their order alone: with artifacts, GitLab would bring in files and variables.
    let after = |name: &str| map([("job", name.into()), ("artifacts", false.into())]);
    put(
        &mut release,
        "needs",
        Some(list([after("conda-plan"), after("conda-build")])),
    );
    put(&mut release, "environment", Some("release".into()));
    put(&mut release, "resource_group", Some("release".into()));
    let token = |audience: &str| map([("aud", Value::from(audience))]);
    let tokens = map([
        ("SIGSTORE_ID_TOKEN", token("sigstore")),
        ("PREFIX_DEV_ID_TOKEN", token("prefix.dev")),
    ]);
    put(&mut release, "id_tokens", Some(tokens));
    put(&mut jobs, "conda-release", Some(release));
    document(COMMENTS, &jobs)
}

/// A job that runs these scripts in the workspace's folder.
fn described(job: &Job, conditions: &[&str], scripts: impl IntoIterator<Item = String>) -> Value {
    let image = concat!("rust:", env!("CARGO_PKG_RUST_VERSION"));
    let rules = conditions.iter().map(|it| map([("if", (*it).into())]));
    let folder = job.folder.as_deref();
    let enter = folder.map(|it| format!("cd -- {}", quoted(it)));
    map([
        ("image", image.into()),
        ("rules", list(rules)),
        ("script", list(enter.into_iter().chain(scripts))),
    ])
}

/// A folder that a job hands over.
fn artifacts(folder: &str, when: &str) -> Value {
    let path = format!("conda-release-handed/{folder}");
    map([("when", when.into()), ("paths", list([path]))])
}

/// A word of a script as it stands. GitLab replaces `$[[ … ]]` in every text of a file, so that none is left in it.
fn quoted(text: &str) -> String {
    let text = text.replace('\'', r"'\''").replace("$[[", "$''[[");
    format!("'{text}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_has_nothing_that_gitlab_or_a_shell_replaces() {
        assert_eq!(quoted("plain"), "'plain'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted("$[[ inputs.a ]]"), "'$''[[ inputs.a ]]'");
        assert_eq!(quoted("$'[["), r"'$'\''[['");
        assert!(!quoted("$$[[$[[").contains("$[["));
    }
}
