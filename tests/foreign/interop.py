#!/usr/bin/env python3
"""conda-release among the programs that its users' partners run, against the real Sigstore on loopback.

  ours             a batch of packages that conda-release signs, as a job of GitHub Actions, is accepted by
                   sigstore-python, cosign, sigstore-go and conda-sigstore; each refuses what was tampered with
  the other way    what cosign, sigstore-python and conda-sigstore sign verifies here, or is refused for the rule of
                   CEP-27 that it breaks
  a private one    conda-release has the trust material of the instance from a TUF repository that python-tuf makes:
                   refreshed, after a rotation of keys, expired, unreachable
  provenance       of a rehearsal is accepted by sigstore-python and cosign, and with its attestation by conda-sigstore
  conformance      what conformance-client signs, a statement and a file, is accepted by itself and by others
  production       what the public instances signed verifies with no network at all, by the roots in the program; signing
                   with them then ends with an error that says why

Nothing here needs a network beyond loopback, and in `.ci/run` there is none.

usage: interop.py --tools DIR --build DIR

--tools has cosign, sigstore-go-verification, fulcio, rekor-server and timestamp-server; --build has what cargo built.
Python packages: requirements.txt beside this file.
"""

import argparse
import base64
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import conda_package
import signers
from real_sigstore import Sigstore
from report import Report
from signers import Instance
from tuf_repository import TufRepository
from verifiers import (
    PREDICATE_TYPE,
    Attempt,
    Result,
    Trust,
    conda_sigstore,
    cosign,
    run,
    sigstore_go,
    sigstore_python,
)

CHANNEL = "https://prefix.dev/acme"
BATCH = 30
# Exit statuses of conda-release.
VERIFIED, PREFLIGHT, VIOLATION, UNVERIFIED = 0, 3, 5, 7


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


@contextlib.contextmanager
def sandbox(programs: Programs, workspace: Path, rekor: str) -> Iterator[Instance]:
    """The Sigstore of a rehearsal, in the workspace whose rehearsal it is: Rekor v1 cannot be installed."""
    folder = workspace / "target" / "conda-release" / "rehearsal" / "sandbox"
    folder.mkdir(parents=True)
    command = [programs.build / "examples" / "sandbox", folder, rekor]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        exports: dict[str, str] = {}
        while "SANDBOX_TRUSTED_ROOT" not in exports:
            words = shlex.split(process.stdout.readline())
            if not words:
                raise RuntimeError("the sandbox does not start")
            exports |= dict(word.split("=", 1) for word in words if "=" in word)

        def token() -> str:
            request = urllib.request.Request(
                f"{exports['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={exports['SANDBOX_AUDIENCE']}",
                headers={"Authorization": f"Bearer {exports['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["value"]

        trust_config = Path(exports["SANDBOX_TRUST_CONFIG"])
        yield Instance(
            name=f"Rekor {rekor}",
            trust=Trust(trust_config, Path(exports["SANDBOX_TRUSTED_ROOT"])),
            signing_config=trust_config.with_name("signing_config.json"),
            identity=exports["SANDBOX_IDENTITY"],
            issuer=exports["SANDBOX_ISSUER"],
            environment={},
            token=token,
        )


# --- Ours -------------------------------------------------------------------------------------------------------------


def check_ours(programs: Programs, instance: Instance, scratch: Path, report: Report) -> None:
    """A batch that is signed here is accepted elsewhere, and nothing else passes for it."""
    folder = scratch / "batch"
    folder.mkdir()
    packages = [conda_package.write(folder, f"package-{number}") for number in range(BATCH)]
    signed = run(
        *(programs.conda_release, "sign", *packages, "--channel", CHANNEL),
        *("--trust", instance.trust.trust_config, "--output-format", "json"),
        env={**os.environ, **instance.environment},
    )
    report.check(f"conda-release signs {BATCH} packages", signed.returncode == 0, signed.stdout)
    bearer = instance.environment["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    report.check("conda-release shows no secret", bearer not in signed.stdout and "eyJ" not in signed.stdout)
    check_kept(programs, instance, folder, packages, report)
    asked = [(None, Attempt(bundle(package), package, instance.identity, instance.issuer)) for package in packages]
    asked += tampered(packages[0], packages[1], instance, scratch)

    verifiers = [
        sigstore_python(instance.trust),
        cosign(programs.cosign, instance.trust),
        sigstore_go(programs.tools / "sigstore-go-verification", instance.trust),
        conda_sigstore(instance.trust, CHANNEL),
    ]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = [
            (verifier, lie, attempt, pool.submit(verifier.ask, attempt))
            for verifier in verifiers
            for lie, attempt in asked
        ]
    for verifier, lie, attempt, answer in answers:
        result = answer.result()
        if lie is None:
            report.check(f"{verifier.name} accepts {attempt.file.name}", verifier.accepts(result), result.stdout)
        else:
            report.check(f"{verifier.name} refuses {lie}", verifier.refuses(result, lie), result.stdout)


def check_kept(programs: Programs, instance: Instance, folder: Path, packages: list[Path], report: Report) -> None:
    """The same command again signs what it had not, and keeps the rest as it is."""
    before = [bundle(package).read_bytes() for package in packages]
    late = conda_package.write(folder, "late")
    again = run(
        *(programs.conda_release, "sign", *packages, late, "--channel", CHANNEL),
        *("--trust", instance.trust.trust_config),
        env={**os.environ, **instance.environment},
    )
    kept = [bundle(package).read_bytes() for package in packages] == before and bundle(late).exists()
    report.check("conda-release keeps what it signed and signs the rest", again.returncode == 0 and kept, again.stdout)


def bundle(package: Path) -> Path:
    """Where conda-release writes the attestation of a package."""
    return package.with_name(f"{package.name}.sigstore.json")


def tampered(package: Path, other: Path, instance: Instance, scratch: Path) -> Iterator[tuple[str, Attempt]]:
    """What nobody may accept, and what is wrong with it."""
    honest = Attempt(bundle(package), package, instance.identity, instance.issuer)
    folder = scratch / "tampered"
    folder.mkdir()
    altered = folder / package.name
    altered.write_bytes(package.read_bytes() + b"\0")
    yield "another file", dataclasses.replace(honest, file=altered)
    yield "another identity", dataclasses.replace(honest, identity=f"{honest.identity}x")
    yield "another issuer", dataclasses.replace(honest, issuer=f"{honest.issuer}x")

    def bundle_with(name: str, change: Callable[[dict[str, Any]], None]) -> Attempt:
        document = json.loads(honest.bundle.read_bytes())
        change(document)
        path = folder / name
        path.write_text(json.dumps(document))
        return dataclasses.replace(honest, bundle=path)

    def retarget(document: dict[str, Any]) -> None:
        envelope = document["dsseEnvelope"]
        statement = base64.b64decode(envelope["payload"]).replace(CHANNEL.encode(), CHANNEL.upper().encode())
        envelope["payload"] = base64.b64encode(statement).decode()

    def swap_entry(document: dict[str, Any]) -> None:
        entries = json.loads(bundle(other).read_bytes())["verificationMaterial"]["tlogEntries"]
        document["verificationMaterial"]["tlogEntries"] = entries

    yield "an altered statement", bundle_with("statement.json", retarget)
    yield "the log entry of another", bundle_with("entry.json", swap_entry)


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


def check_provenance(programs: Programs, sigstore: Sigstore, package: Path, report: Report) -> None:
    """Provenance by `sigstore attest` is judged by its own rules, and makes no package verified by itself."""
    instance = real_instance(sigstore)
    trust = ["--trust", instance.trust.trust_config]
    for what, builder, failed in (
        ("honest", sigstore.identity, []),
        ("another builder's", "https://example.org/builder", ["statement"]),
    ):
        made = signers.sigstore_python_provenance(instance, package, builder, sigstore.job.run, package.parent)
        path = package.with_name("provenance.sigstore.json")
        path.write_bytes(made)
        result = judge(programs, package, path, trust, instance)
        found = json.loads(result.stdout)["packages"][0]["attestations"][0]
        checks = [check["code"] for check in found["checks"] if check["result"]["outcome"] == "failed"]
        refused = result.returncode == UNVERIFIED and found["predicate"] == "provenance" and checks == failed
        report.check(f"{what} provenance by sigstore-python alone is not enough", refused, result.stdout)


def is_refused_for(result: Result, rules: tuple[int, ...]) -> bool:
    """Whether a bundle is good but for these rules of CEP-27."""
    # An attestation of something else (rule 8) is none of this package.
    if result.returncode != (UNVERIFIED if rules == (8,) else VIOLATION):
        return False
    [package] = json.loads(result.stdout)["packages"]
    [attestation] = package["attestations"]
    failed = [check["code"] for check in attestation["checks"] if check["result"]["outcome"] == "failed"]
    return failed == ["statement"] and [each["rule"] for each in attestation["violations"]] == [*rules]


# --- A private instance ------------------------------------------------------------------------------------------------


def check_tuf(programs: Programs, instance: Instance, scratch: Path, report: Report) -> None:
    """Trust from a TUF repository, in good days and bad ones."""
    folder = scratch / "tuf"
    folder.mkdir()
    package = conda_package.write(folder, "private")
    environment = {**os.environ, **instance.environment, "XDG_CACHE_HOME": str(folder / "cache")}
    policy = ["--identity", instance.identity, "--issuer", instance.issuer, "--channel", CHANNEL]
    with TufRepository(folder / "repository", instance.trust.trusted_root, instance.signing_config) as repository:
        trust = ["--trust", repository.url, "--tuf-root", repository.first_root, "--output-format", "json"]

        def sign() -> Result:
            return run(programs.conda_release, "sign", package, "--channel", CHANNEL, *trust, env=environment)

        def verify(*options: str) -> Result:
            return run(programs.conda_release, "verify", package, *policy, *trust, *options, env=environment)

        def check(what: str, result: Result, status: int, told: str) -> None:
            passed = result.returncode == status and told in result.stdout
            report.check(f"a private instance: {what}", passed, f"{result.returncode}: {result.stdout}")

        check("conda-release signs", sign(), VERIFIED, "")
        check("conda-release verifies", verify(), VERIFIED, "")
        for role in ("timestamp", "root", "targets", "root"):
            repository.rotate(role)
        check("signing after a rotation of keys", sign(), VERIFIED, "")
        check("verifying offline, from the copy", verify("--offline"), VERIFIED, "from the cache")

        repository.publish(timestamp_expires=datetime(2020, 1, 1, tzinfo=UTC))
        check("signing by what has expired", sign(), PREFLIGHT, "trust_refused")
        check("verifying by what has expired", verify(), PREFLIGHT, "trust_refused")
        check("verifying offline meanwhile", verify("--offline"), VERIFIED, "from the cache")

        repository.stop()
        check("signing when it cannot be reached", sign(), PREFLIGHT, "trust_unavailable")
        check("verifying when it cannot be reached", verify(), VERIFIED, "from the cache")


# --- Provenance -------------------------------------------------------------------------------------------------------

RECIPE = """\
package: {name: built, version: 1.0.0}
build: {noarch: generic, script: [mkdir -p $PREFIX/share, echo built > $PREFIX/share/built.txt]}
"""


def check_release_with_provenance(programs: Programs, scratch: Path, report: Report) -> None:
    """What a release says of a package's making is believed by others, too."""
    workspace = scratch / "released"
    recipe = workspace / "recipes" / "built" / "recipe.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(RECIPE)
    (workspace / "conda-release.toml").write_text(f'target-channel = "{CHANNEL}"\n[sign]\nprovenance = true\n')
    released = run(programs.conda_release, "release", "--root", workspace)
    report.check("a release with provenance", released.returncode == 0, released.stdout)
    root = workspace / "target" / "conda-release" / "rehearsal"
    [entry] = json.loads((root / "release-manifest.json").read_bytes())["packages"]
    package = root / "packages" / entry["subdir"] / entry["file"]
    attested = entry["attestation"]
    trust = Trust(root / "sandbox" / "trust_config.json", root / "sandbox" / "trusted_root.json")
    provenance = Attempt(root / attested["provenance"]["bundle"], package, attested["identity"], attested["issuer"])
    sidecar = dataclasses.replace(provenance, bundle=root / "channel" / entry["subdir"] / f"{entry['file']}.sigs")
    slsa = "https://slsa.dev/provenance/v1"
    for what, verifier, attempt in (
        ("the provenance", sigstore_python(trust), provenance),
        ("the provenance", cosign(programs.cosign, trust, slsa), provenance),
        ("the sidecar", conda_sigstore(trust, CHANNEL), sidecar),
    ):
        result = verifier.ask(attempt)
        report.check(f"{verifier.name} accepts {what} of a release", verifier.accepts(result), result.stdout)
    evidence = json.loads(result.stdout)["evidence"]
    kinds = {each["predicate_type"] for each in evidence if each["verified"]}
    report.check("conda-sigstore finds both in the sidecar", kinds == {PREDICATE_TYPE, slsa}, result.stdout)


# --- Conformance ------------------------------------------------------------------------------------------------------


def check_conformance(programs: Programs, sigstore: Sigstore, package: Path, scratch: Path, report: Report) -> None:
    """The two commands of the sigstore-conformance protocol, with options in its order."""
    folder = scratch / "conformance"
    folder.mkdir()
    client = programs.build / "conformance-client"
    [(_, _, honest), *_] = statements(package)
    statement = folder / "statement.json"
    statement.write_text(json.dumps(honest))
    for what, options, signed in (("a statement", ["--in-toto"], statement), ("a file", [], package)):
        made = folder / f"{signed.name}.sigstore.json"
        result = run(
            *(client, "sign-bundle", *options, "--identity-token", sigstore.token(), "--bundle", made),
            *("--trusted-root", sigstore.trusted_root, "--signing-config", sigstore.signing_config, signed),
        )
        report.check(f"conformance-client signs {what}", result.returncode == 0, result.stdout)

        def verify(identity: str, file: Path | str, made: Path = made) -> Result:
            return run(
                *(client, "verify-bundle", "--bundle", made, "--certificate-identity", identity),
                *("--certificate-oidc-issuer", sigstore.issuer, "--trusted-root", sigstore.trusted_root, file),
            )

        digest = f"sha256:{hashlib.sha256(package.read_bytes()).hexdigest()}"
        for name, file in (("file", package), ("digest", digest)):
            result = verify(sigstore.identity, file)
            report.check(f"conformance-client accepts {what} by its {name}", result.returncode == 0, result.stdout)
        result = verify(f"{sigstore.identity}x", package)
        report.check(f"conformance-client refuses another identity for {what}", result.returncode == 1, result.stdout)
        result = verify(sigstore.identity, client)
        report.check(f"conformance-client refuses another file for {what}", result.returncode == 1, result.stdout)
        judge = sigstore_python(Trust(sigstore.trust_config, sigstore.trusted_root))
        result = judge.ask(Attempt(made, package, sigstore.identity, sigstore.issuer))
        report.check(f"sigstore-python accepts {what} by conformance-client", judge.accepts(result), result.stdout)


# --- Production -------------------------------------------------------------------------------------------------------

# Real attestations of a real package; where they are from is said beside them.
FIXTURES = Path(__file__).parents[2] / "crates" / "conda-attest" / "tests" / "fixtures"
PRODUCTION_PACKAGE = FIXTURES / "signed-package-2.1.0-hb0f4dca_0.conda"
PUBLIC_GOOD = [
    *("--bundle", FIXTURES / "conda-attestation.sigstore.json"),
    *("--repo", "prefix-dev/sigstore-example", "--channel", "https://prefix.dev/sigstore-example"),
]
STAGING = [
    *("--bundle", FIXTURES / "conda-attestation-rekor2.sigstore.json", "--trust", "staging"),
    *("--identity", "jku@goto.fi", "--issuer", "https://github.com/login/oauth"),
]
TUF_HOST = "tuf-repo-cdn.sigstore.dev"


def check_production(programs: Programs, scratch: Path, report: Report) -> None:
    """Without a network, what the public instances signed verifies, and nothing can be signed with them."""
    package = PRODUCTION_PACKAGE.name
    for name, options in (("public-good", PUBLIC_GOOD), ("staging", STAGING)):
        for how in ([], ["--offline"]):
            result = run(programs.conda_release, "verify", PRODUCTION_PACKAGE, *options, *how)
            verified = result.returncode == VERIFIED and "in this program" in result.stdout
            report.check(f"{package} of {name} verifies {' '.join(how) or 'unreachable'}", verified, result.stdout)
    stranger = ["--repo", "prefix-dev/sigstore", *PUBLIC_GOOD[:2]]
    result = run(programs.conda_release, "verify", PRODUCTION_PACKAGE, *stranger, "--offline")
    report.check(f"{package} of another repository does not", result.returncode == UNVERIFIED, result.stdout)

    unsigned = scratch / package
    shutil.copy(PRODUCTION_PACKAGE, unsigned)
    sign = [programs.conda_release, "sign", "-x", unsigned, "--channel", CHANNEL]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # It takes connections and says nothing.
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for what, environment in (("is not there", {}), ("does not answer", {"HTTPS_PROXY": proxy})):
            result = run(*sign, env={**os.environ, **environment})
            refused = result.returncode == PREFLIGHT and TUF_HOST in result.stdout and not bundle(unsigned).exists()
            report.check(f"signing with an instance that {what} says so", refused, result.stdout)


# --- All of it --------------------------------------------------------------------------------------------------------


def has_network() -> bool:
    """Whether a name on the internet can be resolved."""
    try:
        socket.getaddrinfo(TUF_HOST, 443)
    except OSError:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, required=True, help="the folder with other people's programs")
    parser.add_argument("--build", type=Path, required=True, help="the folder with the programs under test")
    arguments = parser.parse_args()

    programs = Programs(arguments.tools.resolve(), arguments.build.resolve())
    # Nothing of the user's or the machine's is seen.
    os.environ["NO_COLOR"] = "1"
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["HOME"] = scratch
        package = conda_package.write(folder, "tiny")
        with Sigstore(folder / "sigstore", programs.tools) as sigstore:
            instance = real_instance(sigstore)
            check_ours(programs, instance, folder, report)
            trust = ["--trust", instance.trust.trust_config]
            foreign = [
                *by_cosign(programs.cosign, instance, package, folder),
                *by_sigstore_python(instance, package, folder),
            ]
            check_foreign(programs, instance, trust, foreign, package, report)
            check_provenance(programs, sigstore, package, report)
            check_conformance(programs, sigstore, package, folder, report)
            check_tuf(programs, instance, folder, report)
        check_release_with_provenance(programs, folder, report)
        workspace = folder / "workspace"
        with sandbox(programs, workspace, "v1") as instance:
            (workspace / "conda-release.toml").touch()
            trust = ["--trust", "sandbox", "--root", workspace]
            # sigstore-python asks for tokens with an audience that the sandbox does not have.
            foreign = [*by_cosign(programs.cosign, instance, package, workspace)]
            check_foreign(programs, instance, trust, foreign, package, report)
        if has_network():
            print("  the network is there: what the public instances signed is judged by what they say today")
        else:
            check_production(programs, folder, report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
