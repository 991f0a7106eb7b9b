//! Foreign text in GitHub's Markdown.

use std::fmt::Write as _;

use release_report::web_address;

use crate::foreign::{harmless, harmless_lines};

/// The text as text, on one line: no emphasis, code, link, table cell, HTML or mention comes of it.
///
/// An entity is never syntax (CommonMark §2.5), nor does it begin an address that links itself. Mentions and references are
/// looked for in what was rendered, piece by piece: so their sign is a piece of its own.
pub(super) fn text(foreign: &str) -> String {
    let mut text = String::with_capacity(foreign.len() * 2);
    for character in harmless(foreign).chars() {
        // Writing into a String cannot fail.
        let _written = match character {
            '@' | '#' => write!(text, "<span>&#{};</span>", u32::from(character)),
            '-' | ',' | ' ' => write!(text, "{character}"),
            sign if sign.is_ascii_punctuation() => write!(text, "&#{};", u32::from(sign)),
            other => write!(text, "{other}"),
        };
    }
    text
}

/// The text as code, on one line.
pub(super) fn code(foreign: &str) -> String {
    format!("<code>{}</code>", text(foreign))
}

/// The text as a link to an address of the web, or by itself where there is none.
pub(super) fn link(name: &str, address: &str) -> String {
    match web_address(address) {
        Some(url) => format!("<a href=\"{}\">{}</a>", escaped(url.as_str()), text(name)),
        None => text(name),
    }
}

/// Lines as they stand, in a block of their own.
pub(super) fn block(lines: &str) -> String {
    format!("<pre>{}</pre>\n", escaped(&harmless_lines(lines)))
}

/// The text with entities for what is syntax in HTML or, in a table, in Markdown.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let _written = match character {
            '&' | '<' | '>' | '"' | '\'' | '|' => write!(escaped, "&#{};", u32::from(character)),
            other => write!(escaped, "{other}"),
        };
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{block, code, link, text};

    #[test]
    fn nothing_is_syntax() {
        assert_eq!(text("a-1, b ü"), "a-1, b ü");
        assert_eq!(
            text("**x** | [y](javascript:z)\n@acme #1 <b>"),
            "&#42;&#42;x&#42;&#42; &#124; &#91;y&#93;&#40;javascript&#58;z&#41;\u{FFFD}<span>&#64;</span>acme <span>&#35;</span>1 &#60;b&#62;"
        );
        assert_eq!(code("`a`"), "<code>&#96;a&#96;</code>");
    }

    #[test]
    fn only_addresses_of_the_web_are_links() {
        assert_eq!(
            link("a|b", "https://host/?x=\"|<"),
            "<a href=\"https://host/?x=%22&#124;%3C\">a&#124;b</a>"
        );
        assert_eq!(link("x", "javascript:alert(1)"), "x");
    }

    #[test]
    fn a_block_does_not_end_before_its_end() {
        assert_eq!(
            block("a\n\n</pre>**b**\u{1b}"),
            "<pre>a\n\n&#60;/pre&#62;**b**\u{FFFD}</pre>\n"
        );
    }

    proptest! {
        #[test]
        fn no_foreign_sign_stands_by_itself(foreign in "\\PC*") {
            let text = text(&foreign).replace("<span>", "").replace("</span>", "");
            let left = text.chars().filter(|c| c.is_ascii_punctuation());
            prop_assert!(left.clone().all(|c| "&#;-,".contains(c)), "{text}");
        }
    }
}
