//! Digests that one job tells another, beside the folders that anybody might replace.

use std::collections::BTreeMap;

use clap::Args;
use release_manifest::Digest;
use serde::Deserialize;

use crate::error::Error;

/// What other jobs said of their files.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Digests from other jobs")]
pub(crate) struct DigestArgs {
    /// The plan's digest, as the job that planned printed it
    #[arg(long, value_name = "DIGEST")]
    plan_digest: Option<Digest>,

    /// The digest of plan and shards together, as the job that planned printed it
    #[arg(long, value_name = "DIGEST")]
    shards_digest: Option<Digest>,

    /// The digest of a shard's manifest, as the job that built it printed it
    #[arg(long, value_name = "SHARD=DIGEST", value_parser = one)]
    digest: Vec<(u32, Digest)>,

    /// Digests of many manifests: the outputs of build jobs as one JSON object, `{"shard-1": "sha256:…"}`, or the jobs that
    /// one needs, each with its `outputs`
    #[arg(long, value_name = "JSON", value_parser = many)]
    digests: Vec<Outputs>,
}

/// The outputs of jobs: digests with the number of their shard, which several jobs may name.
#[derive(Clone, Debug)]
struct Outputs(Vec<(u32, Digest)>);

/// A member of the JSON object: an output, or a job as GitHub's `needs` has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Member {
    Output(String),
    Job { outputs: BTreeMap<String, String> },
}

impl DigestArgs {
    /// That of the plan, if it was given.
    pub(crate) fn plan(&self) -> Option<Digest> {
        self.plan_digest
    }

    /// That of plan and shards, if it was given.
    pub(crate) fn shards(&self) -> Option<Digest> {
        self.shards_digest
    }

    /// That of the manifest of a shard, if it was given.
    ///
    /// # Errors
    /// Two different ones were.
    pub(crate) fn of(&self, shard: u32) -> Result<Option<Digest>, Error> {
        let all = self
            .digest
            .iter()
            .chain(self.digests.iter().flat_map(|it| &it.0));
        let mut given = all
            .filter(|(number, _)| *number == shard)
            .map(|(_, digest)| digest);
        let first = given.next();
        match given.find(|&other| Some(other) != first) {
            Some(_) => Err(Error::Usage(format!(
                "two different digests were given for shard {shard}"
            ))),
            None => Ok(first.copied()),
        }
    }
}

fn one(text: &str) -> Result<(u32, Digest), String> {
    let (shard, digest) = text
        .split_once('=')
        .ok_or_else(|| format!("expected SHARD=DIGEST, found `{text}`"))?;
    let shard = shard.strip_prefix("shard-").unwrap_or(shard);
    let shard = shard
        .parse()
        .map_err(|_| format!("expected the number of a shard, found `{shard}`"))?;
    let digest = digest.parse::<Digest>().map_err(|it| it.to_string())?;
    Ok((shard, digest))
}

/// The outputs of a matrix, of which each job sets one: others are empty, or not of a shard.
fn many(text: &str) -> Result<Outputs, String> {
    let members: BTreeMap<String, Member> = serde_json::from_str(text).map_err(|error| {
        format!("expected a JSON object of outputs, or of jobs with `outputs`: {error}")
    })?;
    let outputs = members.into_iter().flat_map(|(name, member)| match member {
        Member::Output(value) => BTreeMap::from([(name, value)]),
        Member::Job { outputs } => outputs,
    });
    let mut digests = Vec::new();
    for (name, value) in outputs {
        let Some(shard) = name.strip_prefix("shard-").and_then(|it| it.parse().ok()) else {
            continue;
        };
        if !value.is_empty() {
            let digest = value
                .parse()
                .map_err(|error| format!("`{name}`: {error}"))?;
            digests.push((shard, digest));
        }
    }
    Ok(Outputs(digests))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_come_one_by_one_or_as_the_outputs_of_a_matrix() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let given = DigestArgs {
            digest: vec![one(&format!("1={a}")).unwrap()],
            digests: vec![
                many(&format!(
                    r#"{{"shard-2": "{b}", "shard-3": "", "colour": "green"}}"#
                ))
                .unwrap(),
            ],
            ..DigestArgs::default()
        };
        assert_eq!(given.of(1).unwrap(), Some(a));
        assert_eq!(given.of(2).unwrap(), Some(b));
        assert_eq!(given.of(3).unwrap(), None);
        let needs = format!(
            r#"{{"plan": {{"result": "success", "outputs": {{"shards-digest": "{a}"}}}},
                "build-1": {{"result": "failure", "outputs": {{"shard-1": "{a}", "shard-2": "{a}"}}}},
                "build-2": {{"result": "success", "outputs": {{"shard-1": "", "shard-2": "{b}"}}}},
                "build-3": {{"result": "skipped", "outputs": {{}}}}}}"#
        );
        let needed = DigestArgs {
            digests: vec![many(&needs).unwrap()],
            ..DigestArgs::default()
        };
        assert_eq!(needed.of(1).unwrap(), Some(a));
        assert!(needed.of(2).is_err(), "two jobs say of it what they built");
        let twice = DigestArgs {
            digest: vec![(1, a), (1, a), (2, a), (2, b)],
            ..DigestArgs::default()
        };
        assert_eq!(twice.of(1).unwrap(), Some(a));
        assert!(twice.of(2).is_err());
        for text in ["", "1", "x=sha256:0", "1=sha256:0"] {
            assert!(one(text).is_err(), "{text}");
        }
        for text in [
            "",
            "[]",
            r#"{"shard-1": "sha256:0"}"#,
            r#"{"shard-1": 1}"#,
            r#"{"build": {}}"#,
        ] {
            assert!(many(text).is_err(), "{text}");
        }
    }
}
