//! A way to a server on which something happens to the package's file while it is sent.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How much of a package passes before, in bytes.
const BEFORE: usize = 512 * 1024;

/// What a package must have at least, in bytes, so that not all of it is on its way by then.
pub(crate) const ENOUGH: usize = 48 * 1024 * 1024;

/// A port of loopback that leads to the server at `origin`, and changes the last byte of a file in place once the
/// first bytes of a large request have passed. Gives its origin.
pub(crate) async fn way_to(origin: &str, edited: PathBuf) -> String {
    let server = origin.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, server.clone(), edited.clone()));
        }
    });
    format!("http://{address}")
}

async fn pass(client: TcpStream, server: String, edited: PathBuf) {
    let server = TcpStream::connect(server).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async move {
        let mut buffer = vec![0; 64 * 1024];
        let mut passed = 0;
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            if passed < BEFORE && passed + read >= BEFORE {
                edit(&edited);
            }
            passed += read;
            if to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    let back = tokio::io::copy(&mut from_server, &mut to_client);
    let ((), _ended) = tokio::join!(there, back);
}

fn edit(path: &PathBuf) {
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::End(-1)).unwrap();
    file.write_all(b"!").unwrap();
}
