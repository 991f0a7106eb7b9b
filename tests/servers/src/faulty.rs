//! A server on which everything goes wrong.

use std::path::PathBuf;
use std::process::Command;

use axum::Router;

use crate::Fault;
use crate::listen::{Listening, bind, serve};
use crate::program::{self, Running};

/// A server that does the same with every request.
#[derive(Debug)]
pub struct Faulty {
    origin: String,
    _listening: Listening,
}

impl Faulty {
    /// Starts it on a random port of loopback.
    pub async fn start(fault: Fault) -> Self {
        let (listener, origin) = bind().await;
        let listening = serve(listener, Router::new());
        listening.faults().always("/", fault);
        Self {
            _listening: listening,
            origin,
        }
    }

    /// The origin of its URLs.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

/// A certificate that nobody vouches for, and whoever shakes hands with it is not answered.
const SELF_SIGNED: &str = r#"
import datetime, ipaddress, socketserver, ssl, sys, tempfile
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
certificate = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
    .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
    .sign(key, hashes.SHA256())
)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
with tempfile.NamedTemporaryFile() as file:
    file.write(certificate.public_bytes(serialization.Encoding.PEM))
    file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    file.flush()
    context.load_cert_chain(file.name)

class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        with context.wrap_socket(self.request, server_side=True) as connection:
            connection.recv(1 << 16)

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    def handle_error(self, request, client_address):
        pass

host, port = sys.argv[1].rsplit(":", 1)
Server((host, int(port)), Handler).serve_forever()
"#;

/// A server over TLS whose certificate nobody vouches for. It ends when this is dropped.
#[derive(Debug)]
pub struct SelfSigned(Running);

impl SelfSigned {
    /// Starts it; `None` where the Python tools aren't installed.
    ///
    /// # Panics
    /// It doesn't start.
    pub fn start() -> Option<Self> {
        let python: PathBuf = program::find("python/bin/python")?;
        Some(Self(Running::start(|address| {
            let mut command = Command::new(&python);
            command.args(["-c", SELF_SIGNED, &address.to_string()]);
            command
        })))
    }

    /// The origin of its URLs.
    pub fn origin(&self) -> String {
        format!("https://{}", self.0.address())
    }
}
