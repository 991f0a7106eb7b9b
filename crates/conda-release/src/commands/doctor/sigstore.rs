//! Sigstore: trust, services, clock and identity.

use std::time::Duration;

use conda_attest::{
    IdentitySource, Probe, ProcessEnvironment, Provider, Purpose, Search, TokenInput, Trust,
    TrustOptions, TrustSource, find_identity, probe,
};
use jiff::SignedDuration;
use url::Url;

use super::{Findings, Need};
use crate::{
    attesting::of_token,
    commands::trust::{self, Instance},
    error::Error,
    identity::is_rehearsed,
    person::AtTerminal,
    printer::{Printer, duration},
};

/// What a live release would sign with.
pub(super) struct Sought {
    pub(super) source: Result<Instance, Error>,
    pub(super) audience: Option<String>,
    pub(super) token: Option<TokenInput>,
    pub(super) offline: bool,
}

impl Sought {
    pub(super) async fn check(self, findings: &mut Findings, printer: &Printer) {
        let source = match &self.source {
            Ok(Instance::Sigstore(source)) => source,
            // `to_sign` never gives the sandbox for a live release.
            Ok(Instance::Sandbox) => return,
            Err(error) => return findings.error("trust", Need::Live, error),
        };
        let Some(trust) = self.trust(source, findings).await else {
            return;
        };
        if !self.offline {
            services(&trust, findings).await;
        }
        self.identity(&trust, findings, printer).await;
    }

    /// The trust material, as fresh as it can be had.
    async fn trust(&self, source: &TrustSource, findings: &mut Findings) -> Option<Trust> {
        let options = |purpose| TrustOptions {
            offline: self.offline,
            audience: self.audience.clone(),
            ..TrustOptions::new(purpose)
        };
        let refused = match self.offline {
            true => None,
            false => match trust::load(source, &options(Purpose::Sign)).await {
                Ok(trust) => {
                    let message = format!("{}, {}", trust.name(), trust.freshness());
                    findings.ok("trust", message);
                    return Some(trust);
                }
                Err(error) => Some(error),
            },
        };
        if let Some(error) = refused {
            findings.error("trust", Need::Live, &error);
        }
        let trust = match trust::load(source, &options(Purpose::Verify)).await {
            Ok(trust) => trust,
            Err(error) => {
                findings.error("trust", Need::Live, &error);
                return None;
            }
        };
        let name = trust.name();
        let message = match trust.freshness().as_of() {
            Some(time) => format!("verifying uses {name} as of {}", time.strftime("%F")),
            None => format!("verifying uses {name}, {}", trust.freshness()),
        };
        findings.ok("trust", message);
        Some(trust)
    }

    /// Who would sign.
    async fn identity(&self, trust: &Trust, findings: &mut Findings, printer: &Printer) {
        let oidc = match trust.identity_provider() {
            Ok(oidc) => oidc,
            Err(error) => return findings.error("services", Need::Live, &error.into()),
        };
        let person = AtTerminal::find(printer, &ProcessEnvironment);
        let search = Search {
            token: self.token.as_ref(),
            audience: trust.audience(),
            environment: &ProcessEnvironment,
            person: person.as_ref().map(|person| person as _),
            oidc: oidc.as_ref(),
        };
        let provider = match search.detect() {
            Ok(provider) => provider,
            Err(error) => return findings.error("identity", Need::Live, &error.into()),
        };
        let asks_somebody = !matches!(
            provider,
            Provider::File | Provider::Stdin | Provider::Variable | Provider::Gitlab
        );
        if provider == Provider::Interactive || (self.offline && asks_somebody) {
            return findings.ok("identity", format!("{provider}, when something is signed"));
        }
        let token = async { find_identity(search).await?.token().await };
        match token.await.map(|token| token.facts()) {
            Ok(facts) if is_rehearsed(&facts.issuer) => findings.error(
                "identity",
                Need::Live,
                &Error::RehearsedIdentity(facts.issuer),
            ),
            Ok(facts) => findings.ok("identity", of_token(&facts)),
            Err(error) => findings.error("identity", Need::Live, &error.into()),
        }
    }
}

/// Whether every service answers, and whether this machine's clock is theirs.
async fn services(trust: &Trust, findings: &mut Findings) {
    let probes = match probe(trust).await {
        Ok(probes) => probes,
        Err(error) => return findings.error("services", Need::Live, &error.into()),
    };
    for Probe {
        service,
        url,
        outcome,
    } in probes
    {
        let (check, need) = match service {
            "certificate authority" => ("certificate_authority", Need::Live),
            "transparency log" => ("transparency_log", Need::Live),
            "timestamp authority" => ("timestamp_authority", Need::Live),
            // Only who logs in with a browser needs it.
            _ => ("identity_provider", Need::Some),
        };
        match outcome {
            Ok(answer) => {
                let taken = duration(Duration::from_millis(answer.milliseconds));
                findings.ok(check, format!("{url} answered in {taken}"));
                if let Some(skew) = answer.clock_skew {
                    clock(skew, &url, findings);
                }
            }
            Err(error) => findings.error(check, need, &error.into()),
        }
    }
}

/// Half of what the shortest-lived tokens allow for.
const SKEW: SignedDuration = SignedDuration::from_secs(30);

fn clock(skew: SignedDuration, url: &Url, findings: &mut Findings) {
    let off = skew.abs();
    let direction = match skew.is_negative() {
        true => "behind",
        false => "ahead of",
    };
    let seconds = off.as_secs();
    match off <= SKEW {
        true if seconds == 0 => findings.ok("clock", format!("agrees with {url}")),
        true => findings.ok("clock", format!("{seconds} s {direction} {url}")),
        false => findings.missing(
            "clock",
            Need::Live,
            format!(
                "{seconds} s {direction} {url}: tokens and certificates would seem expired, or not yet valid"
            ),
            "set the clock, or have it set by NTP",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;

    #[test]
    fn a_clock_that_is_far_off_is_missing_and_says_which_way() {
        let found = |seconds| {
            let mut findings = Findings {
                is_live: true,
                all: Vec::new(),
            };
            let url = "https://tsa.example".parse().unwrap();
            clock(SignedDuration::from_secs(seconds), &url, &mut findings);
            let finding = findings.all.remove(0);
            (finding.state, finding.message)
        };
        assert_eq!(found(0).0, State::Ok);
        assert_eq!(found(-30).0, State::Ok);
        let (state, message) = found(31);
        assert_eq!(state, State::Missing);
        assert!(message.starts_with("31 s ahead of https://tsa.example"));
        let (state, message) = found(-600);
        assert_eq!(state, State::Missing);
        assert!(message.starts_with("600 s behind https://tsa.example"));
    }
}
