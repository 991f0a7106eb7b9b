//! Foreign text, made fit for a terminal or a message.

use std::fmt::Write as _;

use serde::Serialize;

/// Characters of foreign text that a message quotes before it is cut.
const QUOTED: usize = 200;

/// Makes foreign text safe to show: control characters, bidirectional and other invisible format
/// characters become escapes such as `\u{202e}`, and what is longer than 200 characters is cut
/// with an ellipsis.
///
/// ```
/// assert_eq!(cep27::printable("red\u{1b}[31m"), r"red\u{1b}[31m");
/// ```
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(QUOTED));
    for (count, character) in text.chars().enumerate() {
        if count == QUOTED {
            shown.push('…');
            break;
        }
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            _ if is_invisible(character) => {
                // Writing into a String cannot fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
            }
            _ => shown.push(character),
        }
    }
    shown
}

/// Writes pretty JSON in printable ASCII alone: every other character becomes an escape that
/// means the same to whoever reads the JSON, and nothing to the terminal that shows it.
///
/// # Errors
/// When the value does not serialise.
pub fn ascii_json<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string_pretty(value)?;
    let mut ascii = String::with_capacity(json.len());
    // What serde_json leaves unescaped beyond ASCII, and DEL, stands inside strings only.
    for character in json.chars() {
        if character.is_ascii() && character != '\u{7f}' {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing into a String cannot fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    Ok(ascii)
}

/// Whether a character is not seen as itself: controls, line separators, and the format characters
/// (Unicode category Cf) that reorder or hide what surrounds them.
#[must_use]
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::{ascii_json, printable};

    #[test]
    fn no_control_or_bidirectional_character_survives() {
        let hostile: String = (0..=0x10_ffff_u32)
            .filter_map(char::from_u32)
            .filter(|c| super::is_invisible(*c))
            .collect();
        for chunk in hostile.chars().collect::<Vec<_>>().chunks(100) {
            let shown = printable(&chunk.iter().collect::<String>());
            assert!(shown.chars().all(|c| c.is_ascii_graphic()), "{shown}");
        }
        assert_eq!(
            printable("a\u{202e}b\u{1b}[2Jc\r\n"),
            "a\\u{202e}b\\u{1b}[2Jc\\r\\n"
        );
        assert_eq!(printable("größe 漢字"), "größe 漢字");
    }

    #[test]
    fn long_text_is_cut() {
        let shown = printable(&"x".repeat(100_000));
        assert_eq!(shown.chars().count(), 201);
        assert!(shown.ends_with('…'));
        assert_eq!(printable(&"x".repeat(200)), "x".repeat(200));
    }

    #[test]
    fn json_is_ascii_and_means_the_same() {
        let text = "a\u{7f}\u{202e}\u{1b}\u{85}ö\u{1f980}\"\\";
        let json = ascii_json(&[text]).unwrap();
        assert!(
            json.chars()
                .all(|c| c.is_ascii_graphic() || c == ' ' || c == '\n'),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<[String; 1]>(&json).unwrap(), [text]);
    }
}
