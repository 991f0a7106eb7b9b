//! How old trust material is.

use std::fmt;

use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp};

/// The day on which `sigstore-trust-root` with its embedded copies was released.
pub(super) const EMBEDDED_OF: Date = date(2026, 10, 23);

/// How old the trust material is, and why it is not fresh. Displayed, it is a phrase for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Read from files, which are as fresh as whoever wrote them keeps them.
    File,
    /// The TUF repository was asked, and this is what it says.
    Refreshed,
    /// The copy of an earlier run, verified again but for the expiry of its metadata.
    Cached {
        /// When the repository was last asked, where the cache knows.
        refreshed: Option<Timestamp>,
        /// Why the repository was not asked.
        why: String,
    },
    /// The copy inside this program.
    Embedded {
        /// The day of the copy.
        of: Date,
        /// Why neither the repository nor the cache gave anything.
        why: String,
    },
}

impl Freshness {
    /// A stable name for machines: `file`, `refreshed`, `cached`, `embedded`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Refreshed => "refreshed",
            Self::Cached { .. } => "cached",
            Self::Embedded { .. } => "embedded",
        }
    }

    /// When the trust material was last known to be what its repository says; nothing for files.
    #[must_use]
    pub fn as_of(&self) -> Option<Timestamp> {
        match self {
            Self::File => None,
            Self::Refreshed => Some(Timestamp::now()),
            Self::Cached { refreshed, .. } => *refreshed,
            Self::Embedded { of, .. } => {
                let midnight = of.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
                Some(midnight.timestamp())
            }
        }
    }

    /// Why the trust material is not fresh.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::File | Self::Refreshed => None,
            Self::Cached { why, .. } | Self::Embedded { why, .. } => Some(why),
        }
    }
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("from a file"),
            Self::Refreshed => f.write_str("refreshed"),
            Self::Cached {
                refreshed: Some(refreshed),
                why,
            } => {
                let age = Timestamp::now().duration_since(*refreshed);
                write!(f, "from the cache, refreshed {}: {why}", ago(age))
            }
            Self::Cached {
                refreshed: None,
                why,
            } => write!(f, "from the cache, of unknown age: {why}"),
            Self::Embedded { of, why } => {
                write!(f, "from the copy of {of} in this program: {why}")
            }
        }
    }
}

/// A stretch of time as people say it.
fn ago(age: SignedDuration) -> String {
    let hours = age.as_hours();
    match hours {
        ..0 => "in the future by this machine's clock".to_owned(),
        0 => "less than an hour ago".to_owned(),
        1 => "an hour ago".to_owned(),
        2..48 => format!("{hours} hours ago"),
        _ => format!("{} days ago", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_said_in_words() {
        let cached = |hours: i64| {
            let refreshed = Timestamp::now() - SignedDuration::from_mins(hours * 60 + 1);
            Freshness::Cached {
                refreshed: Some(refreshed),
                why: "no network".to_owned(),
            }
            .to_string()
        };
        assert_eq!(
            cached(0),
            "from the cache, refreshed less than an hour ago: no network"
        );
        assert_eq!(
            cached(1),
            "from the cache, refreshed an hour ago: no network"
        );
        assert_eq!(
            cached(47),
            "from the cache, refreshed 47 hours ago: no network"
        );
        assert_eq!(
            cached(72),
            "from the cache, refreshed 3 days ago: no network"
        );
        assert_eq!(
            cached(-2),
            "from the cache, refreshed in the future by this machine's clock: no network"
        );
    }

    /// Whoever takes a newer `sigstore-trust-root` takes newer copies, and says of which day.
    #[test]
    fn the_day_of_the_embedded_copies_is_that_of_the_pinned_release() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let pinned = manifest
            .lines()
            .find(|line| line.starts_with("sigstore-trust-root "))
            .unwrap();
        assert!(pinned.contains("\"=0.15.1\""), "{pinned}: set EMBEDDED_OF");
    }
}
