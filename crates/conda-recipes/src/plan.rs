//! The plan: every output of every recipe and its edges, before anything is built.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
};

use cep27::TargetChannel;
use rattler_build_core::metadata::Output;
use rattler_conda_types::Subdir;
use rayon::{
    ThreadPool, ThreadPoolBuilder,
    iter::{IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _},
};
use release_manifest::{
    Digest, Mode, PackageKey, Plan, PlannedPackage, RelativePath, SchemaVersion, Source,
    SourceDigest, Tool,
};
use serde::{Deserialize, Serialize};

use crate::{
    BuildOptions, CargoContext, Changed, Error, Unplanned, duplicates, find,
    fingerprint::OwnFingerprint,
    graph::{self, Edges},
    inputs::{Inputs, Made},
    render::{self, Outputs, RenderedOutput, Renderer},
    sources,
    targets::{PlanTarget, targets},
    test_phase,
    unplanned::Broken,
};

/// What planning starts from. The same request gives the same plan while recipes, sources and environment are unchanged.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PlanRequest {
    /// The workspace. Recipes lie beneath it and are named relative to it.
    pub root: PathBuf,
    /// `OUTPUT/<mode>`, absolute. Packages are built beneath its `packages`.
    pub output: PathBuf,
    /// The recipe files, as [`find`](crate::find()) returns them.
    pub recipes: Vec<PathBuf>,
    /// Rehearsal or live.
    pub mode: Mode,
    /// What is released.
    pub source: Source,
    /// Where it would be published.
    pub channel: Option<String>,
    /// Where builds find what is published there already; nothing where nothing is, and in a rehearsal. Decides nothing
    /// about the plan.
    pub published_at: Option<String>,
    /// What is attested.
    pub target_channel: TargetChannel,
    /// The build number of each recipe that doesn't get its own. Where it is empty, the number of the options is for all.
    #[serde(default)]
    pub build_numbers: BTreeMap<RelativePath, u64>,
    /// `SOURCE_DATE_EPOCH`, in seconds: the timestamp of every package.
    pub timestamp: i64,
    /// What `[build]` and the command line say.
    pub options: BuildOptions,
    /// What `cargo metadata` says.
    pub cargo: CargoContext,
    /// The tool that plans.
    pub tool: Tool,
    /// The files that [`Planned::touched`] is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Changed>,
    /// Whether recipes that cannot be planned are left out, with all that needs them, instead of refusing the whole plan.
    #[serde(default)]
    pub keep_going: bool,
    /// The packages to plan, where another machine decided which: the others that recipes make it could not plan, or not alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<BTreeSet<PackageKey>>,
    /// The sources of a plan that is made again, by package: commits of branches and tags and hashes of archives come from here
    /// instead of being looked up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pinned: BTreeMap<PackageKey, Vec<SourceDigest>>,
}

/// A plan, and what else planning found out. What is here besides the plan decides nothing about it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The packages that are made from one of [`PlanRequest::changed`].
    pub touched: BTreeSet<PackageKey>,
    /// The packages whose tests do not run on the machine that builds them, and why.
    pub deferred: BTreeMap<PackageKey, String>,
    /// What could not be planned; nothing without [`PlanRequest::keep_going`].
    pub unplanned: Vec<Unplanned>,
}

impl PlanRequest {
    /// rattler-build's output folder, which is the local build channel: `packages/<subdir>/<file>`.
    pub(crate) fn packages(&self) -> PathBuf {
        self.output.join("packages")
    }
}

/// A planned package with what rattler-build needs to build it.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    /// The package as it stands in the plan.
    pub(crate) planned: PlannedPackage,
    /// What `run_build` takes.
    pub(crate) output: Output,
}

/// Renders every recipe and orders the outputs.
///
/// Runs the Jinja of recipes, which reads the environment of this process (`env.get`): a release calls it in the worker.
///
/// # Errors
/// Recipes or variant files that do not parse or render, all of them together; a cycle of hard build edges, two outputs of the same file name, or
/// an output folder too long to build in.
pub async fn plan(request: &PlanRequest) -> Result<Planned, Error> {
    render(request).await.map(|(planned, _)| planned)
}

/// The plan, and what to build for each of its packages, in the plan's order. Creates nothing on disk but the archives that had
/// to be downloaded to hash them.
pub(crate) async fn render(request: &PlanRequest) -> Result<(Planned, Vec<Rendered>), Error> {
    let request = &PlanRequest {
        root: find::real(&request.root)?,
        output: render::absolute(&request.output)?,
        ..request.clone()
    };
    let threads = threads()?;
    let mut broken = Broken::default();
    let mut rendered = threads.install(|| recipes(request, &mut broken))?;
    let mut outputs = Vec::with_capacity(rendered.outputs.len());
    for output in rendered.outputs {
        let key = output.key()?;
        if request.only.as_ref().is_none_or(|only| only.contains(&key)) {
            outputs.push((key, output));
        }
    }
    let mut outputs = duplicates::unique(outputs, &mut broken);
    sources::resolve(request, &mut outputs, &mut broken).await?;
    let mut made = threads.install(|| made(request, &mut outputs, &mut broken))?;
    let wanted = request.only.as_ref().map_or(0, BTreeSet::len);
    if !request.keep_going || outputs.len() < wanted {
        std::mem::take(&mut broken).into_error()?;
    }
    let unplanned = broken.without_dependents(&mut outputs);
    let (keys, outputs): (Vec<PackageKey>, Vec<RenderedOutput>) = outputs.into_iter().unzip();
    let edges = graph::edges(&outputs);
    // Without those that need what cannot be planned.
    let made: Vec<Made> = keys.iter().filter_map(|key| made.remove(key)).collect();

    let mut packages = Vec::with_capacity(outputs.len());
    for ((output, key), edges) in outputs.iter().zip(&keys).zip(edges) {
        packages.push(planned(output, key, &edges, &keys)?);
    }
    rendered.skipped.sort();
    rendered.skipped.dedup();
    let mut plan = Plan {
        schema_version: SchemaVersion,
        tool: request.tool.clone(),
        mode: request.mode,
        source: request.source.clone(),
        channel: request.channel.clone(),
        target_channel: request.target_channel.clone(),
        timestamp: request.timestamp,
        configuration: request.options.digest(),
        packages,
        skipped: rendered.skipped,
    };

    plan.check()?;
    let order = plan.build_order()?;
    let index: HashMap<&PackageKey, usize> = keys
        .iter()
        .enumerate()
        .map(|(index, key)| (key, index))
        .collect();
    let mut fingerprints: HashMap<&PackageKey, Digest> = HashMap::new();
    for key in &order {
        let Some(&at) = index.get(key) else { continue };
        let builds_on: Vec<Digest> = plan.packages[at]
            .builds_on
            .iter()
            .filter_map(|key| fingerprints.get(key).copied())
            .collect();
        let fingerprint =
            OwnFingerprint::new(request, &outputs[at], made[at].digest).with(&builds_on);
        plan.packages[at].fingerprint = fingerprint;
        fingerprints.insert(key, fingerprint);
    }

    let mode = request.options.test;
    let touched = keys.iter().zip(&made).filter(|(_, made)| made.is_touched);
    let deferred = keys.iter().zip(&outputs).filter_map(|(key, output)| {
        let reason = test_phase::deferred(&output.output, mode)?;
        Some((key.clone(), reason))
    });
    let planned = Planned {
        touched: touched.map(|(key, _)| key.clone()).collect(),
        deferred: deferred.collect(),
        unplanned,
        plan,
    };
    let rendered = planned
        .plan
        .packages
        .iter()
        .zip(outputs)
        .map(|(planned, rendered)| Rendered {
            planned: planned.clone(),
            output: rendered.output,
        })
        .collect();
    Ok((planned, rendered))
}

/// How many recipes a thread takes at a time: few, so that none is left with many of them when the others have nothing to do.
const SHARE: usize = 4;

/// The threads that render. A recipe may nest as deeply as it could on a main thread.
fn threads() -> Result<ThreadPool, Error> {
    const STACK: usize = 8 << 20;
    ThreadPoolBuilder::new()
        .stack_size(STACK)
        .build()
        .map_err(|source| Error::Threads {
            source: Box::new(source),
        })
}

/// Every output of every recipe for every platform, in the order of platforms and recipes. Recipes that cannot be rendered are
/// added to `broken`.
fn recipes(request: &PlanRequest, broken: &mut Broken) -> Result<Outputs, Error> {
    let renderer = Renderer::new(request)?;
    let targets = targets(request)?;
    let all: Vec<(&PlanTarget, &PathBuf)> = targets
        .iter()
        .flat_map(|target| request.recipes.iter().map(move |recipe| (target, recipe)))
        .collect();
    let rendered: Vec<Result<Outputs, Error>> = all
        .par_iter()
        .with_max_len(SHARE)
        .map(|(target, recipe)| renderer.render(&find::real(recipe)?, &target.platform))
        .collect();
    let mut outputs = Outputs::default();
    for ((target, recipe), rendered) in all.into_iter().zip(rendered) {
        match rendered {
            Ok(rendered) => {
                let is_wanted = |output: &RenderedOutput| target.makes_noarch || !is_noarch(output);
                let wanted = rendered.outputs.into_iter().filter(is_wanted);
                outputs.outputs.extend(wanted);
                outputs.skipped.extend(rendered.skipped);
            }
            Err(error) if error.is_of_recipe() => broken.add(request, recipe, error),
            Err(error) => return Err(error),
        }
    }
    Ok(outputs)
}

/// Reads what each output is made from. Outputs of which that cannot be read are added to `broken`; the others are returned.
fn made(
    request: &PlanRequest,
    outputs: &mut Vec<(PackageKey, RenderedOutput)>,
    broken: &mut Broken,
) -> Result<HashMap<PackageKey, Made>, Error> {
    let inputs = Inputs::new(request);
    let read: Vec<Result<Made, Error>> = outputs
        .par_iter()
        .with_max_len(SHARE)
        .map(|(_, output)| inputs.read(output))
        .collect();
    let mut made = HashMap::new();
    for ((key, output), read) in outputs.iter().zip(read) {
        match read {
            Ok(read) => drop(made.insert(key.clone(), read)),
            Err(error) if error.is_of_recipe() => broken.add_output(output, error),
            Err(error) => return Err(error),
        }
    }
    outputs.retain(|(key, _)| made.contains_key(key));
    Ok(made)
}

fn is_noarch(output: &RenderedOutput) -> bool {
    output.output.build_configuration.target_platform == Subdir::NoArch
}

fn planned(
    output: &RenderedOutput,
    key: &PackageKey,
    edges: &Edges,
    keys: &[PackageKey],
) -> Result<PlannedPackage, Error> {
    let configuration = &output.output.build_configuration;
    let folder = configuration
        .directories
        .build_dir
        .file_name()
        .unwrap_or_default();
    let named = |edges: &BTreeSet<usize>| edges.iter().map(|&edge| keys[edge].clone()).collect();
    Ok(PlannedPackage {
        file: key.file.clone(),
        subdir: key.subdir,
        recipe: output.recipe.clone(),
        variant: render::strings(&configuration.variant),
        build_number: output.output.recipe.build().number.unwrap_or_default(),
        build_platform: render::subdir(configuration.build_platform.platform)?,
        // Known only once everything that the package builds upon has its own.
        fingerprint: Digest::of(&[]),
        sources: output.sources.clone(),
        build_folder: folder.to_string_lossy().into_owned(),
        builds_on: named(&edges.builds_on),
        test_needs: named(&edges.test_needs),
        runs_with: named(&edges.runs_with),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures::executor::block_on;

    use super::*;

    fn request(recipe: &str, mode: Mode) -> PlanRequest {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planning/fixtures");
        let platform = Some("linux-64".parse().unwrap());
        PlanRequest {
            recipes: vec![root.join(recipe).join("recipe.yaml")],
            output: root.join("not-made"),
            root,
            mode,
            source: Source {
                repository: None,
                commit: None,
                dirty: false,
            },
            channel: Some("https://example.org/target".to_owned()),
            published_at: Some("https://example.org/target".to_owned()),
            target_channel: "https://example.org/target".parse().unwrap(),
            build_numbers: BTreeMap::new(),
            timestamp: 1_700_000_000,
            options: BuildOptions {
                target_platform: platform,
                build_platform: platform,
                channels: vec!["conda-forge".to_owned()],
                ..BuildOptions::default()
            },
            cargo: CargoContext::default(),
            tool: Tool {
                name: "conda-release".to_owned(),
                version: "0.0.0".to_owned(),
            },
            changed: None,
            keep_going: false,
            only: None,
            pinned: BTreeMap::new(),
        }
    }

    #[test]
    fn pins_are_filled_from_the_outputs_of_the_same_variant() {
        let (Planned { plan, .. }, rendered) =
            block_on(render(&request("greet", Mode::Rehearsal))).unwrap();
        let mut pinned = BTreeSet::new();
        for Rendered { planned, output } in &rendered {
            let library = &output.build_configuration.subpackages["libgreet"];
            if let Some(exact) = planned.variant.get("libgreet") {
                assert_eq!(
                    *exact,
                    format!("{} {}", library.version, library.build_string),
                    "{}",
                    planned.key()
                );
                pinned.insert(library.build_string.clone());
            }
        }
        assert_eq!(pinned.len(), 2);
        assert_eq!(
            plan.packages,
            rendered
                .into_iter()
                .map(|rendered| rendered.planned)
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_is_published_is_found_live_and_unknown_to_a_rehearsal() {
        let channels = |mode| -> Vec<String> {
            let (_, rendered) = block_on(render(&request("greet", mode))).unwrap();
            rendered[0]
                .output
                .build_configuration
                .channels
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(
            channels(Mode::Live),
            [
                "https://example.org/target/",
                "https://conda.anaconda.org/conda-forge/"
            ]
        );
        assert_eq!(
            channels(Mode::Rehearsal),
            ["https://conda.anaconda.org/conda-forge/"]
        );
    }

    #[test]
    fn a_noarch_output_is_built_with_what_runs_here() {
        let mut request = request("greet", Mode::Rehearsal);
        request.options.target_platform = Some("osx-arm64".parse().unwrap());
        let (_, rendered) = block_on(render(&request)).unwrap();
        for Rendered { planned, output } in rendered {
            let host = output.build_configuration.host_platform.platform;
            let expected = if planned.subdir.is_noarch() {
                Subdir::Linux64
            } else {
                Subdir::OsxArm64
            };
            assert_eq!(host, expected, "{}", planned.key());
        }
    }
}
