//! Workflow commands: written so that foreign text stays text, and kept out of foreign text.

use rand::{Rng as _, distr::Alphanumeric};

use crate::foreign::{harmless, harmless_lines};

/// Something to be seen beside a file, and in the overview of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotation {
    /// Its severity.
    pub(crate) level: Level,
    /// Where it is, if it is anywhere.
    pub(crate) place: Option<Place>,
    /// What it is about.
    pub(crate) title: String,
    /// What is wrong.
    pub(crate) message: String,
}

/// The severity of an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Something failed.
    Error,
    /// Something may be wrong, and nothing failed.
    Warning,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file, relative to the repository.
    pub(crate) file: String,
    /// Its line and column there, from 1, where they are known.
    pub(crate) at: Option<(usize, usize)>,
}

impl Annotation {
    /// The command that makes it.
    pub(crate) fn command(&self) -> String {
        let place = self.place.as_ref().map_or(String::new(), Place::properties);
        format!(
            "::{} {place}title={}::{}",
            self.level.as_str(),
            property(&self.title),
            data(&self.message)
        )
    }
}

impl Place {
    fn properties(&self) -> String {
        let file = property(&self.file);
        match self.at {
            None => format!("file={file},"),
            Some((line, column)) => format!("file={file},line={line},col={column},"),
        }
    }
}

/// The command that begins a group of lines which folds.
pub(crate) fn group(title: &str) -> String {
    format!("::group::{}", data(&harmless(title)))
}

/// The command that ends it.
pub(crate) const END_GROUP: &str = "::endgroup::";

/// Lines of somebody's log, among which the runner obeys no command: the word that ends this is not known to who wrote them.
pub(crate) fn without_obeying(lines: &str) -> String {
    let word = random_word();
    format!("::stop-commands::{word}\n{lines}\n::{word}::")
}

/// An output of the step, as its file takes it: a value of any lines, up to a word that is not known to who chose it.
pub(crate) fn output(name: &str, value: &str) -> String {
    let word = random_word();
    format!("{name}<<{word}\n{value}\n{word}\n")
}

/// A word that nobody knows who does not see it.
pub(crate) fn random_word() -> String {
    let letters = rand::rng().sample_iter(Alphanumeric).take(32);
    letters.map(char::from).collect()
}

/// The text without anything that the runner takes for a command: `::name::` where a line begins, and the older `##[name]`
/// anywhere.
pub(crate) fn without_commands(text: &str) -> String {
    let lines = text.split_inclusive(['\n', '\r']).map(|line| {
        let start = line.trim_start();
        let margin = &line[..line.len() - start.len()];
        match start.strip_prefix("::") {
            Some(rest) => format!("{margin}: :{rest}"),
            None => line.to_owned(),
        }
    });
    lines.collect::<String>().replace("##[", "## [")
}

/// The same for a JSON document, which keeps its meaning: no line of one begins with a command, but its strings may have
/// one of the older kind.
pub(crate) fn harmless_json(json: &str) -> String {
    json.replace("##[", "#\\u0023[")
}

/// A text as the last part of a command takes it.
fn data(text: &str) -> String {
    let text = harmless_lines(text).replace('%', "%25");
    text.replace('\r', "%0D").replace('\n', "%0A")
}

/// A text as the value of a property takes it.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_cannot_end_its_command_or_begin_another() {
        let annotation = Annotation {
            level: Level::Error,
            place: Some(Place {
                file: "recipes/a,title=b::c/recipe.yaml".to_owned(),
                at: Some((7, 3)),
            }),
            title: "50% of a,b:c\n::error::x".to_owned(),
            message: "one\r\n::set-output name=x::y %0A\u{1b}[2J".to_owned(),
        };
        assert_eq!(
            annotation.command(),
            "::error file=recipes/a%2Ctitle=b%3A%3Ac/recipe.yaml,line=7,col=3,title=50%25 of a%2Cb%3Ac%0A%3A%3Aerror%3A%3Ax::one%0A::set-output name=x::y %250A\u{FFFD}[2J"
        );
        assert!(!group("a\n::error::b").contains('\n'));
    }

    #[test]
    fn a_value_cannot_end_its_output() {
        let output = output("manifest", "a\nEOF\nstatus=done");
        let (head, rest) = output.split_once('\n').unwrap();
        let word = head.strip_prefix("manifest<<").unwrap();
        assert_eq!(rest, format!("a\nEOF\nstatus=done\n{word}\n"));
        assert_eq!(word.len(), 32);
        assert_ne!(without_obeying("x"), without_obeying("x"));
    }

    #[test]
    fn text_has_no_commands_and_is_otherwise_as_it_was() {
        for (text, expected) in [
            ("::error::x", ": :error::x"),
            (
                "a\n  ::set-env name=x::y\r::b",
                "a\n  : :set-env name=x::y\r: :b",
            ),
            ("see ##[add-mask]x", "see ## [add-mask]x"),
            ("std::fs and a ## [title]", "std::fs and a ## [title]"),
            ("", ""),
        ] {
            assert_eq!(without_commands(text), expected);
        }
        let json = serde_json::json!({ "a": "####[add-mask]##[" });
        let harmless = harmless_json(&json.to_string());
        assert!(!harmless.contains("##["), "{harmless}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&harmless).unwrap(),
            json
        );
    }

    proptest! {
        #[test]
        fn no_text_has_a_command(text in "[:#\\[\n\r\t a]{0,24}") {
            let text = without_commands(&text);
            prop_assert!(!text.contains("##["), "{text:?}");
            let is_command = |line: &str| line.trim_start().starts_with("::");
            prop_assert!(!text.split(['\n', '\r']).any(is_command), "{text:?}");
        }
    }
}
