//! Sigstore: trust, services, clock and identity.

use conda_attest::{
    IdentitySource, ProcessEnvironment, Provider, Purpose, Search, TokenInput, Trust, TrustOptions,
    TrustSource, find_identity,
};

use super::{Findings, Need};
use crate::{
    attesting::of_token,
    commands::trust::{self, Instance},
    error::Error,
    identity::is_rehearsed,
    person::AtTerminal,
    printer::Printer,
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
