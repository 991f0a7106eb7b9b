//! A transparency log: a file of entries, a Merkle tree over them, and a signed checkpoint.
//!
//! Entries are canonical JSON and therefore contain neither line breaks nor tabs: the file holds
//! one a line, after the time of its integration where the log keeps that. An entry is durable
//! before it is answered; what a killed process left of a last line is cut off.

use std::{
    collections::HashMap,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use sigstore_merkle::hash_leaf;
use sigstore_types::Sha256Hash;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Error,
    files::{sync_folder, write_atomically},
    merkle::Tree,
    note::Notary,
};

/// So many waiting requests share one write, one sync and one checkpoint.
const BATCH: usize = 256;

/// How a log is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    /// The file of entries.
    file: &'static str,
    /// The file of the latest checkpoint.
    checkpoint: &'static str,
    /// Whether each line begins with the time of integration, in seconds since the epoch, and a
    /// tab. It is no part of the entry that the tree is over.
    timed: bool,
}

impl Format {
    /// Of Rekor v1.
    pub(crate) const V1: Self = Self {
        file: "log-v1.tsv",
        checkpoint: "checkpoint-v1",
        timed: true,
    };

    /// Of Rekor v2.
    pub(crate) const V2: Self = Self {
        file: "log.jsonl",
        checkpoint: "checkpoint",
        timed: false,
    };

    /// A line of the file, without its end: the time of integration, 0 where there is none, and
    /// the entry.
    fn parse<'a>(&self, line: &'a [u8]) -> Option<(i64, &'a [u8])> {
        if !self.timed {
            return Some((0, line));
        }
        let tab = line.iter().position(|&byte| byte == b'\t')?;
        let time = std::str::from_utf8(&line[..tab]).ok()?.parse().ok()?;
        Some((time, &line[tab + 1..]))
    }

    fn push_line(&self, lines: &mut Vec<u8>, time: i64, entry: &[u8]) {
        if self.timed {
            lines.extend_from_slice(format!("{time}\t").as_bytes());
        }
        lines.extend_from_slice(entry);
        lines.push(b'\n');
    }
}

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
    /// When the entry was integrated, in seconds since the epoch; 0 in logs that don't keep it.
    pub(crate) integrated: i64,
}

/// By what an entry is found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key {
    /// Its leaf hash.
    Hash(Sha256Hash),
    /// Its place in the tree.
    Index(u64),
}

type Answer<T> = oneshot::Sender<Result<T, String>>;

enum Request {
    Append(Vec<u8>, Answer<Appended>),
    Find(Key, Answer<Option<(Vec<u8>, Inclusion)>>),
}

impl Log {
    /// Opens the log in `folder`, which `lock` keeps for us until the writer ends: once the last
    /// handle is gone.
    pub(crate) fn open(
        folder: &Path,
        format: Format,
        notary: Notary,
        lock: Arc<std::fs::File>,
    ) -> Result<(Self, std::thread::JoinHandle<()>), Error> {
        let mut storage = Storage::open(folder, format, notary)?;
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
                    storage.work(batch);
                }
                drop(lock);
            })?;
        Ok((Self { writer, checkpoint }, thread))
    }

    /// Appends an entry, which must not contain a line break, and waits for its checkpoint.
    pub(crate) async fn append(&self, entry: Vec<u8>) -> Result<Appended, Error> {
        self.ask(|answer| Request::Append(entry, answer)).await
    }

    /// An entry, and the proof that it is in the tree as it is.
    pub(crate) async fn find(&self, key: Key) -> Result<Option<(Vec<u8>, Inclusion)>, Error> {
        self.ask(|answer| Request::Find(key, answer)).await
    }

    /// The latest signed checkpoint.
    pub(crate) fn checkpoint(&self) -> String {
        self.checkpoint.borrow().clone()
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let stopped = || Error::LogStopped("its writer has ended".to_owned());
        self.writer
            .send(request(answer))
            .await
            .map_err(|_| stopped())?;
        answered
            .await
            .map_err(|_| stopped())?
            .map_err(Error::LogStopped)
    }
}

/// The log as the writer's thread sees it.
struct Storage {
    format: Format,
    notary: Notary,
    file: fs_err::File,
    /// Where each line of the file ends.
    ends: Vec<u64>,
    checkpoint_file: PathBuf,
    checkpoint: watch::Sender<String>,
    tree: Tree,
    /// The index of every entry, by its leaf hash.
    known: HashMap<[u8; 32], u64>,
}

impl Storage {
    fn open(folder: &Path, format: Format, notary: Notary) -> Result<Self, Error> {
        let path = folder.join(format.file);
        let checkpoint_file = folder.join(format.checkpoint);
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let wrong = |problem| Error::Log {
            path: path.clone(),
            problem,
        };
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        let mut ends = Vec::new();
        let mut tree = Tree::default();
        let mut known = HashMap::new();
        for line in bytes[..whole].split_inclusive(|&byte| byte == b'\n') {
            let (_, entry) = format
                .parse(&line[..line.len() - 1])
                .ok_or_else(|| wrong(format!("line {} has no time", ends.len() + 1)))?;
            known.insert(*hash_leaf(entry).as_bytes(), tree.append(entry));
            ends.push(ends.last().unwrap_or(&0) + line.len() as u64);
        }
        if let Some(signed) = read_checkpoint(&checkpoint_file)? {
            let signed = notary.open(&signed).map_err(wrong)?;
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
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)?;
        // The checkpoint below covers entries that no one was told of, too: make them durable.
        file.set_len(whole as u64)?;
        file.sync_all()?;
        sync_folder(folder)?;
        let mut storage = Self {
            format,
            notary,
            file,
            ends,
            checkpoint_file,
            checkpoint: watch::Sender::default(),
            tree,
            known,
        };
        storage.publish()?;
        Ok(storage)
    }

    /// Answers a batch of requests: appends first, so that they share one write.
    fn work(&mut self, batch: Vec<Request>) {
        let (mut appends, mut finds) = (Vec::new(), Vec::new());
        for request in batch {
            match request {
                Request::Append(entry, answer) => appends.push((entry, answer)),
                Request::Find(key, answer) => finds.push((key, answer)),
            }
        }
        if !appends.is_empty() {
            self.append(appends);
        }
        for (key, answer) in finds {
            let found = self.find(key).map_err(|error| error.to_string());
            // A client that went away no longer waits for its answer.
            let _gone = answer.send(found);
        }
    }

    /// Appends what is new of a batch and answers everyone.
    fn append(&mut self, batch: Vec<(Vec<u8>, Answer<Appended>)>) {
        let integrated = match self.format.timed {
            true => jiff::Timestamp::now().as_second(),
            false => 0,
        };
        let mut known = HashMap::new();
        let mut lines = Vec::new();
        let first = self.tree.size();
        let mut placed = Vec::with_capacity(batch.len());
        for (entry, answer) in batch {
            let hash = *hash_leaf(&entry).as_bytes();
            let index = match self.known.get(&hash).or_else(|| known.get(&hash)) {
                Some(&index) => (index, false),
                None => {
                    let index = first + known.len() as u64;
                    known.insert(hash, index);
                    self.format.push_line(&mut lines, integrated, &entry);
                    (index, true)
                }
            };
            placed.push((entry, answer, index));
        }
        let written = self.write(&lines).and_then(|()| {
            for (entry, _, (_, new)) in &placed {
                if *new {
                    self.tree.append(entry);
                }
            }
            self.known.extend(known);
            if lines.is_empty() {
                Ok(())
            } else {
                self.publish()
            }
        });
        for (_, answer, (index, new)) in placed {
            let result = match &written {
                Err(error) => Err(error.to_string()),
                Ok(()) if new => Ok(Appended::New(self.inclusion(index, integrated))),
                Ok(()) => Ok(Appended::Duplicate(index)),
            };
            // A client that went away no longer waits for its answer.
            let _gone = answer.send(result);
        }
    }

    /// Reads an entry back.
    fn find(&mut self, key: Key) -> std::io::Result<Option<(Vec<u8>, Inclusion)>> {
        let index = match key {
            Key::Hash(hash) => self.known.get(hash.as_bytes()).copied(),
            Key::Index(index) => Some(index).filter(|&index| index < self.tree.size()),
        };
        let Some(index) = index else { return Ok(None) };
        let start = match index {
            0 => 0,
            _ => self.ends[index as usize - 1],
        };
        // Without the line break.
        let length = self.ends[index as usize] - start - 1;
        self.file.seek(SeekFrom::Start(start))?;
        let mut line = vec![0; length as usize];
        self.file.read_exact(&mut line)?;
        let (integrated, entry) = self
            .format
            .parse(&line)
            .ok_or_else(|| std::io::Error::other("a line of the log was changed"))?;
        Ok(Some((entry.to_vec(), self.inclusion(index, integrated))))
    }

    /// The proof that the entry at an index is in the tree as it is.
    fn inclusion(&self, index: u64, integrated: i64) -> Inclusion {
        let size = self.tree.size();
        Inclusion {
            index,
            size,
            root: self.tree.root(size),
            hashes: self.tree.inclusion_proof(index, size),
            checkpoint: self.checkpoint.borrow().clone(),
            integrated,
        }
    }

    /// Makes whole lines durable, all or none.
    fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        let length = self.ends.last().copied().unwrap_or(0);
        // What an earlier failure may have left.
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length))?;
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        let mut end = length;
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            end += line.len() as u64;
            self.ends.push(end);
        }
        Ok(())
    }

    /// Signs a checkpoint of the tree as it is, and stores it: never before the entries it covers.
    fn publish(&mut self) -> std::io::Result<()> {
        let size = self.tree.size();
        let checkpoint = self.notary.sign(size, &self.tree.root(size));
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
    use ed25519_dalek::SigningKey;
    use sigstore_merkle::{verify_consistency_proof, verify_inclusion_proof};

    fn notary() -> Notary {
        Notary::rekor_v2(SigningKey::from_bytes(&[7; 32]))
    }

    fn open(folder: &Path) -> Storage {
        Storage::open(folder, Format::V2, notary()).unwrap()
    }

    /// Appends entries in one batch.
    fn append(storage: &mut Storage, entries: &[&str]) -> Vec<Result<Appended, String>> {
        let (batch, answers): (Vec<_>, Vec<_>) = entries
            .iter()
            .map(|entry| {
                let (answer, answered) = oneshot::channel();
                ((entry.as_bytes().to_vec(), answer), answered)
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
        let mut storage = open(folder.path());
        append(&mut storage, &["first"]);
        let answers = append(&mut storage, &["a", "b", "c"]);
        for (entry, answer) in ["a", "b", "c"].iter().zip(&answers) {
            let inclusion = included(answer);
            let checkpoint = notary().open(&inclusion.checkpoint).unwrap();
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
        let mut storage = open(folder.path());
        let answers = append(&mut storage, &["a", "b", "a"]);
        assert_eq!(answers[2], Ok(Appended::Duplicate(0)));
        assert_eq!(append(&mut storage, &["b"]), [Ok(Appended::Duplicate(1))]);
        drop(storage);
        let mut storage = open(folder.path());
        assert_eq!(append(&mut storage, &["b"]), [Ok(Appended::Duplicate(1))]);
        assert_eq!(storage.tree.size(), 2);
    }

    #[test]
    fn the_log_grows_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = open(folder.path());
        let before = included(&append(&mut storage, &["a", "b", "c"])[2]).clone();
        drop(storage);
        let mut storage = open(folder.path());
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
        let mut storage = open(folder.path());
        append(&mut storage, &["a", "b"]);
        drop(storage);
        let mut torn = fs_err::read(&path).unwrap();
        torn.extend(b"a whole line that no one was told of\n and a to");
        fs_err::write(&path, torn).unwrap();

        let mut storage = open(folder.path());
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
        let mut storage = open(folder.path());
        append(&mut storage, &["a"]);
        fs_err::write(&path, "a\nthe half of a longer entry that did not fi").unwrap();
        append(&mut storage, &["b"]);
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "a\nb\n");
    }

    #[test]
    fn a_log_other_than_the_signed_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut storage = open(folder.path());
        append(&mut storage, &["a", "b"]);
        drop(storage);
        let problem = |notary| match Storage::open(folder.path(), Format::V2, notary) {
            Err(Error::Log { problem, .. }) => problem,
            Err(other) => panic!("expected a damaged log, found {other}"),
            Ok(_) => panic!("expected a damaged log, found a good one"),
        };

        fs_err::write(&path, "a\nc\n").unwrap();
        assert_eq!(problem(notary()), "one of the first 2 entries was changed");
        fs_err::write(&path, "a\n").unwrap();
        assert_eq!(problem(notary()), "expected at least 2 entries, found 1");
        fs_err::write(&path, "a\nb\n").unwrap();
        let other = Notary::rekor_v2(SigningKey::from_bytes(&[8; 32]));
        assert_eq!(problem(other), "it is signed by another key");
        fs_err::remove_file(folder.path().join("checkpoint")).unwrap();
        assert_eq!(problem(notary()), "the checkpoint is missing");
    }
}
