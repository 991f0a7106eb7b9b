"""Other people's verifiers, each a program of its own, and how they word their refusals."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PREDICATE_TYPE = "https://schemas.conda.org/attestations-publish-1.schema.json"
TIMEOUT = 120  # seconds, for any one program

Result = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Trust:
    """An instance of Sigstore, as its clients know it."""

    trust_config: Path
    trusted_root: Path


@dataclass(frozen=True)
class Attempt:
    """What a verifier is asked: may this file be trusted because of this bundle, signed by this identity?"""

    bundle: Path
    file: Path
    identity: str
    issuer: str


def run(*command: str | os.PathLike[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> Result:
    """Runs a program to its end, with nothing on its standard input; stderr comes with stdout."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        env=env,
        cwd=cwd,
    )


@dataclass(frozen=True)
class Verifier:
    """Somebody else's verifier."""

    name: str
    ask: Callable[[Attempt], Result]
    # How it words a refusal: a misspelt option or a missing file must not pass for one.
    refusals: dict[str, str]

    def accepts(self, result: Result) -> bool:
        return result.returncode == 0

    def refuses(self, result: Result, lie: str) -> bool:
        return result.returncode != 0 and re.search(self.refusals[lie], result.stdout) is not None


def sigstore_python(trust: Trust) -> Verifier:
    def ask(attempt: Attempt) -> Result:
        return run(
            *(sys.executable, "-m", "sigstore", "--trust-config", trust.trust_config, "verify", "identity", "--offline"),
            *("--bundle", attempt.bundle, "--cert-identity", attempt.identity, "--cert-oidc-issuer", attempt.issuer),
            attempt.file,
            # Wide enough that no message is wrapped.
            env={**os.environ, "COLUMNS": "1000"},
        )

    refusals = {
        "another file": r"no subject for digest",
        "another identity": r"SANs do not match",
        "another issuer": r"OIDCIssuer",
        "an altered statement": r"invalid signature",
        "the log entry of another": r"transparency log entry is inconsistent",
    }
    return Verifier("sigstore-python", ask, refusals)


# What sigstore-go says, which is the engine of cosign too.
REFUSED_BY_SIGSTORE_GO = {
    "another file": r"artifact digests do not match",
    "another identity": r"expected SAN value",
    "another issuer": r"expected issuer value",
    "an altered statement": r"failed to verify log inclusion",
    "the log entry of another": r"failed to verify log inclusion",
}


def cosign(program: Path, trust: Trust, predicate_type: str = PREDICATE_TYPE) -> Verifier:
    def ask(attempt: Attempt) -> Result:
        return run(
            *(program, "verify-blob-attestation", "--trusted-root", trust.trusted_root, "--type", predicate_type),
            *("--bundle", attempt.bundle, "--certificate-identity", attempt.identity),
            *("--certificate-oidc-issuer", attempt.issuer, attempt.file),
        )

    return Verifier("cosign", ask, REFUSED_BY_SIGSTORE_GO)


def sigstore_go(program: Path, trust: Trust) -> Verifier:
    """sigstore-go's own verifier: the engine of `gh attestation verify`."""

    def ask(attempt: Attempt) -> Result:
        return run(
            *(program, "-trustedrootJSONpath", trust.trusted_root, "-artifact", attempt.file),
            *("-expectedSAN", attempt.identity, "-expectedIssuer", attempt.issuer, attempt.bundle),
        )

    return Verifier("sigstore-go", ask, REFUSED_BY_SIGSTORE_GO)


def conda_sigstore(trust: Trust, channel: str) -> Verifier:
    def ask(attempt: Attempt) -> Result:
        return run(
            *(
                sys.executable,
                Path(__file__).with_name("conda_sigstore_client.py"),
                "verify",
                "--trust-config",
                trust.trust_config,
            ),
            *("--channel", channel, "--identity", attempt.identity, "--issuer", attempt.issuer),
            *("--bundle", attempt.bundle, attempt.file),
        )

    refusals = {
        "another file": r"subject sha256 does not match the package",
        "another identity": r"untrusted-identity",
        "another issuer": r"untrusted-identity",
        "an altered statement": r"invalid signature",
        "the log entry of another": r"transparency log entry is inconsistent",
    }
    return Verifier("conda-sigstore", ask, refusals)
