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
