#!/usr/bin/env python3
"""Measures verification: one call of conda-release for many packages against a loop of other people's programs.

The packages are signed by conda-release itself, with the real Sigstore on loopback. The slow are asked about a few
packages and scaled; conda-release is asked about all of them at once, as its users do.

usage: bench.py --tools DIR --conda-release PROGRAM [--packages N]

As for interop.py, but the program should be a release build: `cargo build --release --package end-to-end --bins`.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import conda_package
from interop import CHANNEL, bundle, real_instance
from real_sigstore import Sigstore
from verifiers import Attempt, Result, conda_sigstore, cosign, run, sigstore_go, sigstore_python

# How often each is asked: the best of a few calls, the mean of a few processes.
CALLS = 3
PROCESSES = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, required=True, help="the folder with other people's programs")
    parser.add_argument("--conda-release", type=Path, required=True, metavar="PROGRAM")
    parser.add_argument("--packages", type=int, default=1000, metavar="N", help="(default: %(default)s)")
    arguments = parser.parse_args()
    tools, program = arguments.tools.resolve(), arguments.conda_release.resolve()

    with tempfile.TemporaryDirectory() as scratch, Sigstore(Path(scratch) / "sigstore", tools) as sigstore:
        os.environ["HOME"] = scratch
        instance = real_instance(sigstore)
        folder = Path(scratch) / "packages"
        folder.mkdir()
        packages = [conda_package.write(folder, f"package-{number}") for number in range(arguments.packages)]
        trust = ("--trust", instance.trust.trust_config)
        began = time.monotonic()
        succeed(
            run(program, "sign", *packages, *trust, "--channel", CHANNEL, env={**os.environ, **instance.environment})
        )
        signing = time.monotonic() - began

        def verify_all() -> None:
            policy = ("--identity", instance.identity, "--issuer", instance.issuer, "--channel", CHANNEL)
            succeed(run(program, "verify", *packages, *trust, *policy, "--offline"))

        ours = min(timed(verify_all) for _ in range(CALLS)) / len(packages)
        print(f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}")
        print(f"{len(packages)} packages signed in {signing:.2f} s, one certificate, real Fulcio, Rekor v2 and TSA")
        print(f"{'conda-release, one call':<32} {ours * 1000:9.2f} ms a package")
        for verifier in (
            sigstore_python(instance.trust),
            conda_sigstore(instance.trust, CHANNEL),
            cosign(tools / "cosign", instance.trust),
            sigstore_go(tools / "sigstore-go-verification", instance.trust),
        ):

            def loop(ask: Callable[[Attempt], Result] = verifier.ask) -> None:
                for package in packages[:PROCESSES]:
                    succeed(ask(Attempt(bundle(package), package, instance.identity, instance.issuer)))

            theirs = timed(loop) / PROCESSES
            name = f"{verifier.name}, a process each"
            print(f"{name:<32} {theirs * 1000:9.2f} ms a package, {theirs / ours:7.1f} times as long")
    return 0


def timed(work: Callable[[], None]) -> float:
    """The seconds that it takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def succeed(result: Result) -> None:
    if result.returncode != 0:
        raise RuntimeError(f"{result.args[0]} ended with {result.returncode}:\n{result.stdout[-4000:]}")


if __name__ == "__main__":
    sys.exit(main())
