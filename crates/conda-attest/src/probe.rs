//! Whether the services of an instance answer, and how far this machine's clock is from theirs.

use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use sigstore_tsa::{TimestampClient, TsaAuthority, verify_timestamp_for_authority};
use sigstore_types::SignatureBytes;
use url::Url;

use crate::error::with_causes;
use crate::services::{AUTHORITY, CLOCK, LOG};
use crate::trust::RekorVersion;
use crate::{Error, Trust, http};

const PROVIDER: &str = "identity provider";

/// How long a service may take to answer a question that costs it nothing.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest of the answers is a certificate chain.
const MAX_ANSWER: usize = 1 << 20;

/// What came of asking one service.
#[derive(Debug)]
pub struct Probe {
    /// `certificate authority`, `transparency log`, `timestamp authority`, `identity provider`.
    pub service: &'static str,
    /// Its address, as the signing configuration has it.
    pub url: Url,
    /// Its answer, or why there was none.
    pub outcome: Result<Answer, Error>,
}

/// That a service answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How long that took.
    pub milliseconds: u64,
    /// By how much this machine's clock is certainly ahead of a timestamp authority's; negative
    /// when it is behind. Nothing for other services.
    pub clock_skew: Option<SignedDuration>,
}

/// Asks every service that signing would use now, all at the same time, once. Nothing is signed or
/// logged but a timestamp over random bytes, which the trusted root has to vouch for.
///
/// # Errors
/// When the trust names no services to sign with.
pub async fn probe(trust: &Trust) -> Result<Vec<Probe>, Error> {
    let selection = trust.services()?;
    let mut services = vec![(
        AUTHORITY,
        selection.fulcio,
        Question::Get("api/v2/trustBundle"),
    )];
    services.extend(selection.rekor.into_iter().map(|log| {
        let question = match log.version {
            RekorVersion::V1 => Question::Get("api/v1/log"),
            RekorVersion::V2 => Question::Checkpoint,
        };
        (LOG, log.url, question)
    }));
    services.extend(
        selection
            .tsa
            .into_iter()
            .map(|url| (CLOCK, url, Question::Time)),
    );
    let discovery = Question::Get(".well-known/openid-configuration");
    services.extend(selection.oidc.map(|url| (PROVIDER, url, discovery)));

    let authorities = trust.root().tsa_authorities();
    let probes = services.into_iter().map(|(service, url, question)| {
        let authorities = &authorities;
        async move {
            let answer = tokio::time::timeout(TIMEOUT, ask(service, &url, question, authorities));
            let outcome = answer.await.unwrap_or_else(|_| {
                let reason = format!("no answer within {} seconds", TIMEOUT.as_secs());
                Err(failed(service, &url, reason))
            });
            Probe {
                service,
                url,
                outcome,
            }
        }
    });
    Ok(join_all(probes).await)
}

#[derive(Clone, Copy)]
enum Question {
    /// What is at this path below the service's address.
    Get(&'static str),
    /// How far a log of version 2 is. Its server leaves the answer to the storage that stands in
    /// front of it in production; by itself it says 501, which tells that it is up.
    Checkpoint,
    /// What time it is.
    Time,
}

async fn ask(
    service: &'static str,
    url: &Url,
    question: Question,
    authorities: &[TsaAuthority],
) -> Result<Answer, Error> {
    let start = Instant::now();
    let clock_skew = match question {
        Question::Get(path) => {
            let address = format!("{}/{path}", url.as_str().trim_end_matches('/'));
            let request = http::client(url)?.get(address);
            http::send(request, service, url, MAX_ANSWER).await?;
            None
        }
        Question::Checkpoint => {
            let address = format!("{}/api/v2/checkpoint", url.as_str().trim_end_matches('/'));
            let response = http::client(url)?.get(address).send().await;
            let status = response
                .map_err(|error| failed(service, url, with_causes(&error.without_url())))?
                .status();
            if !status.is_success() && status.as_u16() != 501 {
                return Err(failed(service, url, format!("HTTP {status}")));
            }
            None
        }
        Question::Time => Some(clock_skew(url, authorities).await?),
    };
    let milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Answer {
        milliseconds,
        clock_skew,
    })
}

async fn clock_skew(url: &Url, authorities: &[TsaAuthority]) -> Result<SignedDuration, Error> {
    let failed = |reason| failed(CLOCK, url, reason);
    let client = TimestampClient::builder(url.as_str())
        .with_http_client(http::client(url)?)
        .build()
        .map_err(|error| failed(with_causes(&error)))?;
    let stamped = SignatureBytes::new(rand::random::<[u8; 32]>().to_vec());
    let before = Timestamp::now();
    let token = client
        .timestamp_signature(&stamped)
        .await
        .map_err(|error| failed(with_causes(&error)))?;
    let after = Timestamp::now();
    let mut refusal = "the trusted root has no timestamp authority".to_owned();
    for authority in authorities {
        match verify_timestamp_for_authority(&token, &stamped, authority) {
            Ok(time) => return Ok(skew(before, time, after)),
            Err(error) => refusal = with_causes(&error),
        }
    }
    Err(failed(format!("its timestamp does not verify: {refusal}")))
}

/// How far a clock is ahead that showed `before` and `after` when it was certainly earlier and
/// later than `time`, which is cut to its second.
fn skew(before: Timestamp, time: Timestamp, after: Timestamp) -> SignedDuration {
    let ahead = before.duration_since(time) - SignedDuration::from_secs(1);
    let behind = after.duration_since(time);
    ahead.max(SignedDuration::ZERO) + behind.min(SignedDuration::ZERO)
}

fn failed(service: &'static str, url: &Url, reason: String) -> Error {
    Error::Service {
        service,
        url: http::shown(url),
        // The service may have had a say in it.
        reason: cep27::printable(&reason),
        transient: false,
    }
}

#[cfg(test)]
mod tests {
    use sigstore_sandbox::{Fault, FaultKind, Latency, Options, RekorVersions, Sandbox, Service};
    use tempfile::TempDir;

    use super::*;

    async fn sandbox(options: Options) -> (TempDir, Sandbox) {
        let folder = TempDir::new().unwrap();
        let sandbox = Sandbox::start(folder.path(), options).await.unwrap();
        (folder, sandbox)
    }

    fn trust(sandbox: &Sandbox) -> Trust {
        Trust::from_file(&sandbox.trust_config(), None).unwrap()
    }

    #[tokio::test]
    async fn every_service_is_asked_and_the_clock_compared() {
        for rekor in [RekorVersions::V1, RekorVersions::V2] {
            // So long on its way, a request has nothing to say about a clock that is ahead.
            let latency = Latency {
                tsa: Duration::from_millis(1200),
                ..Latency::default()
            };
            let (_folder, sandbox) = sandbox(Options {
                rekor,
                latency,
                ..Options::default()
            })
            .await;
            let probes = probe(&trust(&sandbox)).await.unwrap();
            let services: Vec<_> = probes.iter().map(|probe| probe.service).collect();
            assert_eq!(services, [AUTHORITY, LOG, CLOCK, PROVIDER]);
            for Probe {
                service, outcome, ..
            } in probes
            {
                let skew = (service == CLOCK).then_some(SignedDuration::ZERO);
                assert_eq!(outcome.unwrap().clock_skew, skew, "{service}");
            }
            assert_eq!(sandbox.requests(Service::Fulcio), 0, "nothing is certified");
            assert_eq!(sandbox.requests(Service::Rekor), 0, "nothing is logged");
        }
    }

    #[tokio::test]
    async fn a_service_that_fails_does_not_hide_the_others() {
        let fault = Fault {
            service: Service::Tsa,
            request: 1,
            kind: FaultKind::Status(503),
        };
        let (_folder, sandbox) = sandbox(Options {
            faults: vec![fault],
            ..Options::default()
        })
        .await;
        for probe in probe(&trust(&sandbox)).await.unwrap() {
            match probe.outcome {
                Ok(_) => assert_ne!(probe.service, CLOCK),
                Err(error) => {
                    assert_eq!((probe.service, error.code()), (CLOCK, "service"));
                    assert!(error.to_string().contains("503"), "{error}");
                }
            }
        }
    }

    #[tokio::test]
    async fn nobody_is_there() {
        let (_folder, sandbox) = sandbox(Options::default()).await;
        let trust = trust(&sandbox);
        drop(sandbox);
        for probe in probe(&trust).await.unwrap() {
            assert_eq!(probe.outcome.unwrap_err().code(), "service");
        }
    }

    #[tokio::test]
    async fn the_clock_of_somebody_else_is_not_believed() {
        let (_ours, ours) = sandbox(Options::default()).await;
        let (_theirs, theirs) = sandbox(Options::default()).await;
        let signing = theirs.trust_config().with_file_name("signing_config.json");
        let mixed = Trust::from_file(&ours.trusted_root(), Some(&signing)).unwrap();
        let probes = probe(&mixed).await.unwrap();
        let clock = probes.into_iter().find(|probe| probe.service == CLOCK);
        let error = clock.unwrap().outcome.unwrap_err().to_string();
        assert!(error.contains("does not verify"), "{error}");
    }

    #[tokio::test]
    async fn who_cannot_sign_has_no_services() {
        let (_folder, sandbox) = sandbox(Options::default()).await;
        let trust = Trust::from_file(&sandbox.trusted_root(), None).unwrap();
        assert_eq!(probe(&trust).await.unwrap_err().code(), "no_signing_config");
    }

    #[test]
    fn a_skew_is_what_neither_the_way_nor_the_missing_fraction_explains() {
        let at = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).unwrap();
        let skew = |before, time, after| skew(at(before), at(time), at(after)).as_secs();
        assert_eq!(skew(10, 10, 12), 0);
        assert_eq!(skew(10, 9, 12), 0, "9 may be 9.999");
        assert_eq!(skew(10, 12, 12), 0);
        assert_eq!(skew(70, 9, 72), 60);
        assert_eq!(skew(10, 72, 12), -60);
    }
}
