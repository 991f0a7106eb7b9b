//! The timestamp authority (RFC 3161, RFC 5816).

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use cms::{
    cert::{CertificateChoices, IssuerAndSerialNumber},
    content_info::{CmsVersion, ContentInfo},
    signed_data::{
        CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo,
        SignerInfos,
    },
};
use const_oid::{
    ObjectIdentifier,
    db::{
        rfc5911::{
            ID_AA_SIGNING_CERTIFICATE_V_2, ID_CONTENT_TYPE, ID_MESSAGE_DIGEST, ID_SIGNED_DATA,
            ID_SIGNING_TIME,
        },
        rfc5912::{ID_SHA_256, ID_SHA_384, ID_SHA_512},
    },
};
use der::{
    Any, Decode as _, Encode, Sequence, Tag,
    asn1::{BitString, GeneralizedTime, Int, OctetString, SetOfVec, UtcTime},
};
use p256::ecdsa::{DerSignature, signature::Signer as _};
use sha2::{Digest as _, Sha256};
use x509_cert::{attr::Attribute, spki::AlgorithmIdentifierOwned};
use x509_tsp::{TimeStampReq, TspVersion, TstInfo};

use crate::{
    Error,
    certificate::{Certified, ecdsa_with_sha256, serial_number},
    rpc::Status,
    server::Services,
};

/// The policy of Sigstore's timestamp authorities.
const POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");

/// `POST /api/v1/timestamp`: a request that cannot be granted gets a signed-by-nobody rejection
/// with status 200, as section 3.4 of RFC 3161 has it.
pub(crate) async fn timestamp(
    State(services): State<Arc<Services>>,
    body: Bytes,
) -> Result<Response, Status> {
    let response = match grant(&services.keys.tsa, &body)? {
        Ok(token) => TimeStampResp {
            status: PkiStatusInfo::GRANTED,
            token: Some(token),
        },
        Err(failure) => {
            tracing::warn!(?failure, "refused a timestamp request");
            TimeStampResp {
                status: PkiStatusInfo::rejection(failure)?,
                token: None,
            }
        }
    };
    let der = response.to_der().map_err(Error::from)?;
    Ok(([(CONTENT_TYPE, "application/timestamp-reply")], der).into_response())
}

/// Why a timestamp is not granted: bits of RFC 3161's PKIFailureInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    BadAlgorithm = 0,
    BadDataFormat = 5,
    UnacceptedPolicy = 15,
    UnacceptedExtension = 16,
}

/// Our own, since the one of `x509-tsp` numbers the failures wrongly.
#[derive(Debug, Sequence)]
pub(crate) struct TimeStampResp {
    status: PkiStatusInfo,
    #[asn1(optional = "true")]
    token: Option<ContentInfo>,
}

#[derive(Debug, Sequence)]
struct PkiStatusInfo {
    status: u8,
    #[asn1(optional = "true")]
    failure: Option<BitString>,
}

impl PkiStatusInfo {
    const GRANTED: Self = Self {
        status: 0,
        failure: None,
    };

    fn rejection(failure: Failure) -> Result<Self, Error> {
        let bit = failure as usize;
        let mut bytes = vec![0; bit / 8 + 1];
        bytes[bit / 8] = 0x80 >> (bit % 8);
        let unused = 7 - (bit % 8) as u8;
        Ok(Self {
            status: 2,
            failure: Some(BitString::new(unused, bytes)?),
        })
    }
}

/// `SigningCertificateV2` of RFC 5035 with one SHA-256, its default algorithm left out.
#[derive(Sequence)]
struct SigningCertificateV2 {
    certs: Vec<EssCertIdV2>,
}

#[derive(Sequence)]
struct EssCertIdV2 {
    cert_hash: OctetString,
}

/// Grants a request in DER, or says why not.
fn grant(authority: &Certified, request: &[u8]) -> Result<Result<ContentInfo, Failure>, Error> {
    let Ok(request) = TimeStampReq::from_der(request) else {
        return Ok(Err(Failure::BadDataFormat));
    };
    let imprint = &request.message_imprint;
    let length = match imprint.hash_algorithm.oid {
        ID_SHA_256 => 32,
        ID_SHA_384 => 48,
        ID_SHA_512 => 64,
        _ => return Ok(Err(Failure::BadAlgorithm)),
    };
    if imprint.hashed_message.as_bytes().len() != length {
        return Ok(Err(Failure::BadDataFormat));
    }
    if request.req_policy.is_some_and(|policy| policy != POLICY) {
        return Ok(Err(Failure::UnacceptedPolicy));
    }
    if request.extensions.is_some() {
        return Ok(Err(Failure::UnacceptedExtension));
    }
    let now = Duration::from_secs(jiff::Timestamp::now().as_second().unsigned_abs());
    let info = TstInfo {
        version: TspVersion::V1,
        policy: POLICY,
        message_imprint: request.message_imprint,
        serial_number: Int::new(&serial_number())?,
        gen_time: GeneralizedTime::from_unix_duration(now)?,
        accuracy: None,
        ordering: false,
        nonce: request.nonce,
        tsa: None,
        extensions: None,
    };
    sign(authority, &info.to_der()?, now, request.cert_req).map(Ok)
}

/// Wraps TSTInfo into CMS SignedData.
fn sign(
    authority: &Certified,
    info: &[u8],
    now: Duration,
    with_certificate: bool,
) -> Result<ContentInfo, Error> {
    let certificate = &authority.certificate;
    let sha256 = AlgorithmIdentifierOwned {
        oid: ID_SHA_256,
        parameters: None,
    };
    let signing_certificate = SigningCertificateV2 {
        certs: vec![EssCertIdV2 {
            cert_hash: OctetString::new(&Sha256::digest(certificate.to_der()?)[..])?,
        }],
    };
    let attributes = SetOfVec::try_from(vec![
        attribute(ID_CONTENT_TYPE, &TST_INFO)?,
        attribute(ID_SIGNING_TIME, &UtcTime::from_unix_duration(now)?)?,
        attribute(
            ID_MESSAGE_DIGEST,
            &OctetString::new(&Sha256::digest(info)[..])?,
        )?,
        attribute(ID_AA_SIGNING_CERTIFICATE_V_2, &signing_certificate)?,
    ])?;
    let signature: DerSignature = authority.key.sign(&attributes.to_der()?);
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: certificate.tbs_certificate.issuer.clone(),
            serial_number: certificate.tbs_certificate.serial_number.clone(),
        }),
        digest_alg: sha256.clone(),
        signed_attrs: Some(attributes),
        signature_algorithm: ecdsa_with_sha256(),
        signature: OctetString::new(signature.as_bytes())?,
        unsigned_attrs: None,
    };
    let certificates = with_certificate
        .then(|| {
            CertificateSet::try_from(vec![CertificateChoices::Certificate(certificate.clone())])
        })
        .transpose()?;
    let signed = SignedData {
        version: CmsVersion::V3,
        digest_algorithms: SetOfVec::try_from(vec![sha256])?,
        encap_content_info: EncapsulatedContentInfo {
            econtent_type: TST_INFO,
            econtent: Some(Any::new(Tag::OctetString, info)?),
        },
        certificates,
        crls: None,
        signer_infos: SignerInfos::try_from(vec![signer])?,
    };
    Ok(ContentInfo {
        content_type: ID_SIGNED_DATA,
        content: Any::encode_from(&signed)?,
    })
}

fn attribute<T: Encode + der::EncodeValue + der::Tagged>(
    oid: ObjectIdentifier,
    value: &T,
) -> Result<Attribute, Error> {
    Ok(Attribute {
        oid,
        values: SetOfVec::try_from(vec![Any::encode_from(value)?])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::validity;
    use x509_tsp::MessageImprint;

    fn authority() -> Certified {
        let validity =
            validity(Duration::from_secs(0), Duration::from_secs(1_000_000_000)).unwrap();
        let root = Certified::authority("root", validity).unwrap();
        root.timestamper("timestamp authority", validity).unwrap()
    }

    fn request() -> TimeStampReq {
        TimeStampReq {
            version: TspVersion::V1,
            message_imprint: MessageImprint {
                hash_algorithm: AlgorithmIdentifierOwned {
                    oid: ID_SHA_256,
                    parameters: None,
                },
                hashed_message: OctetString::new([5; 32]).unwrap(),
            },
            req_policy: None,
            nonce: Some(Int::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap()),
            cert_req: true,
            extensions: None,
        }
    }

    fn signed_data(request: &TimeStampReq) -> SignedData {
        let token = grant(&authority(), &request.to_der().unwrap())
            .unwrap()
            .unwrap();
        token.content.decode_as().unwrap()
    }

    fn info(signed: &SignedData) -> TstInfo {
        TstInfo::from_der(signed.encap_content_info.econtent.as_ref().unwrap().value()).unwrap()
    }

    #[test]
    fn a_token_repeats_imprint_and_nonce_and_has_a_serial_number_of_its_own() {
        let request = request();
        let [first, second] = [(); 2].map(|()| info(&signed_data(&request)));
        assert_eq!(first.message_imprint, request.message_imprint);
        assert_eq!(first.nonce, request.nonce);
        assert_ne!(first.serial_number, second.serial_number);
        let without = TimeStampReq {
            nonce: None,
            ..request
        };
        assert_eq!(info(&signed_data(&without)).nonce, None);
    }

    #[test]
    fn the_certificate_is_included_when_asked_for() {
        assert!(signed_data(&request()).certificates.is_some());
        let without = TimeStampReq {
            cert_req: false,
            ..request()
        };
        assert!(signed_data(&without).certificates.is_none());
    }

    #[test]
    fn what_cannot_be_granted_is_rejected_with_its_reason() {
        let with_hash = |oid, hash: &[u8]| TimeStampReq {
            message_imprint: MessageImprint {
                hash_algorithm: AlgorithmIdentifierOwned {
                    oid,
                    parameters: None,
                },
                hashed_message: OctetString::new(hash).unwrap(),
            },
            ..request()
        };
        let other_policy = ObjectIdentifier::new_unwrap("1.2.3.4");
        let sha1 = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
        for (request, expected) in [
            (b"not a request".to_vec(), Failure::BadDataFormat),
            (
                with_hash(ID_SHA_512, &[5; 32]).to_der().unwrap(),
                Failure::BadDataFormat,
            ),
            (
                with_hash(sha1, &[5; 20]).to_der().unwrap(),
                Failure::BadAlgorithm,
            ),
            (
                TimeStampReq {
                    req_policy: Some(other_policy),
                    ..request()
                }
                .to_der()
                .unwrap(),
                Failure::UnacceptedPolicy,
            ),
        ] {
            assert_eq!(
                grant(&authority(), &request).unwrap().unwrap_err(),
                expected
            );
        }
    }

    /// `status` rejection (2) and `failInfo` as a named bit string, without trailing zero bits.
    #[test]
    fn a_rejection_is_encoded_as_rfc_3161_has_it() {
        let encoded = |failure| {
            let status = PkiStatusInfo::rejection(failure).unwrap();
            TimeStampResp {
                status,
                token: None,
            }
            .to_der()
            .unwrap()
        };
        let bad_algorithm = [0x30, 0x09, 0x30, 0x07, 0x02, 0x01, 2, 0x03, 0x02, 7, 0x80];
        assert_eq!(encoded(Failure::BadAlgorithm), bad_algorithm);
        let bad_data_format = [0x30, 0x09, 0x30, 0x07, 0x02, 0x01, 2, 0x03, 0x02, 2, 0x04];
        assert_eq!(encoded(Failure::BadDataFormat), bad_data_format);
        let unaccepted_extension = [
            0x30, 0x0b, 0x30, 0x09, 0x02, 0x01, 2, 0x03, 0x04, 7, 0, 0, 0x80,
        ];
        assert_eq!(encoded(Failure::UnacceptedExtension), unaccepted_extension);
    }
}
