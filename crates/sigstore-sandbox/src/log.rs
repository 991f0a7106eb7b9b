//! The transparency log: a file of entries, a Merkle tree over them, and a signed checkpoint.
//!
//! Entries are canonical JSON and therefore never contain a line break: the file holds one a line.
//! An entry is durable before it is answered; what a killed process left of a last line is cut off.

use std::{
    collections::HashMap,
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};
use sigstore_types::Sha256Hash;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Error,
    files::{sync_folder, write_atomically},
    merkle::Tree,
    note,
};

/// So many waiting entries share one write, one sync and one checkpoint.
const BATCH: usize = 256;

/// A handle on the log, whose only writer is a thread of its own.
#[derive(Clone)]
pub(crate) struct Log {
    writer: mpsc::Sender<Request>,
    checkpoint: watch::Receiver<String>,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It was appended, and a checkpoint covers it.
    New(Inclusion),
    /// The log had it already, at this index.
    Duplicate(u64),
}

/// Proof that an entry is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inclusion {
    pub(crate) index: u64,
    pub(crate) size: u64,
    pub(crate) root: Sha256Hash,
    pub(crate) hashes: Vec<Sha256Hash>,
    pub(crate) checkpoint: String,
}

struct Request {
    entry: Vec<u8>,
    answer: oneshot::Sender<Result<Appended, String>>,
}

impl Log {
    /// Opens the log in `folder`, which `lock` keeps for us until the writer ends: once the last
    /// handle is gone.
    pub(crate) fn open(
        folder: &Path,
        key: SigningKey,
        lock: std::fs::File,
    ) -> Result<(Self, std::thread::JoinHandle<()>), Error> {
        let mut storage = Storage::open(folder, key)?;
        let checkpoint = storage.checkpoint.subscribe();
        let (writer, mut requests) = mpsc::channel(BATCH);
        let thread = std::thread::Builder::new()
            .name("sandbox log".to_owned())
            .spawn(move || {
                while let Some(first) = requests.blocking_recv() {
                    let mut batch = vec![first];
                    while batch.len() < BATCH
                        && let Ok(next) = requests.try_recv()
                    {
                        batch.push(next);
                    }
                    storage.append(batch);
                }
                drop(lock);
            })?;
        Ok((Self { writer, checkpoint }, thread))
    }

    /// Appends an entry, which must not contain a line break, and waits for its checkpoint.
    pub(crate) async fn append(&self, entry: Vec<u8>) -> Result<Appended, Error> {
        let (answer, answered) = oneshot::channel();
        let stopped = || Error::LogStopped("its writer has ended".to_owned());
        self.writer
            .send(Request { entry, answer })
            .await
            .map_err(|_| stopped())?;
        answered
            .await
            .map_err(|_| stopped())?
            .map_err(Error::LogStopped)
    }

    /// The latest signed checkpoint.
    pub(crate) fn checkpoint(&self) -> String {
        self.checkpoint.borrow().clone()
    }
}

/// The log as the writer's thread sees it.
struct Storage {
    key: SigningKey,
    file: fs_err::File,
    /// The length of the whole lines of the file.
    length: u64,
    checkpoint_file: PathBuf,
    checkpoint: watch::Sender<String>,
    tree: Tree,
    known: HashMap<[u8; 32], u64>,
}

impl Storage {
    fn open(folder: &Path, key: SigningKey) -> Result<Self, Error> {
        let path = folder.join("log.jsonl");
        let checkpoint_file = folder.join("checkpoint");
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let length = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        let mut tree = Tree::default();
        let mut known = HashMap::new();
        for line in bytes[..length].split_inclusive(|&byte| byte == b'\n') {
            let entry = &line[..line.len() - 1];
            known.insert(Sha256::digest(entry).into(), tree.append(entry));
        }
        let wrong = |problem| Error::Log {
            path: path.clone(),
            problem,
        };
        if let Some(signed) = read_checkpoint(&checkpoint_file)? {
            let signed = note::open(&key, &signed).map_err(wrong)?;
            let (expected, found) = (signed.tree_size(), tree.size());
            if found < expected {
                return Err(wrong(format!(
                    "expected at least {expected} entries, found {found}"
                )));
            }
            if tree.root(expected) != *signed.root_hash() {
                return Err(wrong(format!(
                    "one of the first {expected} entries was changed"
                )));
            }
        } else if tree.size() > 0 {
            return Err(wrong("the checkpoint is missing".to_owned()));
        }
        let file = fs_err::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)?;
        // The checkpoint below covers entries that no one was told of, too: make them durable.
        file.set_len(length as u64)?;
        file.sync_all()?;
        sync_folder(folder)?;
        let mut storage = Self {
            key,
            file,
            length: length as u64,
            checkpoint_file,
            checkpoint: watch::Sender::default(),
            tree,
            known,
        };
        storage.publish()?;
        Ok(storage)
    }

    /// Appends what is new of a batch and answers everyone.
    fn append(&mut self, batch: Vec<Request>) {
        let mut known = HashMap::new();
        let mut lines = Vec::new();
        let first = self.tree.size();
        let mut placed = Vec::with_capacity(batch.len());
        for request in batch {
            let hash: [u8; 32] = Sha256::digest(&request.entry).into();
            let index = match self.known.get(&hash).or_else(|| known.get(&hash)) {
                Some(&index) => (index, false),
                None => {
                    let index = first + known.len() as u64;
                    known.insert(hash, index);
                    lines.extend_from_slice(&request.entry);
                    lines.push(b'\n');
                    (index, true)
                }
            };
            placed.push((request, index));
        }
        let written = self.write(&lines).and_then(|()| {
            for line in lines.split_inclusive(|&byte| byte == b'\n') {
                self.tree.append(&line[..line.len() - 1]);
            }
            self.known.extend(known);
            if lines.is_empty() {
                Ok(())
            } else {
                self.publish()
            }
        });
        let size = self.tree.size();
        let root = self.tree.root(size);
        for (request, (index, new)) in placed {
            let result = match &written {
                Err(error) => Err(error.to_string()),
                Ok(()) if new => Ok(Appended::New(Inclusion {
                    index,
                    size,
                    root,
                    hashes: self.tree.inclusion_proof(index, size),
                    checkpoint: self.checkpoint.borrow().clone(),
                })),
                Ok(()) => Ok(Appended::Duplicate(index)),
            };
            // A client that went away no longer waits for its answer.
            let _gone = request.answer.send(result);
        }
    }

    /// Makes whole lines durable, all or none.
    fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        // What an earlier failure may have left.
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Signs a checkpoint of the tree as it is, and stores it: never before the entries it covers.
    fn publish(&mut self) -> std::io::Result<()> {
        let size = self.tree.size();
        let checkpoint = note::sign(&self.key, size, &self.tree.root(size));
        write_atomically(&self.checkpoint_file, checkpoint.as_bytes())?;
        self.checkpoint.send_replace(checkpoint);
        Ok(())
    }
}

fn read_checkpoint(path: &Path) -> std::io::Result<Option<String>> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sigstore_merkle::{hash_leaf, verify_consistency_proof, verify_inclusion_proof};

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    /// Appends entries in one batch.
    fn append(storage: &mut Storage, entries: &[&str]) -> Vec<Result<Appended, String>> {
        let (batch, answers): (Vec<_>, Vec<_>) = entries
            .iter()
            .map(|entry| {
                let (answer, answered) = oneshot::channel();
                let entry = entry.as_bytes().to_vec();
                (Request { entry, answer }, answered)
            })
            .unzip();
        storage.append(batch);
        answers
            .into_iter()
            .map(|mut answer| answer.try_recv().unwrap())
            .collect()
    }

    fn included(appended: &Result<Appended, String>) -> &Inclusion {
        match appended {
            Ok(Appended::New(inclusion)) => inclusion,
            other => panic!("expected a new entry, found {other:?}"),
        }
    }

    #[test]
    fn a_batch_shares_one_checkpoint_and_every_entry_is_proved_under_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = Storage::open(folder.path(), key()).unwrap();
        append(&mut storage, &["first"]);
        let answers = append(&mut storage, &["a", "b", "c"]);
        for (entry, answer) in ["a", "b", "c"].iter().zip(&answers) {
            let inclusion = included(answer);
            let checkpoint = note::open(&key(), &inclusion.checkpoint).unwrap();
            assert_eq!(checkpoint.tree_size(), 4);
            verify_inclusion_proof(
                &hash_leaf(entry.as_bytes()),
                inclusion.index,
                checkpoint.tree_size(),
                &inclusion.hashes,
                checkpoint.root_hash(),
            )
            .unwrap();
        }
    }

    #[test]
    fn an_entry_is_logged_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = Storage::open(folder.path(), key()).unwrap();
        let answers = append(&mut storage, &["a", "b", "a"]);
        assert_eq!(answers[2], Ok(Appended::Duplicate(0)));
        assert_eq!(append(&mut storage, &["b"]), [Ok(Appended::Duplicate(1))]);
        drop(storage);
        let mut storage = Storage::open(folder.path(), key()).unwrap();
        assert_eq!(append(&mut storage, &["b"]), [Ok(Appended::Duplicate(1))]);
        assert_eq!(storage.tree.size(), 2);
    }

    #[test]
    fn the_log_grows_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = Storage::open(folder.path(), key()).unwrap();
        let before = included(&append(&mut storage, &["a", "b", "c"])[2]).clone();
        drop(storage);
        let mut storage = Storage::open(folder.path(), key()).unwrap();
        let after = included(&append(&mut storage, &["d"])[0]).clone();
        assert_eq!(after.index, 3);
        verify_consistency_proof(
            before.size,
            after.size,
            &storage.tree.consistency_proof(before.size, after.size),
            &before.root,
            &after.root,
        )
        .unwrap();
    }

    #[test]
    fn what_a_killed_process_left_of_a_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut storage = Storage::open(folder.path(), key()).unwrap();
        append(&mut storage, &["a", "b"]);
        drop(storage);
        let mut torn = fs_err::read(&path).unwrap();
        torn.extend(b"a whole line that no one was told of\n and a to");
        fs_err::write(&path, torn).unwrap();

        let mut storage = Storage::open(folder.path(), key()).unwrap();
        let whole = "a\nb\na whole line that no one was told of\n";
        assert_eq!(fs_err::read_to_string(&path).unwrap(), whole);
        assert_eq!(included(&append(&mut storage, &["c"])[0]).index, 3);
        let text = fs_err::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{whole}c\n"));
    }

    #[test]
    fn what_a_failed_write_left_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut storage = Storage::open(folder.path(), key()).unwrap();
        append(&mut storage, &["a"]);
        fs_err::write(&path, "a\nthe half of a longer entry that did not fi").unwrap();
        append(&mut storage, &["b"]);
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "a\nb\n");
    }

    #[test]
    fn a_log_other_than_the_signed_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut storage = Storage::open(folder.path(), key()).unwrap();
        append(&mut storage, &["a", "b"]);
        drop(storage);
        let problem = |key| match Storage::open(folder.path(), key) {
            Err(Error::Log { problem, .. }) => problem,
            Err(other) => panic!("expected a damaged log, found {other}"),
            Ok(_) => panic!("expected a damaged log, found a good one"),
        };

        fs_err::write(&path, "a\nc\n").unwrap();
        assert_eq!(problem(key()), "one of the first 2 entries was changed");
        fs_err::write(&path, "a\n").unwrap();
        assert_eq!(problem(key()), "expected at least 2 entries, found 1");
        fs_err::write(&path, "a\nb\n").unwrap();
        let other = SigningKey::from_bytes(&[8; 32]);
        assert_eq!(problem(other), "it is signed by another key");
        fs_err::remove_file(folder.path().join("checkpoint")).unwrap();
        assert_eq!(problem(key()), "the checkpoint is missing");
    }
}
