//! The workflow for GitHub Actions.

use serde_yaml::Value;

use super::{
    proposal::Job,
    yaml::{document, list, map, put},
};
use crate::error::Error;

/// Where the workflow lies, from the top of the repository.
pub(super) const FILE: &str = ".github/workflows/conda-release.yml";

/// By its full hash: a tag can be moved.
const CHECKOUT: (&str, &str) = (
    "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd",
    "v6.0.2",
);

const COMMENTS: &str = "\
# Written by `conda-release init`, which says with --check whether it is current.
#
# A pull request is rehearsed: built, tested and attested on the machine of the job, with no right to anything. What is
# merged is released, by a job that alone may have an identity token; protect its environment.

";

/// The workflow's text.
///
/// # Errors
/// Never for a job as `init` describes one.
pub(super) fn workflow(branch: &str, job: &Job) -> Result<String, Error> {
    let push = map([("branches", list([pattern(branch)]))]);
    let is_pull_request = "github.event_name == 'pull_request'";
    let mut jobs = map([]);
    let rehearsal = match job.is_live {
        true => Some(is_pull_request),
        false => None,
    };
    put(&mut jobs, "rehearsal", Some(rehearsal_job(rehearsal, job)));
    put(&mut jobs, "release", job.is_live.then(|| release_job(job)));
    let mut workflow = map([
        ("name", "conda-release".into()),
        ("on", map([("pull_request", map([])), ("push", push)])),
        ("permissions", map([])),
        (
            "concurrency",
            map([
                ("group", "${{ github.workflow }}-${{ github.ref }}".into()),
                (
                    "cancel-in-progress",
                    format!("${{{{ {is_pull_request} }}}}").into(),
                ),
            ]),
        ),
    ]);
    let defaults = |folder: &str| map([("run", map([("working-directory", folder.into())]))]);
    put(
        &mut workflow,
        "defaults",
        job.folder.as_deref().map(defaults),
    );
    put(&mut workflow, "jobs", Some(jobs));
    let text = document(COMMENTS, &workflow)?;
    let (action, version) = CHECKOUT;
    let pinned = format!("uses: {action}\n");
    Ok(text.replace(&pinned, &format!("uses: {action} # {version}\n")))
}

fn rehearsal_job(condition: Option<&str>, job: &Job) -> Value {
    let mut rehearsal = map([("name", "Rehearse a release".into())]);
    put(&mut rehearsal, "if", condition.map(Value::from));
    put(&mut rehearsal, "runs-on", Some("ubuntu-24.04".into()));
    put(&mut rehearsal, "timeout-minutes", Some(120.into()));
    put(
        &mut rehearsal,
        "permissions",
        Some(map([("contents", "read".into())])),
    );
    put(&mut rehearsal, "steps", Some(steps(job, false)));
    rehearsal
}

fn release_job(job: &Job) -> Value {
    map([
        ("name", "Release".into()),
        ("if", "github.event_name == 'push'".into()),
        ("runs-on", "ubuntu-24.04".into()),
        ("timeout-minutes", 120.into()),
        ("environment", "release".into()),
        (
            "permissions",
            map([("contents", "read".into()), ("id-token", "write".into())]),
        ),
        ("steps", steps(job, true)),
    ])
}

fn steps(job: &Job, is_live: bool) -> Value {
    let run = |name: &str, command: String| map([("name", name.into()), ("run", command.into())]);
    let checkout = map([
        ("name", "Check out".into()),
        ("uses", CHECKOUT.0.into()),
        ("with", map([("persist-credentials", false.into())])),
    ]);
    let rust = "rustup update --no-self-update stable".to_owned();
    let mut steps = vec![checkout, run("Update Rust", rust)];
    let install = |command| run("Install conda-release", command);
    steps.extend(job.install().map(install));
    let mut release = match is_live {
        true => run("Release", format!("{} -x", job.command())),
        false => run("Rehearse", job.command().to_owned()),
    };
    if is_live && !job.secrets.is_empty() {
        let mut secrets = map([]);
        for name in job.secrets {
            let secret = format!("${{{{ secrets.{name} }}}}");
            put(&mut secrets, name, Some(secret.into()));
        }
        put(&mut release, "env", Some(secrets));
    }
    steps.push(release);
    list(steps)
}

/// A branch's name as a filter that matches nothing else.
fn pattern(branch: &str) -> String {
    let special = |c| matches!(c, '*' | '?' | '+' | '[' | ']' | '!' | '\\');
    branch
        .chars()
        .flat_map(|c| special(c).then_some('\\').into_iter().chain([c]))
        .collect()
}
