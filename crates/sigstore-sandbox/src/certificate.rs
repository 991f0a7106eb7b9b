//! X.509 certificates (RFC 5280) signed with ECDSA P-256.

use std::time::Duration;

use const_oid::{
    AssociatedOid,
    db::{rfc5280::ID_KP_TIME_STAMPING, rfc5912::ECDSA_WITH_SHA_256},
};
use der::{
    Encode,
    asn1::{BitString, OctetString, UtcTime},
};
use p256::{
    ecdsa::{DerSignature, SigningKey, signature::Signer as _},
    pkcs8::EncodePublicKey as _,
};
use sha2::{Digest as _, Sha256};
use x509_cert::{
    Certificate, TbsCertificate, Version,
    ext::{
        Extension,
        pkix::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
            SubjectKeyIdentifier,
        },
    },
    name::Name,
    serial_number::SerialNumber,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::{Time, Validity},
};

use crate::{Error, MARK};

/// A private key and the certificate of its public half.
#[derive(Clone)]
pub(crate) struct Certified {
    pub(crate) key: SigningKey,
    pub(crate) certificate: Certificate,
}

impl Certified {
    /// A new certificate authority that signs itself.
    pub(crate) fn authority(common_name: &str, validity: Validity) -> Result<Self, Error> {
        let key = new_key();
        let name = marked_name(common_name)?;
        let spki = public_key(&key)?;
        let extensions = vec![
            extension(true, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?,
            extension(
                true,
                &BasicConstraints {
                    ca: true,
                    path_len_constraint: Some(0),
                },
            )?,
            extension(false, &subject_key_id(&spki)?)?,
        ];
        let unsigned = unsigned(name.clone(), name, validity, spki, extensions)?;
        let certificate = sign(unsigned, &key)?;
        Ok(Self { key, certificate })
    }

    /// A new timestamping certificate by this authority: `timeStamping` is its one and critical
    /// purpose (RFC 3161, section 2.3).
    pub(crate) fn timestamper(&self, common_name: &str, validity: Validity) -> Result<Self, Error> {
        let key = new_key();
        let spki = public_key(&key)?;
        let extensions = vec![
            extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
            extension(true, &ExtendedKeyUsage(vec![ID_KP_TIME_STAMPING]))?,
            extension(false, &subject_key_id(&spki)?)?,
            extension(false, &self.key_id()?)?,
        ];
        let unsigned = self.unsigned(marked_name(common_name)?, validity, spki, extensions)?;
        let certificate = sign(unsigned, &self.key)?;
        Ok(Self { key, certificate })
    }

    /// A certificate of this authority, still to be signed.
    pub(crate) fn unsigned(
        &self,
        subject: Name,
        validity: Validity,
        spki: SubjectPublicKeyInfoOwned,
        extensions: Vec<Extension>,
    ) -> Result<TbsCertificate, Error> {
        let issuer = self.certificate.tbs_certificate.subject.clone();
        unsigned(issuer, subject, validity, spki, extensions)
    }

    /// Points to this authority's key.
    pub(crate) fn key_id(&self) -> Result<AuthorityKeyIdentifier, Error> {
        let id = subject_key_id(&self.certificate.tbs_certificate.subject_public_key_info)?;
        Ok(AuthorityKeyIdentifier {
            key_identifier: Some(id.0),
            ..Default::default()
        })
    }
}

/// A new ECDSA P-256 key.
pub(crate) fn new_key() -> SigningKey {
    SigningKey::random(&mut p256::elliptic_curve::rand_core::OsRng)
}

/// The public half of a key as SubjectPublicKeyInfo.
pub(crate) fn public_key(key: &SigningKey) -> Result<SubjectPublicKeyInfoOwned, Error> {
    let document = key
        .verifying_key()
        .to_public_key_der()
        .map_err(Error::encode)?;
    Ok(document.decode_msg()?)
}

/// The public half of a key as SubjectPublicKeyInfo in DER.
pub(crate) fn public_key_der(key: &SigningKey) -> Result<Vec<u8>, Error> {
    Ok(public_key(key)?.to_der()?)
}

/// Signs a certificate with its issuer's key.
pub(crate) fn sign(unsigned: TbsCertificate, key: &SigningKey) -> Result<Certificate, Error> {
    let signature: DerSignature = key.sign(&unsigned.to_der()?);
    Ok(Certificate {
        signature_algorithm: unsigned.signature.clone(),
        tbs_certificate: unsigned,
        signature: BitString::from_bytes(signature.as_bytes())?,
    })
}

/// Encodes an extension.
pub(crate) fn extension<T: AssociatedOid + Encode>(
    critical: bool,
    value: &T,
) -> Result<Extension, Error> {
    Ok(Extension {
        extn_id: T::OID,
        critical,
        extn_value: OctetString::new(value.to_der()?)?,
    })
}

/// The key identifier of a public key, by method 1 of RFC 7093.
pub(crate) fn subject_key_id(
    spki: &SubjectPublicKeyInfoOwned,
) -> Result<SubjectKeyIdentifier, Error> {
    let digest = Sha256::digest(spki.subject_public_key.raw_bytes());
    Ok(SubjectKeyIdentifier(OctetString::new(&digest[..20])?))
}

/// From one second since the epoch to another, both included.
pub(crate) fn validity(start: Duration, end: Duration) -> Result<Validity, Error> {
    let time = |time| Ok::<_, Error>(Time::UtcTime(UtcTime::from_unix_duration(time)?));
    Ok(Validity {
        not_before: time(start)?,
        not_after: time(end)?,
    })
}

pub(crate) fn ecdsa_with_sha256() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned {
        oid: ECDSA_WITH_SHA_256,
        parameters: None,
    }
}

/// A positive serial number of 127 random bits.
pub(crate) fn serial_number() -> [u8; 16] {
    let mut bytes: [u8; 16] = rand::random();
    bytes[0] = bytes[0] & 0x3f | 0x40;
    bytes
}

fn unsigned(
    issuer: Name,
    subject: Name,
    validity: Validity,
    spki: SubjectPublicKeyInfoOwned,
    extensions: Vec<Extension>,
) -> Result<TbsCertificate, Error> {
    Ok(TbsCertificate {
        version: Version::V3,
        serial_number: SerialNumber::new(&serial_number())?,
        signature: ecdsa_with_sha256(),
        issuer,
        validity,
        subject,
        subject_public_key_info: spki,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(extensions),
    })
}

/// `O=MARK, CN=common_name`: no one shall take a rehearsal's certificates for real ones.
fn marked_name(common_name: &str) -> Result<Name, Error> {
    Ok(format!("CN={common_name},O={MARK}").parse()?)
}
