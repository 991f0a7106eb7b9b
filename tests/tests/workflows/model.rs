//! Workflow and action files. A key that is not played here fails the test.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

pub(crate) type Texts = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Workflow {
    pub(crate) name: String,
    pub(crate) on: BTreeMap<String, Option<Value>>,
    pub(crate) permissions: Texts,
    pub(crate) concurrency: Option<Value>,
    #[serde(default)]
    pub(crate) env: Texts,
    pub(crate) defaults: Option<Value>,
    pub(crate) jobs: BTreeMap<String, Job>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Job {
    #[allow(dead_code)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) needs: Needs,
    pub(crate) r#if: Option<String>,
    pub(crate) strategy: Option<Strategy>,
    pub(crate) runs_on: Option<String>,
    pub(crate) timeout_minutes: Option<u32>,
    pub(crate) environment: Option<String>,
    pub(crate) permissions: Texts,
    #[serde(default)]
    pub(crate) outputs: Texts,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    pub(crate) uses: Option<String>,
    #[serde(default)]
    pub(crate) with: BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Needs {
    #[default]
    Nothing,
    One(String),
    Many(Vec<String>),
}

impl Needs {
    pub(crate) fn all(&self) -> Vec<&String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::One(job) => vec![job],
            Self::Many(jobs) => jobs.iter().collect(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Strategy {
    pub(crate) fail_fast: Option<bool>,
    pub(crate) matrix: Value,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) r#if: Option<String>,
    pub(crate) uses: Option<String>,
    #[serde(default)]
    pub(crate) with: BTreeMap<String, Value>,
    pub(crate) shell: Option<String>,
    pub(crate) working_directory: Option<String>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, Value>,
    pub(crate) run: Option<String>,
}

/// An action made of steps.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Action {
    #[allow(dead_code)]
    pub(crate) name: String,
    #[allow(dead_code)]
    pub(crate) description: String,
    pub(crate) inputs: BTreeMap<String, Input>,
    pub(crate) runs: Composite,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Composite {
    pub(crate) using: String,
    pub(crate) steps: Vec<Step>,
}

/// An input of an action or of a workflow that others call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    #[allow(dead_code)]
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) required: bool,
    #[allow(dead_code)]
    pub(crate) r#type: Option<String>,
    #[serde(default)]
    pub(crate) default: Value,
}

/// The values of inputs: what was given, or the default.
pub(crate) fn given(inputs: &BTreeMap<String, Input>, with: BTreeMap<String, Value>) -> Value {
    for name in with.keys() {
        assert!(inputs.contains_key(name), "there is no input `{name}`");
    }
    let value = |(name, input): (&String, &Input)| {
        let given = with.get(name).cloned();
        assert!(
            given.is_some() || !input.required,
            "the input `{name}` is required"
        );
        (name.clone(), given.unwrap_or_else(|| input.default.clone()))
    };
    Value::Object(inputs.iter().map(value).collect())
}
