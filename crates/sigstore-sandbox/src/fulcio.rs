//! The certificate authority: Fulcio's API v2 and its certificate profile.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Json, extract::State, http::HeaderMap};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use const_oid::{
    ObjectIdentifier,
    db::{rfc5280::ID_KP_CODE_SIGNING, rfc6962::CT_PRECERT_POISON},
};
use der::{
    Decode as _, DecodePem as _, Encode as _, EncodePem as _,
    asn1::{Ia5String, OctetString, Utf8StringRef},
    pem::LineEnding,
};
use p256::{
    ecdsa::{DerSignature, VerifyingKey, signature::Verifier as _},
    pkcs8::{DecodePublicKey as _, EncodePublicKey as _},
};
use serde::Deserialize;
use serde_json::{Value, json};
use x509_cert::{
    Certificate,
    ext::{
        Extension as X509Extension,
        pkix::{
            ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
            name::GeneralName,
            sct::{
                DigitallySigned, HashAlgorithm, LogId, SerializedSct, SignatureAlgorithm,
                SignatureAndHashAlgorithm, SignedCertificateTimestamp,
                SignedCertificateTimestampList, Version,
            },
        },
    },
    name::Name,
    request::CertReq,
};

use crate::{
    AUDIENCE, Error,
    certificate::{Certified, extension, sign, subject_key_id, validity},
    claims::SourceClaims,
    ct::{self, Sct},
    gate::ShortCertificate,
    oidc::{TokenClaims, bearer},
    rpc::Status,
    server::Services,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SigningCertRequest {
    /// Absent when the token is in the `Authorization` header, as from sigstore-python.
    credentials: Option<Credentials>,
    public_key_request: Option<PublicKeyRequest>,
    /// Base64 of PEM.
    certificate_signing_request: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    oidc_identity_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyRequest {
    public_key: PublicKey,
    /// Base64 of an ECDSA signature in DER over the token's subject.
    proof_of_possession: String,
}

#[derive(Deserialize)]
struct PublicKey {
    /// PEM
    content: String,
}

/// `POST /api/v2/signingCert`: messages are those of the real Fulcio.
pub(crate) async fn signing_cert(
    State(services): State<Arc<Services>>,
    short: Option<Extension<ShortCertificate>>,
    headers: HeaderMap,
    Json(request): Json<SigningCertRequest>,
) -> Result<Json<Value>, Status> {
    let token = request
        .credentials
        .map(|credentials| credentials.oidc_identity_token)
        .or_else(|| bearer(&headers).map(str::to_owned))
        .unwrap_or_default();
    let claims = services.issuer.check(&token).map_err(|problem| {
        tracing::warn!(problem, "refused an identity token");
        Status::invalid_argument("There was an error processing the identity token")
    })?;
    let key = match (
        &request.public_key_request,
        &request.certificate_signing_request,
    ) {
        (_, Some(request)) => key_of_csr(request)?,
        (Some(request), None) => key_of_request(request, &claims.sub)?,
        (None, None) => {
            return Err(Status::invalid_argument(
                "The public key supplied in the request could not be parsed",
            ));
        }
    };
    let lifetime = short.map_or(
        services.certificate_lifetime,
        |Extension(ShortCertificate(lifetime))| lifetime,
    );
    let certificate = issue(&services, &claims, key, lifetime)?;
    let chain = [&certificate, &services.keys.fulcio.certificate];
    Ok(Json(
        json!({ "signedCertificateEmbeddedSct": { "chain": chain_of_pem(&chain)? } }),
    ))
}

/// `GET /api/v2/trustBundle`
pub(crate) async fn trust_bundle(
    State(services): State<Arc<Services>>,
) -> Result<Json<Value>, Status> {
    Ok(Json(
        json!({ "chains": [chain_of_pem(&[&services.keys.fulcio.certificate])?] }),
    ))
}

/// `GET /api/v2/configuration`
pub(crate) async fn configuration(State(services): State<Arc<Services>>) -> Json<Value> {
    Json(json!({ "issuers": [{
        "issuerUrl": services.issuer.url(),
        "audience": AUDIENCE,
        "challengeClaim": "sub",
        "issuerType": "uri",
    }] }))
}

fn chain_of_pem(certificates: &[&Certificate]) -> Result<Value, Error> {
    let certificates = certificates
        .iter()
        .map(|certificate| Ok(certificate.to_pem(LineEnding::LF)?))
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(json!({ "certificates": certificates }))
}

/// The key of a request that proves its possession by a signature over the token's subject.
fn key_of_request(request: &PublicKeyRequest, subject: &str) -> Result<VerifyingKey, Status> {
    let key = VerifyingKey::from_public_key_pem(&request.public_key.content).map_err(|_| {
        Status::invalid_argument("The public key supplied in the request could not be parsed")
    })?;
    STANDARD
        .decode(&request.proof_of_possession)
        .ok()
        .and_then(|signature| DerSignature::from_bytes(&signature).ok())
        .filter(|signature| key.verify(subject.as_bytes(), signature).is_ok())
        .ok_or_else(unverified)?;
    Ok(key)
}

/// The key of a certificate signing request, which is signed with it.
fn key_of_csr(request: &str) -> Result<VerifyingKey, Status> {
    let parse = || {
        let csr = CertReq::from_pem(STANDARD.decode(request).ok()?).ok()?;
        let key = VerifyingKey::from_public_key_der(&csr.info.public_key.to_der().ok()?).ok()?;
        Some((csr, key))
    };
    let (csr, key) = parse().ok_or_else(|| {
        Status::invalid_argument("The certificate signing request could not be parsed")
    })?;
    csr.signature
        .as_bytes()
        .and_then(|signature| DerSignature::from_bytes(signature).ok())
        .zip(csr.info.to_der().ok())
        .filter(|(signature, info)| key.verify(info, signature).is_ok())
        .ok_or_else(unverified)?;
    Ok(key)
}

fn unverified() -> Status {
    Status::invalid_argument("The signature supplied in the request could not be verified")
}

/// Issues a certificate by way of a precertificate, so that it carries the log's timestamp.
fn issue(
    services: &Services,
    claims: &TokenClaims,
    key: VerifyingKey,
    lifetime: Duration,
) -> Result<Certificate, Error> {
    let Certified {
        key: authority_key,
        certificate: authority,
    } = &services.keys.fulcio;
    let spki = x509_cert::spki::SubjectPublicKeyInfoOwned::from_der(
        key.to_public_key_der().map_err(Error::encode)?.as_bytes(),
    )?;
    let now = Duration::from_secs(jiff::Timestamp::now().as_second().unsigned_abs());
    let mut extensions = vec![
        extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
        extension(false, &ExtendedKeyUsage(vec![ID_KP_CODE_SIGNING]))?,
        extension(false, &subject_key_id(&spki)?)?,
        extension(false, &services.keys.fulcio.key_id()?)?,
        extension(
            true,
            &SubjectAltName(vec![GeneralName::UniformResourceIdentifier(
                Ia5String::new(&claims.source.identity(&claims.sub))?,
            )]),
        )?,
    ];
    extensions.extend(fulcio_extensions(claims)?);
    let mut certificate = services.keys.fulcio.unsigned(
        Name::default(),
        validity(now, now + lifetime)?,
        spki,
        extensions,
    )?;

    let mut precertificate = certificate.clone();
    precertificate
        .extensions
        .get_or_insert_default()
        .push(X509Extension {
            extn_id: CT_PRECERT_POISON,
            critical: true,
            extn_value: OctetString::new(der::asn1::Null.to_der()?)?,
        });
    let precertificate = sign(precertificate, authority_key)?;
    let sct = ct::submit(&services.keys.ct, &precertificate, authority)?;

    certificate
        .extensions
        .get_or_insert_default()
        .push(extension(false, &sct_list(sct)?)?);
    sign(certificate, authority_key)
}

/// `1.3.6.1.4.1.57264.1.N`, Fulcio's own extensions: what the token says about issuer and source.
fn fulcio_extensions(claims: &TokenClaims) -> Result<Vec<X509Extension>, Error> {
    let source = &claims.source;
    let SourceClaims {
        environment,
        event_name,
        job_workflow_ref,
        job_workflow_sha,
        r#ref,
        repository,
        repository_id,
        repository_owner,
        repository_owner_id,
        repository_visibility,
        run_attempt,
        run_id,
        runner_environment,
        server_url: _,
        sha,
        workflow,
        workflow_ref,
    } = source;
    let below_server = |path: &Option<String>| path.as_ref().map(|path| source.below_server(path));
    let run = match (repository, run_id, run_attempt) {
        (Some(repository), Some(run), Some(attempt)) => Some(format!(
            "{repository}/actions/runs/{run}/attempts/{attempt}"
        )),
        _ => None,
    };
    let values = [
        (8, Some(claims.iss.clone())),
        (9, Some(source.identity(&claims.sub))),
        (10, job_workflow_sha.clone()),
        (11, runner_environment.clone()),
        (12, below_server(repository)),
        (13, sha.clone()),
        (14, r#ref.clone()),
        (15, repository_id.clone()),
        (16, below_server(repository_owner)),
        (17, repository_owner_id.clone()),
        (18, below_server(workflow_ref)),
        (19, workflow_ref.as_ref().and(sha.clone())),
        (20, event_name.clone()),
        (21, below_server(&run)),
        (22, repository_visibility.clone()),
        (23, environment.clone()),
    ];
    // The first extensions hold bare text: an old mistake that every client knows.
    let mut extensions = vec![fulcio_extension(1, claims.iss.as_bytes().to_vec())?];
    if job_workflow_ref.is_some() {
        let old = [
            (2, event_name),
            (3, sha),
            (4, workflow),
            (5, repository),
            (6, r#ref),
        ];
        for (number, value) in old {
            if let Some(value) = value {
                extensions.push(fulcio_extension(number, value.as_bytes().to_vec())?);
            }
        }
    }
    for (number, value) in values {
        if let Some(value) = value {
            extensions.push(fulcio_extension(
                number,
                Utf8StringRef::new(&value)?.to_der()?,
            )?);
        }
    }
    Ok(extensions)
}

fn fulcio_extension(number: u32, value: Vec<u8>) -> Result<X509Extension, Error> {
    const ARC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1");
    Ok(X509Extension {
        extn_id: ARC.push_arc(number).map_err(Error::encode)?,
        critical: false,
        extn_value: OctetString::new(value)?,
    })
}

fn sct_list(sct: Sct) -> Result<SignedCertificateTimestampList, Error> {
    let sct = SignedCertificateTimestamp {
        version: Version::V1,
        log_id: LogId { key_id: sct.log_id },
        timestamp: sct.timestamp,
        extensions: Vec::new().into(),
        signature: DigitallySigned {
            algorithm: SignatureAndHashAlgorithm {
                hash: HashAlgorithm::Sha256,
                signature: SignatureAlgorithm::Ecdsa,
            },
            signature: sct.signature.into(),
        },
    };
    let encode = |error: String| Error::encode(error);
    let serialized = SerializedSct::new(sct).map_err(|error| encode(error.to_string()))?;
    SignedCertificateTimestampList::new(&[serialized]).map_err(|error| encode(format!("{error:?}")))
}
