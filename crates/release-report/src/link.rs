//! Links, and what only looks like one.

use maud::{Markup, html};
use url::Url;

/// The text as a link if it is an address of the web, else as text.
pub(crate) fn link(text: &str) -> Markup {
    named(text, text)
}

/// What is called `name`, as a link to `address` if that is an address of the web, else as text.
pub(crate) fn named(name: &str, address: &str) -> Markup {
    html! {
        @match web_address(address) {
            Some(url) => { a href=(url) rel="external noopener noreferrer" { (name) } },
            None => { (name) },
        }
    }
}

/// The address, if it is one of the web that somebody can open: `http` or `https`, without credentials, of a host that
/// can exist. A rehearsal's names end in `.invalid` and lead nowhere.
#[must_use]
pub fn web_address(text: &str) -> Option<Url> {
    if text
        .chars()
        .any(|c| c.is_whitespace() || cep27::is_invisible(c))
    {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let is_of_the_web = matches!(url.scheme(), "http" | "https");
    let is_plain = url.username().is_empty() && url.password().is_none();
    let exists = url.domain().is_none_or(|host| !host.ends_with(".invalid"));
    (is_of_the_web && is_plain && exists).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::{link, named};

    #[test]
    fn addresses_of_the_web_are_links() {
        assert_eq!(
            link("https://prefix.dev/acme").into_string(),
            "<a href=\"https://prefix.dev/acme\" rel=\"external noopener noreferrer\">https://prefix.dev/acme</a>"
        );
        assert!(
            named("run", "http://host/?a=\"><script>")
                .into_string()
                .contains("href=\"http://host/?a=%22%3E%3Cscript%3E\"")
        );
    }

    #[test]
    fn nothing_else_is_a_link() {
        for text in [
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "java\nscript:alert(1)",
            " https://host/",
            "https://host/\u{202e}moc",
            "data:text/html,x",
            "file:///etc/passwd",
            "vbscript:x",
            "//host/path",
            "https://user@host/",
            "https://user:word@host/",
            "https://rehearsal.invalid/acme",
            "https://",
            "someone@example.org",
            "",
        ] {
            assert!(!link(text).into_string().contains("<a"), "{text}");
        }
    }
}
