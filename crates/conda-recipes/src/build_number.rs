//! Which build number the packages of a recipe get.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU64,
    str::FromStr,
};

use release_manifest::{PackageKey, Plan, PlannedPackage, RelativePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What replaces the build number of every recipe.
///
/// What refers to the channel is found out before packages are planned for good, so that build strings, hashes and
/// pins follow. The outputs of one recipe get one number: the highest that one of them needs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum BuildNumber {
    /// This one.
    Exactly(u64),
    /// So many above the highest that the channel has of the same name and version; the recipe's own where it has none.
    Above(NonZeroU64),
    /// The recipe's own, or where the channel has one as high of the same name and version, the next above its highest.
    Next,
}

/// The highest build number that a channel has of each name and version.
pub type Highest = BTreeMap<(String, String), u64>;

impl BuildNumber {
    /// The number of a package whose recipe says `own`, where the channel's `highest` is this.
    fn of(self, own: u64, highest: Option<u64>) -> u64 {
        match (self, highest) {
            (Self::Exactly(number), _) => number,
            (Self::Above(_) | Self::Next, None) => own,
            (Self::Above(by), Some(highest)) => highest.saturating_add(by.get()),
            (Self::Next, Some(highest)) => own.max(highest.saturating_add(1)),
        }
    }

    /// The number of each recipe of a plan that was made with the recipes' own numbers, where it is for recipes with one of the
    /// `selected` packages: others have the highest of the channel, so that pins to them lead to what is there.
    #[must_use]
    pub fn of_selected(
        self,
        plan: &Plan,
        highest: &Highest,
        selected: &BTreeSet<PackageKey>,
    ) -> BTreeMap<RelativePath, u64> {
        let packages = plan.packages.iter();
        let recipes: BTreeSet<&RelativePath> = packages
            .filter(|package| selected.contains(&package.key()))
            .map(|package| &package.recipe)
            .collect();
        let mut numbers = self.of_recipes(plan, highest);
        numbers.retain(|recipe, _| recipes.contains(recipe));
        let there = |package: &PlannedPackage| highest.get(&name_of(package)).copied();
        let is_there: BTreeSet<&RelativePath> = plan
            .packages
            .iter()
            .filter(|package| there(package).is_some_and(|it| it != package.build_number))
            .map(|package| &package.recipe)
            .collect();
        let mut others = build_numbers(plan);
        let followed = highest_of(plan, |it| there(it).unwrap_or(it.build_number));
        others.extend(followed.into_iter().filter(|(it, _)| is_there.contains(it)));
        others.retain(|recipe, _| !recipes.contains(recipe));
        numbers.extend(others);
        numbers
    }

    /// The number of each recipe of a plan that was made with the recipes' own numbers.
    #[must_use]
    pub fn of_recipes(self, plan: &Plan, highest: &Highest) -> BTreeMap<RelativePath, u64> {
        highest_of(plan, |package| {
            self.of(
                package.build_number,
                highest.get(&name_of(package)).copied(),
            )
        })
    }
}

/// The build number of each recipe of a plan whose outputs have the same one: those of others are the recipe's own.
#[must_use]
pub fn build_numbers(plan: &Plan) -> BTreeMap<RelativePath, u64> {
    let mut numbers = highest_of(plan, |package| package.build_number);
    for package in &plan.packages {
        if numbers.get(&package.recipe) != Some(&package.build_number) {
            numbers.remove(&package.recipe);
        }
    }
    numbers
}

/// The key under which a channel's highest number is looked up.
fn name_of(package: &PlannedPackage) -> (String, String) {
    (
        package.file.name().to_owned(),
        package.file.version().to_owned(),
    )
}

fn highest_of(plan: &Plan, number: impl Fn(&PlannedPackage) -> u64) -> BTreeMap<RelativePath, u64> {
    let mut numbers = BTreeMap::new();
    for package in &plan.packages {
        let highest = numbers.entry(package.recipe.clone()).or_default();
        *highest = number(package).max(*highest);
    }
    numbers
}

impl FromStr for BuildNumber {
    type Err = InvalidBuildNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = match text.strip_prefix('+') {
            // `+-1` and `++1` are numbers to no parser.
            Some(above) => above.parse().ok().map(Self::Above),
            None if text == NEXT => Some(Self::Next),
            None => text.parse().ok().map(Self::Exactly),
        };
        let is_plain = !text.trim_start_matches('+').starts_with(['+', '-']);
        known
            .filter(|_| is_plain && !text.starts_with("++"))
            .ok_or_else(|| InvalidBuildNumber(text.to_owned()))
    }
}

impl fmt::Display for BuildNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(number) => number.fmt(f),
            Self::Above(by) => write!(f, "+{by}"),
            Self::Next => f.write_str(NEXT),
        }
    }
}

const NEXT: &str = "next";

/// A text that is no [`BuildNumber`].
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "expected a build number: `3`, `+1` above the channel's highest, or `next` for the next free one, found `{0}`"
)]
pub struct InvalidBuildNumber(String);

/// A build number as it is written: a number, or a text.
#[derive(Deserialize, JsonSchema, Serialize)]
#[schemars(rename = "BuildNumber")]
#[serde(untagged)]
pub(crate) enum Written {
    Number(u64),
    Text(String),
}

impl TryFrom<Written> for BuildNumber {
    type Error = InvalidBuildNumber;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written {
            Written::Number(number) => Ok(Self::Exactly(number)),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<BuildNumber> for Written {
    fn from(number: BuildNumber) -> Self {
        match number {
            BuildNumber::Exactly(number) => Self::Number(number),
            relative => Self::Text(relative.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_numbers_are_read_back_as_written() {
        for text in ["0", "12", "+1", "+20", "next"] {
            let number: BuildNumber = text.parse().unwrap();
            assert_eq!(number.to_string(), text);
            let json = serde_json::to_string(&number).unwrap();
            assert_eq!(serde_json::from_str::<BuildNumber>(&json).unwrap(), number);
        }
        for text in [
            "", "+", "+0", "-1", "+-1", "++1", "newest", "1.5", " 1", "Next",
        ] {
            let error = text.parse::<BuildNumber>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn what_the_channel_has_is_never_met_again() {
        let above = |by| BuildNumber::Above(NonZeroU64::new(by).unwrap());
        for (number, own, highest, expected) in [
            (BuildNumber::Exactly(4), 7, Some(9), 4),
            (above(1), 7, Some(9), 10),
            (above(3), 7, Some(2), 5),
            (above(1), 7, None, 7),
            (BuildNumber::Next, 7, Some(2), 7),
            (BuildNumber::Next, 7, Some(7), 8),
            (BuildNumber::Next, 0, Some(0), 1),
            (BuildNumber::Next, 7, None, 7),
            (above(1), 0, Some(u64::MAX), u64::MAX),
        ] {
            assert_eq!(
                number.of(own, highest),
                expected,
                "{number} {own} {highest:?}"
            );
        }
    }
}
