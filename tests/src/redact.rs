//! What differs between two runs, and so has no place in a snapshot.

use std::path::Path;

use regex::Regex;

/// `text` without durations, sizes, times, hashes and the temporary folder.
pub fn redact(text: &str, folder: &Path) -> String {
    let folder = folder.display().to_string();
    let patterns = [
        (regex_of(&folder), "[FOLDER]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ".to_owned(), "[INSTANT]"),
        (r"\b[0-9a-f]{64}\b".to_owned(), "[SHA256]"),
        (r"\b[0-9a-f]{12}\b".to_owned(), "[SHA256…]"),
        (r"\b[0-9a-f]{40}\b".to_owned(), "[COMMIT]"),
        (
            r"\b\d+ min \d+ s\b|\b\d+\.\d s\b|\b\d+ ms\b".to_owned(),
            "[TIME]",
        ),
        (r"\b\d+(\.\d+)? ([KMG]iB|B)(\b|$)".to_owned(), "[SIZE]"),
    ];
    patterns
        .iter()
        .fold(text.to_owned(), |text, (pattern, with)| {
            let pattern = Regex::new(pattern).expect("a pattern of ours");
            pattern.replace_all(&text, *with).into_owned()
        })
}

fn regex_of(text: &str) -> String {
    regex::escape(text)
}
