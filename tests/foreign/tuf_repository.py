"""A TUF repository as python-tuf makes it, served on loopback: how a private Sigstore tells who is trusted."""

import functools
import http.server
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

# The names by which clients of Sigstore ask for the two files.
TRUSTED_ROOT, SIGNING_CONFIG = "trusted_root.json", "signing_config.v0.2.json"


class TufRepository:
    """Signs and serves what a folder shall hold."""

    def __init__(self, folder: Path, trusted_root: Path, signing_config: Path) -> None:
        self.folder = folder
        self.served = folder / "served"
        (self.served / "targets").mkdir(parents=True)
        self.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        self.version = 0
        self.signers = {
            Root.type: CryptoSigner.generate_ecdsa(),
            Timestamp.type: CryptoSigner.generate_ed25519(),
            Snapshot.type: CryptoSigner.generate_ecdsa(),
            Targets.type: CryptoSigner.generate_rsa(),
        }
        self.root = Root(expires=self.expires, consistent_snapshot=True)
        for role, signer in self.signers.items():
            self.root.add_key(signer.public_key, role)
        self.write("1.root.json", self.root, self.signers[Root.type])
        # What the users of the instance have from its owner.
        self.first_root = folder / "root.json"
        self.first_root.write_bytes((self.served / "1.root.json").read_bytes())
        self.targets = {TRUSTED_ROOT: trusted_root.read_bytes(), SIGNING_CONFIG: signing_config.read_bytes()}
        self.publish()

    def write(self, name: str, signed: Signed, *signers: CryptoSigner) -> None:
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        (self.served / name).write_bytes(metadata.to_bytes(JSONSerializer(compact=True)))

    def publish(self, timestamp_expires: datetime | None = None) -> None:
        """The next version of everything below the root."""
        self.version += 1
        version = {"version": self.version, "expires": self.expires}
        targets = Targets(**version)
        for name, content in self.targets.items():
            target = TargetFile.from_data(name, content, ["sha256"])
            targets.targets[name] = target
            (self.served / "targets" / f"{target.hashes['sha256']}.{name}").write_bytes(content)
        snapshot = Snapshot(**version)
        snapshot.meta["targets.json"].version = self.version
        timestamp = Timestamp(self.version, expires=timestamp_expires or self.expires)
        timestamp.snapshot_meta.version = self.version
        self.write(f"{self.version}.targets.json", targets, self.signers[Targets.type])
        self.write(f"{self.version}.snapshot.json", snapshot, self.signers[Snapshot.type])
        self.write("timestamp.json", timestamp, self.signers[Timestamp.type])

    def rotate(self, role: str) -> None:
        """A new key for a role, by a new root that the old root's key vouches for."""
        old_root = self.signers[Root.type]
        self.root.revoke_key(self.signers[role].public_key.keyid, role)
        self.signers[role] = CryptoSigner.generate_ed25519()
        self.root.add_key(self.signers[role].public_key, role)
        self.root.version += 1
        new_root = self.signers[Root.type]
        signers = {signer.public_key.keyid: signer for signer in (old_root, new_root)}
        self.write(f"{self.root.version}.root.json", self.root, *signers.values())
        self.publish()

    def __enter__(self) -> Self:
        handler = functools.partial(Quiet, directory=self.served)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Nobody is there any more."""
        self.server.shutdown()
        self.server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
