//! Which build number the packages of a recipe get.

use std::{collections::BTreeMap, fmt, num::NonZeroU64, str::FromStr};

use release_manifest::{Plan, RelativePath};
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

    /// The number of each recipe of a plan that was made with the recipes' own numbers.
    #[must_use]
    pub fn of_recipes(self, plan: &Plan, highest: &Highest) -> BTreeMap<RelativePath, u64> {
        highest_of(plan, |package| {
            let name = (
                package.file.name().to_owned(),
                package.file.version().to_owned(),
            );
            self.of(package.build_number, highest.get(&name).copied())
        })
    }
}

/// The build number of each recipe of a plan.
#[must_use]
pub fn build_numbers(plan: &Plan) -> BTreeMap<RelativePath, u64> {
    highest_of(plan, |package| package.build_number)
}

fn highest_of(
    plan: &Plan,
    number: impl Fn(&release_manifest::PlannedPackage) -> u64,
) -> BTreeMap<RelativePath, u64> {
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
