//! What may be a secret in a message: of the command line, of a file, or of somebody's server.

/// The text without what may be a secret in it: credentials, token paths (`/t/…`) and queries of
/// URLs, and whole identity tokens. That there was one still shows.
pub(crate) fn veiled(text: &str) -> String {
    let mut veiled = String::with_capacity(text.len());
    for piece in text.split_inclusive(ends_a_word) {
        let word = piece.trim_end_matches(ends_a_word);
        veiled.push_str(&veiled_word(word));
        veiled.push_str(&piece[word.len()..]);
    }
    veiled
}

/// What no URL and no token has in it.
fn ends_a_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | '│')
}

fn veiled_word(word: &str) -> String {
    if word.contains("eyJ") && word.contains(".eyJ") {
        return "(token)".to_owned();
    }
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority);
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => authority.to_owned(),
    };
    let (rest, fragment) = rest.split_at(rest.find('#').unwrap_or(rest.len()));
    let (path, query) = match rest.split_once('?') {
        Some((path, _)) => (path, "?…"),
        None => (rest, ""),
    };
    let path = match path.strip_prefix("/t/") {
        Some(token) => {
            let end = token.find('/').unwrap_or(token.len());
            format!("/t/…{}", &token[end..])
        }
        None => path.to_owned(),
    };
    format!("{scheme}://{authority}{path}{query}{fragment}")
}

#[cfg(test)]
mod tests {
    use super::veiled;

    #[test]
    fn what_may_be_a_secret_is_not_shown_and_the_rest_is() {
        for (text, expected) in [
            (
                "invalid value 'https://user:hush@host.example/acme' for '--channel <URL>'",
                "invalid value 'https://…@host.example/acme' for '--channel <URL>'",
            ),
            (
                "cannot read `https://hush@host/x`",
                "cannot read `https://…@host/x`",
            ),
            (
                "https://host/t/hush/acme, gone",
                "https://host/t/…/acme, gone",
            ),
            ("(https://host/t/hush)", "(https://host/t/…)"),
            ("https://host?token=hush#part", "https://host?…#part"),
            (
                "see https://docs.example/a/b#c.",
                "see https://docs.example/a/b#c.",
            ),
            ("https://user:p@ss:hush@host/", "https://…@host/"),
            ("a token: eyJh.eyJp.c2ln", "a token: (token)"),
            ("Bearer:eyJh.eyJp.c2ln\nnext  line", "(token)\nnext  line"),
            ("somebody@example.org a.b c", "somebody@example.org a.b c"),
            ("", ""),
        ] {
            assert_eq!(veiled(text), expected);
        }
    }
}
