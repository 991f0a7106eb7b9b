#!/usr/bin/env python3
"""Judges a rehearsal with programs that share no code with conda-release.

Everything is taken from the files that a user is left with: the manifest, the packages, the trust files and the channel.

  sigstore-python   verifies every bundle offline; refuses another file, another identity and another issuer
  cosign            the same, with the trusted root alone
  py-rattler        reads the channel over HTTP, finds and verifies the attestations, solves, installs, runs
  this script       follows CEP-50 from repodata to the sidecars, byte for byte

usage: verify.py REHEARSAL --cosign PROGRAM       (Python packages: requirements.txt beside this file)
"""

import argparse
import asyncio
import concurrent.futures
import functools
import hashlib
import http.server
import json
import os
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import rattler
from report import Report
from verifiers import Attempt, Trust, cosign, run, sigstore_python


@dataclass(frozen=True)
class Package:
    """What the manifest says about one package, and where its files are."""

    subdir: str
    file: str
    sha256: str
    path: Path
    bundle: Path
    identity: str
    issuer: str
    sidecar_sha256: str

    def __str__(self) -> str:
        return f"{self.subdir}/{self.file}"

    @property
    def spec(self) -> str:
        """The match spec that means this package and no other."""
        name, version, build = self.file.removesuffix(".conda").removesuffix(".tar.bz2").rsplit("-", 2)
        return f"{name} =={version} {build}"


@dataclass(frozen=True)
class Rehearsal:
    """The folder that `cargo xtask release` leaves."""

    root: Path
    target_channel: str
    packages: list[Package]

    @classmethod
    def read(cls, root: Path) -> "Rehearsal":
        manifest = json.loads((root / "release-manifest.json").read_bytes())
        packages = [
            Package(
                subdir=entry["subdir"],
                file=entry["file"],
                sha256=entry["sha256"],
                path=root / "packages" / entry["subdir"] / entry["file"],
                bundle=root / entry["attestation"]["bundle"],
                identity=entry["attestation"]["identity"],
                issuer=entry["attestation"]["issuer"],
                sidecar_sha256=entry["published"]["sidecar_sha256"],
            )
            for entry in manifest["packages"]
        ]
        return cls(root, manifest["target_channel"], packages)

    @property
    def trust(self) -> Trust:
        folder = self.root / "sandbox"
        return Trust(folder / "trust_config.json", folder / "trusted_root.json")

    @property
    def channel(self) -> Path:
        return self.root / "channel"


def verify_bundles(rehearsal: Rehearsal, cosign_program: Path, report: Report, scratch: Path) -> None:
    """Every bundle is good for its package, and for nothing else."""
    verifiers = [sigstore_python(rehearsal.trust), cosign(cosign_program, rehearsal.trust)]

    def attempts(package: Package):
        altered = scratch / package.file
        altered.write_bytes(package.path.read_bytes() + b"\0")
        honest = Attempt(package.bundle, package.path, package.identity, package.issuer)
        yield None, honest
        yield "another file", Attempt(package.bundle, altered, honest.identity, honest.issuer)
        yield "another identity", Attempt(package.bundle, honest.file, honest.identity + "x", honest.issuer)
        yield "another issuer", Attempt(package.bundle, honest.file, honest.identity, honest.issuer + "x")

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        asked = [
            (verifier, package, lie, pool.submit(verifier.ask, attempt))
            for package in rehearsal.packages
            for lie, attempt in attempts(package)
            for verifier in verifiers
        ]
        for verifier, package, lie, answer in asked:
            result = answer.result()
            if lie is None:
                report.check(f"{verifier.name} accepts {package}", verifier.accepts(result), result.stdout)
            else:
                report.check(
                    f"{verifier.name} refuses {lie} for {package}", verifier.refuses(result, lie), result.stdout
                )


def follow_sidecars(rehearsal: Rehearsal, report: Report) -> None:
    """CEP-50: repodata names the sidecar's hash; the sidecar holds the bundle as it was written."""
    for package in rehearsal.packages:
        folder = rehearsal.channel / package.subdir
        repodata = json.loads((folder / "repodata.json").read_bytes())
        record = {**repodata.get("packages", {}), **repodata.get("packages.conda", {})}.get(package.file, {})
        report.check(
            f"repodata has the hash of {package}",
            record.get("sha256") == package.sha256 == hashlib.sha256((folder / package.file).read_bytes()).hexdigest(),
            record,
        )
        advertised = record.get("attestations_sha256")
        report.check(f"repodata has the sidecar of {package}", advertised == package.sidecar_sha256, advertised)
        fixed, mutable = folder / f"{package.file}.sigs.{package.sidecar_sha256}", folder / f"{package.file}.sigs"
        sidecar = fixed.read_bytes() if fixed.exists() else b""
        report.check(
            f"the sidecar of {package} is what its name says",
            hashlib.sha256(sidecar).hexdigest() == package.sidecar_sha256 and sidecar == mutable.read_bytes(),
            fixed,
        )
        report.check(
            f"the sidecar of {package} is an array with the bundle byte for byte",
            isinstance(json.loads(sidecar or b"0"), list) and package.bundle.read_bytes().strip() in sidecar,
            sidecar[:200],
        )


def serve(folder: Path) -> http.server.ThreadingHTTPServer:
    """Serves a folder on loopback, as a channel is read by clients."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


async def install(rehearsal: Rehearsal, report: Report, scratch: Path) -> None:
    """Every package is found, verified, solved and installed by a conda client, and what it brings runs."""
    server = serve(rehearsal.channel)
    channel = rattler.Channel(f"http://127.0.0.1:{server.server_port}")
    trusted_root = rattler.TrustedRoot.from_path(rehearsal.trust.trusted_root)
    virtual = rattler.VirtualPackage.detect()
    gateway = rattler.Gateway(cache_dir=scratch / "repodata")
    subdirs = sorted({package.subdir for package in rehearsal.packages} | {"noarch"})
    for number, package in enumerate(rehearsal.packages):
        try:
            records = await rattler.solve(
                [channel], [package.spec], gateway=gateway, platforms=subdirs, virtual_packages=virtual
            )
        except Exception as error:
            report.check(f"py-rattler solves {package.spec}", False, error)
            continue
        record = next(record for record in records if record.file_name == package.file)
        report.check(f"py-rattler solves {package.spec}", record.sha256.hex() == package.sha256, records)

        policy = rattler.VerificationPolicy.require(
            rattler.Publisher(package.identity, rattler.Issuer(package.issuer)),
            # What is served here is a mirror of the channel that was attested.
            channel_check=rattler.ChannelCheck.IGNORE,
        )
        try:
            outcome = await rattler.verify_attestation(record, policy, trusted_root=trusted_root)
            target = outcome.attestation and outcome.attestation.target_channel
            report.check(f"py-rattler verifies {package}", target == rehearsal.target_channel, outcome)
        except Exception as error:
            report.check(f"py-rattler verifies {package}", False, error)

        prefix = scratch / f"prefix-{number}"
        await rattler.install(records, prefix, cache_dir=scratch / "cache", show_progress=False)
        missing = [
            str(path.relative_path)
            for meta in (prefix / "conda-meta").glob("*.json")
            for path in rattler.PrefixRecord.from_path(meta).paths_data.paths
            if not os.path.lexists(prefix / path.relative_path)
        ]
        report.check(f"py-rattler installs {package}", not missing, missing)
        run_programs(prefix, rehearsal, package, report)
    server.shutdown()


def run_programs(prefix: Path, rehearsal: Rehearsal, package: Package, report: Report) -> None:
    """An installed program runs where it was installed, with nothing else set, and does its work."""
    environment = {"PATH": "/usr/bin:/bin"}
    for program in sorted(prefix.glob("bin/*")):
        result = run(program, "--help", env=environment)
        report.check(f"{program.name} of {package} runs", result.returncode == 0, result.stdout)

    castagnoli = prefix / "bin" / "castagnoli"
    if castagnoli.exists():
        (prefix / "numbers").write_text("123456789")
        result = run(castagnoli, "numbers", env=environment, cwd=prefix)
        report.check(f"castagnoli of {package} is right", result.stdout == "e3069283  numbers\n", result.stdout)

    validate = prefix / "bin" / "cep27-validate"
    if validate.exists():
        sidecars = [rehearsal.channel / other.subdir / f"{other.file}.sigs" for other in rehearsal.packages]
        result = run(validate, *(other.bundle for other in rehearsal.packages), *sidecars, env=environment)
        report.check("cep27-validate finds every bundle and sidecar valid", result.returncode == 0, result.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rehearsal", type=Path, help="the folder with release-manifest.json")
    parser.add_argument("--cosign", type=Path, default="cosign", metavar="PROGRAM", help="cosign 3 (default: from PATH)")
    arguments = parser.parse_args()

    rehearsal = Rehearsal.read(arguments.rehearsal.resolve())
    report = Report()
    report.check("the manifest has packages", bool(rehearsal.packages))
    with tempfile.TemporaryDirectory() as scratch:
        verify_bundles(rehearsal, arguments.cosign, report, Path(scratch))
        follow_sidecars(rehearsal, report)
        asyncio.run(install(rehearsal, report, Path(scratch)))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
