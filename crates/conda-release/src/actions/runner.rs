//! How the log of a job folds, and what its runner must not find in the text of others.

use std::time::SystemTime;

use super::command::{END_GROUP, group, random_word, without_commands, without_obeying};
use crate::foreign::harmless;

/// Who shows the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// GitHub Actions, which obeys commands and has groups.
    GitHub,
    /// GitLab CI, which has sections.
    GitLab,
}

/// Lines that fold: what begins them, and the name by which they end.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) begin: String,
    pub(super) name: String,
}

impl Runner {
    /// The one that this process runs under, if it does.
    pub(crate) fn detect() -> Option<Self> {
        let says = |name| std::env::var_os(name).is_some_and(|value| value == "true");
        if says("GITHUB_ACTIONS") {
            Some(Self::GitHub)
        } else if says("GITLAB_CI") {
            Some(Self::GitLab)
        } else {
            None
        }
    }

    /// Lines that fold under this title. Nobody who writes among them knows their name.
    pub(super) fn group(self, title: &str) -> Group {
        let name = random_word();
        let begin = match self {
            Self::GitHub => group(title),
            Self::GitLab => {
                let title = without_sections(&harmless(title));
                section("start", &format!("{name}[collapsed=true]"), &title)
            }
        };
        Group { begin, name }
    }

    /// What ends the lines of this name.
    pub(super) fn end(self, name: &str) -> String {
        match self {
            Self::GitHub => END_GROUP.to_owned(),
            Self::GitLab => section("end", name, ""),
        }
    }

    /// The text without anything that this runner takes for more than text.
    pub(crate) fn text(self, text: &str) -> String {
        match self {
            Self::GitHub => without_commands(text),
            Self::GitLab => without_sections(text),
        }
    }

    /// The same for lines of somebody's log, which are to be seen as they are.
    pub(super) fn lines(self, lines: &str) -> String {
        match self {
            Self::GitHub => without_obeying(lines),
            Self::GitLab => without_sections(lines),
        }
    }
}

/// A mark of GitLab, which stands before its title and is not seen.
fn section(what: &str, name: &str, title: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    format!("\x1b[0Ksection_{what}:{now}:{name}\r\x1b[0K{title}")
}

/// The text without a mark of GitLab, wherever it stands.
fn without_sections(text: &str) -> String {
    text.replace("section_start:", "section_start :")
        .replace("section_end:", "section_end :")
}

#[cfg(test)]
mod tests {
    use super::Runner;

    #[test]
    fn nobodys_text_begins_or_ends_a_section_of_gitlab() {
        let forged = "\u{1b}[0Ksection_end:1:x\r\u{1b}[0Ksection_start:2:y[collapsed=true]\r\u{1b}[0KBuilding";
        for text in [
            Runner::GitLab.text(forged),
            Runner::GitLab.lines(forged),
            Runner::GitLab.text(&Runner::GitLab.text(forged)),
        ] {
            assert!(!text.contains("section_end:1"), "{text:?}");
            assert!(!text.contains("section_start:2"), "{text:?}");
        }
        let group = Runner::GitLab.group(forged);
        assert_eq!(group.begin.matches("section_start:").count(), 1);
        assert_eq!(group.begin.matches("section_end:").count(), 0);
        assert!(!Runner::GitLab.end(&group.name).contains("start"));
    }
}
