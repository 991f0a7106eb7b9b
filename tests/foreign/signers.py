"""Other people's signers: each attests a package with a statement of our choice."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sigstore.dsse import Statement
from sigstore.models import ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from verifiers import PREDICATE_TYPE, Trust, run


@dataclass(frozen=True)
class Instance:
    """An instance of Sigstore that runs, and the job that may sign there."""

    name: str
    trust: Trust
    signing_config: Path
    identity: str
    issuer: str
    environment: dict[str, str]
    token: Callable[[], str]


class SigningFailed(Exception):
    """What a signer said instead of signing."""


def sigstore_python(instance: Instance, statement: bytes) -> bytes:
    """A bundle by sigstore-python's Python API."""
    config = ClientTrustConfig.from_json(instance.trust.trust_config.read_text())
    with SigningContext.from_trust_config(config).signer(IdentityToken(instance.token())) as signer:
        return signer.sign_dsse(Statement(statement)).to_json().encode()


def sigstore_python_provenance(instance: Instance, package: Path, builder: str, run: str, scratch: Path) -> bytes:
    """A bundle by `sigstore attest`, which knows no predicate types but those of SLSA."""
    details = {
        "buildDefinition": {"buildType": "https://example.org/build", "externalParameters": {}},
        "runDetails": {"builder": {"id": builder}, "metadata": {"invocationId": run}},
    }
    predicate = scratch / "provenance.json"
    predicate.write_text(json.dumps(details))
    return written(
        scratch / f"{package.name}.provenance",
        *(sys.executable, "-m", "sigstore", "--trust-config", instance.trust.trust_config, "attest"),
        *("--predicate", predicate, "--predicate-type", "https://slsa.dev/provenance/v1"),
        *("--identity-token", instance.token(), "--overwrite", "--bundle"),
        arguments=[package],
    )


def cosign(program: Path, instance: Instance, package: Path, statement: bytes, scratch: Path) -> bytes:
    """A bundle by `cosign attest-blob --statement`."""
    file = scratch / "statement.json"
    file.write_bytes(statement)
    return cosign_with(program, instance, package, scratch, "--statement", file)


def cosign_predicate(program: Path, instance: Instance, package: Path, predicate: bytes, scratch: Path) -> bytes:
    """A bundle by `cosign attest-blob --predicate`: the statement around it is cosign's."""
    file = scratch / "predicate.json"
    file.write_bytes(predicate)
    return cosign_with(program, instance, package, scratch, "--predicate", file)


def cosign_with(program: Path, instance: Instance, package: Path, scratch: Path, *options: str | Path) -> bytes:
    token = scratch / "token"
    token.write_text(instance.token())
    return written(
        scratch / f"{package.name}.cosign",
        *(program, "attest-blob", "--yes", "--identity-token", token, "--signing-config", instance.signing_config),
        *("--trusted-root", instance.trust.trusted_root, "--type", PREDICATE_TYPE, *options, "--bundle"),
        arguments=[package],
    )


def conda_sigstore(instance: Instance, package: Path, channel: str, scratch: Path) -> bytes:
    """A bundle by conda-sigstore, with the identity that the environment offers."""
    return written(
        scratch / f"{package.name}.conda-sigstore",
        *(sys.executable, Path(__file__).with_name("conda_sigstore_client.py"), "attest", "--channel", channel),
        *("--trust-config", instance.trust.trust_config, "--bundle"),
        arguments=[package],
        environment=instance.environment,
    )


def written(
    bundle: Path, *command: str | Path, arguments: list[Path], environment: dict[str, str] | None = None
) -> bytes:
    """The bundle that a program writes to the file it is told last before its arguments."""
    result = run(*command, bundle, *arguments, env={**os.environ, **(environment or {})})
    if result.returncode != 0:
        raise SigningFailed(result.stdout)
    return bundle.read_bytes()
