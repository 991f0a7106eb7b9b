#!/usr/bin/env python3
"""A conda client: installs PACKAGE from CHANNEL with py-rattler, verified as the job that TRUSTED_ROOT vouches for, if given.

usage: install.py CHANNEL PACKAGE PREFIX [--trusted-root FILE --identity SAN --issuer URL]
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

import rattler


async def verify(records: list[rattler.RepoDataRecord], arguments: argparse.Namespace) -> None:
    policy = rattler.VerificationPolicy.require(
        rattler.Publisher(arguments.identity, rattler.Issuer(arguments.issuer)),
    )
    trusted_root = rattler.TrustedRoot.from_path(arguments.trusted_root)
    for record in records:
        await rattler.verify_attestation(record, policy, trusted_root=trusted_root)
        print(f"verified {record.file_name}")


async def install(arguments: argparse.Namespace) -> None:
    channel = rattler.Channel(arguments.channel)
    with tempfile.TemporaryDirectory() as scratch:
        gateway = rattler.Gateway(cache_dir=Path(scratch) / "repodata")
        records = await rattler.solve(
            [channel], [arguments.package], gateway=gateway, virtual_packages=rattler.VirtualPackage.detect()
        )
        if arguments.trusted_root is not None:
            await verify(records, arguments)
        await rattler.install(records, arguments.prefix, cache_dir=Path(scratch) / "cache", show_progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("channel")
    parser.add_argument("package")
    parser.add_argument("prefix", type=Path)
    parser.add_argument("--trusted-root", type=Path)
    parser.add_argument("--identity")
    parser.add_argument("--issuer")
    asyncio.run(install(parser.parse_args()))


if __name__ == "__main__":
    main()
