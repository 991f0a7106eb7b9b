//! Text that somebody else wrote, made harmless before it reaches a terminal.

/// The text without control and bidirectional characters.
///
/// Recipes, build logs, certificate claims and server errors may carry escape sequences that
/// rewrite a terminal, or direction marks that make a line read as another one. Tabs become a
/// space; every other such character becomes U+FFFD, so that its presence still shows.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if is_harmless(c) => c,
            _ => char::REPLACEMENT_CHARACTER,
        })
        .collect()
}

/// Whether a character neither controls a terminal nor changes the direction of text.
pub(crate) fn is_harmless(c: char) -> bool {
    !c.is_control() && !is_bidirectional(c)
}

/// [`harmless`] for text of several lines: line breaks stay.
pub(crate) fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

/// Unicode's explicit direction marks, embeddings, overrides and isolates (UAX #9 §2).
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::{harmless, harmless_lines};

    #[test]
    fn escape_sequences_and_direction_marks_are_disarmed() {
        assert_eq!(harmless("\u{1b}[2Jgone"), "\u{FFFD}[2Jgone");
        assert_eq!(harmless("a\u{202E}b"), "a\u{FFFD}b");
        assert_eq!(harmless("a\tb\r"), "a b\u{FFFD}");
        assert_eq!(harmless("naïve 日本"), "naïve 日本");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(harmless_lines("one\ntwo\u{7}"), "one\ntwo\u{FFFD}");
    }
}
