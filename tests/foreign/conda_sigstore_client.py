#!/usr/bin/env python3
"""Attests and verifies a package with conda-sigstore's Python API.

conda-sigstore is a plugin of conda, which no Python index has. Of conda, these parts of it need three things that judge
nothing: a hash function, the base class of its errors, and the token that a channel's URL may have. They are made here.
All that judges is conda-sigstore's own, and sigstore-python's.

usage: conda_sigstore_client.py attest --trust-config FILE --channel URL --bundle FILE PACKAGE
       conda_sigstore_client.py verify --trust-config FILE --channel URL --bundle FILE --identity ID --issuer URL PACKAGE
"""

import argparse
import hashlib
import json
import re
import sys
import types
from pathlib import Path


def play_conda() -> None:
    """Makes the modules of conda that conda-sigstore imports."""

    def compute_sum(path: Path, algorithm: str) -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()

    def split_anaconda_token(url: str) -> tuple[str, str | None]:
        found = re.search(r"/t/([a-zA-Z0-9-]*)", url)
        return (url.replace(found[0], "", 1), found[1]) if found else (url, None)

    modules = {
        "conda": {},
        "conda.common": {},
        "conda.common.url": {"split_anaconda_token": split_anaconda_token},
        "conda.exceptions": {"CondaError": type("CondaError", (Exception,), {})},
        "conda.gateways": {},
        "conda.gateways.disk": {},
        "conda.gateways.disk.read": {"compute_sum": compute_sum},
    }
    for name, members in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module


def attest(arguments: argparse.Namespace) -> int:
    """Signs with the identity that the environment offers."""
    from conda_sigstore.attestation import create_attestation

    create_attestation(
        arguments.package,
        target_channel=arguments.channel,
        output=arguments.bundle,
        trust_config_path=arguments.trust_config,
    )
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Verifies offline, and prints the result as JSON."""
    from conda_sigstore.evidence import SignerIdentity
    from conda_sigstore.transport import SidecarTransport
    from conda_sigstore.verification import SigstoreVerifier, verify_artifact

    result = verify_artifact(
        arguments.package,
        SidecarTransport().load_input(str(arguments.bundle)),
        verifier=SigstoreVerifier(offline=True, trust_config=arguments.trust_config),
        channel=arguments.channel,
        expected_signer=SignerIdentity(arguments.identity, arguments.issuer),
    )
    print(json.dumps(result.to_dict(), indent=2))
    return 0 if result.verified else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for run in (attest, verify):
        command = commands.add_parser(run.__name__)
        command.set_defaults(run=run)
        command.add_argument("package", type=Path)
        command.add_argument("--trust-config", type=Path, required=True)
        command.add_argument("--channel", required=True)
        command.add_argument("--bundle", type=Path, required=True)
        if run is verify:
            command.add_argument("--identity", required=True)
            command.add_argument("--issuer", required=True)
    arguments = parser.parse_args()
    play_conda()
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
