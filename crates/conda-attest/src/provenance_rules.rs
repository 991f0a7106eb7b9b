//! The rules of a provenance statement: SLSA v1, about this package, from the run that the
//! certificate names.

use cep27::{FileName, STATEMENT_TYPE, Sha256};
use serde_json::Value;
use sigstore_crypto::CertificateInfo;

use crate::provenance::RunDetails;
use crate::trust::list;
use crate::verdict::Refusal;

/// Whether a provenance statement keeps the rules of in-toto and SLSA v1 as far as they are about
/// who built what. Builder and run are compared with the certificate, where that is proved.
pub(crate) fn check(
    statement: &[u8],
    file: &FileName,
    sha256: Sha256,
    certificate: Option<&CertificateInfo>,
) -> Result<(), Refusal> {
    let statement = cep27::check_json(statement)
        .map_err(|found| Refusal::new("provenance_malformed", list(&found)))?;
    if text(&statement, "/_type") != Some(STATEMENT_TYPE) {
        return Err(malformed("/_type", &format!("`{STATEMENT_TYPE}`")));
    }
    check_subject(&statement, file, sha256)?;
    let build_type = text(&statement, "/predicate/buildDefinition/buildType");
    if build_type.is_none_or(str::is_empty) {
        return Err(malformed("/predicate/buildDefinition/buildType", "a URI"));
    }
    let parameters = "/predicate/buildDefinition/externalParameters";
    if !statement.pointer(parameters).is_some_and(Value::is_object) {
        return Err(malformed(parameters, "an object"));
    }
    let run = statement.pointer("/predicate/runDetails");
    let run = run.cloned().unwrap_or_default();
    let found: RunDetails = serde_json::from_value(run)
        .map_err(|_| malformed("/predicate/runDetails", "a builder and metadata of its run"))?;
    let Some(certificate) = certificate else {
        return Ok(());
    };
    let expected = RunDetails::of(certificate);
    equal(
        "provenance_builder",
        "builder",
        Some(expected.builder.id.as_str()),
        Some(found.builder.id.as_str()),
    )?;
    equal(
        "provenance_run",
        "run",
        expected.invocation(),
        found.invocation(),
    )
}

/// One of the subjects is the package, by name and by digest: provenance may be about several.
fn check_subject(statement: &Value, file: &FileName, sha256: Sha256) -> Result<(), Refusal> {
    let subjects = statement.pointer("/subject").and_then(Value::as_array);
    let subjects = subjects.ok_or_else(|| malformed("/subject", "an array"))?;
    let digest = sha256.to_string();
    let is_package = |subject: &&Value| {
        text(subject, "/name") == Some(file.as_str())
            && text(subject, "/digest/sha256") == Some(&digest)
    };
    match subjects.iter().find(is_package) {
        Some(_) => Ok(()),
        None => Err(Refusal::new(
            "provenance_subject",
            format!(
                "none of its {} subjects is {file} with sha256 {digest}",
                subjects.len()
            ),
        )),
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn equal(
    reason: &'static str,
    what: &str,
    expected: Option<&str>,
    found: Option<&str>,
) -> Result<(), Refusal> {
    let shown = |text: Option<&str>| {
        text.map_or_else(
            || "none".to_owned(),
            |text| format!("`{}`", cep27::printable(text)),
        )
    };
    if expected == found {
        return Ok(());
    }
    let message = format!(
        "expected {what} {}, found {}",
        shown(expected),
        shown(found)
    );
    Err(Refusal::new(reason, message))
}

fn malformed(pointer: &str, expected: &str) -> Refusal {
    Refusal::new(
        "provenance_malformed",
        format!("expected {expected} at {pointer}"),
    )
}
