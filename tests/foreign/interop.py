#!/usr/bin/env python3
"""conda-release among the programs that its users' partners run, against the real Sigstore on loopback.

  the other way    what cosign, sigstore-python and conda-sigstore sign verifies here, or is refused for the rule of
                   CEP-27 that it breaks

Nothing here needs a network beyond loopback, and in `.ci/run` there is none.

usage: interop.py --tools DIR --build DIR

--tools has cosign, sigstore-go-verification, fulcio, rekor-server and timestamp-server; --build has what cargo built.
Python packages: requirements.txt beside this file.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conda_package
import signers
from real_sigstore import Sigstore
from report import Report
from signers import Instance
from verifiers import PREDICATE_TYPE, Result, Trust, run

CHANNEL = "https://prefix.dev/acme"
# Exit statuses of conda-release.
VERIFIED, VIOLATION, UNVERIFIED = 0, 5, 7


@dataclass(frozen=True)
class Programs:
    """What is run here."""

    tools: Path
    build: Path

    @property
    def conda_release(self) -> Path:
        return self.build / "conda-release"

    @property
    def cosign(self) -> Path:
        return self.tools / "cosign"


def real_instance(sigstore: Sigstore) -> Instance:
    return Instance(
        name="Rekor v2",
        trust=Trust(sigstore.trust_config, sigstore.trusted_root),
        signing_config=sigstore.signing_config,
        identity=sigstore.identity,
        issuer=sigstore.issuer,
        environment=sigstore.environment(),
        token=sigstore.token,
    )


# --- The other way ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Foreign:
    """A bundle that somebody else makes of a package, and the rules of CEP-27 that it breaks."""

    signer: str
    what: str
    rules: tuple[int, ...]
    make: Callable[[], bytes]

    def __str__(self) -> str:
        return f"{self.what} by {self.signer}"


def statements(package: Path) -> Iterator[tuple[str, tuple[int, ...], dict[str, Any]]]:
    """Statements about a package, each with the rules of CEP-27 that it breaks."""
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    subject = {"name": package.name, "digest": {"sha256": digest}}
    honest = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [subject],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"targetChannel": CHANNEL},
    }
    yield "an honest statement", (), honest
    yield "another predicate type", (2,), {**honest, "predicateType": "https://example.org/publish"}
    yield "two subjects", (3,), {**honest, "subject": [subject, {**subject, "name": f"other-{package.name}"}]}
    yield "a path for a name", (4, 8), {**honest, "subject": [{**subject, "name": f"noarch/{package.name}"}]}
    both = {"sha256": digest, "sha512": hashlib.sha512(package.read_bytes()).hexdigest()}
    yield "two digests", (5,), {**honest, "subject": [{**subject, "digest": both}]}
    yield "a predicate without a channel", (6, 8), {**honest, "predicate": {}}
    yield "a channel that ends in a slash", (7,), {**honest, "predicate": {"targetChannel": f"{CHANNEL}/"}}
    yield "the name of another package", (8,), {**honest, "subject": [{**subject, "name": f"other-{package.name}"}]}
    yield "another channel", (8,), {**honest, "predicate": {"targetChannel": f"{CHANNEL}-2"}}


def by_cosign(program: Path, instance: Instance, package: Path, scratch: Path) -> Iterator[Foreign]:
    for number, (what, rules, statement) in enumerate(statements(package)):
        own = scratch / f"cosign-{number}"
        own.mkdir()
        encoded = json.dumps(statement).encode()
        yield Foreign(
            "cosign",
            what,
            rules,
            lambda encoded=encoded, own=own: signers.cosign(program, instance, package, encoded, own),
        )
    own = scratch / "cosign-predicate"
    own.mkdir()
    predicate = json.dumps({"targetChannel": CHANNEL}).encode()
    yield Foreign(
        "cosign",
        "a statement of its own, in version 0.1",
        (1,),
        lambda: signers.cosign_predicate(program, instance, package, predicate, own),
    )


def by_sigstore_python(instance: Instance, package: Path, scratch: Path) -> Iterator[Foreign]:
    for what, rules, statement in statements(package):
        encoded = json.dumps(statement).encode()
        yield Foreign("sigstore-python", what, rules, lambda encoded=encoded: signers.sigstore_python(instance, encoded))
    yield Foreign(
        "sigstore-python",
        "provenance alone",
        (2, 6, 8),
        lambda: signers.sigstore_python_provenance(instance, package, scratch),
    )
    yield Foreign(
        "conda-sigstore",
        "an honest statement",
        (),
        lambda: signers.conda_sigstore(instance, package, CHANNEL, scratch),
    )


def judge(programs: Programs, package: Path, bundle: Path, trust: list[str | Path], instance: Instance) -> Result:
    return run(
        *(programs.conda_release, "verify", package, "--bundle", bundle, *trust, "--offline"),
        *("--identity", instance.identity, "--issuer", instance.issuer, "--channel", CHANNEL),
        *("--output-format", "json"),
    )


def check_foreign(
    programs: Programs,
    instance: Instance,
    trust: list[str | Path],
    foreign: list[Foreign],
    package: Path,
    report: Report,
) -> None:
    """What others sign is accepted, or refused for the rules it breaks and for nothing else."""
    folder = package.parent

    def made(number: int) -> Result:
        bundle = folder / f"{instance.name}-{number}.sigstore.json"
        bundle.write_bytes(foreign[number].make())
        return judge(programs, package, bundle, trust, instance)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(made, number) for number in range(len(foreign))]
    for each, answer in zip(foreign, answers, strict=True):
        name = f"{each}, logged by {instance.name},"
        if error := answer.exception():
            report.check(f"{name} is signed", False, error)
        elif not each.rules:
            report.check(f"{name} verifies", answer.result().returncode == VERIFIED, answer.result().stdout)
        else:
            rules = " and ".join(map(str, each.rules))
            report.check(
                f"{name} breaks rule {rules}", is_refused_for(answer.result(), each.rules), answer.result().stdout
            )


def is_refused_for(result: Result, rules: tuple[int, ...]) -> bool:
    """Whether a bundle is good but for these rules of CEP-27."""
    # An attestation of something else (rule 8) is none of this package.
    if result.returncode != (UNVERIFIED if rules == (8,) else VIOLATION):
        return False
    [package] = json.loads(result.stdout)["packages"]
    [attestation] = package["attestations"]
    failed = [check["code"] for check in attestation["checks"] if check["result"]["outcome"] == "failed"]
    return failed == ["statement"] and [each["rule"] for each in attestation["violations"]] == [*rules]


# --- All of it --------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, required=True, help="the folder with other people's programs")
    parser.add_argument("--build", type=Path, required=True, help="the folder with the programs under test")
    arguments = parser.parse_args()

    programs = Programs(arguments.tools.resolve(), arguments.build.resolve())
    # Nothing of the user's or the machine's is seen.
    os.environ["NO_COLOR"] = "1"
    report = Report()
    with tempfile.TemporaryDirectory() as scratch, Sigstore(Path(scratch) / "sigstore", programs.tools) as sigstore:
        folder = Path(scratch)
        os.environ["HOME"] = scratch
        instance = real_instance(sigstore)
        package = conda_package.write(folder, "tiny")
        foreign = [
            *by_cosign(programs.cosign, instance, package, folder),
            *by_sigstore_python(instance, package, folder),
        ]
        check_foreign(programs, instance, ["--trust", instance.trust.trust_config], foreign, package, report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
