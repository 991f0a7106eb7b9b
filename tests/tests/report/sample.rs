//! A live release of many packages that depend on each other, as GitHub Actions would have made it; some of it failed.

use std::collections::BTreeMap;

use release_manifest::{
    Attestation, Digest, Event, Isolation, JournalEntry, Manifest, Mode, PackageError, PackageKey,
    Phase, Plan, PlannedPackage, PublishResult, Published, SchemaVersion, SkippedOutput, Source,
    Timestamp, Tool, Trust,
};
use release_report::{Command, Details, Report};

const IDENTITY: &str = "https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const CHANNEL: &str = "https://prefix.dev/acme";
const BEGAN: i64 = 1_795_433_438;
const NAMES: [&str; 12] = [
    "libgreet",
    "greet",
    "greet-data",
    "zlib-ng",
    "openssl-compat",
    "tokenizers",
    "py-greet",
    "libarrow-flight",
    "r-greet",
    "greet-cli",
    "lexer",
    "an-extremely-long-package-name-nobody-would-want-to-type",
];

/// A plan, what became of it, and what else a page shows.
pub(crate) struct Sample {
    plan: Plan,
    manifest: Manifest,
    details: BTreeMap<PackageKey, Details>,
}

impl Sample {
    /// A release of so many packages, of which one fails where `fails` says so, with texts that somebody chose with care.
    pub(crate) fn new(packages: usize, fails: bool, text: &str) -> Self {
        let keys: Vec<PackageKey> = (0..packages).map(key).collect();
        let plan = Plan {
            schema_version: SchemaVersion,
            tool: Tool {
                name: "conda-release".to_owned(),
                version: "0.1.0".to_owned(),
            },
            mode: Mode::Live,
            source: Source {
                repository: Some("https://github.com/acme/pkgs".to_owned()),
                commit: Some("4f1c2d9a".repeat(5)),
                dirty: false,
            },
            channel: Some(CHANNEL.to_owned()),
            target_channel: CHANNEL.parse().unwrap(),
            timestamp: BEGAN,
            configuration: Digest::of(b"configuration"),
            packages: (0..packages)
                .map(|number| planned(&keys, number, text))
                .collect(),
            skipped: vec![SkippedOutput {
                recipe: "recipes/old/recipe.yaml".parse().unwrap(),
                output: format!("old{text}"),
                variant: BTreeMap::new(),
                reason: format!("the recipe skips it on this platform {text}"),
            }],
        };
        let trust = Trust {
            name: "public-good".to_owned(),
            root_sha256: sha256(b"root"),
        };
        let manifest = Manifest::new(&plan, Some(trust), Isolation::SeparateJob);
        let mut sample = Self {
            plan,
            manifest,
            details: BTreeMap::new(),
        };
        for (number, key) in keys.iter().enumerate() {
            sample.release(number, key, fails && number + 1 == packages, text);
        }
        sample
    }

    /// The page.
    pub(crate) fn page(&self) -> String {
        let report = Report {
            manifest: &self.manifest,
            plan: &self.plan,
            details: self.details.clone(),
            verify: vec![Command {
                title: "All packages of the channel".to_owned(),
                line: format!(
                    "conda-release verify {CHANNEL} --identity {IDENTITY} --issuer {ISSUER}"
                ),
            }],
        };
        report.to_html()
    }

    fn release(&mut self, number: usize, key: &PackageKey, fails: bool, text: &str) {
        let began = BEGAN + 7 * i64::try_from(number).unwrap();
        // Every third one was released on the next day.
        let began = if number % 3 == 2 {
            began + 86_400
        } else {
            began
        };
        let milliseconds = 1_500 + 977 * (number as u64 % 11);
        let built = Event::Built {
            sha256: sha256(key.to_string().as_bytes()),
            size: 10_000 + 7_777 * number as u64,
            milliseconds,
            log: Some(format!("logs/{key}.log").parse().unwrap()),
        };
        if fails {
            let lines = [
                "CMake Error at CMakeLists.txt:12 (find_package):",
                "  Could not find a package",
                text,
            ];
            self.details.entry(key.clone()).or_default().log_tail = lines.map(str::to_owned).into();
            let error = PackageError {
                phase: Phase::Build,
                code: "script_failed".to_owned(),
                message: format!("the build script ended with status 1 {text}"),
                log: Some(format!("logs/{key}.log").parse().unwrap()),
            };
            return self.record(began + 3, key, Event::Failed { error });
        }
        self.record(began + 10, key, built);
        match number % 5 {
            4 => self.record(
                began + 10,
                key,
                Event::TestsSkipped {
                    reason: format!("for another platform {text}"),
                },
            ),
            _ => self.record(
                began + 14,
                key,
                Event::Tested {
                    milliseconds: 3_200,
                },
            ),
        }
        let attestation = Attestation {
            bundle: format!("packages/{key}.sigstore.json").parse().unwrap(),
            bundle_sha256: sha256(b"bundle"),
            identity: if text.is_empty() {
                IDENTITY.to_owned()
            } else {
                text.to_owned()
            },
            issuer: ISSUER.to_owned(),
            log_index: Some(456_119_071 + number as u64),
            signed_at: Timestamp::from_unix(began + 16),
            certificate_not_after: Timestamp::from_unix(began + 600),
            retries: 0,
            provenance: None,
        };
        self.record(
            began + 16,
            key,
            Event::Attested {
                attestation,
                milliseconds: 1_400,
            },
        );
        let published = Published {
            url: if text.is_empty() {
                format!("{CHANNEL}/{key}")
            } else {
                text.to_owned()
            },
            sidecar_sha256: None,
            at: Timestamp::from_unix(began + 18),
            result: PublishResult::Uploaded,
            seen: Some(Timestamp::from_unix(began + 40)),
        };
        self.record(
            began + 18,
            key,
            Event::Published {
                published,
                milliseconds: 900,
            },
        );
        self.details.insert(key.clone(), details(key, text));
    }

    fn record(&mut self, at: i64, package: &PackageKey, event: Event) {
        let entry: JournalEntry =
            self.manifest
                .entry(Timestamp::from_unix(at), package.clone(), event);
        self.manifest.apply(&entry).unwrap();
    }
}

fn details(key: &PackageKey, text: &str) -> Details {
    let claims = [
        ("repository", "https://github.com/acme/pkgs"),
        ("commit", "4f1c2d9a4f1c2d9a4f1c2d9a4f1c2d9a4f1c2d9a"),
        ("workflow", IDENTITY),
        (
            "run",
            "https://github.com/acme/pkgs/actions/runs/123/attempts/1",
        ),
        ("runner", "github-hosted"),
        ("environment", text),
    ];
    Details {
        claims: claims
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        log_entry: Some("https://search.sigstore.dev/?logIndex=456119071".to_owned()),
        links: vec![
            (
                "attestations".to_owned(),
                "https://github.com/acme/pkgs/attestations".to_owned(),
            ),
            (format!("run {text}"), text.to_owned()),
        ],
        verify: vec![Command {
            title: "conda-release".to_owned(),
            line: format!(
                "conda-release verify {CHANNEL}/{key} --identity {IDENTITY} --issuer {ISSUER}"
            ),
        }],
        log_tail: Vec::new(),
    }
}

fn key(number: usize) -> PackageKey {
    let subdir = if number % 4 == 3 {
        "noarch"
    } else {
        "linux-64"
    };
    let name = NAMES[number % NAMES.len()];
    let version = number / NAMES.len();
    format!("{subdir}/{name}-1.{version}.0-h{number:07x}_0.conda")
        .parse()
        .unwrap()
}

fn planned(keys: &[PackageKey], number: usize, text: &str) -> PlannedPackage {
    let PackageKey { subdir, file } = keys[number].clone();
    let needs = |step: usize| {
        number
            .checked_sub(step)
            .filter(|_| !number.is_multiple_of(5))
            .map(|needed| keys[needed].clone())
    };
    let variant = [("target_platform", "linux-64"), ("flavour", text)];
    PlannedPackage {
        recipe: format!("recipes/{}/recipe.yaml", file.name())
            .parse()
            .unwrap(),
        fingerprint: Digest::of(file.as_str().as_bytes()),
        file,
        subdir,
        variant: variant
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        build_platform: "linux-64".parse().unwrap(),
        build_number: 0,
        sources: Vec::new(),
        build_folder: format!("build/{number}"),
        builds_on: needs(1).into_iter().collect(),
        test_needs: needs(4).into_iter().collect(),
        runs_with: [needs(2), needs(1)].into_iter().flatten().collect(),
    }
}

fn sha256(of: &[u8]) -> cep27::Sha256 {
    Digest::of(of).to_string()["sha256:".len()..]
        .parse()
        .unwrap()
}
