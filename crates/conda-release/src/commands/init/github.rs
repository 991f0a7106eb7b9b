//! The workflow for GitHub Actions.

use serde_yaml::Value;

use super::{
    proposal::Job,
    yaml::{document, list, map, put},
};
use crate::error::Error;

/// Where the workflow lies, from the top of the repository.
pub(super) const FILE: &str = ".github/workflows/conda-release.yml";

/// An action by its full hash, since a tag can be moved, and the version that has this hash.
type Action = (&'static str, &'static str);

const CHECKOUT: Action = (
    "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd",
    "v6.0.2",
);
const UPLOAD: Action = (
    "actions/upload-artifact@b7c566a772e6b6bfb58ed0dc250532a479d7789f",
    "v6.0.0",
);
const DOWNLOAD: Action = (
    "actions/download-artifact@37930b1c2abaa49bbe596cd826c3c89aef350131",
    "v7.0.0",
);

const COMMENTS: &str = "\
# Written by `conda-release init`, which says with --check whether it is current.
#
# A pull request is rehearsed: built, tested and attested on the machine of the job, with no right to anything. What is
# merged is released: `plan` compiles conda-release and plans, `build` builds and tests without an identity, and `release`
# signs and publishes, the only job that may have an identity token; protect its environment. It takes from the other jobs
# what has the digests that are their outputs.

";

const RUST: &str = "rustup update --no-self-update stable";
const IS_PULL_REQUEST: &str = "github.event_name == 'pull_request'";
const IS_PUSH: &str = "github.event_name == 'push'";
/// The condition under which there is something to build.
const HAS_SHARD: &str = "needs.plan.outputs.matrix != '{\"include\":[]}'";
/// Nothing is written into the checkout.
const OUTPUT: &str = "${{ runner.temp }}/release";

const CHECK_PROGRAM: &str = "\
printf '%s  %s\\n' \"$PROGRAM_SHA256\" \"$RUNNER_TEMP/program/conda-release\" | sha256sum -c -
chmod +x \"$RUNNER_TEMP/program/conda-release\"
";
const PLAN: &str = "\"$RUNNER_TEMP/program/conda-release\" plan -x --shards 1";
const BUILD: &str = "\
\"$RUNNER_TEMP/program/conda-release\" build --plan \"$RUNNER_TEMP/plan/plan.json\" --shard 1 \\
  --shards-digest \"$SHARDS_DIGEST\"
";
const MERGE: &str = "\
\"$RUNNER_TEMP/program/conda-release\" merge --plan \"$RUNNER_TEMP/plan/plan.json\" \"$RUNNER_TEMP/shard-1\" \\
  --shards-digest \"$SHARDS_DIGEST\" --digests \"$NEEDS\"
";
const SIGN: &str = "\"$RUNNER_TEMP/program/conda-release\" sign -x";
const PUBLISH: &str = "\"$RUNNER_TEMP/program/conda-release\" publish -x";

/// The workflow's text.
///
/// # Errors
/// Never for a job as `init` describes one.
pub(super) fn workflow(branch: &str, job: &Job) -> Result<String, Error> {
    let push = map([("branches", list([pattern(branch)]))]);
    let mut jobs = map([("rehearsal", rehearsal_job(job))]);
    if job.is_live {
        put(&mut jobs, "plan", Some(plan_job(job)));
        put(&mut jobs, "build", Some(build_job(job)));
        put(&mut jobs, "release", Some(release_job(job)));
    }
    let workflow = map([
        ("name", "conda-release".into()),
        ("on", map([("pull_request", map([])), ("push", push)])),
        ("permissions", map([])),
        (
            "concurrency",
            map([
                ("group", "${{ github.workflow }}-${{ github.ref }}".into()),
                (
                    "cancel-in-progress",
                    format!("${{{{ {IS_PULL_REQUEST} }}}}").into(),
                ),
            ]),
        ),
        ("jobs", jobs),
    ]);
    let mut text = document(COMMENTS, &workflow)?;
    for (action, version) in [CHECKOUT, UPLOAD, DOWNLOAD] {
        let pinned = format!("uses: {action}\n");
        text = text.replace(&pinned, &format!("uses: {action} # {version}\n"));
    }
    Ok(text)
}

fn rehearsal_job(job: &Job) -> Value {
    let install = job.install().map(|it| run("Install conda-release", &it));
    let steps = [checkout(), run("Update Rust", RUST)]
        .into_iter()
        .chain(install)
        .chain([run("Rehearse", job.command())]);
    let conditions = job.is_live.then_some(("if", IS_PULL_REQUEST.into()));
    let mut rehearsal = described("Rehearse a release", conditions, &[], job);
    put(&mut rehearsal, "steps", Some(list(steps)));
    rehearsal
}

/// Compiles the program and plans. No recipe runs here, so that the jobs that follow believe this one.
fn plan_job(job: &Job) -> Value {
    let compile = format!(
        "{} --root \"$RUNNER_TEMP/compiled\"
mkdir \"$RUNNER_TEMP/program\"
mv \"$RUNNER_TEMP/compiled/bin/cargo-conda-release\" \"$RUNNER_TEMP/program/conda-release\"
sha256=$(sha256sum < \"$RUNNER_TEMP/program/conda-release\")
printf 'sha256=%s\\n' \"${{sha256%% *}}\" >> \"$GITHUB_OUTPUT\"
",
        Job::install_program()
    );
    let mut plan = described("Plan", Some(("if", IS_PUSH.into())), &[], job);
    let outputs = map([
        (
            "program-sha256",
            "${{ steps.program.outputs.sha256 }}".into(),
        ),
        (
            "shards-digest",
            "${{ steps.plan.outputs.shards-digest }}".into(),
        ),
        ("matrix", "${{ steps.plan.outputs.matrix-1 }}".into()),
    ]);
    put(&mut plan, "outputs", Some(outputs));
    let steps = [
        checkout(),
        run("Update Rust", RUST),
        with_id("program", run("Compile conda-release", &compile)),
        hand_over("the program", "program", "${{ runner.temp }}/program"),
        with_id(
            "plan",
            with_env(run("Plan", PLAN), &[("CONDA_RELEASE_OUTPUT", OUTPUT)]),
        ),
        hand_over("the plan", "plan", &format!("{OUTPUT}/live/shards")),
    ];
    put(&mut plan, "steps", Some(list(steps)));
    plan
}

fn build_job(job: &Job) -> Value {
    let conditions = [("needs", "plan".into()), ("if", HAS_SHARD.into())];
    let mut build = described("Build", conditions, &[], job);
    let outputs = map([("shard-1", "${{ steps.build.outputs.shard-1 }}".into())]);
    put(&mut build, "outputs", Some(outputs));
    let environment = [
        ("CONDA_RELEASE_OUTPUT", OUTPUT),
        ("SHARDS_DIGEST", "${{ needs.plan.outputs.shards-digest }}"),
    ];
    let built = hand_over(
        "what was built",
        "shard-1",
        &format!("{OUTPUT}/live/shard-1"),
    );
    let steps = [
        checkout(),
        run("Update Rust", RUST),
        fetch("the program", "program"),
        check_program(),
        fetch("the plan", "plan"),
        with_id("build", with_env(run("Build", BUILD), &environment)),
        also_after_a_failure(built),
    ];
    put(&mut build, "steps", Some(list(steps)));
    build
}

fn release_job(job: &Job) -> Value {
    let conditions = [
        ("needs", list(["plan", "build"])),
        ("environment", "release".into()),
    ];
    let mut release = described(
        "Sign and publish",
        conditions,
        &[("id-token", "write")],
        job,
    );
    let output = ("CONDA_RELEASE_OUTPUT", OUTPUT);
    let merge = [
        output,
        ("SHARDS_DIGEST", "${{ needs.plan.outputs.shards-digest }}"),
        ("NEEDS", "${{ toJSON(needs) }}"),
    ];
    let secrets = job.secrets.iter();
    let secrets: Vec<_> = secrets
        .map(|name| (*name, format!("${{{{ secrets.{name} }}}}")))
        .collect();
    let secrets = secrets
        .iter()
        .map(|(name, secret)| (*name, secret.as_str()));
    let publish: Vec<_> = [output].into_iter().chain(secrets).collect();
    let manifest = format!("{OUTPUT}/live/release-manifest.json");
    let steps = [
        checkout(),
        fetch("the program", "program"),
        check_program(),
        fetch("the plan", "plan"),
        fetch("what was built", "shard-1"),
        with_env(run("Take over what was built", MERGE), &merge),
        with_env(run("Sign", SIGN), &[output]),
        with_env(run("Publish", PUBLISH), &publish),
        also_after_a_failure(hand_over("the manifest", "release-manifest", &manifest)),
    ];
    put(&mut release, "steps", Some(list(steps)));
    release
}

/// A job that reads the repository and what else it is permitted, in the workspace's folder.
fn described<'a>(
    name: &str,
    conditions: impl IntoIterator<Item = (&'a str, Value)>,
    permitted: &[(&str, &str)],
    job: &Job,
) -> Value {
    let mut described = map([("name", name.into())]);
    for (key, value) in conditions {
        put(&mut described, key, Some(value));
    }
    put(&mut described, "runs-on", Some("ubuntu-24.04".into()));
    put(&mut described, "timeout-minutes", Some(120.into()));
    let mut permissions = map([("contents", "read".into())]);
    for (permission, level) in permitted {
        put(&mut permissions, permission, Some((*level).into()));
    }
    put(&mut described, "permissions", Some(permissions));
    // Of the job: GitHub refuses expressions, and with them escapes, in the defaults of a workflow.
    let defaults = |folder: &str| {
        let folder = literal(folder);
        map([("run", map([("working-directory", folder.into())]))])
    };
    put(
        &mut described,
        "defaults",
        job.folder.as_deref().map(defaults),
    );
    described
}

fn run(name: &str, command: &str) -> Value {
    map([("name", name.into()), ("run", command.into())])
}

fn checkout() -> Value {
    map([
        ("name", "Check out".into()),
        ("uses", CHECKOUT.0.into()),
        ("with", map([("persist-credentials", false.into())])),
    ])
}

fn check_program() -> Value {
    let digest = ("PROGRAM_SHA256", "${{ needs.plan.outputs.program-sha256 }}");
    with_env(run("Check the program", CHECK_PROGRAM), &[digest])
}

fn hand_over(what: &str, artifact: &str, path: &str) -> Value {
    map([
        ("name", format!("Hand over {what}").into()),
        ("uses", UPLOAD.0.into()),
        (
            "with",
            map([
                ("name", artifact.into()),
                ("path", path.into()),
                ("if-no-files-found", "error".into()),
                ("overwrite", true.into()),
                ("retention-days", 7.into()),
            ]),
        ),
    ])
}

/// Fetches an artifact into a folder of its own, outside of the checkout.
fn fetch(what: &str, artifact: &str) -> Value {
    let path = format!("${{{{ runner.temp }}}}/{artifact}");
    map([
        ("name", format!("Fetch {what}").into()),
        ("uses", DOWNLOAD.0.into()),
        (
            "with",
            map([("name", artifact.into()), ("path", path.into())]),
        ),
    ])
}

fn with_id(id: &str, mut step: Value) -> Value {
    put(&mut step, "id", Some(id.into()));
    step
}

fn with_env(mut step: Value, variables: &[(&str, &str)]) -> Value {
    let mut env = map([]);
    for (name, value) in variables {
        put(&mut env, name, Some((*value).into()));
    }
    put(&mut step, "env", Some(env));
    step
}

fn also_after_a_failure(mut step: Value) -> Value {
    put(&mut step, "if", Some("${{ !cancelled() }}".into()));
    step
}

/// A text as it stands, where GitHub evaluates expressions.
fn literal(text: &str) -> String {
    text.replace("${{", "${{ '${{' }}")
}

/// A branch's name as a filter that matches nothing else. GitHub refuses a filter with an expression, so that none begins.
fn pattern(branch: &str) -> String {
    let special = |c| matches!(c, '*' | '?' | '+' | '[' | ']' | '!' | '\\');
    let escaped: String = branch
        .chars()
        .flat_map(|c| special(c).then_some('\\').into_iter().chain([c]))
        .collect();
    escaped.replace("${{", "$[{]{")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_text_begins_no_expression_of_its_own() {
        assert_eq!(literal("plain $(id) ${x} }}"), "plain $(id) ${x} }}");
        assert_eq!(literal("a${{ secrets.X }}"), "a${{ '${{' }} secrets.X }}");
        assert_eq!(literal("$${{{{"), "$${{ '${{' }}{{");
    }
}
