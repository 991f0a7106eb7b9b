//! Which of a signing configuration's services are used.
//!
//! The rules are those of `SigningConfig` in Sigstore's protobuf-specs: of each operator the
//! services that are valid now, of the highest supported major version, the newest first; of these
//! as many as the selector says.

use jiff::Timestamp;
use sigstore_trust_root::{
    SUPPORTED_FULCIO_VERSIONS, SUPPORTED_TSA_VERSIONS, ServiceConfiguration, ServiceEndpoint,
    ServiceSelector, SigningConfig,
};
use url::Url;

use super::{Trust, secure_url};
use crate::Error;

/// The only version that identity providers have in signing configurations.
const SUPPORTED_OIDC_VERSIONS: &[u32] = &[1];
const SUPPORTED_REKOR_VERSIONS: &[u32] = &[1, 2];

/// The services that a batch is signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// The certificate authority.
    pub(crate) fulcio: Url,
    /// The issuer for people who log in with a browser.
    pub(crate) oidc: Option<Url>,
    /// The transparency logs, at least one: each statement goes to each of them.
    pub(crate) rekor: Vec<RekorService>,
    /// The timestamp authorities; at least one where a log is Rekor v2, whose entries have no time.
    pub(crate) tsa: Vec<Url>,
}

/// A transparency log, and how it is talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RekorService {
    pub(crate) url: Url,
    pub(crate) version: RekorVersion,
}

/// The protocol of a transparency log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RekorVersion {
    /// `dsse/0.0.1` with a signed time.
    V1,
    /// `hashedrekord/0.0.2` without a time.
    V2,
}

impl Selection {
    /// Selects the services of a trust's signing configuration that are used at `now`.
    pub(super) fn new(
        trust: &Trust,
        config: &SigningConfig,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let missing = |service| Error::NoService {
            trust: trust.name().to_owned(),
            service,
        };
        let choose = |kind, services, versions, how: Option<&ServiceConfiguration>| {
            select(services, versions, how, now).map_err(|reason| Error::Selector {
                trust: trust.name().to_owned(),
                service: kind,
                reason,
            })
        };

        let kind = "certificate authority";
        let fulcio = choose(kind, &config.ca_urls, SUPPORTED_FULCIO_VERSIONS, None)?;
        let fulcio = fulcio.first().ok_or_else(|| missing(kind))?;
        let fulcio = secure_url(kind, &fulcio.url)?;
        trust.check_audience(&fulcio)?;

        let kind = "identity provider";
        let oidc = choose(kind, &config.oidc_urls, SUPPORTED_OIDC_VERSIONS, None)?;
        let oidc = oidc
            .first()
            .map(|endpoint| secure_url(kind, &endpoint.url))
            .transpose()?;

        let kind = "transparency log";
        let how = Some(&config.rekor_tlog_config);
        let rekor = choose(kind, &config.rekor_tlog_urls, SUPPORTED_REKOR_VERSIONS, how)?
            .into_iter()
            .map(|endpoint| {
                Ok(RekorService {
                    url: secure_url(kind, &endpoint.url)?,
                    version: match endpoint.major_api_version {
                        1 => RekorVersion::V1,
                        _ => RekorVersion::V2,
                    },
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        if rekor.is_empty() {
            return Err(missing(kind));
        }

        let kind = "timestamp authority";
        let needed = rekor.iter().any(|log| log.version == RekorVersion::V2);
        let tsa = match config.tsa_urls.as_slice() {
            [] => Vec::new(),
            urls => choose(kind, urls, SUPPORTED_TSA_VERSIONS, Some(&config.tsa_config))?
                .into_iter()
                .map(|endpoint| secure_url(kind, &endpoint.url))
                .collect::<Result<_, _>>()?,
        };
        if needed && tsa.is_empty() {
            return Err(missing(kind));
        }
        Ok(Self {
            fulcio,
            oidc,
            rekor,
            tsa,
        })
    }
}

/// The services to use, the best first: those of the highest version, then those that began last.
///
/// Without a selector all eligible ones, of which the caller takes the first.
fn select<'a>(
    services: &'a [ServiceEndpoint],
    versions: &[u32],
    how: Option<&ServiceConfiguration>,
    now: Timestamp,
) -> Result<Vec<&'a ServiceEndpoint>, String> {
    let mut eligible: Vec<_> = services
        .iter()
        .filter(|service| versions.contains(&service.major_api_version))
        .filter(|service| service.valid_for.contains(now))
        .collect();
    eligible.sort_by_key(|service| {
        std::cmp::Reverse((service.major_api_version, service.valid_for.start))
    });
    let mut operators = Vec::new();
    eligible.retain(|service| {
        let new = !operators.contains(&service.operator.as_deref());
        operators.push(service.operator.as_deref());
        new
    });
    let Some(how) = how else {
        return Ok(eligible);
    };
    match how.selector {
        ServiceSelector::All => {}
        ServiceSelector::Any => eligible.truncate(1),
        ServiceSelector::Exact => {
            let count = how.count.unwrap_or_default() as usize;
            if count == 0 || count > eligible.len() {
                return Err(format!(
                    "exactly {count} are asked for, and {} operators have one that is valid now \
                     and of a supported version",
                    eligible.len()
                ));
            }
            eligible.truncate(count);
        }
        _ => return Err("the selector is undefined".to_owned()),
    }
    Ok(eligible)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

    use super::*;

    const NOW: &str = "2026-06-01T00:00:00Z";

    /// A service of an operator: version, URL, beginning and end.
    fn service(operator: &str, version: u32, url: &str, from: &str, to: Option<&str>) -> Value {
        json!({
            "url": url, "majorApiVersion": version, "operator": operator,
            "validFor": {"start": from, "end": to},
        })
    }

    fn lasting(operator: &str, version: u32, url: &str) -> Value {
        service(operator, version, url, "2020-01-01T00:00:00Z", None)
    }

    /// A configuration for loopback with one service of each kind, changed.
    fn config(change: impl FnOnce(&mut Value)) -> SigningConfig {
        let mut config = json!({
            "mediaType": sigstore_trust_root::SIGNING_CONFIG_MEDIA_TYPE,
            "caUrls": [lasting("a", 1, "http://127.0.0.1:1")],
            "oidcUrls": [lasting("a", 1, "http://127.0.0.1:2")],
            "rekorTlogUrls": [lasting("a", 2, "http://127.0.0.1:3")],
            "tsaUrls": [lasting("a", 1, "http://127.0.0.1:4/stamp")],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaConfig": {"selector": "ANY"},
        });
        change(&mut config);
        SigningConfig::from_json(&config.to_string()).unwrap()
    }

    fn selected(change: impl FnOnce(&mut Value)) -> Result<Selection, Error> {
        let trust = Trust::from_root_json("test", SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
        Selection::new(&trust, &config(change), NOW.parse().unwrap())
    }

    fn code(change: impl FnOnce(&mut Value)) -> &'static str {
        selected(change).unwrap_err().code()
    }

    fn logs(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let logs = selected(change).unwrap().rekor;
        logs.iter()
            .map(|log| format!("{:?} {}", log.version, log.url.port().unwrap()))
            .collect()
    }

    #[test]
    fn one_of_each_kind() {
        let selection = selected(|_| ()).unwrap();
        assert_eq!(selection.fulcio.as_str(), "http://127.0.0.1:1/");
        assert_eq!(selection.oidc.unwrap().as_str(), "http://127.0.0.1:2/");
        assert_eq!(selection.rekor[0].url.as_str(), "http://127.0.0.1:3/");
        assert_eq!(selection.tsa[0].as_str(), "http://127.0.0.1:4/stamp");
    }

    #[test]
    fn a_service_is_used_within_its_window_both_ends_included() {
        let (early, late) = ("2026-05-31T23:59:59Z", "2026-06-01T00:00:01Z");
        for (from, to, valid) in [
            (early, Some(late), true),
            (early, None, true),
            (NOW, Some(late), true),
            (early, Some(NOW), true),
            (late, None, false),
            (early, Some(early), false),
        ] {
            for (kind, missing) in [
                ("caUrls", true),
                ("rekorTlogUrls", true),
                ("tsaUrls", true),
                ("oidcUrls", false),
            ] {
                let version = if kind == "rekorTlogUrls" { 2 } else { 1 };
                let url = "http://127.0.0.1:9";
                let selection =
                    selected(|it| it[kind] = json!([service("a", version, url, from, to)]));
                match selection {
                    Ok(selection) if kind == "oidcUrls" => {
                        assert_eq!(selection.oidc.is_some(), valid);
                    }
                    Ok(_) => assert!(valid, "{kind} {from} {to:?}"),
                    Err(error) => {
                        assert!(!valid && missing, "{kind} {from} {to:?}: {error}");
                        assert_eq!(error.code(), "no_service");
                    }
                }
            }
        }
    }

    #[test]
    fn the_highest_version_that_we_speak_then_the_newest() {
        let chosen = logs(|it| {
            it["rekorTlogUrls"] = json!([
                service("a", 1, "http://127.0.0.1:1", "2026-05-01T00:00:00Z", None),
                service("a", 2, "http://127.0.0.1:2", "2025-01-01T00:00:00Z", None),
                service("a", 2, "http://127.0.0.1:3", "2026-01-01T00:00:00Z", None),
                service("a", 2, "http://127.0.0.1:4", "2026-07-01T00:00:00Z", None),
                lasting("a", 3, "http://127.0.0.1:5"),
            ]);
        });
        assert_eq!(chosen, ["V2 3"]);
        let authority = selected(|it| {
            it["caUrls"] = json!([
                service("a", 1, "http://127.0.0.1:2", "2025-01-01T00:00:00Z", None),
                service("a", 1, "http://127.0.0.1:3", "2026-01-01T00:00:00Z", None),
                lasting("a", 2, "http://127.0.0.1:5"),
            ]);
        });
        assert_eq!(authority.unwrap().fulcio.port(), Some(3));
        assert_eq!(
            code(|it| it["caUrls"][0]["majorApiVersion"] = 2.into()),
            "no_service"
        );
        assert_eq!(
            code(|it| it["rekorTlogUrls"][0]["majorApiVersion"] = 3.into()),
            "no_service"
        );
    }

    #[test]
    fn selectors_count_operators() {
        let of_three = |selector: Value| {
            logs(|it| {
                it["rekorTlogUrls"] = json!([
                    lasting("a", 1, "http://127.0.0.1:1"),
                    lasting("a", 2, "http://127.0.0.1:2"),
                    lasting("b", 1, "http://127.0.0.1:3"),
                    service("c", 2, "http://127.0.0.1:4", "2026-01-01T00:00:00Z", None),
                ]);
                it["rekorTlogConfig"] = selector;
            })
        };
        assert_eq!(of_three(json!({"selector": "ANY"})), ["V2 4"]);
        assert_eq!(of_three(json!({})), ["V2 4"]);
        assert_eq!(
            of_three(json!({"selector": "ALL"})),
            ["V2 4", "V2 2", "V1 3"]
        );
        assert_eq!(
            of_three(json!({"selector": "EXACT", "count": 2})),
            ["V2 4", "V2 2"]
        );
        assert_eq!(
            of_three(json!({"selector": "EXACT", "count": 3})),
            ["V2 4", "V2 2", "V1 3"]
        );
        for selector in [
            json!({"selector": "EXACT", "count": 2}),
            json!({"selector": "EXACT", "count": 0}),
            json!({"selector": "EXACT"}),
            json!({"selector": "SERVICE_SELECTOR_UNDEFINED"}),
        ] {
            for kind in ["rekorTlogConfig", "tsaConfig"] {
                assert_eq!(
                    code(|it| it[kind] = selector.clone()),
                    "selector",
                    "{selector}"
                );
            }
        }
    }

    #[test]
    fn a_rekor_v2_needs_a_timestamp_authority_and_a_v1_does_not() {
        assert_eq!(code(|it| it["tsaUrls"] = json!([])), "no_service");
        let old = |it: &mut Value| it["rekorTlogUrls"][0]["majorApiVersion"] = 1.into();
        let without = selected(|it| {
            old(it);
            it["tsaUrls"] = json!([]);
        });
        assert_eq!(without.unwrap().tsa, []);
        assert_eq!(
            selected(old).unwrap().tsa.len(),
            1,
            "used wherever configured"
        );
    }

    #[test]
    fn no_service_is_reached_in_the_clear() {
        for kind in ["caUrls", "oidcUrls", "rekorTlogUrls", "tsaUrls"] {
            assert_eq!(
                code(|it| it[kind][0]["url"] = "http://acme.example".into()),
                "insecure_url",
                "{kind}"
            );
        }
    }

    #[test]
    fn a_private_instance_beyond_loopback_needs_an_audience_of_its_own() {
        let private =
            |it: &mut Value| it["caUrls"][0]["url"] = "https://fulcio.acme.example".into();
        assert_eq!(code(private), "shared_audience");
        let trust = Trust::from_root_json("test", SIGSTORE_PRODUCTION_TRUSTED_ROOT)
            .unwrap()
            .with_audience("acme");
        Selection::new(&trust, &config(private), NOW.parse().unwrap()).unwrap();
    }
}
