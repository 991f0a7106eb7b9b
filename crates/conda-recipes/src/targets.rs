//! The platforms that a plan is for, and which of them makes the `noarch` packages.

use rattler_conda_types::Subdir;

use crate::{BuildOptions, Error, PlanRequest, Platform, render::Target};

/// A platform to plan for.
pub(crate) struct PlanTarget {
    /// What recipes are rendered for.
    pub(crate) platform: Target,
    /// Whether `noarch` outputs are planned with it: a `noarch` package is made in one place.
    pub(crate) makes_noarch: bool,
}

/// The platforms that a request asks for: the configured ones, or the one that the command line chooses, each with the platform
/// that builds it.
///
/// # Errors
/// A platform that conda doesn't know, or a `noarch-build-platform` on which nothing is built.
pub(crate) fn targets(request: &PlanRequest) -> Result<Vec<PlanTarget>, Error> {
    pairs(&request.options)?
        .into_iter()
        .map(|pair| {
            Ok(PlanTarget {
                platform: Target::new(pair.target, pair.build, request)?,
                makes_noarch: pair.makes_noarch,
            })
        })
        .collect()
}

#[derive(Debug, PartialEq)]
struct Pair {
    target: Subdir,
    build: Subdir,
    makes_noarch: bool,
}

fn pairs(options: &BuildOptions) -> Result<Vec<Pair>, Error> {
    let current = Subdir::current().ok_or_else(|| Error::InvalidOption {
        option: "platforms",
        reason: "conda has no name for the platform that this runs on".to_owned(),
    })?;
    let build = options
        .build_platform
        .map(parse)
        .transpose()?
        .unwrap_or(current);
    let chosen = options.target_platform.map(parse).transpose()?;
    let noarch = options.noarch_build_platform.map(parse).transpose()?;
    if let Some(noarch) = noarch {
        check_builds(noarch, build, options)?;
    }
    if options.platforms.is_empty() {
        // Where another platform makes the noarch packages, this plan has none.
        return Ok(vec![Pair {
            target: chosen.unwrap_or(build),
            build,
            makes_noarch: noarch.is_none_or(|noarch| noarch == build),
        }]);
    }
    let configured = options
        .platforms
        .iter()
        .map(|platform| {
            let own = platform.build.map(parse).transpose()?;
            Ok((parse(platform.target)?, own.unwrap_or(build)))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    // Among all that are configured, also where only one of them is planned for: machines that plan for themselves agree.
    let maker = match noarch {
        None => Some(0),
        Some(noarch) => configured.iter().position(|(_, build)| *build == noarch),
    };
    let mut pairs: Vec<Pair> = configured
        .iter()
        .enumerate()
        .filter(|(_, (target, _))| chosen.is_none_or(|chosen| chosen == *target))
        .map(|(index, (target, build))| Pair {
            target: *target,
            build: *build,
            makes_noarch: maker == Some(index),
        })
        .collect();
    if let (Some(target), true) = (chosen, pairs.is_empty()) {
        pairs.push(Pair {
            target,
            build,
            makes_noarch: false,
        });
    }
    Ok(pairs)
}

fn parse(subdir: cep27::Subdir) -> Result<Subdir, Error> {
    subdir
        .as_str()
        .parse::<Subdir>()
        .map_err(|error| Error::InvalidOption {
            option: "platforms",
            reason: error.to_string(),
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(platforms: &[(&str, &str)]) -> BuildOptions {
        let platforms = platforms.iter().map(|(target, build)| Platform {
            target: target.parse().unwrap(),
            build: Some(build.parse().unwrap()),
            runner: None,
        });
        BuildOptions {
            build_platform: Some("linux-64".parse().unwrap()),
            platforms: platforms.collect(),
            ..BuildOptions::default()
        }
    }

    /// `target on build`, with a star for the maker of noarch packages.
    fn shown(options: &BuildOptions) -> Vec<String> {
        let shown = |pair: &Pair| {
            let star = if pair.makes_noarch { "*" } else { "" };
            format!("{}{star} on {}", pair.target, pair.build)
        };
        pairs(options).unwrap().iter().map(shown).collect()
    }

    const PLATFORMS: [(&str, &str); 3] = [
        ("linux-64", "linux-64"),
        ("osx-arm64", "osx-arm64"),
        ("osx-64", "osx-arm64"),
    ];

    #[test]
    fn one_platform_makes_the_noarch_packages_wherever_the_plan_is_made() {
        let mut options = options(&PLATFORMS);
        assert_eq!(
            shown(&options),
            [
                "linux-64* on linux-64",
                "osx-arm64 on osx-arm64",
                "osx-64 on osx-arm64"
            ]
        );
        for (target, expected) in [
            ("linux-64", "linux-64* on linux-64"),
            ("osx-64", "osx-64 on osx-arm64"),
            ("win-64", "win-64 on linux-64"),
        ] {
            options.target_platform = Some(target.parse().unwrap());
            assert_eq!(shown(&options), [expected]);
        }
    }

    #[test]
    fn the_configured_builder_of_noarch_packages_makes_them_once() {
        let mut options = options(&PLATFORMS);
        options.noarch_build_platform = Some("osx-arm64".parse().unwrap());
        assert_eq!(
            shown(&options),
            [
                "linux-64 on linux-64",
                "osx-arm64* on osx-arm64",
                "osx-64 on osx-arm64"
            ]
        );
        options.target_platform = Some("osx-64".parse().unwrap());
        assert_eq!(shown(&options), ["osx-64 on osx-arm64"]);
    }

    #[test]
    fn without_configured_platforms_the_one_that_is_planned_for_makes_them() {
        let mut options = options(&[]);
        assert_eq!(shown(&options), ["linux-64* on linux-64"]);
        options.target_platform = Some("osx-64".parse().unwrap());
        assert_eq!(shown(&options), ["osx-64* on linux-64"]);
    }
}
