#!/usr/bin/env python3
"""The real Sigstore on loopback: Fulcio, Rekor v2 and the timestamp authority, as they run in production.

What cannot be installed is played by this script: an OpenID Connect issuer whose tokens are those of GitHub Actions, and
the certificate transparency log. Everything that clients need to know is written to FOLDER: trust_config.json,
trusted_root.json and signing_config.json; what a job of GitHub Actions finds in its environment is printed.

usage: real_sigstore.py FOLDER --bin DIR       (DIR has fulcio, rekor-server and timestamp-server; runs until stdin ends)

Python packages: requirements.txt beside this file.
"""

import argparse
import base64
import dataclasses
import hashlib
import http.server
import json
import secrets
import shlex
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import jwt
from asn1crypto.x509 import Certificate
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "sigstore"
PATIENCE = 30  # seconds until a program must answer
PROGRAMS = ("fulcio", "rekor-server", "timestamp-server")
REKOR_ORIGIN = "rekor.loopback"
P256 = "PKIX_ECDSA_P256_SHA_256"


@dataclass(frozen=True)
class Job:
    """The job of GitHub Actions that signs."""

    repository: str = "acme/pkgs"
    commit: str = "a" * 40
    ref: str = "refs/heads/main"
    workflow: str = ".github/workflows/release.yml"
    signer: str = ""  # the reusable workflow that the job is of, if it is of one: OWNER/NAME/PATH@REF

    @property
    def workflow_ref(self) -> str:
        return f"{self.repository}/{self.workflow}@{self.ref}"

    @property
    def job_workflow_ref(self) -> str:
        return self.signer or self.workflow_ref

    @property
    def identity(self) -> str:
        """What stands in the certificate."""
        return f"https://github.com/{self.job_workflow_ref}"

    @property
    def run(self) -> str:
        """Where the job is seen."""
        return f"https://github.com/{self.repository}/actions/runs/8642/attempts/1"

    def claims(self) -> dict[str, str]:
        """The claims of its tokens, but for those of every token."""
        owner, _, _ = self.repository.partition("/")
        return {
            "sub": f"repo:{self.repository}:ref:{self.ref}",
            "actor": "octocat",
            "event_name": "push",
            "job_workflow_ref": self.job_workflow_ref,
            "job_workflow_sha": self.commit,
            "ref": self.ref,
            "ref_type": "branch",
            "repository": self.repository,
            "repository_id": "1296269",
            "repository_owner": owner,
            "repository_owner_id": "583231",
            "repository_visibility": "public",
            "run_attempt": "1",
            "run_id": "8642",
            "run_number": "7",
            "runner_environment": "github-hosted",
            "sha": self.commit,
            "workflow": "release",
            "workflow_ref": self.workflow_ref,
            "workflow_sha": self.commit,
        }


# Which claim becomes which extension of the certificate, as in the configuration of the public Fulcio.
GITHUB_EXTENSIONS = {
    "github-workflow-trigger": "event_name",
    "github-workflow-sha": "sha",
    "github-workflow-name": "workflow",
    "github-workflow-repository": "repository",
    "github-workflow-ref": "ref",
    "build-signer-uri": "{{ .url }}/{{ .job_workflow_ref }}",
    "build-signer-digest": "job_workflow_sha",
    "runner-environment": "runner_environment",
    "source-repository-uri": "{{ .url }}/{{ .repository }}",
    "source-repository-digest": "sha",
    "source-repository-ref": "ref",
    "source-repository-identifier": "repository_id",
    "source-repository-owner-uri": "{{ .url }}/{{ .repository_owner }}",
    "source-repository-owner-identifier": "repository_owner_id",
    "build-config-uri": "{{ .url }}/{{ .workflow_ref }}",
    "build-config-digest": "workflow_sha",
    "build-trigger": "event_name",
    "run-invocation-uri": "{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}/attempts/{{ .run_attempt }}",
    "source-repository-visibility-at-signing": "repository_visibility",
}


class Issuer:
    """GitHub's token issuer and its Actions endpoint."""

    def __init__(self, job: Job, audience: str, token_lifetime: int) -> None:
        self.job = job
        self.audience = audience
        self.token_lifetime = token_lifetime
        self.url = ""  # known when it is served
        self.bearer = secrets.token_urlsafe()
        self._key = rsa.generate_private_key(65537, 2048)

    def token(self, audience: str) -> str:
        now = int(time.time())
        end = now + self.token_lifetime
        common = {"iss": self.url, "aud": audience, "iat": now, "nbf": now, "exp": end, "jti": secrets.token_hex()}
        return jwt.encode({**common, **self.job.claims()}, self._key, algorithm="RS256", headers={"kid": "1"})

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def keys(self) -> dict[str, Any]:
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": "1", "use": "sig", "alg": "RS256"}]}

    def environment(self) -> dict[str, str]:
        """What a job with `id-token: write` finds in its environment."""
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/actions-token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.bearer,
        }

    def fulcio_configuration(self) -> str:
        document = {
            "oidc-issuers": {
                self.url: {
                    "issuer-url": self.url,
                    "client-id": self.audience,
                    "type": "ci-provider",
                    "ci-provider": "github-workflow",
                    "contact": "nobody@example.org",
                    "description": "GitHub Actions on loopback",
                }
            },
            "ci-issuer-metadata": {
                "github-workflow": {
                    "default-template-values": {"url": "https://github.com"},
                    "extension-templates": GITHUB_EXTENSIONS,
                    "subject-alternative-name-template": "{{ .url }}/{{ .job_workflow_ref }}",
                }
            },
        }
        # Fulcio takes what parses as JSON for its other configuration format, in which these keys mean nothing.
        return f"# YAML\n{json.dumps(document)}\n"


class TransparencyLog:
    """The certificate transparency log, which promises to log whatever it is shown (RFC 6962)."""

    POISON = "1.3.6.1.4.1.11129.2.4.3"

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> bytes:
        return public_der(self._key)

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.public_key).digest()

    def add_pre_chain(self, chain: list[str]) -> dict[str, Any]:
        """Signs a certificate timestamp for a precertificate and its issuer."""
        certificate, issuer = (Certificate.load(base64.b64decode(text))["tbs_certificate"] for text in chain[:2])
        extensions = certificate["extensions"]
        certificate["extensions"] = [kept for kept in extensions if kept["extn_id"].dotted != self.POISON]
        to_be_signed = certificate.dump(force=True)
        issuer_key = hashlib.sha256(issuer["subject_public_key_info"].dump()).digest()
        timestamp = int(time.time() * 1000)
        entry = struct.pack(">BBQH", 0, 0, timestamp, 1) + issuer_key
        entry += len(to_be_signed).to_bytes(3, "big") + to_be_signed + b"\0\0"
        signature = self._key.sign(entry, ec.ECDSA(hashes.SHA256()))
        return {
            "sct_version": 0,
            "id": encoded(self.id),
            "timestamp": timestamp,
            "extensions": "",
            "signature": encoded(struct.pack(">BBH", 4, 3, len(signature)) + signature),
        }


class Frontend(http.server.ThreadingHTTPServer):
    """Serves the issuer and the certificate transparency log on one port."""

    def __init__(self, issuer: Issuer, log: TransparencyLog) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.issuer = issuer
        self.log = log
        self.url = issuer.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Frontend

    def do_GET(self) -> None:
        issuer = self.server.issuer
        url = urllib.parse.urlsplit(self.path)
        match url.path:
            case "/.well-known/openid-configuration":
                self.answer(200, issuer.discovery())
            case "/jwks":
                self.answer(200, issuer.keys())
            case "/actions-token" if not self.is_authorized():
                self.answer(401, {"message": "unauthorized"})
            case "/actions-token":
                audience = urllib.parse.parse_qs(url.query).get(
                    "audience", [f"https://github.com/{issuer.job.repository}"]
                )
                self.answer(200, {"value": issuer.token(audience[0])})
            case _:
                self.answer(404, {"message": "not found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/ct/v1/add-pre-chain":
            self.answer(200, self.server.log.add_pre_chain(json.loads(body)["chain"]))
        else:
            self.answer(404, {"message": "not found"})

    def is_authorized(self) -> bool:
        scheme, _, bearer = self.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and bearer == self.server.issuer.bearer

    def answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Sigstore:
    """All of it, as long as the context lasts."""

    def __init__(
        self,
        folder: Path,
        programs: Path,
        job: Job | None = None,
        audience: str = AUDIENCE,
        token_lifetime: int = 300,
    ) -> None:
        self.folder = folder.resolve()
        self.programs = programs.resolve()
        self.job = job or Job()
        self._issuer = Issuer(self.job, audience, token_lifetime)
        self._log = TransparencyLog()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def issuer(self) -> str:
        return self._issuer.url

    @property
    def identity(self) -> str:
        return self.job.identity

    @property
    def trust_config(self) -> Path:
        return self.folder / "trust_config.json"

    @property
    def trusted_root(self) -> Path:
        return self.folder / "trusted_root.json"

    @property
    def signing_config(self) -> Path:
        return self.folder / "signing_config.json"

    def token(self) -> str:
        """A token of the job."""
        return self._issuer.token(self._issuer.audience)

    def environment(self) -> dict[str, str]:
        """What the job finds in its environment."""
        return self._issuer.environment()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        frontend = Frontend(self._issuer, self._log)
        rekor_key = ed25519.Ed25519PrivateKey.generate()
        self._write("rekor.pem", private_pem(rekor_key))
        self._write("fulcio.yaml", self._issuer.fulcio_configuration().encode())
        fulcio, fulcio_grpc, fulcio_metrics, rekor, rekor_grpc, rekor_metrics, tsa = free_ports(7)
        self._run(
            "fulcio",
            "serve",
            "--ca=ephemeralca",
            f"--ct-log-url={frontend.url}",
            f"--config-path={self.folder / 'fulcio.yaml'}",
            "--host=127.0.0.1",
            f"--port={fulcio}",
            "--grpc-host=127.0.0.1",
            f"--grpc-port={fulcio_grpc}",
            f"--metrics-port={fulcio_metrics}",
            f"--legacy-unix-domain-socket={self.folder / 'fulcio.sock'}",
        )
        self._run(
            "rekor-server",
            "serve",
            "--http-address=127.0.0.1",
            f"--http-port={rekor}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={rekor_grpc}",
            f"--http-metrics-port={rekor_metrics}",
            f"--hostname={REKOR_ORIGIN}",
            f"--storage-dir={self.folder / 'rekor'}",
            f"--signer-filepath={self.folder / 'rekor.pem'}",
            "--checkpoint-interval=1s",
        )
        # It also binds port 2112 for metrics, which cannot be chosen: one on a machine, or in a network namespace.
        self._run(
            "timestamp-server",
            "serve",
            "--host=127.0.0.1",
            f"--port={tsa}",
            "--timestamp-signer=memory",
            "--disable-ntp-monitoring",
        )
        urls = {"fulcio": fulcio, "rekor": rekor, "tsa": tsa}
        self._describe(rekor_key, **{name: f"http://127.0.0.1:{port}" for name, port in urls.items()})

    def _describe(self, rekor_key: ed25519.Ed25519PrivateKey, fulcio: str, rekor: str, tsa: str) -> None:
        """Writes what clients must know, asking the programs for the certificates they made."""
        bundle = json.loads(self._ask("fulcio", f"{fulcio}/api/v2/trustBundle"))
        fulcio_chain = [x509.load_pem_x509_certificate(pem.encode()) for pem in bundle["chains"][0]["certificates"]]
        tsa_chain = x509.load_pem_x509_certificates(self._ask("timestamp-server", f"{tsa}/api/v1/timestamp/certchain"))
        self._ask("rekor-server", f"{rekor}/healthz")
        since = {"start": (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}
        raw = rekor_key.public_key().public_bytes_raw()
        # The key id of a note's verifier (C2SP signed-note), whole.
        rekor_id = hashlib.sha256(REKOR_ORIGIN.encode() + b"\n\x01" + raw).digest()

        def log(url: str, key: bytes, details: str, key_id: bytes) -> dict[str, Any]:
            return {
                "baseUrl": url,
                "hashAlgorithm": "SHA2_256",
                "publicKey": {"rawBytes": encoded(key), "keyDetails": details, "validFor": since},
                "logId": {"keyId": encoded(key_id)},
            }

        def authority(name: str, url: str, chain: list[x509.Certificate]) -> dict[str, Any]:
            certificates = [{"rawBytes": encoded(each.public_bytes(serialization.Encoding.DER))} for each in chain]
            return {
                "subject": {"organization": "loopback", "commonName": name},
                "uri": url,
                "certChain": {"certificates": certificates},
                "validFor": since,
            }

        def service(url: str, version: int) -> dict[str, Any]:
            return {"url": url, "majorApiVersion": version, "validFor": since, "operator": "loopback"}

        trusted_root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(f"https://{REKOR_ORIGIN}", public_der(rekor_key), "PKIX_ED25519", rekor_id)],
            "certificateAuthorities": [authority("fulcio", fulcio, fulcio_chain)],
            "ctlogs": [log(self._issuer.url, self._log.public_key, P256, self._log.id)],
            "timestampAuthorities": [authority("tsa", tsa, tsa_chain)],
        }
        signing_config = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [service(fulcio, 1)],
            "oidcUrls": [service(self._issuer.url, 1)],
            "rekorTlogUrls": [service(rekor, 2)],
            "tsaUrls": [service(f"{tsa}/api/v1/timestamp", 1)],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaConfig": {"selector": "ANY"},
        }
        trust_config = {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": trusted_root,
            "signingConfig": signing_config,
        }
        for path, document in (
            (self.trusted_root, trusted_root),
            (self.signing_config, signing_config),
            (self.trust_config, trust_config),
        ):
            path.write_text(json.dumps(document, indent=2))

    def _write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def _run(self, program: str, *arguments: str) -> None:
        with open(self.folder / f"{program}.log", "wb") as log:
            self._processes[program] = subprocess.Popen(
                [self.programs / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )

    def _ask(self, program: str, url: str) -> bytes:
        """The answer to a GET, as soon as the program gives one."""
        process = self._processes[program]
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    return answer.read()
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    log = (self.folder / f"{program}.log").read_text(errors="replace")
                    raise RuntimeError(f"{program} does not answer {url}: {error}\n{log[-4000:]}") from error
            time.sleep(0.1)

    def _stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def public_der(key: Any) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: Any) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held until all are known, so that none is given twice."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where state and trust files go")
    parser.add_argument("--bin", type=Path, required=True, help=f"the folder with {', '.join(PROGRAMS)}")
    parser.add_argument("--repository", default=Job.repository, help="OWNER/NAME on GitHub (default: %(default)s)")
    parser.add_argument("--commit", default=Job.commit, help="the commit that is built (default: %(default)s)")
    parser.add_argument("--ref", default=Job.ref, help="the ref that is built (default: %(default)s)")
    parser.add_argument("--signer", default=Job.signer, help="the reusable workflow that signs: OWNER/NAME/PATH@REF")
    parser.add_argument("--audience", default=AUDIENCE, help="what Fulcio wants of a token (default: %(default)s)")
    parser.add_argument("--token-lifetime", type=int, default=300, metavar="SECONDS", help="(default: %(default)s)")
    arguments = parser.parse_args()

    named = {name: getattr(arguments, name) for name in ("repository", "commit", "ref", "signer")}
    job = dataclasses.replace(Job(), **named)
    with Sigstore(arguments.folder, arguments.bin, job, arguments.audience, arguments.token_lifetime) as sigstore:
        for name, value in sigstore.environment().items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"export SIGSTORE_IDENTITY={shlex.quote(sigstore.identity)} SIGSTORE_ISSUER={sigstore.issuer}")
        print(f"export SIGSTORE_TRUST_CONFIG={shlex.quote(str(sigstore.trust_config))}", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
