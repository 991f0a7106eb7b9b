"""The smallest conda packages there can be (CEP 35)."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

from backports import zstd


def write(folder: Path, name: str, version: str = "1.0.0", build: str = "h0_0") -> Path:
    """Writes a `noarch` package whose one file says its name."""
    stem = f"{name}-{version}-{build}"
    index = {
        "arch": None,
        "build": build,
        "build_number": 0,
        "depends": [],
        "license": "CC0-1.0",
        "name": name,
        "noarch": "generic",
        "platform": None,
        "subdir": "noarch",
        "timestamp": 1767225600000,
        "version": version,
    }
    contents = f"share/{name}.txt"
    package = folder / f"{stem}.conda"
    with zipfile.ZipFile(package, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        archive.writestr(f"pkg-{stem}.tar.zst", tar({contents: name.encode()}))
        info = {
            "info/index.json": json.dumps(index).encode(),
            "info/files": contents.encode(),
            "info/paths.json": b'{"paths": [], "paths_version": 1}',
        }
        archive.writestr(f"info-{stem}.tar.zst", tar(info))
    return package


def tar(files: dict[str, bytes]) -> bytes:
    """A compressed tar of files, without anything that differs between runs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return zstd.compress(buffer.getvalue())
