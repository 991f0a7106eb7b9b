//! Good bundles with one thing changed, for both generations of the log.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use conda_attest::{Outcome, Package, PackageFile, Policy, Verdict, Verifier};
use serde_json::{Value, json};
use sigstore_sandbox::{Options, RekorVersions};

use crate::forger::Forger;
use crate::support::{CHANNEL, Fixture};

/// What an attacker has at hand.
pub(crate) struct Loot {
    /// The bundle that verifies, and to be changed.
    good: Value,
    /// Of another package, under the same certificate and in the same log.
    sibling: Value,
    /// Of the same package, under another certificate of the same identity.
    again: Value,
    /// Of a package, from another instance of Sigstore.
    foreign: Value,
    /// Of the same package, from the instance's log of the other generation.
    other_log: Value,
}

/// Everything that a bundle is judged with.
pub(crate) struct Court {
    pub(crate) fixture: Fixture,
    pub(crate) packages: Vec<PackageFile>,
    verifier: Verifier,
    policy: Policy,
}

impl Court {
    /// An instance with both generations of the log.
    pub(crate) async fn new() -> Self {
        let fixture = Fixture::with(Options {
            rekor: RekorVersions::Both,
            ..Options::default()
        })
        .await;
        Self {
            verifier: Verifier::new(&fixture.trust).unwrap(),
            policy: Policy::exactly(fixture.sandbox.identity(), fixture.sandbox.issuer()),
            packages: fixture.packages(3),
            fixture,
        }
    }

    /// The package that the bundles should prove.
    pub(crate) fn package(&self) -> &PackageFile {
        &self.packages[2]
    }

    pub(crate) fn judge(&self, package: impl Into<Package>, bundle: &[u8]) -> Verdict {
        self.verifier
            .verify(package, bundle, &self.policy, Some(CHANNEL))
    }

    pub(crate) async fn forger(&self, log: RekorVersions) -> Forger<'_> {
        Forger::new(&self.fixture.sandbox, log).await
    }
}

/// The code of the first check that fails, and its reason.
pub(crate) fn failure(verdict: &Verdict) -> Option<(&'static str, &'static str)> {
    verdict.failure().map(|check| match check.result {
        Outcome::Failed { reason, .. } => (check.code, reason),
        Outcome::Passed | Outcome::Skipped => (check.code, ""),
    })
}

/// Which log the bundle is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    V1,
    V2,
    Either,
}
use Log::{Either, V1, V2};

type Change = fn(&mut Value, &Loot);

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";
const PROOF: &str = "/verificationMaterial/tlogEntries/0/inclusionProof";
const STAMPS: &str = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";
const SIGNATURE: &str = "/dsseEnvelope/signatures/0/sig";
const CERTIFICATE: &str = "/verificationMaterial/certificate/rawBytes";

fn set(bundle: &mut Value, pointer: &str, value: impl Into<Value>) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    bundle.pointer_mut(parent).unwrap()[name] = value.into();
}

fn take(bundle: &mut Value, from: &Value, pointer: &str) {
    *bundle.pointer_mut(pointer).unwrap() = from.pointer(pointer).unwrap().clone();
}

fn remove(bundle: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = bundle.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    parent.remove(name).unwrap();
}

fn push(bundle: &mut Value, pointer: &str, value: Value) {
    let array = bundle.pointer_mut(pointer).unwrap().as_array_mut().unwrap();
    array.push(value);
}

/// Adds to a number that is written as a string.
fn add(bundle: &mut Value, pointer: &str, count: i64) {
    let value = bundle.pointer_mut(pointer).unwrap();
    let number: i64 = value.as_str().unwrap().parse().unwrap();
    *value = (number + count).to_string().into();
}

/// Changes one bit of what is base64.
fn flip(bundle: &mut Value, pointer: &str) {
    let value = bundle.pointer_mut(pointer).unwrap();
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    *value = STANDARD.encode(bytes).into();
}

/// Lines of a checkpoint, changed.
fn rewrite(bundle: &mut Value, change: impl FnOnce(String) -> String) {
    let envelope = format!("{PROOF}/checkpoint/envelope");
    let value = bundle.pointer_mut(&envelope).unwrap();
    *value = change(value.as_str().unwrap().to_owned()).into();
}

fn checkpoint(bundle: &Value) -> &str {
    let envelope = format!("{PROOF}/checkpoint/envelope");
    bundle.pointer(&envelope).unwrap().as_str().unwrap()
}

fn signature_lines(note: &str) -> &str {
    note.split_once("\n\n").unwrap().1
}

#[rustfmt::skip]
const TABLE: &[(&str, Log, Change, (&str, &str))] = &[
    // The shape of a bundle.
    ("no type", Either, |b, _| remove(b, "/mediaType"), ("bundle", "malformed")),
    ("a type of null", Either, |b, _| set(b, "/mediaType", Value::Null), ("bundle", "malformed")),
    ("a type that is a number", Either, |b, _| set(b, "/mediaType", 3), ("bundle", "malformed")),
    ("a type that nobody knows", Either, |b, _| set(b, "/mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json"), ("bundle", "malformed")),
    ("an older type than its contents", Either, |b, _| set(b, "/mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.1"), ("bundle", "malformed")),
    ("a chain in place of the certificate", Either, |b, _| { let leaf = b.pointer("/verificationMaterial/certificate").unwrap().clone(); remove(b, "/verificationMaterial/certificate"); set(b, "/verificationMaterial/x509CertificateChain", json!({"certificates": [leaf]})); }, ("bundle", "malformed")),
    ("a chain beside the certificate", Either, |b, _| { let leaf = b.pointer("/verificationMaterial/certificate").unwrap().clone(); set(b, "/verificationMaterial/x509CertificateChain", json!({"certificates": [leaf]})); }, ("bundle", "malformed")),
    ("a key in place of the certificate", Either, |b, _| { remove(b, "/verificationMaterial/certificate"); set(b, "/verificationMaterial/publicKey", json!({"hint": "mine"})); }, ("bundle", "malformed")),
    ("no certificate", Either, |b, _| remove(b, "/verificationMaterial/certificate"), ("bundle", "malformed")),
    ("a certificate of null", Either, |b, _| set(b, "/verificationMaterial/certificate", Value::Null), ("bundle", "malformed")),
    ("no verification material", Either, |b, _| remove(b, "/verificationMaterial"), ("bundle", "malformed")),
    ("verification material in an array", Either, |b, _| { let material = b["verificationMaterial"].clone(); set(b, "/verificationMaterial", json!([material])); }, ("bundle", "malformed")),
    ("verification material in a string", Either, |b, _| { let material = b["verificationMaterial"].to_string(); set(b, "/verificationMaterial", material); }, ("bundle", "malformed")),
    ("no envelope", Either, |b, _| remove(b, "/dsseEnvelope"), ("bundle", "malformed")),
    ("a bare signature", Either, |b, _| { let sig = b.pointer(SIGNATURE).unwrap().clone(); remove(b, "/dsseEnvelope"); set(b, "/messageSignature", json!({"signature": sig})); }, ("bundle", "malformed")),
    ("a bare signature beside the envelope", Either, |b, _| { let sig = b.pointer(SIGNATURE).unwrap().clone(); set(b, "/messageSignature", json!({"signature": sig})); }, ("bundle", "malformed")),
    ("a member that nobody knows", Either, |b, _| set(b, "/verified", true), ("bundle", "malformed")),
    ("a member that nobody knows, in an entry", Either, |b, _| set(b, &format!("{ENTRY}/verified"), true), ("bundle", "malformed")),
    ("the same member by its other name", Either, |b, _| { let envelope = b["dsseEnvelope"].clone(); set(b, "/dsse_envelope", envelope); }, ("bundle", "malformed")),
    ("log entries that are an object", Either, |b, _| set(b, "/verificationMaterial/tlogEntries", json!({})), ("bundle", "malformed")),
    ("log entries that are strings", Either, |b, _| set(b, "/verificationMaterial/tlogEntries", json!(["", ""])), ("bundle", "malformed")),
    ("too many log entries", Either, |b, _| { let entry = b.pointer(ENTRY).unwrap().clone(); set(b, "/verificationMaterial/tlogEntries", vec![entry; 9]); }, ("bundle", "malformed")),
    ("too many timestamps", Either, |b, _| { let stamp = b.pointer(STAMPS).unwrap()[0].clone(); set(b, STAMPS, vec![stamp; 9]); }, ("bundle", "malformed")),
    ("timestamps that are an object", Either, |b, _| set(b, STAMPS, json!({})), ("bundle", "malformed")),
    ("deep nesting", Either, |b, _| set(b, STAMPS, (0..100).fold(json!([]), |inner, _| json!([inner]))), ("bundle", "malformed")),
    ("a megabyte of signature", Either, |b, _| set(b, SIGNATURE, "A".repeat(1 << 20)), ("bundle", "malformed")),
    ("a negative index", Either, |b, _| set(b, &format!("{ENTRY}/logIndex"), "-1"), ("bundle", "malformed")),
    ("an index with a fraction", Either, |b, _| set(b, &format!("{ENTRY}/logIndex"), 1.5), ("bundle", "malformed")),
    ("an index beyond all numbers", Either, |b, _| set(b, &format!("{ENTRY}/logIndex"), "99999999999999999999999"), ("bundle", "malformed")),
    ("an index that is a word", Either, |b, _| set(b, &format!("{ENTRY}/logIndex"), "two"), ("bundle", "malformed")),
    ("a kind of entry that nobody knows", Either, |b, _| set(b, &format!("{ENTRY}/kindVersion/kind"), "alpine"), ("bundle", "malformed")),
    ("a body that is not base64", Either, |b, _| set(b, &format!("{ENTRY}/canonicalizedBody"), "{}"), ("bundle", "malformed")),
    ("no body", Either, |b, _| remove(b, &format!("{ENTRY}/canonicalizedBody")), ("bundle", "malformed")),
    ("a root hash of another length", Either, |b, _| set(b, &format!("{PROOF}/rootHash"), "AAAA"), ("bundle", "malformed")),
    ("a checkpoint that is none", Either, |b, _| set(b, &format!("{PROOF}/checkpoint/envelope"), "checkpoint"), ("bundle", "malformed")),

    // The envelope.
    ("a payload that is not base64", Either, |b, _| set(b, "/dsseEnvelope/payload", "{\"_type\": 1}"), ("bundle", "malformed")),
    ("another payload type", Either, |b, _| set(b, "/dsseEnvelope/payloadType", "application/json"), ("bundle", "malformed")),
    ("no signatures", Either, |b, _| set(b, "/dsseEnvelope/signatures", json!([])), ("bundle", "malformed")),
    ("two signatures", Either, |b, loot| { let other = loot.sibling.pointer("/dsseEnvelope/signatures/0").unwrap().clone(); push(b, "/dsseEnvelope/signatures", other); }, ("bundle", "malformed")),
    ("the same signature twice", Either, |b, _| { let same = b.pointer("/dsseEnvelope/signatures/0").unwrap().clone(); push(b, "/dsseEnvelope/signatures", same); }, ("bundle", "malformed")),
    ("a key id", Either, |b, _| set(b, "/dsseEnvelope/signatures/0/keyid", "mine"), ("bundle", "malformed")),
    ("an empty signature", Either, |b, _| set(b, SIGNATURE, ""), ("time", "invalid_timestamp")),
    ("the signature of another package", Either, |b, loot| take(b, &loot.sibling, SIGNATURE), ("time", "invalid_timestamp")),
    ("the signature of another certificate", Either, |b, loot| take(b, &loot.again, SIGNATURE), ("time", "invalid_timestamp")),
    ("a signature with its timestamp, of another package", Either, |b, loot| { take(b, &loot.sibling, SIGNATURE); take(b, &loot.sibling, STAMPS); }, ("signature", "invalid_signature")),
    ("the statement of another package", Either, |b, loot| take(b, &loot.sibling, "/dsseEnvelope/payload"), ("signature", "invalid_signature")),
    ("an empty statement", Either, |b, _| set(b, "/dsseEnvelope/payload", ""), ("statement", "cep27_violation")),
    ("the attestation of another package", Either, |b, loot| *b = loot.sibling.clone(), ("statement", "cep27_violation")),

    // The certificate.
    ("another certificate of the same identity", Either, |b, loot| take(b, &loot.again, CERTIFICATE), ("signature", "invalid_signature")),
    ("the certificate of another instance", Either, |b, loot| take(b, &loot.foreign, CERTIFICATE), ("certificate", "untrusted_certificate")),
    ("a certificate with another signature", Either, |b, _| flip(b, CERTIFICATE), ("certificate", "untrusted_certificate")),
    ("a certificate that is none", Either, |b, _| set(b, CERTIFICATE, "AAAA"), ("certificate", "malformed_certificate")),
    ("an empty certificate", Either, |b, _| set(b, CERTIFICATE, ""), ("certificate", "malformed_certificate")),

    // The log.
    ("no log entries", Either, |b, _| set(b, "/verificationMaterial/tlogEntries", json!([])), ("log", "not_logged")),
    ("no log entries at all", Either, |b, _| remove(b, "/verificationMaterial/tlogEntries"), ("log", "not_logged")),
    ("no inclusion proof", Either, |b, _| remove(b, PROOF), ("log", "no_inclusion_proof")),
    ("a second entry without proof", Either, |b, _| { let mut entry = b.pointer(ENTRY).unwrap().clone(); entry.as_object_mut().unwrap().remove("inclusionProof"); push(b, "/verificationMaterial/tlogEntries", entry); }, ("log", "no_inclusion_proof")),
    ("a first entry without proof", Either, |b, _| { let entry = b.pointer(ENTRY).unwrap().clone(); remove(b, PROOF); push(b, "/verificationMaterial/tlogEntries", entry); }, ("log", "no_inclusion_proof")),
    ("no checkpoint", Either, |b, _| remove(b, &format!("{PROOF}/checkpoint")), ("log", "no_checkpoint")),
    ("an empty checkpoint", Either, |b, _| set(b, &format!("{PROOF}/checkpoint/envelope"), ""), ("log", "no_checkpoint")),
    ("the entry of another package", Either, |b, loot| take(b, &loot.sibling, ENTRY), ("log", "entry_mismatch")),
    ("the entry of another package as a second", Either, |b, loot| { let entry = loot.sibling.pointer(ENTRY).unwrap().clone(); push(b, "/verificationMaterial/tlogEntries", entry); }, ("log", "entry_mismatch")),
    ("the entry of another signature of the same statement", Either, |b, loot| take(b, &loot.again, ENTRY), ("log", "entry_mismatch")),
    ("the entry of another instance", Either, |b, loot| take(b, &loot.foreign, ENTRY), ("log", "unknown_log")),
    ("the entry of the other log for another signature", Either, |b, loot| take(b, &loot.other_log, ENTRY), ("log", "entry_mismatch")),
    ("a log that nobody knows", Either, |b, _| flip(b, &format!("{ENTRY}/logId/keyId")), ("log", "unknown_log")),
    ("the name of the other log", Either, |b, loot| take(b, &loot.other_log, &format!("{ENTRY}/logId/keyId")), ("log", "unknown_log")),
    ("a checkpoint of the other log", Either, |b, loot| take(b, &loot.other_log, &format!("{PROOF}/checkpoint/envelope")), ("log", "unknown_log")),
    ("a checkpoint that another log signs, too", Either, |b, loot| { let other = signature_lines(checkpoint(&loot.other_log)).to_owned(); rewrite(b, |note| note + &other); }, ("log", "unknown_log")),
    ("a checkpoint that another log signs first", Either, |b, loot| { let other = signature_lines(checkpoint(&loot.other_log)).to_owned(); rewrite(b, |note| { let (tree, lines) = note.split_once("\n\n").unwrap(); format!("{tree}\n\n{other}{lines}") }); }, ("log", "unknown_log")),
    ("a checkpoint that a witness signs alone", Either, |b, _| rewrite(b, |note| { let (tree, _) = note.split_once("\n\n").unwrap(); format!("{tree}\n\n\u{2014} witness.example AAAAAAAA\n") }), ("log", "unknown_log")),
    ("a checkpoint of a larger tree", Either, |b, _| rewrite(b, |note| note.replacen("\n3\n", "\n4\n", 1)), ("log", "proof_mismatch")),
    ("a checkpoint and a proof of a larger tree", Either, |b, _| { rewrite(b, |note| note.replacen("\n3\n", "\n4\n", 1)); set(b, &format!("{PROOF}/treeSize"), "4"); }, ("log", "inclusion_proof")),
    ("a checkpoint with another signature", Either, |b, loot| { let other = checkpoint(&loot.sibling).to_owned(); rewrite(b, |note| { let (tree, _) = note.split_once("\n\n").unwrap(); format!("{tree}\n\n{}", signature_lines(&other)) }); }, ("log", "checkpoint")),
    ("the checkpoint of an earlier tree", Either, |b, loot| take(b, &loot.sibling, &format!("{PROOF}/checkpoint/envelope")), ("log", "proof_mismatch")),
    ("the proof of another package", V2, |b, loot| take(b, &loot.sibling, PROOF), ("log", "log_index")),
    ("the proof of another package", V1, |b, loot| take(b, &loot.sibling, PROOF), ("log", "inclusion_proof")),
    ("another root", Either, |b, _| flip(b, &format!("{PROOF}/rootHash")), ("log", "proof_mismatch")),
    ("another hash on the way", Either, |b, _| flip(b, &format!("{PROOF}/hashes/0")), ("log", "inclusion_proof")),
    ("no hashes on the way", Either, |b, _| set(b, &format!("{PROOF}/hashes"), json!([])), ("log", "inclusion_proof")),
    ("a hash too many on the way", Either, |b, _| { let hash = b.pointer(&format!("{PROOF}/hashes/0")).unwrap().clone(); push(b, &format!("{PROOF}/hashes"), hash); }, ("log", "inclusion_proof")),
    ("another size of the tree", Either, |b, _| add(b, &format!("{PROOF}/treeSize"), 1), ("log", "proof_mismatch")),
    ("a tree of nothing", Either, |b, _| set(b, &format!("{PROOF}/treeSize"), "0"), ("log", "proof_mismatch")),
    ("another index in the proof", V2, |b, _| add(b, &format!("{PROOF}/logIndex"), -1), ("log", "log_index")),
    ("another index in the proof", V1, |b, _| add(b, &format!("{PROOF}/logIndex"), -1), ("log", "inclusion_proof")),
    ("another index of the entry", V2, |b, _| add(b, &format!("{ENTRY}/logIndex"), -1), ("log", "log_index")),
    ("another index of the entry", V1, |b, _| add(b, &format!("{ENTRY}/logIndex"), -1), ("log", "inclusion_promise")),
    ("another index in both places", V2, |b, _| { add(b, &format!("{ENTRY}/logIndex"), -1); add(b, &format!("{PROOF}/logIndex"), -1); }, ("log", "inclusion_proof")),
    ("the index in the tree as that of the log", V1, |b, _| { let index = b.pointer(&format!("{PROOF}/logIndex")).unwrap().clone(); set(b, &format!("{ENTRY}/logIndex"), index); }, ("log", "inclusion_promise")),
    ("another body", V2, |b, _| flip(b, &format!("{ENTRY}/canonicalizedBody")), ("log", "inclusion_proof")),
    ("an empty body", V2, |b, _| set(b, &format!("{ENTRY}/canonicalizedBody"), ""), ("log", "inclusion_proof")),
    ("the body of another package", V2, |b, loot| take(b, &loot.sibling, &format!("{ENTRY}/canonicalizedBody")), ("log", "inclusion_proof")),
    ("an empty body", V1, |b, _| set(b, &format!("{ENTRY}/canonicalizedBody"), ""), ("log", "inclusion_promise")),
    ("another kind of entry", V2, |b, _| set(b, &format!("{ENTRY}/kindVersion"), json!({"kind": "dsse", "version": "0.0.1"})), ("log", "log_entry")),
    ("another kind of entry", V1, |b, _| set(b, &format!("{ENTRY}/kindVersion"), json!({"kind": "hashedrekord", "version": "0.0.2"})), ("log", "checkpoint")),
    ("the kind of entry for a bare signature", Either, |b, _| set(b, &format!("{ENTRY}/kindVersion"), json!({"kind": "hashedrekord", "version": "0.0.1"})), ("log", "entry_kind")),
    ("an older kind of entry", V1, |b, _| set(b, &format!("{ENTRY}/kindVersion"), json!({"kind": "intoto", "version": "0.0.2"})), ("log", "log_entry")),

    // The time.
    ("no time", V2, |b, _| set(b, STAMPS, json!([])), ("time", "no_verified_time")),
    ("no time at all", V2, |b, _| remove(b, "/verificationMaterial/timestampVerificationData"), ("time", "no_verified_time")),
    ("no time but an unsigned one", V1, |b, _| { set(b, STAMPS, json!([])); remove(b, &format!("{ENTRY}/inclusionPromise")); }, ("time", "no_verified_time")),
    ("an unsigned time", V2, |b, _| set(b, &format!("{ENTRY}/integratedTime"), "1700000000"), ("log", "unsigned_time")),
    ("an unsigned promise", V2, |b, _| set(b, &format!("{ENTRY}/inclusionPromise"), json!({"signedEntryTimestamp": "AAAA"})), ("log", "unsigned_time")),
    ("a later time than was promised", V1, |b, _| add(b, &format!("{ENTRY}/integratedTime"), 1), ("log", "inclusion_promise")),
    ("an earlier time than was promised", V1, |b, _| add(b, &format!("{ENTRY}/integratedTime"), -3600), ("log", "inclusion_promise")),
    ("no time that was promised", V1, |b, _| remove(b, &format!("{ENTRY}/integratedTime")), ("log", "inclusion_promise")),
    ("a promise alone", V1, |b, _| remove(b, PROOF), ("log", "no_inclusion_proof")),
    ("another promise", V1, |b, _| flip(b, &format!("{ENTRY}/inclusionPromise/signedEntryTimestamp")), ("log", "inclusion_promise")),
    ("the promise of another package", V1, |b, loot| take(b, &loot.sibling, &format!("{ENTRY}/inclusionPromise")), ("log", "inclusion_promise")),
    ("an empty promise", V1, |b, _| set(b, &format!("{ENTRY}/inclusionPromise/signedEntryTimestamp"), ""), ("log", "inclusion_promise")),
    ("the timestamp of another package", Either, |b, loot| take(b, &loot.sibling, STAMPS), ("time", "invalid_timestamp")),
    ("the timestamp of another instance", Either, |b, loot| take(b, &loot.foreign, STAMPS), ("time", "invalid_timestamp")),
    ("a timestamp of nothing", Either, |b, _| set(b, &format!("{STAMPS}/0/signedTimestamp"), ""), ("time", "invalid_timestamp")),
    ("a timestamp of something else", Either, |b, _| set(b, &format!("{STAMPS}/0/signedTimestamp"), "MAA="), ("time", "invalid_timestamp")),
    ("a good timestamp and a bad one", Either, |b, loot| { let other = loot.sibling.pointer(STAMPS).unwrap()[0].clone(); push(b, STAMPS, other); }, ("time", "invalid_timestamp")),
];

async fn loot(court: &Court, log: RekorVersions) -> Loot {
    let forger = court.forger(log).await;
    // Certified before the first signature, so that their certificates are valid for it.
    let another = court.forger(log).await;
    let elsewhere = Court::new().await;
    let stranger = elsewhere.forger(log).await;
    let mut all = Vec::new();
    for package in &court.packages {
        all.push(forger.attest(package).await);
    }
    let other_log = match log {
        RekorVersions::V1 => RekorVersions::V2,
        _ => RekorVersions::V1,
    };
    Loot {
        good: all[2].clone(),
        sibling: all[1].clone(),
        again: another.attest(court.package()).await,
        foreign: stranger.attest(elsewhere.package()).await,
        other_log: court.forger(other_log).await.attest(court.package()).await,
    }
}

/// Judges the whole table; what did not come out as it should.
async fn judge_all(versions: RekorVersions, log: Log) -> Vec<String> {
    let court = Court::new().await;
    let loot = loot(&court, versions).await;
    let verdict = court.judge(court.package(), loot.good.to_string().as_bytes());
    assert!(verdict.verifies_package(), "{verdict}");
    let mut wrong = Vec::new();
    for (name, which, change, expected) in TABLE {
        if *which != log && *which != Either {
            continue;
        }
        let mut bundle = loot.good.clone();
        change(&mut bundle, &loot);
        assert_ne!(bundle, loot.good, "{name} changes nothing");
        let verdict = court.judge(court.package(), bundle.to_string().as_bytes());
        let found = failure(&verdict);
        if found != Some(*expected) {
            wrong.push(format!(
                "{name}: expected {expected:?}, found {found:?}: {verdict}"
            ));
        }
        // Only who is proved to have signed is told to have signed.
        let unproved = ["bundle", "time", "certificate", "log", "signature"];
        if found.is_some_and(|(check, _)| unproved.contains(&check)) && verdict.signed.is_some() {
            wrong.push(format!(
                "{name}: nothing is proved, and yet {:?}",
                verdict.signed
            ));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bundles_in_the_first_log_are_refused() {
    let wrong = judge_all(RekorVersions::V1, V1).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bundles_in_the_second_log_are_refused() {
    let wrong = judge_all(RekorVersions::V2, V2).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_is_a_table() {
    assert!(TABLE.len() >= 80, "{}", TABLE.len());
}
