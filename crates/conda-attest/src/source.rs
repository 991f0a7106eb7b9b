//! Comparing what a certificate says of its source with what was built.

use release_manifest::Source;
use sigstore_crypto::FulcioCiClaims;

use crate::verdict::Refusal;

/// Whether the repository (.12) and commit (.13) in a certificate are those of the source. What
/// either side does not know is not compared: a person's certificate has neither.
pub(crate) fn check(source: &Source, claims: &FulcioCiClaims) -> Result<(), Refusal> {
    let refuse = |what: &str, expected: &str, found: &str| {
        let found = cep27::printable(found);
        Err(Refusal::new(
            "source_mismatch",
            format!("expected {what} `{expected}`, found `{found}`"),
        ))
    };
    if let (Some(expected), Some(found)) = (&source.repository, &claims.source_repository_uri)
        && canonical(expected) != canonical(found)
    {
        return refuse("repository", expected, found);
    }
    if let (Some(expected), Some(found)) = (&source.commit, &claims.source_repository_digest)
        && expected != found
    {
        return refuse("commit", expected, found);
    }
    Ok(())
}

/// A repository's address in the form of a claim: `git@github.com:acme/pkgs.git` is
/// `https://github.com/acme/pkgs`.
fn canonical(address: &str) -> String {
    let address = address.trim_end_matches('/');
    let address = address.strip_suffix(".git").unwrap_or(address);
    let (host, path) = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
        // The form of scp, which has a colon where a URL has a slash.
        None => address.split_once(':').unwrap_or((address, "")),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("https://{}/{path}", host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_of_all_forms_name_the_same_repository() {
        for remote in [
            "https://github.com/acme/pkgs",
            "https://github.com/acme/pkgs.git",
            "https://GitHub.com/acme/pkgs/",
            "https://user@github.com/acme/pkgs",
            "git@github.com:acme/pkgs.git",
            "ssh://git@github.com/acme/pkgs.git",
            "git://github.com/acme/pkgs",
        ] {
            assert_eq!(
                canonical(remote),
                "https://github.com/acme/pkgs",
                "{remote}"
            );
        }
        for other in [
            "https://github.com/acme/other",
            "https://example.org/acme/pkgs",
            "",
        ] {
            assert_ne!(canonical(other), "https://github.com/acme/pkgs");
        }
    }
}
