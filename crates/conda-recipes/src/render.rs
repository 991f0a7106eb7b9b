//! Render a recipe: every output of every variant, as rattler-build sees it.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex},
};

use cep27::{FileName, Format};
use indexmap::IndexMap;
use rattler_build_core::{
    env_vars,
    metadata::{BuildConfiguration, Output, PlatformWithVirtualPackages},
    migrate_recipe::has_cache_key,
    script::RuntimeEnv,
    system_tools::SystemTools,
    types::{BuildSummary, Directories, PackageIdentifier, PackagingSettings},
};
use rattler_build_jinja::Variable;
use rattler_build_recipe::{
    RenderConfig, RenderError, RenderedVariant, parse_recipe, render_recipe, source_code, stage0,
    stage1::HashInfo,
};
use rattler_build_types::NormalizedKey;
use rattler_conda_types::{
    ChannelConfig, ChannelUrl, NamedChannelOrUrl, NoArchType, PackageName, Subdir,
    package::CondaArchiveType,
};
use rattler_solve::SolveStrategy;
use rattler_virtual_packages::VirtualPackageOverrides;
use release_manifest::{Mode, PackageKey, RelativePath, SkippedOutput, SourceDigest};

use crate::{
    BuildNumber, Error, PlanRequest, cycle,
    error::{self, Invalid},
    fingerprint::staging_hash,
    skip,
    variants::Variants,
};

/// The longest path that a prefix can have, in bytes: what rattler-build pads `$PREFIX` to on other platforms than Windows.
const PREFIX_LENGTH: usize = 255;

/// What recipes call the workspace member that they package.
pub(crate) const CARGO: &str = "cargo";

/// What they call all members in it.
const PACKAGES: &str = "packages";

/// What every recipe of a plan is rendered with.
pub(crate) struct Renderer<'a> {
    request: &'a PlanRequest,
    packages: PathBuf,
    timestamp: jiff::Timestamp,
    channels: Vec<ChannelUrl>,
    exclude_newer: Option<jiff::Timestamp>,
}

/// A platform to render for, with what is the same for every recipe.
pub(crate) struct Target {
    target: PlatformWithVirtualPackages,
    build: PlatformWithVirtualPackages,
    os_env_var_keys: HashSet<String>,
    variants: Variants,
}

/// One output under one variant.
pub(crate) struct RenderedOutput {
    /// What `run_build` takes.
    pub(crate) output: Output,
    /// Every variant value it was rendered with, used or not: what tells siblings of one variant from those of another.
    pub(crate) combination: BTreeMap<NormalizedKey, Variable>,
    /// Its file.
    pub(crate) file: FileName,
    /// The recipe file relative to the root.
    pub(crate) recipe: RelativePath,
    /// Whether the recipe may read what `cargo metadata` says of any member of the workspace.
    pub(crate) reads_members: bool,
    /// Its sources, once they are resolved.
    pub(crate) sources: Vec<SourceDigest>,
}

impl RenderedOutput {
    /// The package that it becomes.
    pub(crate) fn key(&self) -> Result<PackageKey, Error> {
        Ok(PackageKey {
            subdir: subdir(self.output.build_configuration.target_platform)?,
            file: self.file.clone(),
        })
    }

    /// The name of that package.
    pub(crate) fn name(&self) -> &str {
        self.output.name().as_normalized()
    }
}

/// The outputs of a recipe, and those that it skips.
#[derive(Default)]
pub(crate) struct Outputs {
    pub(crate) outputs: Vec<RenderedOutput>,
    pub(crate) skipped: Vec<SkippedOutput>,
}

impl Target {
    /// The platform `target`, built on `build`.
    pub(crate) fn new(target: Subdir, build: Subdir, request: &PlanRequest) -> Result<Self, Error> {
        let detect = |platform| {
            PlatformWithVirtualPackages::detect_for_platform(
                platform,
                &VirtualPackageOverrides::from_env(),
            )
            .map_err(|error| {
                invalid(
                    "platforms",
                    format!("cannot find the virtual packages of {platform}: {error}"),
                )
            })
        };
        let variants = Variants::configured(&request.root, &request.options, target)?;
        let os_env_var_keys = env_vars::os_vars(
            Path::new(""),
            &target,
            &target,
            &build,
            request.options.env_isolation.into(),
            Path::new(""),
            &RuntimeEnv::current(),
        )
        .into_keys()
        .collect();
        let build = detect(build)?;
        let target = if target == build.platform {
            build.clone()
        } else {
            detect(target)?
        };
        Ok(Self {
            target,
            build,
            os_env_var_keys,
            variants,
        })
    }

    /// The platform that builds.
    pub(crate) fn build(&self) -> Subdir {
        self.build.platform
    }

    fn platform(&self) -> Subdir {
        self.target.platform
    }
}

impl<'a> Renderer<'a> {
    /// Checks what doesn't depend on a recipe.
    pub(crate) fn new(request: &'a PlanRequest) -> Result<Self, Error> {
        let timestamp = jiff::Timestamp::from_second(request.timestamp)
            .map_err(|error| invalid("SOURCE_DATE_EPOCH", error.to_string()))?;
        let exclude_newer = request
            .options
            .exclude_newer
            .as_deref()
            .map(jiff::Timestamp::from_str)
            .transpose()
            .map_err(|error| {
                invalid(
                    "exclude-newer",
                    format!("expected an RFC 3339 time: {error}"),
                )
            })?;
        check_quotable(&request.output)?;
        Ok(Self {
            packages: request.packages(),
            timestamp,
            channels: channels(request)?,
            exclude_newer,
            request,
        })
    }

    /// Every output of `recipe` for `target`.
    pub(crate) fn render(&self, recipe: &Path, target: &Target) -> Result<Outputs, Error> {
        let file = relative(&self.request.root, recipe)?;
        let text = error::read(recipe)?;
        refuse_cache_key(file.as_str(), &text)?;
        let source = source_code::Source {
            name: file.to_string(),
            code: Arc::from(text.as_str()),
            path: recipe.to_owned(),
        };
        let mut parsed = parse_recipe(&source)
            .map_err(|error| Invalid::new(file.as_str(), &text, error.error()))?;
        let reads_members = text.contains(CARGO) && text.contains(PACKAGES);
        let has_cargo = self.add_cargo(recipe, &text, reads_members, &mut parsed)?;
        let config = self.render_config(recipe, &file, target);
        let variants = target.variants.of(&self.request.root, recipe)?;
        let mut rendered = render_recipe(&source, &parsed, variants.as_ref(), config.clone())
            .map_err(|error| {
                let is_cycle = matches!(error.error(), RenderError::TopologicalSort(_));
                match is_cycle
                    .then(|| cycle::within(&parsed, &variants, &config))
                    .flatten()
                {
                    Some(cycle) => Error::RecipeCycle {
                        recipe: file.to_string(),
                        cycle: cycle.join(" → "),
                    },
                    None if is_about_attestations(error.error()) => Invalid::plain(
                        file.as_str(),
                        "`source.attestation` is an experimental feature",
                        Some("set `experimental = true` in `[build]` of the configuration: then the attestation is verified before the source is used".to_owned()),
                    )
                    .into(),
                    None => Invalid::new(file.as_str(), &text, error.error()).into(),
                }
            })?;

        for variant in rendered.iter_mut().filter(|_| has_cargo) {
            self.keep_own_member(recipe, &mut variant.recipe.context)?;
        }

        let mut outputs = Outputs {
            outputs: Vec::new(),
            skipped: skip::skipped(&file, &parsed, &rendered),
        };
        for variant in rendered
            .iter()
            .filter(|variant| !variant.recipe.build().skip)
        {
            let output = self.output(recipe, target, variant, &rendered)?;
            let name =
                file_name(&output).map_err(|reason| Invalid::plain(file.as_str(), reason, None))?;
            outputs.outputs.push(RenderedOutput {
                output,
                combination: variant.full_combination.clone(),
                file: name,
                recipe: file.clone(),
                reads_members,
                sources: Vec::new(),
            });
        }
        Ok(outputs)
    }

    fn render_config(&self, recipe: &Path, file: &RelativePath, target: &Target) -> RenderConfig {
        let options = &self.request.options;
        let numbers = &self.request.build_numbers;
        let build_number = match options.build_number {
            Some(BuildNumber::Exactly(number)) if numbers.is_empty() => Some(number),
            _ => numbers.get(file).copied(),
        };
        let platform = target.platform();
        RenderConfig {
            experimental: options.experimental,
            recipe_path: Some(recipe.to_owned()),
            target_platform: platform,
            host_platform: platform,
            build_platform: target.build(),
            os_env_var_keys: target.os_env_var_keys.clone(),
            build_string_prefix: options.build_string_prefix.clone(),
            build_number_override: build_number,
            ..RenderConfig::default()
        }
    }

    /// Gives the recipe the variable `cargo` where there is something for it to say, unless the recipe has one of its own: then
    /// it was not given.
    ///
    /// As the first variable of its `context`, not through the renderer's extra context: what comes
    /// from there counts as a variant key once it is read, so that every build string would change
    /// with every member of the workspace.
    fn add_cargo(
        &self,
        recipe: &Path,
        text: &str,
        reads_members: bool,
        parsed: &mut stage0::Recipe,
    ) -> Result<bool, Error> {
        let cargo = &self.request.cargo;
        let is_read = cargo.own(recipe).is_some() || text.contains(CARGO);
        let Some(variables) = cargo.variable(recipe, reads_members).filter(|_| is_read) else {
            return Ok(false);
        };
        let context = match parsed {
            stage0::Recipe::SingleOutput(recipe) => &mut recipe.context,
            stage0::Recipe::MultiOutput(recipe) => &mut recipe.context,
        };
        if context.contains_key(CARGO) {
            return Ok(false);
        }
        let variables = stage0::Value::new_concrete(variable(variables)?, None);
        context.shift_insert(0, CARGO.to_owned(), variables);
        Ok(true)
    }

    /// Leaves of `cargo`, which was given, what scripts may read when they are run, and what is stored in the package:
    /// the recipe's own member. The others are only known while rendering, so that a package does
    /// not change with members that it has nothing to do with.
    fn keep_own_member(
        &self,
        recipe: &Path,
        context: &mut IndexMap<String, Variable>,
    ) -> Result<(), Error> {
        match self.request.cargo.own(recipe) {
            Some(own) => context.insert(CARGO.to_owned(), variable(own)?),
            None => context.shift_remove(CARGO),
        };
        Ok(())
    }

    fn output(
        &self,
        recipe: &Path,
        target: &Target,
        variant: &RenderedVariant,
        siblings: &[RenderedVariant],
    ) -> Result<Output, Error> {
        let options = &self.request.options;
        let noarch = variant.recipe.build().noarch;
        let hash = variant.hash_info.clone().unwrap_or_else(|| {
            HashInfo::from_variant(&variant.variant, &noarch.unwrap_or(NoArchType::none()))
        });
        Ok(Output {
            build_configuration: BuildConfiguration {
                target_platform: if noarch.is_some() {
                    Subdir::NoArch
                } else {
                    target.platform()
                },
                // A noarch package is built and tested with packages that run here.
                host_platform: if noarch.is_some() {
                    target.build.clone()
                } else {
                    target.target.clone()
                },
                build_platform: target.build.clone(),
                variant: variant.variant.clone(),
                directories: self.directories(recipe, target, variant, &hash)?,
                hash,
                channels: self.channels.clone(),
                channel_priority: options.channel_priority.into(),
                solve_strategy: SolveStrategy::Highest,
                timestamp: self.timestamp,
                subpackages: subpackages(variant, siblings),
                packaging_settings: PackagingSettings::from_args(
                    match options.package_format.archive() {
                        Format::Conda => CondaArchiveType::Conda,
                        Format::TarBz2 => CondaArchiveType::TarBz2,
                    },
                    options.package_format.compression(),
                ),
                store_recipe: options.include_recipe,
                force_colors: false,
                experimental: options.experimental,
                env_isolation: options.env_isolation.into(),
                sandbox_config: options.sandbox.as_ref().and_then(|sandbox| {
                    rattler_build_script::SandboxArguments::from(sandbox).into()
                }),
                exclude_newer: self.exclude_newer.map(Into::into),
                repodata_revision: Default::default(),
            },
            recipe: variant.recipe.clone(),
            finalized_dependencies: None,
            finalized_sources: None,
            finalized_cache_dependencies: None,
            finalized_cache_sources: None,
            staging_library_name_map: None,
            build_summary: Arc::new(Mutex::new(BuildSummary::default())),
            system_tools: SystemTools::new(
                self.request.tool.name.as_str(),
                self.request.tool.version.as_str(),
            ),
            extra_meta: (!options.extra_meta.is_empty()).then(|| options.extra_meta.clone()),
        })
    }

    /// Where an output is built.
    ///
    /// Outputs have a folder each, told apart by their hash. Those that inherit from a staging output share the one that it was
    /// built in: what rattler-build keeps of a staging build is bound to the prefix, not to the recipe.
    fn directories(
        &self,
        recipe: &Path,
        target: &Target,
        variant: &RenderedVariant,
        hash: &HashInfo,
    ) -> Result<Directories, Error> {
        let rendered = &variant.recipe;
        let package = rendered.package().name().as_normalized();
        let (name, hash) = match &rendered.inherits_from {
            None => (package, hash.to_string()),
            Some(inherits) => (
                inherits.cache_name.as_str(),
                staging_hash(&relative(&self.request.root, recipe)?, rendered),
            ),
        };
        let build_folder = |hash: &str| {
            self.packages
                .join("bld")
                .join(format!(
                    "rattler-build_{name}{hash}_{}",
                    self.timestamp.as_second()
                ))
                .join("host_env")
        };
        // Without room for the hash, rattler-build leaves it out, and outputs that then share a folder are built one after another.
        // With no room for the rest it panics; and a staging build must not share its folder with another recipe's.
        let shortest = match rendered.inherits_from {
            None => build_folder(""),
            Some(_) => build_folder(&format!("_{hash}")),
        };
        let length = shortest.as_os_str().len();
        if length > PREFIX_LENGTH && !target.build().is_windows() {
            return Err(Error::PathTooLong {
                output: self.request.output.clone(),
                package: package.to_owned(),
                length,
                limit: PREFIX_LENGTH,
            });
        }
        Directories::builder(
            name,
            recipe,
            &self.packages,
            &self.timestamp,
            target.build(),
        )
        .variant_hash(Some(&hash))
        .merge_build_and_host(rendered.build().merge_build_and_host_envs)
        .skip_directory_creation(true)
        .build()
        .map_err(|source| Error::Read {
            path: recipe.to_owned(),
            source,
        })
    }
}

/// Returns whether a recipe is rejected for `source.attestation`. The error has no type of its own.
fn is_about_attestations(error: &RenderError) -> bool {
    let message = error.to_string();
    message.contains("source attestation verification is an experimental feature")
}

/// The same text for a platform in both vocabularies.
pub(crate) fn subdir(platform: Subdir) -> Result<cep27::Subdir, Error> {
    platform
        .as_str()
        .parse()
        .map_err(|error: cep27::NameError| invalid("platforms", error.to_string()))
}

/// The variant of an output as the plan states it.
pub(crate) fn strings(variant: &BTreeMap<NormalizedKey, Variable>) -> BTreeMap<String, String> {
    variant
        .iter()
        .map(|(key, value)| (key.normalize(), value.to_string()))
        .collect()
}

/// Of several variants of a sibling output, the one that shares most values with `combination`: rattler-build's rule for
/// `pin_subpackage`, ties included (the last one wins).
pub(crate) fn closest<'a, T>(
    combination: &BTreeMap<NormalizedKey, Variable>,
    candidates: impl IntoIterator<Item = (T, &'a BTreeMap<NormalizedKey, Variable>)>,
) -> Option<T> {
    let shared = |other: &BTreeMap<NormalizedKey, Variable>| {
        combination
            .iter()
            .filter(|(key, value)| other.get(*key) == Some(*value))
            .count()
    };
    candidates
        .into_iter()
        .max_by_key(|(_, other)| shared(other))
        .map(|(candidate, _)| candidate)
}

/// What `pin_subpackage` means in an output: for each output of the recipe, the one of the same variant.
fn subpackages(
    of: &RenderedVariant,
    siblings: &[RenderedVariant],
) -> BTreeMap<PackageName, PackageIdentifier> {
    let mut by_name: BTreeMap<&PackageName, Vec<&RenderedVariant>> = BTreeMap::new();
    for sibling in siblings {
        by_name
            .entry(sibling.recipe.package().name())
            .or_default()
            .push(sibling);
    }
    by_name
        .into_iter()
        .filter_map(|(name, variants)| {
            let sibling = if name == of.recipe.package().name() {
                of
            } else {
                closest(
                    &of.full_combination,
                    variants
                        .into_iter()
                        .map(|variant| (variant, &variant.full_combination)),
                )?
            };
            let package = sibling.recipe.package();
            let identifier = PackageIdentifier {
                name: name.clone(),
                version: package.version().clone(),
                build_string: sibling.recipe.build().string.as_resolved()?.to_owned(),
            };
            Some((name.clone(), identifier))
        })
        .collect()
}

/// A value as recipes see it.
pub(crate) fn variable(value: serde_json::Value) -> Result<Variable, Error> {
    serde_json::from_value(value).map_err(|error| invalid(CARGO, error.to_string()))
}

fn file_name(output: &Output) -> Result<FileName, String> {
    let format = match output.build_configuration.packaging_settings.archive_type {
        CondaArchiveType::Conda => Format::Conda,
        CondaArchiveType::TarBz2 => Format::TarBz2,
    };
    FileName::new(
        output.name().as_normalized(),
        &output.version().to_string(),
        &output.build_string(),
        format,
    )
    .map_err(|error| error.to_string())
}

/// rattler-build no longer builds recipes with a top-level `cache:`, and says so only when the build starts.
fn refuse_cache_key(file: &str, text: &str) -> Result<(), Error> {
    // The word is looked for first: to find the key, the whole recipe is parsed once more.
    if !text.contains("cache") || !has_cache_key(text) {
        return Ok(());
    }
    let invalid = Invalid::plain(
        file,
        "the top-level key `cache` is no longer supported",
        Some("make it a staging output (`outputs: - staging: { name: … }`) and let the other outputs `inherit` it".to_owned()),
    );
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("cache:") {
            return Err(invalid
                .with_excerpt(text, offset, "cache".len(), "this became a staging output")
                .into());
        }
        offset += line.len();
    }
    Err(invalid.into())
}

fn channels(request: &PlanRequest) -> Result<Vec<ChannelUrl>, Error> {
    let config = ChannelConfig::default_with_root_dir(request.root.clone());
    // Live, what was skipped because it is published already must be found; a rehearsal knows no target.
    let target = request
        .published_at
        .iter()
        .filter(|_| request.mode == Mode::Live);
    target
        .chain(&request.options.channels)
        .map(|channel| {
            let reason = |error: &dyn std::fmt::Display| {
                invalid("channels", format!("`{channel}` is no channel: {error}"))
            };
            let named = NamedChannelOrUrl::from_str(channel).map_err(|error| reason(&error))?;
            let base = named.into_base_url(&config).map_err(|error| reason(&error))?;
            match carries_secret(base.url()) {
                false => Ok(base),
                true => Err(invalid(
                    "channels",
                    "a channel must not have credentials or a token in its URL, where logs and packages would repeat them: they belong in the file that RATTLER_AUTH_FILE names".to_owned(),
                )),
            }
        })
        .collect()
}

/// rattler-build writes the paths of build folders into scripts between double quotes, and nothing more.
fn check_quotable(output: &Path) -> Result<(), Error> {
    let path = output.to_string_lossy();
    match path.chars().find(|c| "\"$`\\".contains(*c)) {
        Some(found) if !cfg!(windows) => Err(invalid(
            "output",
            format!("build scripts cannot be run in `{path}`: expected a path without `{found}`"),
        )),
        _ => Ok(()),
    }
}

/// Whether a channel's URL carries a password, or a token as conda writes it: what follows `/t/`.
fn carries_secret(url: &url::Url) -> bool {
    let mut segments = url.path().split('/').skip_while(|segment| *segment != "t");
    let has_token = segments.next().is_some() && segments.any(|segment| !segment.is_empty());
    !url.username().is_empty() || url.password().is_some() || (url.scheme() != "file" && has_token)
}

/// The recipe as the plan names it.
pub(crate) fn relative(root: &Path, recipe: &Path) -> Result<RelativePath, Error> {
    let outside = || Error::OutsideRoot {
        recipe: recipe.to_owned(),
        root: root.to_owned(),
    };
    let relative = recipe.strip_prefix(root).map_err(|_| outside())?;
    let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
    parts
        .ok_or_else(outside)?
        .join("/")
        .parse()
        .map_err(|_| outside())
}

/// `path` without links, whether it exists yet or not.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let read = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let path = std::path::absolute(path).map_err(read)?;
    for existing in path.ancestors() {
        if let Ok(real) = existing.canonicalize() {
            // An ancestor is a prefix by definition.
            return Ok(path
                .strip_prefix(existing)
                .map_or_else(|_| path.clone(), |rest| real.join(rest)));
        }
    }
    Ok(path)
}

fn invalid(option: &'static str, reason: String) -> Error {
    Error::InvalidOption { option, reason }
}
