//! Trust material from a real TUF repository on loopback, as it should be and as it should not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sigstore_trust_root::{
    SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT, SigstoreInstance,
};
use tempfile::TempDir;

use super::Instance;
use crate::{Error, Freshness, Purpose, Trust, TrustOptions, TrustSource};
use repository::{Algorithm, Fault, Key, Repository, SIGNING_CONFIG, Server, TRUSTED_ROOT};

mod repository;

struct Fixture {
    repository: Repository,
    server: Server,
    cache: TempDir,
    /// What is part of the program, for an instance that it knows.
    embedded: Option<SigstoreInstance>,
    deadline: Duration,
}

impl Fixture {
    async fn start() -> Self {
        let fixture = Self {
            repository: Repository::new(),
            server: Server::start().await,
            cache: TempDir::new().unwrap(),
            embedded: None,
            deadline: Duration::from_secs(60),
        };
        fixture.publish();
        fixture
    }

    /// As it is after a first, successful refresh.
    async fn used() -> Self {
        let fixture = Self::start().await;
        fixture.load(Purpose::Verify).await.unwrap();
        fixture
    }

    fn publish(&self) {
        self.server.serve(self.repository.files());
    }

    fn instance(&self) -> Instance {
        Instance {
            name: "ours".to_owned(),
            url: self.server.url.clone(),
            root: self.repository.bootstrap(),
            embedded: self.embedded,
            signs: true,
        }
    }

    fn options(&self, purpose: Purpose) -> TrustOptions {
        TrustOptions {
            cache: Some(self.cache.path().join("tuf")),
            deadline: self.deadline,
            ..TrustOptions::new(purpose)
        }
    }

    async fn load(&self, purpose: Purpose) -> Result<Trust, Error> {
        self.load_at(purpose, Timestamp::now()).await
    }

    async fn load_at(&self, purpose: Purpose, now: Timestamp) -> Result<Trust, Error> {
        self.instance().load(&self.options(purpose), now).await
    }

    async fn offline(&self) -> Result<Trust, Error> {
        let options = TrustOptions {
            offline: true,
            ..self.options(Purpose::Verify)
        };
        self.instance().load(&options, Timestamp::now()).await
    }

    /// The file with the copy of the repository.
    fn copy(&self) -> PathBuf {
        let mut files = std::fs::read_dir(self.cache.path().join("tuf")).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none(), "one file for one repository");
        file
    }
}

fn root(json: &str) -> cep27::Sha256 {
    Trust::from_root_json("expected", json)
        .unwrap()
        .root_sha256()
}

fn production() -> cep27::Sha256 {
    root(SIGSTORE_PRODUCTION_TRUSTED_ROOT)
}

fn staging() -> cep27::Sha256 {
    root(SIGSTORE_STAGING_TRUSTED_ROOT)
}

#[tokio::test]
async fn the_first_use_asks_the_repository_and_keeps_a_private_copy() {
    let fixture = Fixture::start().await;
    let trust = fixture.load(Purpose::Sign).await.unwrap();
    assert_eq!(trust.freshness(), &Freshness::Refreshed);
    assert_eq!(trust.root_sha256(), production());
    let fulcio = trust.services().unwrap().fulcio;
    assert_eq!(fulcio.as_str(), "https://fulcio.sigstore.dev/");

    let copy = fixture.copy();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&copy), mode(copy.parent().unwrap())), (0o600, 0o700));
    }

    fixture.server.requests();
    let cached = fixture.offline().await.unwrap();
    assert_eq!(fixture.server.requests(), [""; 0], "offline means offline");
    assert_eq!(cached.root_sha256(), production());
    assert!(
        matches!(cached.freshness(), Freshness::Cached { refreshed: Some(_), why } if why.contains("network")),
        "{}",
        cached.freshness()
    );
    assert_eq!(cached.services().unwrap(), trust.services().unwrap());
}

#[tokio::test]
async fn what_is_new_is_taken_and_what_is_not_is_not_fetched_again() {
    let mut fixture = Fixture::used().await;
    fixture.server.requests();
    fixture.load(Purpose::Sign).await.unwrap();
    assert_eq!(fixture.server.requests(), ["2.root.json", "timestamp.json"]);

    let new = SIGSTORE_STAGING_TRUSTED_ROOT.as_bytes().to_vec();
    fixture
        .repository
        .contents
        .insert(TRUSTED_ROOT.to_owned(), new);
    fixture.repository.update();
    fixture.publish();
    let trust = fixture.load(Purpose::Sign).await.unwrap();
    assert_eq!(trust.root_sha256(), staging());
    assert_eq!(fixture.offline().await.unwrap().root_sha256(), staging());
}

#[tokio::test]
async fn an_instance_without_a_signing_configuration_verifies_only() {
    let mut fixture = Fixture::start().await;
    fixture.repository.contents.remove(SIGNING_CONFIG);
    fixture.publish();
    let trust = fixture.load(Purpose::Verify).await.unwrap();
    assert_eq!(trust.services().unwrap_err().code(), "no_signing_config");
}

#[tokio::test]
async fn keys_are_rotated_through_every_root_in_between() {
    let mut fixture = Fixture::used().await;
    let repository = &mut fixture.repository;
    repository.change_root(|it| it.root.set_key(Algorithm::Ed25519));
    repository.change_root(|it| {
        it.root.keys.push(Key::new(Algorithm::Ecdsa));
        it.root.signers.clone_from(&it.root.keys);
        it.root.threshold = 2;
        it.timestamp.set_key(Algorithm::Ecdsa);
    });
    repository.change_root(|it| {
        it.snapshot.set_key(Algorithm::Ed25519);
        it.targets.set_key(Algorithm::Ecdsa);
    });
    repository.update();
    fixture.publish();
    let trust = fixture.load(Purpose::Sign).await.unwrap();
    assert_eq!(trust.freshness(), &Freshness::Refreshed);
    assert_eq!(fixture.offline().await.unwrap().root_sha256(), production());

    // Beginning from the copy, only the next root is looked for.
    fixture.server.requests();
    fixture.load(Purpose::Sign).await.unwrap();
    assert_eq!(fixture.server.requests(), ["5.root.json", "timestamp.json"]);

    // New keys may begin anew with their versions: that is how a repository recovers from a key
    // that was stolen and used for the highest version there is.
    fixture.repository.change_root(|it| {
        it.timestamp.set_key(Algorithm::Ed25519);
        it.snapshot.set_key(Algorithm::Ed25519);
    });
    fixture.repository.timestamp.version = 1;
    fixture.repository.snapshot.version = 1;
    fixture.publish();
    fixture.load(Purpose::Sign).await.unwrap();
}

type Change = (
    &'static str,
    &'static str,
    fn(&mut Repository) -> repository::Files,
);

const PAST: &str = "2020-01-01T00:00:00Z";

/// What a repository, or who stands between it and us, may answer wrongly; and what the error says.
const WRONG: &[Change] = &[
    (
        "the timestamp has expired",
        "timestamp metadata expired",
        |it| {
            it.update();
            it.timestamp.expires = PAST.parse().unwrap();
            it.files()
        },
    ),
    (
        "the snapshot has expired",
        "snapshot metadata expired",
        |it| {
            it.update();
            it.snapshot.expires = PAST.parse().unwrap();
            it.files()
        },
    ),
    (
        "the targets have expired",
        "targets metadata expired",
        |it| {
            it.update();
            it.targets.expires = PAST.parse().unwrap();
            it.files()
        },
    ),
    ("the root has expired", "root metadata expired", |it| {
        it.change_root(|it| it.root.expires = PAST.parse().unwrap());
        it.files()
    }),
    (
        "an older timestamp",
        "rollback detected for timestamp",
        |it| {
            it.timestamp.version = 4;
            it.files()
        },
    ),
    (
        "an older snapshot",
        "rollback detected for snapshot",
        |it| {
            it.timestamp.version += 1;
            it.snapshot.version = 4;
            it.files()
        },
    ),
    (
        "older targets",
        "rollback detected for targets.json",
        |it| {
            it.timestamp.version += 1;
            it.snapshot.version += 1;
            it.targets.version = 4;
            it.files()
        },
    ),
    (
        "a timestamp of another key",
        "threshold not met for role timestamp: 0/1",
        |it| {
            it.update();
            it.timestamp.signers = vec![Key::new(Algorithm::Ed25519)];
            it.files()
        },
    ),
    (
        "a snapshot of another key",
        "threshold not met for role snapshot: 0/1",
        |it| {
            it.update();
            it.snapshot.signers.clone_from(&it.timestamp.signers);
            it.files()
        },
    ),
    (
        "targets of another key",
        "threshold not met for role targets: 0/1",
        |it| {
            it.update();
            it.targets.signers.clone_from(&it.snapshot.signers);
            it.files()
        },
    ),
    (
        "one signature of two",
        "threshold not met for role targets: 1/2",
        |it| {
            it.change_root(|it| {
                it.targets.keys.push(Key::new(Algorithm::Ecdsa));
                it.targets.threshold = 2;
            });
            it.update();
            it.files()
        },
    ),
    ("one key twice", "duplicate signature", |it| {
        it.change_root(|it| {
            it.targets.keys.push(Key::new(Algorithm::Ecdsa));
            it.targets.threshold = 2;
        });
        it.update();
        it.targets.signers = vec![it.targets.keys[0].clone(); 2];
        it.files()
    }),
    (
        "a root that the last one does not vouch for",
        "threshold not met for role root",
        |it| {
            it.root.set_key(Algorithm::Ed25519);
            it.root.version = 2;
            let signers = it.root.signers.clone();
            it.push_root(&signers);
            it.files()
        },
    ),
    (
        "a root that skips a version",
        "must increment by one",
        |it| {
            it.change_root(|it| it.root.version = 2);
            it.files()
        },
    ),
    ("endless roots", "root rotations", |it| {
        for _ in 0..40 {
            it.change_root(|_| ());
        }
        it.files()
    }),
    ("a timestamp that is altered", "threshold not met", |it| {
        it.update();
        let mut files = it.files();
        let text = String::from_utf8(files["timestamp.json"].clone()).unwrap();
        let text = text.replace("2999-01-01", "2999-01-02");
        files.insert("timestamp.json".to_owned(), text.into());
        files
    }),
    (
        "a snapshot that is altered",
        "integrity check failed: snapshot.json",
        |it| {
            it.update();
            let mut files = it.files();
            files.get_mut("6.snapshot.json").unwrap().push(b'\n');
            files
        },
    ),
    ("no timestamp", "timestamp.json not found", |it| {
        let mut files = it.files();
        files.remove("timestamp.json");
        files
    }),
    (
        "the page of a captive portal",
        "failed to parse JSON",
        |it| {
            let mut files = it.files();
            files.insert("timestamp.json".to_owned(), b"<html>log in".to_vec());
            files
        },
    ),
    ("an endless timestamp", "more than 16384 bytes", |it| {
        let mut files = it.files();
        files.insert("timestamp.json".to_owned(), vec![b' '; 20_000]);
        files
    }),
    (
        "a target that is missing",
        "trusted_root.json not found",
        |it| {
            new_trusted_root(it, SIGSTORE_STAGING_TRUSTED_ROOT);
            alter_target(it, |_| None)
        },
    ),
    (
        "a target that is truncated",
        "integrity check failed: trusted_root.json",
        |it| {
            new_trusted_root(it, SIGSTORE_STAGING_TRUSTED_ROOT);
            alter_target(it, |bytes| Some(bytes[..100].to_vec()))
        },
    ),
    ("a target that is too long", "has more than", |it| {
        new_trusted_root(it, SIGSTORE_STAGING_TRUSTED_ROOT);
        alter_target(it, |bytes| Some([bytes, b" "].concat()))
    }),
    ("a target of another hash", "sha256 mismatch", |it| {
        new_trusted_root(it, SIGSTORE_STAGING_TRUSTED_ROOT);
        alter_target(it, |bytes| {
            let mut bytes = bytes.to_vec();
            bytes[50] ^= 1;
            Some(bytes)
        })
    }),
    ("no trusted root at all", "not listed by any", |it| {
        it.update();
        it.contents.remove(TRUSTED_ROOT);
        it.files()
    }),
    (
        "a trusted root that trusts nobody, well signed",
        "no certificate authority",
        |it| {
            let empty = r#"{"mediaType": "application/vnd.dev.sigstore.trustedroot.v0.2+json"}"#;
            new_trusted_root(it, empty);
            it.files()
        },
    ),
    (
        "a trusted root that is none, well signed",
        "trusted_root.json",
        |it| {
            new_trusted_root(it, "{\"mediaType\": \"text/plain\"}");
            it.files()
        },
    ),
    (
        "a trusted root with a key twice, well signed",
        "each key once",
        |it| {
            let twice = SIGSTORE_STAGING_TRUSTED_ROOT.replacen('{', "{\"tlogs\": [],", 1);
            new_trusted_root(it, &twice);
            it.files()
        },
    ),
    (
        "a signing configuration that is none, well signed",
        "signing_config",
        |it| {
            it.update();
            it.contents
                .insert(SIGNING_CONFIG.to_owned(), b"{}".to_vec());
            it.files()
        },
    ),
];

fn new_trusted_root(repository: &mut Repository, json: &str) {
    repository.update();
    repository
        .contents
        .insert(TRUSTED_ROOT.to_owned(), json.into());
}

fn alter_target(
    repository: &Repository,
    alter: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> repository::Files {
    let altered = |(name, bytes): (String, Vec<u8>)| match name.ends_with(TRUSTED_ROOT) {
        true => alter(&bytes).map(|bytes| (name, bytes)),
        false => Some((name, bytes)),
    };
    repository.files().into_iter().filter_map(altered).collect()
}

#[tokio::test]
async fn what_does_not_verify_is_an_error_and_no_copy_takes_its_place() {
    for &(what, reason, change) in WRONG {
        let mut fixture = Fixture::start().await;
        fixture.embedded = Some(SigstoreInstance::PublicGood);
        for role in [
            &mut fixture.repository.timestamp,
            &mut fixture.repository.snapshot,
            &mut fixture.repository.targets,
        ] {
            role.version = 5;
        }
        fixture.publish();
        fixture.load(Purpose::Verify).await.expect(what);
        let copy = std::fs::read(fixture.copy()).unwrap();

        fixture.server.serve(change(&mut fixture.repository));
        for purpose in [Purpose::Verify, Purpose::Sign] {
            let error = fixture.load(purpose).await.expect_err(what);
            assert_eq!(error.code(), "trust_refused", "{what}: {error}");
            let message = error.to_string();
            assert!(message.contains(reason), "{what}: {message}");
            assert!(message.contains("http://127.0.0.1"), "{what}: {message}");
        }
        assert_eq!(copy, std::fs::read(fixture.copy()).unwrap(), "{what}");
        assert_eq!(
            fixture.offline().await.expect(what).root_sha256(),
            production(),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_redirect_or_a_refusal_is_no_failure_of_the_network() {
    let fixture = Fixture::used().await;
    // That there is no newer root is said by 404 alone, and by 403 where an object store says it.
    for file in ["2.root.json", "timestamp.json"] {
        for status in [301, 302, 307, 400, 401, 407, 410] {
            fixture.server.fail(file, Fault::Status(status));
            let error = fixture.load(Purpose::Verify).await.unwrap_err();
            assert_eq!(error.code(), "trust_refused", "{status}: {error}");
        }
    }
    for status in [403, 404] {
        fixture.server.fail("2.root.json", Fault::Status(status));
        let trust = fixture.load(Purpose::Sign).await.unwrap();
        assert_eq!(trust.freshness(), &Freshness::Refreshed);
        fixture.server.fail("timestamp.json", Fault::Status(status));
        let error = fixture.load(Purpose::Verify).await.unwrap_err();
        assert_eq!(error.code(), "trust_refused", "{status}: {error}");
    }
    assert!(
        !fixture
            .server
            .requests()
            .iter()
            .any(|name| name.contains("elsewhere")),
        "redirects are not followed"
    );
}

const DEAD: [Fault; 6] = [
    Fault::Status(500),
    Fault::Status(502),
    Fault::Status(503),
    Fault::Status(429),
    Fault::Hang,
    Fault::Cut,
];

const FILES: [&str; 6] = [
    "",
    "root.json",
    "timestamp.json",
    "snapshot.json",
    "targets.json",
    TRUSTED_ROOT,
];

#[tokio::test]
async fn where_the_repository_cannot_be_reached_a_copy_is_good_enough_to_verify_but_not_to_sign() {
    let all = FILES
        .into_iter()
        .flat_map(|files| DEAD.map(|fault| Box::pin(unreachable(files, fault))));
    futures::future::join_all(all).await;
}

async fn unreachable(files: &'static str, fault: Fault) {
    let mut fixture = Fixture::used().await;
    if let Fault::Hang = fault {
        fixture.deadline = Duration::from_millis(300);
    }
    // Everything changes, so that everything has to be fetched.
    new_trusted_root(&mut fixture.repository, SIGSTORE_STAGING_TRUSTED_ROOT);
    fixture.publish();
    fixture.server.fail(files, fault);
    let context = format!("{fault:?} for `{files}`");

    let trust = fixture.load(Purpose::Verify).await.expect(&context);
    // What was fetched before the failure does not mix with the copy.
    assert_eq!(trust.root_sha256(), production(), "{context}");
    assert_eq!(trust.freshness().code(), "cached", "{context}");
    let why = trust.freshness().why().unwrap();
    assert!(why.contains("http://127.0.0.1"), "{context}: {why}");
    if let Fault::Hang = fault {
        assert!(why.contains("within 0.3 seconds"), "{context}: {why}");
    }

    let error = fixture.load(Purpose::Sign).await.expect_err(&context);
    assert_eq!(error.code(), "trust_unavailable", "{context}");
    let address = fixture.server.url.as_str();
    assert!(error.to_string().contains(address), "{context}: {error}");
}

#[tokio::test]
async fn a_hiccup_is_outlived() {
    let fixture = Fixture::start().await;
    fixture
        .server
        .fail_times("timestamp.json", Fault::Status(503), 2);
    let trust = fixture.load(Purpose::Sign).await.unwrap();
    assert_eq!(trust.freshness(), &Freshness::Refreshed);
}

#[tokio::test]
async fn without_a_copy_the_one_in_the_program_verifies() {
    let mut fixture = Fixture::start().await;
    fixture.embedded = Some(SigstoreInstance::PublicGood);
    fixture.server.fail("", Fault::Status(503));
    let trust = fixture.load(Purpose::Verify).await.unwrap();
    assert_eq!(trust.freshness().code(), "embedded");
    assert_eq!(trust.root_sha256(), production());
    let why = trust.freshness().why().unwrap();
    assert!(why.contains("503") && why.contains("no copy"), "{why}");
    let error = fixture.load(Purpose::Sign).await.unwrap_err();
    assert_eq!(error.code(), "trust_unavailable");

    fixture.embedded = None;
    for result in [fixture.load(Purpose::Verify).await, fixture.offline().await] {
        assert_eq!(result.unwrap_err().code(), "trust_unavailable");
    }

    // Nobody listens at all.
    let (instance, options) = (fixture.instance(), fixture.options(Purpose::Sign));
    fixture.server.stop().await;
    let error = instance.load(&options, Timestamp::now()).await.unwrap_err();
    assert_eq!(error.code(), "trust_unavailable");
}

#[tokio::test]
async fn signing_offline_is_refused_whatever_there_is() {
    let fixture = Fixture::used().await;
    let options = TrustOptions {
        offline: true,
        ..fixture.options(Purpose::Sign)
    };
    let loaded = fixture.instance().load(&options, Timestamp::now()).await;
    assert_eq!(loaded.unwrap_err().code(), "trust_unavailable");
}

#[tokio::test]
async fn the_expiry_of_a_copy_is_overlooked_only_where_nobody_can_be_asked() {
    let mut fixture = Fixture::start().await;
    let repository = &mut fixture.repository;
    repository.change_root(|it| it.root.expires = PAST.parse().unwrap());
    for role in [
        &mut repository.timestamp,
        &mut repository.snapshot,
        &mut repository.targets,
    ] {
        role.expires = PAST.parse().unwrap();
    }
    fixture.publish();
    let before: Timestamp = "2019-12-31T00:00:00Z".parse().unwrap();
    fixture.load_at(Purpose::Sign, before).await.unwrap();

    let trust = fixture.offline().await.unwrap();
    let shown = trust.freshness().to_string();
    assert!(shown.contains("days ago"), "{shown}");
    assert_eq!(trust.freshness().as_of(), Some(before));
    let error = fixture.load(Purpose::Verify).await.unwrap_err();
    assert_eq!(error.code(), "trust_refused");
}

/// A copy is input like any other: what an attacker writes there is not believed.
#[tokio::test]
async fn a_poisoned_copy_is_not_believed() {
    let forged = |change: fn(&mut Repository)| {
        let mut forger = Repository::new();
        change(&mut forger);
        forger.files()
    };
    let doctored =
        SIGSTORE_PRODUCTION_TRUSTED_ROOT.replacen("rekor.sigstore.dev", "rekor.evil.example", 1);
    type Poison<'a> = (&'a str, Box<dyn Fn(&mut serde_json::Value) + 'a>);
    let poisons: [Poison<'_>; 6] = [
        (
            "a target",
            Box::new(|copy| copy["files"]["targets/trusted_root.json"] = doctored.clone().into()),
        ),
        (
            "a forged timestamp",
            Box::new(|copy| {
                let files = forged(|it| it.timestamp.version = 9);
                let timestamp = String::from_utf8(files["timestamp.json"].clone()).unwrap();
                copy["files"]["timestamp.json"] = timestamp.into();
            }),
        ),
        (
            "a forged repository",
            Box::new(|copy| {
                for (name, bytes) in forged(|it| it.change_root(|_| ())) {
                    let name = match name.split_once('.') {
                        Some((_, name @ ("targets.json" | "snapshot.json"))) => name.to_owned(),
                        _ if name.ends_with("root.json") => format!("root_history/{name}"),
                        _ => name,
                    };
                    copy["files"][name] = String::from_utf8(bytes).unwrap().into();
                }
            }),
        ),
        (
            "nothing in it",
            Box::new(|copy| copy["files"] = serde_json::json!({})),
        ),
        (
            "no targets",
            Box::new(|copy| copy["files"]["targets.json"] = "{}".into()),
        ),
        (
            "another format",
            Box::new(|copy| *copy = serde_json::json!(["?"])),
        ),
    ];
    for (what, poison) in poisons {
        let mut fixture = Fixture::used().await;
        let path = fixture.copy();
        let mut copy: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        poison(&mut copy);
        std::fs::write(&path, copy.to_string()).unwrap();

        let error = fixture.offline().await.expect_err(what);
        assert_eq!(error.code(), "trust_unavailable", "{what}");
        fixture.embedded = Some(SigstoreInstance::PublicGood);
        let trust = fixture.offline().await.expect(what);
        assert_eq!(trust.freshness().code(), "embedded", "{what}");
        assert_eq!(trust.root_sha256(), production(), "{what}");

        // The repository makes it good again.
        let trust = fixture.load(Purpose::Sign).await.expect(what);
        assert_eq!(trust.root_sha256(), production(), "{what}");
        assert_eq!(
            fixture.offline().await.expect(what).freshness().code(),
            "cached",
            "{what}"
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_copy_that_others_may_have_written_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::used().await;
    for mode in [0o620, 0o602] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(fixture.copy(), permissions).unwrap();
        let error = fixture.offline().await.unwrap_err();
        assert!(error.to_string().contains("others may write"), "{error}");
    }
    fixture.load(Purpose::Sign).await.unwrap();
    fixture.offline().await.unwrap();
    // Only root can give a file away.
    if std::os::unix::fs::chown(fixture.copy(), Some(12_345), None).is_ok() {
        let error = fixture.offline().await.unwrap_err();
        assert!(error.to_string().contains("another user"), "{error}");
    }
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_hinders_nobody() {
    let fixture = Fixture::start().await;
    std::fs::write(fixture.cache.path().join("tuf"), "in the way").unwrap();
    fixture.load(Purpose::Sign).await.unwrap();
}

/// Set for the processes that [`two_processes_share_a_cache`] starts: URL, root and cache.
const CHILD: &str = "CONDA_ATTEST_TEST_TUF_CHILD";

#[tokio::test]
async fn two_processes_share_a_cache() {
    let mut fixture = Fixture::used().await;
    let root = fixture.cache.path().join("root.json");
    std::fs::write(&root, fixture.repository.bootstrap()).unwrap();
    let cache = fixture.cache.path().join("tuf");
    let child = format!(
        "{}|{}|{}",
        fixture.server.url,
        root.display(),
        cache.display()
    );
    let children: Vec<_> = (0..4)
        .map(|_| {
            tokio::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "trust::tuf::tests::a_process_that_loads",
                    "--nocapture",
                ])
                .env(CHILD, &child)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for _ in 0..10 {
        fixture.repository.update();
        fixture.publish();
        fixture.offline().await.unwrap();
    }
    for mut child in children {
        assert!(child.wait().await.unwrap().success());
    }
    assert_eq!(fixture.offline().await.unwrap().root_sha256(), production());
    fixture.copy();
}

/// The other process; nothing in a run of all tests.
#[tokio::test]
async fn a_process_that_loads() {
    let Ok(child) = std::env::var(CHILD) else {
        return;
    };
    let [url, root, cache] = child.split('|').collect::<Vec<_>>().try_into().unwrap();
    let source = TrustSource::Tuf {
        url: url.parse().unwrap(),
        root: PathBuf::from(root),
    };
    for _ in 0..10 {
        for offline in [true, false] {
            let options = TrustOptions {
                cache: Some(PathBuf::from(cache)),
                offline,
                ..TrustOptions::new(Purpose::Verify)
            };
            // What is served changes under our hands, as in a repository without consistent
            // snapshots; that is refused. The copy is whole at any time.
            match Trust::load(&source, &options).await {
                Err(error) if !offline => assert_eq!(error.code(), "trust_refused"),
                trust => assert_eq!(trust.unwrap().root_sha256(), production()),
            }
        }
    }
}

#[tokio::test]
async fn the_instances_that_the_program_knows_verify_without_network_and_cache() {
    let empty = TempDir::new().unwrap();
    let options = TrustOptions {
        cache: Some(empty.path().to_owned()),
        offline: true,
        ..TrustOptions::new(Purpose::Verify)
    };
    for (source, name) in [
        (TrustSource::PublicGood, "public-good"),
        (TrustSource::Staging, "staging"),
        (TrustSource::Github, "github"),
    ] {
        let trust = Trust::load(&source, &options).await.unwrap();
        assert_eq!(trust.name(), name);
        assert_eq!(trust.freshness().code(), "embedded");
        assert_eq!(trust.is_github(), source == TrustSource::Github);
        assert_eq!(
            trust.services().is_ok(),
            source != TrustSource::Github,
            "{name}"
        );
    }
    let options = TrustOptions::new(Purpose::Sign);
    let error = Trust::load(&TrustSource::Github, &options)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "no_signing_config");
}

#[tokio::test]
async fn a_private_instance_is_called_by_its_address_and_has_an_audience_of_its_own() {
    let fixture = Fixture::start().await;
    let root = fixture.cache.path().join("root.json");
    std::fs::write(&root, fixture.repository.bootstrap()).unwrap();
    let source = TrustSource::Tuf {
        url: fixture.server.url.clone(),
        root,
    };
    let options = TrustOptions {
        audience: Some("acme".to_owned()),
        ..fixture.options(Purpose::Sign)
    };
    let trust = Trust::load(&source, &options).await.unwrap();
    assert_eq!(trust.audience(), "acme");
    assert_eq!(trust.name(), fixture.server.url.as_str());
    assert!(!trust.is_github());
}

#[tokio::test]
async fn a_repository_begins_with_a_root_and_a_safe_address() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("root.json");
    let load = async |url: &str| {
        let source = TrustSource::Tuf {
            url: url.parse().unwrap(),
            root: root.clone(),
        };
        let options = TrustOptions::new(Purpose::Verify);
        Trust::load(&source, &options).await.unwrap_err().code()
    };
    assert_eq!(load("https://tuf.example").await, "io");
    std::fs::write(&root, "{}").unwrap();
    assert_eq!(load("https://tuf.example").await, "trust");
    let mut forged = Repository::new();
    forged.push_root(&[Key::new(Algorithm::Ed25519)]);
    std::fs::write(&root, &forged.roots[1]).unwrap();
    assert_eq!(load("https://tuf.example").await, "trust");
    std::fs::write(&root, forged.bootstrap()).unwrap();
    assert_eq!(load("http://tuf.example").await, "insecure_url");
    for address in [
        "https://me:word@tuf.example",
        "https://tuf.example/?token=word",
        "https://tuf.example/#word",
    ] {
        assert_eq!(load(address).await, "trust_unavailable", "{address}");
    }
}
