//! Digests that one job tells another, beside the folders that anybody might replace.

use std::collections::BTreeMap;

use clap::Args;
use release_manifest::Digest;

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

    /// Digests of many manifests: the outputs of build jobs as one JSON object, `{"shard-1": "sha256:…"}`
    #[arg(long, value_name = "JSON", value_parser = many)]
    digests: Vec<Outputs>,
}

/// The outputs of a job: digests by the number of their shard.
#[derive(Clone, Debug)]
struct Outputs(BTreeMap<u32, Digest>);

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
        let one = self.digest.iter().filter(|(number, _)| *number == shard);
        let many = self.digests.iter().filter_map(|it| it.0.get(&shard));
        let mut given = one.map(|(_, digest)| digest).chain(many);
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
    let outputs: BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|error| format!("expected a JSON object of strings: {error}"))?;
    let mut digests = BTreeMap::new();
    for (name, value) in outputs {
        let Some(shard) = name.strip_prefix("shard-").and_then(|it| it.parse().ok()) else {
            continue;
        };
        if !value.is_empty() {
            let digest = value
                .parse()
                .map_err(|error| format!("`{name}`: {error}"))?;
            digests.insert(shard, digest);
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
        let twice = DigestArgs {
            digest: vec![(1, a), (1, a), (2, a), (2, b)],
            ..DigestArgs::default()
        };
        assert_eq!(twice.of(1).unwrap(), Some(a));
        assert!(twice.of(2).is_err());
        for text in ["", "1", "x=sha256:0", "1=sha256:0"] {
            assert!(one(text).is_err(), "{text}");
        }
        for text in ["", "[]", r#"{"shard-1": "sha256:0"}"#, r#"{"shard-1": 1}"#] {
            assert!(many(text).is_err(), "{text}");
        }
    }
}
