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
# merged is released, by a job that alone has identity tokens.

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
    let image = concat!("rust:", env!("CARGO_PKG_RUST_VERSION"));
    let rules = |conditions: &[&str]| list(conditions.iter().map(|it| map([("if", (*it).into())])));
    let script = |end: &str| {
        let folder = job.folder.as_ref().map(|_| "cd \"$WORKSPACE\"".to_owned());
        let lines = folder.into_iter().chain(job.install());
        list(lines.chain([format!("{}{end}", job.command())]))
    };
    let request = "$CI_PIPELINE_SOURCE == \"merge_request_event\"";
    let merged = "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH";
    let described = |conditions: &[&str]| {
        let mut described = map([("image", image.into()), ("rules", rules(conditions))]);
        let folder = job
            .folder
            .as_deref()
            .map(|it| map([("WORKSPACE", expanded(it).into())]));
        put(&mut described, "variables", folder);
        described
    };
    let mut rehearsal = match job.is_live {
        true => described(&[request]),
        false => described(&[request, merged]),
    };
    put(&mut rehearsal, "script", Some(script("")));
    let mut document_of_jobs = map([("conda-rehearsal", rehearsal)]);
    if job.is_live {
        let mut release = described(&[merged]);
        let token = |audience: &str| map([("aud", Value::from(audience))]);
        let tokens = map([
            ("SIGSTORE_ID_TOKEN", token("sigstore")),
            ("PREFIX_DEV_ID_TOKEN", token("prefix.dev")),
        ]);
        put(&mut release, "id_tokens", Some(tokens));
        put(&mut release, "script", Some(script(" -x")));
        put(&mut document_of_jobs, "conda-release", Some(release));
    }
    document(COMMENTS, &document_of_jobs)
}

/// The value of a variable as it stands: GitLab replaces `$NAME` in it.
fn expanded(text: &str) -> String {
    text.replace('$', "$$")
}
