//! The plan: every output of every recipe and its edges, before anything is built.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
};

use cep27::TargetChannel;
use rattler_build_core::metadata::Output;
use rattler_build_recipe::Stage1Recipe;
use rattler_conda_types::Subdir;
use release_manifest::{
    Digest, Mode, PackageKey, Plan, PlannedPackage, RelativePath, SchemaVersion, Source, Tool,
};
use serde::{Deserialize, Serialize};

use crate::{
    BuildOptions, CargoContext, Error, Platform, find, graph,
    graph::Edges,
    render::{self, Outputs, RenderedOutput, Renderer, Target},
    sources,
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
    /// The build number of each recipe that doesn't get its own, or the one of the options.
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
/// A recipe or variant file that does not parse or render, a cycle of hard build edges, two outputs of the same file name, or
/// an output folder too long to build in.
pub async fn plan(request: &PlanRequest) -> Result<Plan, Error> {
    render(request).map(|(plan, _)| plan)
}

/// The plan, and what to build for each of its packages, in the plan's order. Creates nothing on disk.
pub(crate) fn render(request: &PlanRequest) -> Result<(Plan, Vec<Rendered>), Error> {
    let request = &PlanRequest {
        root: find::real(&request.root)?,
        output: render::absolute(&request.output)?,
        ..request.clone()
    };
    let renderer = Renderer::new(request)?;
    let mut rendered = Outputs::default();
    for target in targets(&request.options)? {
        for recipe in &request.recipes {
            let outputs = renderer.render(&find::real(recipe)?, &target.platform)?;
            let is_wanted = |output: &RenderedOutput| target.makes_noarch || !is_noarch(output);
            rendered
                .outputs
                .extend(outputs.outputs.into_iter().filter(is_wanted));
            rendered.skipped.extend(outputs.skipped);
        }
    }
    let outputs = unique(rendered.outputs)?;
    let keys = outputs.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let edges = graph::edges(&outputs);

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
        let fingerprint = renderer.inputs().fingerprint(&outputs[at], &builds_on)?;
        plan.packages[at].fingerprint = fingerprint;
        fingerprints.insert(key, fingerprint);
    }

    let rendered = plan
        .packages
        .iter()
        .zip(outputs)
        .map(|(planned, rendered)| Rendered {
            planned: planned.clone(),
            output: rendered.output,
        })
        .collect();
    Ok((plan, rendered))
}

/// A platform to plan for.
struct PlanTarget {
    platform: Target,
    makes_noarch: bool,
}

fn targets(options: &BuildOptions) -> Result<Vec<PlanTarget>, Error> {
    let current = Subdir::current().ok_or_else(|| Error::InvalidOption {
        option: "platforms",
        reason: "conda has no name for the platform that this runs on".to_owned(),
    })?;
    let parse = |subdir: cep27::Subdir| {
        subdir
            .as_str()
            .parse::<Subdir>()
            .map_err(|error| Error::InvalidOption {
                option: "platforms",
                reason: error.to_string(),
            })
    };
    let build = options
        .build_platform
        .map(parse)
        .transpose()?
        .unwrap_or(current);
    let named: Vec<&Platform> = match options.target_platform {
        None => options.platforms.iter().collect(),
        Some(target) => options
            .platforms
            .iter()
            .filter(|platform| platform.target == target)
            .collect(),
    };
    let mut pairs = Vec::new();
    for platform in named {
        pairs.push((
            parse(platform.target)?,
            platform.build.map(parse).transpose()?.unwrap_or(build),
        ));
    }
    if pairs.is_empty() {
        pairs.push((
            options
                .target_platform
                .map(parse)
                .transpose()?
                .unwrap_or(build),
            build,
        ));
    }
    let noarch = options.noarch_build_platform.map(parse).transpose()?;
    if let Some(noarch) = noarch {
        check_builds(noarch, build, options)?;
    }
    let maker = noarch.and_then(|noarch| pairs.iter().position(|(_, build)| *build == noarch));
    // A noarch package is made once. Where another platform makes it, this plan has none.
    let makes_noarch = |index: usize| {
        if noarch.is_some() {
            maker == Some(index)
        } else {
            index == 0
        }
    };
    pairs
        .into_iter()
        .enumerate()
        .map(|(index, (target, build))| {
            Ok(PlanTarget {
                platform: Target::new(target, build)?,
                makes_noarch: makes_noarch(index),
            })
        })
        .collect()
}

/// Whether some platform that is planned for, here or in another plan, is built on `noarch`: else nobody would make the
/// `noarch` packages.
fn check_builds(noarch: Subdir, build: Subdir, options: &BuildOptions) -> Result<(), Error> {
    let named = |platform: &Platform| {
        platform
            .build
            .map_or(build.as_str(), |build| build.as_str())
    };
    let mut builds: Vec<&str> = options.platforms.iter().map(named).collect();
    if builds.is_empty() {
        builds.push(build.as_str());
    }
    if builds.contains(&noarch.as_str()) {
        return Ok(());
    }
    Err(Error::InvalidOption {
        option: "noarch-build-platform",
        reason: format!(
            "expected a platform that builds ({}), found {noarch}",
            builds.join(", ")
        ),
    })
}

/// Leaves one of each file, sorted by key. A variant key that an output doesn't use renders the same output several times; other
/// outputs that would become the same file are an error.
fn unique(outputs: Vec<RenderedOutput>) -> Result<Vec<RenderedOutput>, Error> {
    let mut by_key: BTreeMap<PackageKey, RenderedOutput> = BTreeMap::new();
    for output in outputs {
        let key = key(&output)?;
        match by_key.get(&key) {
            None => {
                by_key.insert(key, output);
            }
            Some(first) if is_same(first, &output) => {}
            Some(first) => {
                return Err(Error::Duplicate {
                    package: key.to_string(),
                    first: described(first),
                    second: described(&output),
                });
            }
        }
    }
    Ok(by_key.into_values().collect())
}

/// Whether the same package is made by both, leaving aside the variant values that nothing but the context refers to. A recipe
/// that names keys to ignore says so itself.
fn is_same(first: &RenderedOutput, second: &RenderedOutput) -> bool {
    let without_context = |recipe: &Stage1Recipe| Stage1Recipe {
        context: Default::default(),
        used_variant: BTreeMap::new(),
        ..recipe.clone()
    };
    let (one, other) = (&first.output.recipe, &second.output.recipe);
    let is_told = !one.build().variant.ignore_keys.is_empty()
        && one.build().variant.ignore_keys == other.build().variant.ignore_keys;
    first.recipe == second.recipe && (is_told || without_context(one) == without_context(other))
}

fn described(output: &RenderedOutput) -> String {
    let variant: Vec<String> = render::strings(&output.combination)
        .into_iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    format!("{} with {}", output.recipe, variant.join(", "))
}

fn is_noarch(output: &RenderedOutput) -> bool {
    output.output.build_configuration.target_platform == Subdir::NoArch
}

fn key(output: &RenderedOutput) -> Result<PackageKey, Error> {
    Ok(PackageKey {
        subdir: render::subdir(output.output.build_configuration.target_platform)?,
        file: output.file.clone(),
    })
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
        sources: sources::of(&output.output.recipe),
        build_folder: folder.to_string_lossy().into_owned(),
        builds_on: named(&edges.builds_on),
        test_needs: named(&edges.test_needs),
        runs_with: named(&edges.runs_with),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        }
    }

    #[test]
    fn pins_are_filled_from_the_outputs_of_the_same_variant() {
        let (plan, rendered) = render(&request("greet", Mode::Rehearsal)).unwrap();
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
            let (_, rendered) = render(&request("greet", mode)).unwrap();
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
        let (_, rendered) = render(&request).unwrap();
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
