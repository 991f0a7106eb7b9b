//! The commands that look at, make and move attestations: `sign`, `publish`, `verify`, `inspect`, `validate`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::{Path, PathBuf};

use end_to_end::{Workspace, repodata};
use fs_err as fs;
use insta::assert_snapshot;

const IDENTITY: &str = "https://sandbox.conda-release.invalid/rehearsal";
const ISSUER: &str = "https://sandbox.conda-release.invalid";
/// The options under which a rehearsal's attestations verify.
const TRUSTED: [&str; 6] = [
    "--trust",
    "sandbox",
    "--identity",
    IDENTITY,
    "--issuer",
    ISSUER,
];

/// A workspace whose packages were released.
fn released() -> Workspace {
    let workspace = Workspace::with_two_packages();
    workspace.run(["release"]).ends(0);
    workspace
}

/// The packages of a workspace's rehearsal.
fn packages(workspace: &Workspace) -> Vec<PathBuf> {
    let files = workspace.packages_in("target/conda-release/rehearsal/packages");
    files
        .iter()
        .map(|file| workspace.rehearsal("packages/noarch").join(file))
        .collect()
}

fn bundle_of(package: &Path) -> PathBuf {
    PathBuf::from(format!("{}.sigstore.json", text(package)))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Copies packages into a folder of their own, without their bundles.
fn copied(workspace: &Workspace, packages: &[PathBuf]) -> Vec<PathBuf> {
    let folder = workspace.beside("dist");
    fs::create_dir_all(&folder).unwrap();
    let copy = |package: &PathBuf| {
        let to = folder.join(package.file_name().unwrap());
        fs::copy(package, &to).unwrap();
        to
    };
    packages.iter().map(copy).collect()
}

/// Every file of a folder with its content.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(content(&path)),
            false => all.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    all.sort();
    all
}

mod sign {
    use super::*;

    #[test]
    fn files_from_anywhere_are_attested_for_the_channel_that_is_named() {
        let workspace = released();
        let files = copied(&workspace, &packages(&workspace));
        let channel = ["--channel", "https://prefix.dev/acme"];
        let files: Vec<&str> = files.iter().map(|file| text(file)).collect();
        workspace
            .run([&["sign"], &files[..], &channel].concat())
            .ends(0);

        let verify = [&["verify"], &files[..], &TRUSTED].concat();
        workspace.run([&verify[..], &channel].concat()).ends(0);
        let other = ["--channel", "https://prefix.dev/other"];
        let output = workspace.run([&verify[..], &other].concat()).ends(7);
        assert!(
            output.stdout.contains("https://prefix.dev/acme"),
            "{output}"
        );
    }

    #[test]
    fn signing_before_anything_was_built_says_what_builds() {
        let workspace = Workspace::with_one_package();
        for command in ["sign", "publish"] {
            workspace
                .run([command])
                .ends(3)
                .says("release-manifest.json` does not exist")
                .says("`release` or `build` makes it");
        }
    }

    #[test]
    fn a_release_is_rehearsed_with_the_sandbox_and_its_identity_alone() {
        let workspace = released();
        workspace
            .run(["sign", "--trust", "public-good"])
            .ends(2)
            .says("a rehearsal is signed by the sandbox");
        workspace
            .run(["sign", "--identity-token", "-"])
            .ends(2)
            .says("a rehearsal has an identity of its own");
    }

    #[test]
    fn what_is_no_package_is_refused_by_its_name() {
        let workspace = Workspace::with_one_package();
        workspace
            .run(["sign", "conda-release.toml"])
            .ends(3)
            .says("conda-release.toml does not have the name of a conda package");
        workspace.write("a-1-0.conda", "no archive");
        workspace
            .run(["sign", "a-1-0.conda"])
            .ends(3)
            .says("a-1-0.conda");
        assert!(!workspace.path("a-1-0.conda.sigstore.json").exists());
    }
}

mod publish {
    use super::*;

    #[test]
    fn a_new_folder_becomes_a_channel_that_verifies() {
        let workspace = released();
        let channel = workspace.beside("channel");
        workspace.run(["publish", "--to", text(&channel)]).ends(0);
        let index = repodata(&channel, "noarch");
        let records = index["packages.conda"].as_object().unwrap();
        assert_eq!(records.len(), 2);
        assert!(
            records
                .values()
                .all(|record| record["attestations_sha256"].is_string())
        );
        let verify = [&["verify", text(&channel)], &TRUSTED[..]].concat();
        workspace.run(verify).ends(0);
    }

    #[test]
    fn an_empty_folder_becomes_a_channel_too() {
        let workspace = released();
        let channel = workspace.beside("channel");
        fs::create_dir(&channel).unwrap();
        workspace.run(["publish", "--to", text(&channel)]).ends(0);
        assert_eq!(workspace.packages_in(&channel).len(), 2);
    }

    #[test]
    fn publishing_the_same_again_changes_nothing() {
        let workspace = released();
        let channel = workspace.beside("channel");
        workspace.run(["publish", "--to", text(&channel)]).ends(0);
        let before = content(&channel);
        workspace
            .run(["publish", "--to", text(&channel)])
            .ends(0)
            .says("already there, identical");
        assert_eq!(content(&channel), before);
    }

    #[test]
    fn other_bytes_under_a_published_name_are_refused_with_both_hashes() {
        let workspace = released();
        let channel = workspace.beside("channel");
        workspace.run(["publish", "--to", text(&channel)]).ends(0);
        let before = content(&channel);
        let hash = |workspace: &Workspace| {
            let manifest = workspace.manifest();
            let mut packages = manifest.packages().iter();
            let second = packages
                .find(|package| package.file.name() == "second")
                .unwrap();
            second.sha256.unwrap().to_string()
        };
        let published = hash(&workspace);
        // The same name, version and build string; only the content differs.
        workspace
            .script(
                "second",
                &["mkdir -p $PREFIX/share && echo other > $PREFIX/share/second.txt"],
                "requirements:\n  host:\n    - first\n",
            )
            .commit();
        workspace.run(["release"]).ends(0);
        let rebuilt = hash(&workspace);
        assert_ne!(published, rebuilt);

        workspace
            .run(["publish", "--to", text(&channel)])
            .ends(8)
            .says("is already published with other content")
            .says(&format!("the channel has sha256 {published}"))
            .says(&format!("this one is {rebuilt}"))
            .says("raise the package's build number or version");
        let served = |content: Vec<(PathBuf, Vec<u8>)>| -> Vec<_> {
            let is_package = |path: &Path| path.extension().is_some_and(|end| end == "conda");
            content
                .into_iter()
                .filter(|(path, _)| is_package(path))
                .collect()
        };
        assert_eq!(served(content(&channel)), served(before));
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_not_touched() {
        let workspace = released();
        let folder = workspace.beside("photos");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("cat.jpg"), "meow").unwrap();
        let before = content(&folder);
        workspace
            .run(["publish", "--to", text(&folder)])
            .ends(3)
            .says("is neither empty nor a conda channel: it has cat.jpg")
            .says("name a new or empty folder, or an existing channel");
        assert_eq!(content(&folder), before);
    }

    #[test]
    fn servers_are_not_available_yet() {
        let workspace = released();
        for (url, kind) in [
            ("s3://bucket/channel", "S3"),
            ("https://prefix.dev/acme", "prefix.dev"),
        ] {
            workspace
                .run(["publish", "--to", url])
                .ends(3)
                .says(&format!("`publish` is not available for {kind} (`{url}`)"))
                .says("publish to a folder");
        }
    }

    #[test]
    fn a_channel_of_no_known_kind_names_the_forms_there_are() {
        let workspace = released();
        workspace
            .run(["publish", "--to", "gopher://x/y"])
            .ends(3)
            .says("cannot tell what kind of channel \"gopher://x/y\" is")
            .says("s3://<bucket>/<path>");
    }

    #[test]
    fn what_is_not_signed_is_not_published() {
        let workspace = Workspace::with_two_packages();
        workspace.run(["build"]).ends(0);
        let channel = workspace.beside("channel");
        for args in [&["publish"][..], &["publish", "--to", text(&channel)]] {
            workspace
                .run(args)
                .ends(9)
                .says("Unfinished `release` does what is left");
        }
        assert!(!channel.exists());
        assert_eq!(
            workspace.packages_in("target/conda-release/rehearsal/channel"),
            [""; 0]
        );
    }

    #[test]
    fn with_keep_going_what_runs_with_a_package_that_is_gone_stays_behind_too() {
        let workspace = Workspace::with_one_package();
        let install = ["mkdir -p $PREFIX/share && touch $PREFIX/share/second.txt"];
        let needs_one = "requirements:\n  run:\n    - one\n";
        workspace.script("second", &install, needs_one);
        workspace.package("third").commit();
        workspace.run(["release"]).ends(0);
        let one = &packages(&workspace)[0];
        fs::remove_file(one).unwrap();
        let to = workspace.beside("channel");
        let publish = ["publish", "--keep-going", "--to", text(&to)];
        workspace.run(publish).ends(9);
        let published = workspace.packages_in(&to);
        assert_eq!(published.len(), 1, "{published:?}");
        assert!(published[0].starts_with("third-"), "{published:?}");
    }

    #[test]
    fn files_are_published_with_attestations_that_were_made_elsewhere() {
        let workspace = released();
        let made = packages(&workspace);
        let files = copied(&workspace, &made);
        let channel = workspace.beside("channel");
        let bundles: Vec<PathBuf> = made.iter().map(|package| bundle_of(package)).collect();
        let mut args = vec!["publish"];
        args.extend(files.iter().map(|file| text(file)));
        args.extend(["--to", text(&channel), "--attestation"]);
        args.extend(bundles.iter().map(|bundle| text(bundle)));

        workspace
            .run(&args)
            .ends(3)
            .says("no identity policy was given");
        assert!(!channel.exists());

        let wrong = [
            "--trust",
            "sandbox",
            "--identity",
            "https://evil.invalid/",
            "--issuer",
            ISSUER,
        ];
        workspace
            .run([&args[..], &wrong].concat())
            .ends(7)
            .says("nothing was published");
        assert!(!channel.exists());

        workspace.run([&args[..], &TRUSTED].concat()).ends(0);
        assert_eq!(workspace.packages_in(&channel).len(), 2);
    }

    #[test]
    fn an_attestation_of_another_package_is_no_proof() {
        let workspace = released();
        let made = packages(&workspace);
        let channel = workspace.beside("channel");
        let bundle = bundle_of(&made[1]);
        let args = [
            "publish",
            text(&made[0]),
            "--to",
            text(&channel),
            "--attestation",
            text(&bundle),
        ];
        workspace
            .run([&args[..], &TRUSTED].concat())
            .ends(7)
            .says("nothing was published");
        assert!(!channel.exists());
    }
}

mod verify {
    use super::*;

    #[test]
    fn packages_a_channel_and_a_manifest_verify_and_are_shown_as_a_rehearsal() {
        let workspace = released();
        let made = packages(&workspace);
        let channel = workspace.rehearsal("channel");
        let manifest = workspace.rehearsal("release-manifest.json");
        let files: Vec<&str> = made.iter().map(|file| text(file)).collect();
        for targets in [&files[..], &[text(&channel)], &[text(&manifest)]] {
            let output = workspace
                .run([&["verify"], targets, &TRUSTED].concat())
                .ends(0);
            assert!(output.stdout.starts_with("REHEARSAL: "), "{output}");
            assert_eq!(output.stdout.matches('✓').count(), 2, "{output}");
            assert!(output.stdout.ends_with("2 of 2 verified\n"), "{output}");
        }
    }

    #[test]
    fn a_verified_package_shows_who_signed_it_when_and_for_which_channel() {
        let workspace = released();
        let output = workspace
            .run(
                [
                    &["verify", "target/conda-release/rehearsal/channel"],
                    &TRUSTED[..],
                ]
                .concat(),
            )
            .ends(0);
        assert_snapshot!(workspace.redact(&output.stdout));
    }

    #[test]
    fn another_signer_than_expected_is_refused() {
        let workspace = released();
        let channel = "target/conda-release/rehearsal/channel";
        let with = |identity: &[&str]| {
            workspace.run([&["verify", channel, "--trust", "sandbox"], identity].concat())
        };
        for refused in [
            &["--identity", "https://evil.invalid/", "--issuer", ISSUER][..],
            &["--identity", IDENTITY, "--issuer", "https://evil.invalid"],
            // A regular expression is held against the whole subject, never a part of it.
            &[
                "--identity-regexp",
                "https://sandbox.conda-release.invalid",
                "--issuer",
                ISSUER,
            ],
            &["--repo", "acme/pkgs"],
        ] {
            let output = with(refused).ends(7);
            assert_eq!(output.stdout.matches('✗').count(), 2, "{output}");
            assert!(output.stdout.contains("identity: expected"), "{output}");
        }
        for accepted in [
            &[
                "--identity-regexp",
                "https://.*/rehearsal",
                "--issuer",
                ISSUER,
            ][..],
            &["--allow-any-identity"],
        ] {
            with(accepted).ends(0);
        }
    }

    #[test]
    fn who_may_have_signed_has_no_default() {
        let workspace = released();
        workspace
            .run([
                "verify",
                "target/conda-release/rehearsal/channel",
                "--trust",
                "sandbox",
            ])
            .ends(3)
            .says("no identity policy was given")
            .says("give --identity with --issuer, --repo or --owner");
    }

    #[test]
    fn the_public_instances_vouch_for_no_rehearsal_and_are_known_offline() {
        let workspace = released();
        let verify = [
            "verify",
            "target/conda-release/rehearsal/channel",
            "--offline",
            "--repo",
            "a/b",
        ];
        for (trust, name) in [
            (&[][..], "public-good"),
            (&["--trust", "public-good"], "public-good"),
            (&["--trust", "staging"], "staging"),
            (&["--trust", "github"], "github"),
        ] {
            workspace
                .run([&verify[..], trust].concat())
                .ends(7)
                .says(&format!("{name}, from the "));
        }
        workspace
            .run([&verify[..], &["--trust", "https://sigstore.example.com"]].concat())
            .ends(2)
            .says("name the root.json of https://sigstore.example.com/ with --tuf-root");
    }

    #[test]
    fn a_rehearsals_root_must_be_asked_for_by_name() {
        let workspace = released();
        for root in ["trusted_root.json", "trust_config.json"] {
            let root = workspace.rehearsal("sandbox").join(root);
            let args = [
                "verify",
                "target/conda-release/rehearsal/channel",
                "--trust",
                text(&root),
            ];
            workspace
                .run([&args[..], &TRUSTED[2..]].concat())
                .ends(2)
                .says("is the trusted root of a rehearsal: ask for it with `--trust sandbox`");
        }
    }

    #[test]
    fn a_rehearsal_that_never_signed_has_no_trust() {
        let workspace = released();
        let made = packages(&workspace);
        let files = copied(&workspace, &made);
        fs::remove_dir_all(workspace.rehearsal("sandbox")).unwrap();
        workspace
            .run([&["verify", text(&files[0])], &TRUSTED[..]].concat())
            .ends(3)
            .says("sandbox` does not exist");
    }

    #[test]
    fn one_changed_byte_is_found() {
        let workspace = released();
        let package = packages(&workspace).remove(0);
        let mut bytes = fs::read(&package).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&package, bytes).unwrap();
        let output = workspace.run([&["verify", text(&package)], &TRUSTED[..]].concat());
        assert_ne!(output.status, Some(0), "{output}");
        assert!(output.stdout.contains("✗"), "{output}");
    }

    #[test]
    fn a_package_without_attestation_is_not_verified() {
        let workspace = released();
        let files = copied(&workspace, &packages(&workspace));
        let output = workspace
            .run([&["verify", text(&files[0])], &TRUSTED[..]].concat())
            .ends(7);
        assert!(output.stdout.contains("✗"), "{output}");
        assert!(output.stdout.contains("0 of 1 verified"), "{output}");
    }

    #[test]
    fn attestations_come_as_json_lines_as_an_array_or_one_a_file() {
        let workspace = released();
        let made = packages(&workspace);
        let files = copied(&workspace, &made);
        let bundles: Vec<String> = made
            .iter()
            .map(|package| fs::read_to_string(bundle_of(package)).unwrap())
            .map(|bundle| bundle.replace('\n', " "))
            .collect();
        workspace
            .write("bundles.jsonl", &format!("{}\n", bundles.join("\n")))
            .write("bundles.json", &format!("[{}]", bundles.join(",")));
        let paths: Vec<PathBuf> = made.iter().map(|package| bundle_of(package)).collect();
        let files: Vec<&str> = files.iter().map(|file| text(file)).collect();
        for given in [
            &["--bundle", "bundles.jsonl"][..],
            &["--bundle", "bundles.json"],
            &["--bundle", text(&paths[1]), "--bundle", text(&paths[0])],
        ] {
            let args = [&["verify"], &files[..], given, &TRUSTED].concat();
            let output = workspace.run(args).ends(0);
            assert!(output.stdout.contains("2 of 2 verified"), "{output}");
        }
        let other = ["--bundle", text(&paths[1])];
        let output = workspace
            .run([&["verify", files[0]], &other[..], &TRUSTED].concat())
            .ends(7);
        assert!(output.stdout.contains("✗"), "{output}");
    }

    #[test]
    fn attestations_that_a_channel_or_manifest_would_ignore_are_a_wrong_command_line() {
        let workspace = released();
        let bundle = bundle_of(&packages(&workspace)[0]);
        for target in ["channel", "release-manifest.json"] {
            let target = workspace.rehearsal(target);
            let files = ["verify", text(&target), "--bundle", text(&bundle)];
            let output = workspace.run(files.into_iter().chain(TRUSTED));
            output.ends(2).says("--bundle goes with packages");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let workspace = released();
        workspace
            .run([&["verify", "a-1-0.conda"], &TRUSTED[..]].concat())
            .ends(3)
            .says("a-1-0.conda")
            .says("No such file");
        workspace.write("bundle.json", "[]");
        let package = packages(&workspace).remove(0);
        workspace
            .run(
                [
                    &["verify", text(&package), "--bundle", "bundle.json"],
                    &TRUSTED[..],
                ]
                .concat(),
            )
            .ends(7)
            .says("`bundle.json` holds no attestation");
    }
}

mod inspect {
    use super::*;

    #[test]
    fn an_attestation_says_who_when_what_and_for_which_channel() {
        let workspace = Workspace::with_one_package();
        workspace.commit();
        workspace.run(["release"]).ends(0);
        let package = packages(&workspace).remove(0);
        let shown = workspace.run(["inspect", text(&package)]).ends(0).stdout;
        assert_snapshot!(workspace.redact(&shown));
        let bundle = bundle_of(&package);
        assert_eq!(
            workspace.run(["inspect", text(&bundle)]).ends(0).stdout,
            shown
        );
    }

    #[test]
    fn a_manifest_shows_the_attestations_of_its_packages() {
        let workspace = released();
        let manifest = "target/conda-release/rehearsal/release-manifest.json";
        let shown = workspace.run(["inspect", manifest]).ends(0).stdout;
        assert_eq!(shown.matches("signed by").count(), 2, "{shown}");
    }

    #[test]
    fn what_holds_no_attestation_is_named() {
        let workspace = Workspace::with_one_package();
        workspace
            .run(["inspect", "conda-release.toml"])
            .ends(7)
            .says("`conda-release.toml` holds no attestation");
        workspace
            .run(["inspect", "nothing.sigstore.json"])
            .ends(3)
            .says("nothing.sigstore.json")
            .says("No such file");
    }
}

mod validate {
    use super::*;

    /// A statement that breaks several rules at once: the subject's name, its digest, the channel's trailing slash.
    const BAD: &str = r#"{
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "../a-1-0.conda", "digest": {"sha256": "ABC"}}],
        "predicateType": "https://schemas.conda.org/attestations-publish-1.schema.json",
        "predicate": {"targetChannel": "https://example.com/channel/"}
    }"#;

    #[test]
    fn bundles_sidecars_and_statements_of_a_release_keep_the_rules() {
        let workspace = released();
        let package = packages(&workspace).remove(0);
        let bundle = bundle_of(&package);
        let file = package.file_name().unwrap().to_str().unwrap();
        let sidecar = workspace.rehearsal(format!("channel/noarch/{file}.sigs"));
        let output = workspace
            .run(["validate", text(&bundle), text(&sidecar)])
            .ends(0);
        assert_eq!(output.stdout.matches('✓').count(), 2, "{output}");
        assert!(output.stdout.contains("(Sigstore bundle)"), "{output}");
    }

    #[test]
    fn every_violation_has_its_rule_and_place() {
        let workspace = Workspace::plain();
        workspace.write("bad.json", BAD);
        let output = workspace.run(["validate", "bad.json"]).ends(5);
        assert_snapshot!(output.stdout);
    }

    #[test]
    fn one_bad_file_among_good_ones_decides_the_exit_status() {
        let workspace = released();
        workspace.write("bad.json", BAD);
        let bundle = bundle_of(&packages(&workspace)[0]);
        let output = workspace
            .run(["validate", text(&bundle), "bad.json"])
            .ends(5);
        assert_eq!(output.stdout.matches('✓').count(), 1, "{output}");
        assert_eq!(output.stdout.matches('✗').count(), 1, "{output}");
    }

    #[test]
    fn standard_input_is_a_file_too() {
        let workspace = Workspace::plain();
        let output = workspace
            .run_with_input(["validate", "-"], BAD.as_bytes())
            .ends(5);
        assert!(
            output.stdout.starts_with("✗ - (in-toto statement)"),
            "{output}"
        );
        let output = workspace
            .run_with_input(["validate", "-"], b"{\"a\":")
            .ends(5);
        assert!(output.stdout.contains("one JSON document"), "{output}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let workspace = Workspace::plain();
        workspace
            .run(["validate", "nothing.json"])
            .ends(3)
            .says("cannot read `nothing.json`");
    }
}
