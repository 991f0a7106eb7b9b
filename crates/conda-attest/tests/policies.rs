//! Who is accepted, by real certificates: each policy accepts the release it is meant for, and
//! refuses the one that only looks like it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use conda_attest::{
    Github, Identity, IdentityToken, Matcher, PackageFile, Policy, Provider, Verifier, sign,
};
use sigstore_sandbox::Claims;
use support::{CHANNEL, Fixture, options, package};

const ISSUER: &str = "https://actions.sandbox.conda-release.invalid";
const SIGNER: &str = "acme/shared/.github/workflows/sign.yml@refs/tags/v1";

/// `acme/pkgs` releases from `main`, in the environment `release`.
fn acme() -> Claims {
    Claims {
        environment: Some("release".to_owned()),
        ..Claims::github_actions()
    }
}

/// The same, changed.
fn but(change: fn(&mut Claims)) -> Claims {
    let mut claims = acme();
    change(&mut claims);
    claims
}

/// What somebody else's repository says when its own workflow signs.
fn from_repository(url: &str) -> Claims {
    let path = url.splitn(4, '/').last().unwrap();
    let (_, name) = path.rsplit_once('/').unwrap();
    Claims {
        repository: Some(url.to_owned()),
        signer_workflow: Some(format!(
            "{path}/.github/workflows/release.yml@refs/heads/main"
        )),
        // Numbers are never given out twice.
        repository_id: Some(format!("77{}", name.len())),
        owner_id: Some("7777".to_owned()),
        ..acme()
    }
}

/// `acme/pkgs` releases from another ref.
fn from_ref(git_ref: &str) -> Claims {
    Claims {
        git_ref: Some(git_ref.to_owned()),
        signer_workflow: Some(format!("acme/pkgs/.github/workflows/release.yml@{git_ref}")),
        ..acme()
    }
}

/// A repository that has the reusable workflow of `acme/shared` sign.
fn calling(repository: &str) -> Claims {
    Claims {
        signer_workflow: Some(SIGNER.to_owned()),
        ..from_repository(repository)
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn github(claims: Github) -> Policy {
    let issuer = claims.issuer.clone().or_else(|| text(ISSUER));
    Github { issuer, ..claims }.into_policy().unwrap()
}

fn owner(owner: &str) -> Github {
    Github {
        owner: text(owner),
        ..Github::default()
    }
}

fn repo(repo: &str) -> Github {
    Github {
        repo: text(repo),
        ..Github::default()
    }
}

fn exactly(identity: &str) -> Policy {
    Policy::exactly(identity, ISSUER)
}

fn regex(pattern: &str) -> Policy {
    Policy::Identity {
        identity: Matcher::regex(pattern).unwrap(),
        issuer: ISSUER.to_owned(),
    }
}

fn glob(pattern: &str) -> Policy {
    Policy::Identity {
        identity: Matcher::glob(pattern).unwrap(),
        issuer: ISSUER.to_owned(),
    }
}

/// Certificates are made once for each identity.
struct Certified {
    fixture: Fixture,
    package: PackageFile,
    verifier: Verifier,
    bundles: Vec<(Claims, Vec<u8>)>,
}

impl Certified {
    async fn start() -> Self {
        let fixture = Fixture::start().await;
        Self {
            package: package(fixture.dir.path(), "greet"),
            verifier: Verifier::new(&fixture.trust).unwrap(),
            bundles: Vec::new(),
            fixture,
        }
    }

    /// Has the owner of these claims sign, and asks the policy: why it refuses, if it does.
    async fn ask(&mut self, claims: &Claims, policy: &Policy) -> Option<String> {
        let bundle = self.bundle(claims).await;
        let verdict = self
            .verifier
            .verify(&self.package, &bundle, policy, Some(CHANNEL));
        let verdict = serde_json::to_value(&verdict).unwrap();
        let failed: Vec<_> = verdict["checks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|check| check["result"]["outcome"] != "passed")
            .collect();
        match failed[..] {
            [] => None,
            [check] if check["code"] == "identity" => {
                Some(check["result"]["message"].as_str().unwrap().to_owned())
            }
            _ => panic!("more than the identity is wrong: {failed:?}"),
        }
    }

    async fn bundle(&mut self, claims: &Claims) -> Vec<u8> {
        let known = self.bundles.iter().find(|(known, _)| known == claims);
        if let Some((_, bundle)) = known {
            return bundle.clone();
        }
        let hour = Duration::from_secs(3600);
        let sandbox = &self.fixture.sandbox;
        let token = sandbox
            .token_with(sigstore_sandbox::AUDIENCE, hour, claims.clone())
            .unwrap();
        let token = IdentityToken::from_jwt(&token, Provider::Sandbox).unwrap();
        let identity = Identity::from(token);
        let package = vec![self.package.clone()];
        let trust = &self.fixture.trust;
        let mut results = sign(trust, &identity, package, &options(), &())
            .await
            .unwrap();
        let signed = results.remove(0).1.unwrap();
        let bundle = std::fs::read(signed.bundle).unwrap();
        self.bundles.push((claims.clone(), bundle.clone()));
        bundle
    }

    /// The policy accepts the good one and refuses all others, for the claim that differs.
    async fn tell_apart(&mut self, policy: Policy, claim: &str, good: Claims, bad: &[Claims]) {
        let refusal = self.ask(&good, &policy).await;
        assert_eq!(refusal, None, "{policy:?} refuses {good:?}");
        for bad in bad {
            let refusal = self.ask(bad, &policy).await;
            let refusal = refusal.unwrap_or_else(|| panic!("{policy:?} accepts {bad:?}"));
            assert!(
                refusal.starts_with(&format!("expected {claim} ")),
                "{refusal}"
            );
        }
    }
}

#[tokio::test]
async fn an_owner_is_not_one_of_a_similar_name() {
    let mut certified = Certified::start().await;
    let others = [
        "https://github.com/acme-evil/pkgs",
        "https://github.com/acm/pkgs",
        "https://github.com/Acme/pkgs",
        "https://github.com/evil/acme",
        "https://gitlab.com/acme/pkgs",
        "https://github.com.evil.example/acme/pkgs",
    ];
    certified
        .tell_apart(
            github(owner("acme")),
            "owner",
            acme(),
            &others.map(from_repository),
        )
        .await;
}

#[tokio::test]
async fn a_repository_is_not_one_of_a_similar_name() {
    let mut certified = Certified::start().await;
    let others = [
        "https://github.com/acme/pkgs2",
        "https://github.com/acme/pkg",
        "https://github.com/acme/Pkgs",
        "https://github.com/acme/pkgs.git",
        "https://github.com/evil/pkgs",
        "https://github.com/acme-evil/pkgs",
        "https://gitlab.com/acme/pkgs",
        "https://github.com/acme/pkgs/pkgs",
    ];
    for policy in ["acme/pkgs", "https://github.com/acme/pkgs"] {
        certified
            .tell_apart(
                github(repo(policy)),
                "repository",
                acme(),
                &others.map(from_repository),
            )
            .await;
    }
}

#[tokio::test]
async fn a_ref_is_a_full_one() {
    let mut certified = Certified::start().await;
    for (good, others) in [
        (
            "refs/heads/v1",
            ["refs/tags/v1", "refs/heads/v1.1", "refs/heads/V1"],
        ),
        (
            "refs/tags/v1",
            ["refs/heads/v1", "refs/heads/refs/tags/v1", "refs/tags/v10"],
        ),
    ] {
        let policy = github(Github {
            git_ref: text(good),
            ..repo("acme/pkgs")
        });
        certified
            .tell_apart(policy, "ref", from_ref(good), &others.map(from_ref))
            .await;
    }
}

#[tokio::test]
async fn a_reusable_workflow_does_not_speak_for_those_who_call_it() {
    let mut certified = Certified::start().await;
    let policy = github(Github {
        signer_workflow: text(SIGNER),
        ..repo("acme/pkgs")
    });
    let good = calling("https://github.com/acme/pkgs");
    let callers = [
        calling("https://github.com/evil/pkgs"),
        calling("https://github.com/acme/pkgs2"),
        calling("https://github.com/acme-evil/pkgs"),
    ];
    certified
        .tell_apart(policy.clone(), "repository", good.clone(), &callers)
        .await;
    // Our own repository, signing by itself or by another's workflow.
    let signers = [
        acme(),
        but(|claims| claims.signer_workflow = Some(SIGNER.replace("acme", "evil"))),
        but(|claims| claims.signer_workflow = Some(SIGNER.replace("v1", "v2"))),
        but(|claims| claims.signer_workflow = Some(SIGNER.replace("tags", "heads"))),
    ];
    certified
        .tell_apart(policy, "signer workflow", good, &signers)
        .await;
}

/// An identity alone cannot tell who called a reusable workflow; the repository beside it can.
#[tokio::test]
async fn everything_that_is_given_has_to_hold() {
    let mut certified = Certified::start().await;
    let identity = format!("https://github.com/{SIGNER}");
    let policy = github(Github {
        identity: Some(Matcher::Exact(identity.clone())),
        environment: text("release"),
        ..repo("acme/pkgs")
    });
    let good = calling("https://github.com/acme/pkgs");
    let foreign = calling("https://github.com/evil/pkgs");
    assert_eq!(certified.ask(&foreign, &exactly(&identity)).await, None);
    let alone = github(Github {
        identity: Some(Matcher::Exact(identity)),
        ..Github::default()
    });
    for caller in [&good, &foreign] {
        let refusal = certified.ask(caller, &alone).await.unwrap();
        let said =
            "expected a workflow that signs for itself, or a policy that names the repository";
        assert!(refusal.starts_with(said), "{refusal}");
    }
    let untested = Claims {
        environment: text("test"),
        ..good.clone()
    };
    for (claim, bad) in [
        ("repository", foreign),
        ("environment", untested),
        ("identity", acme()),
    ] {
        certified
            .tell_apart(policy.clone(), claim, good.clone(), &[bad])
            .await;
    }
}

#[tokio::test]
async fn the_workflow_that_was_started_is_the_one_named() {
    let mut certified = Certified::start().await;
    let policy = github(Github {
        workflow: text("acme/pkgs/.github/workflows/release.yml@refs/heads/main"),
        ..repo("acme/pkgs")
    });
    let others = [
        but(|claims| claims.workflow = text(".github/workflows/release.yml2")),
        but(|claims| claims.workflow = text(".github/workflows/test.yml")),
        but(|claims| claims.workflow = text("sub/.github/workflows/release.yml")),
        but(|claims| claims.git_ref = text("refs/heads/main2")),
        but(|claims| claims.workflow = None),
    ];
    certified
        .tell_apart(policy, "workflow", acme(), &others)
        .await;
}

#[tokio::test]
async fn another_issuer_vouches_for_nobody() {
    let mut certified = Certified::start().await;
    let others = [
        "https://evil.invalid",
        "https://actions.sandbox.conda-release.invalid/",
        "https://Actions.sandbox.conda-release.invalid",
        "https://actions.sandbox.conda-release.invalid/tenant",
    ];
    let others = others.map(|issuer| Claims {
        issuer: text(issuer),
        ..acme()
    });
    for policy in [
        github(repo("acme/pkgs")),
        exactly("https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main"),
        regex("https://.*"),
    ] {
        certified
            .tell_apart(policy, "issuer", acme(), &others)
            .await;
    }
    // Not naming one means GitHub.com's.
    let policy = repo("acme/pkgs").into_policy().unwrap();
    let refusal = certified.ask(&acme(), &policy).await.unwrap();
    assert!(
        refusal.starts_with("expected issuer `https://token.actions.githubusercontent.com`"),
        "{refusal}"
    );
}

#[tokio::test]
async fn numbers_tell_apart_what_was_renamed_or_made_again() {
    let mut certified = Certified::start().await;
    let others = [
        but(|claims| claims.owner_id = text("20022")),
        but(|claims| claims.owner_id = text("200")),
        but(|claims| claims.owner_id = text("02002")),
        but(|claims| claims.owner_id = None),
    ];
    let policy = github(Github {
        owner_id: text("2002"),
        ..Github::default()
    });
    certified
        .tell_apart(policy, "owner id", acme(), &others)
        .await;
    let others = [
        but(|claims| claims.repository_id = text("10011")),
        but(|claims| claims.repository_id = text("1002")),
        but(|claims| claims.repository_id = None),
    ];
    let policy = github(Github {
        repository_id: text("1001"),
        ..Github::default()
    });
    // A repository that moved to another owner keeps its number.
    let moved = Claims {
        repository_id: text("1001"),
        ..from_repository("https://github.com/acme-two/packages")
    };
    for good in [acme(), moved] {
        certified
            .tell_apart(policy.clone(), "repository id", good, &others)
            .await;
    }
}

#[tokio::test]
async fn commit_environment_and_runner_can_be_pinned() {
    let mut certified = Certified::start().await;
    let policy = github(Github {
        sha: acme().commit,
        ..repo("acme/pkgs")
    });
    let others = [
        but(|claims| claims.commit = text("fedcba98fedcba98fedcba98fedcba98fedcba98")),
        but(|claims| claims.commit = claims.commit.as_ref().map(|sha| sha[..12].to_owned())),
        but(|claims| claims.commit = claims.commit.as_ref().map(|sha| sha.to_uppercase())),
    ];
    certified
        .tell_apart(policy, "commit", acme(), &others)
        .await;

    let policy = github(Github {
        environment: text("release"),
        ..repo("acme/pkgs")
    });
    let others = [
        but(|claims| claims.environment = text("Release")),
        but(|claims| claims.environment = text("release2")),
        but(|claims| claims.environment = text("test")),
        but(|claims| claims.environment = None),
    ];
    certified
        .tell_apart(policy, "environment", acme(), &others)
        .await;

    let policy = github(Github {
        deny_self_hosted_runners: true,
        ..repo("acme/pkgs")
    });
    let others = [
        but(|claims| claims.runner = text("self-hosted")),
        but(|claims| claims.runner = text("github-hosted-by-evil")),
    ];
    certified
        .tell_apart(policy, "runner environment", acme(), &others)
        .await;
}

#[tokio::test]
async fn an_identity_is_compared_as_a_whole() {
    let mut certified = Certified::start().await;
    let other = |workflow: &str| Claims {
        signer_workflow: text(workflow),
        ..acme()
    };
    // Each has a part of what is accepted, or more than it.
    let others = [
        "acme/pkgs/.github/workflows/release.yml@refs/heads/main2",
        "acme/pkgs/.github/workflows/release.yml@refs/tags/main",
        "acme/pkgs/.github/workflows/release.yml@refs/heads/evil@refs/heads/main",
        "acme/pkgs/sub/.github/workflows/release.yml@refs/heads/main",
        "acme/pkgs2/.github/workflows/release.yml@refs/heads/main",
        "acme-evil/pkgs/.github/workflows/release.yml@refs/heads/main",
        "evil/x/.github/workflows/https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main",
        "acme/pkgs/.github/workflows/release.yml@refs/heads/main\n",
        "acme/pkgs/.github/workflows/releaseXyml@refs/heads/main",
        "acme/Pkgs/.github/workflows/release.yml@refs/heads/main",
    ]
    .map(other);
    for policy in [
        exactly("https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main"),
        regex(r"https://github\.com/acme/pkgs/\.github/workflows/release\.yml@refs/heads/main"),
        glob("https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main"),
        glob("*://github.com/acme/pkgs/.github/*/*.yml@refs/heads/main"),
    ] {
        certified
            .tell_apart(policy, "identity", acme(), &others)
            .await;
    }
}

#[tokio::test]
async fn a_pattern_for_a_part_of_the_identity_accepts_nobody() {
    let mut certified = Certified::start().await;
    for policy in [
        regex("acme/pkgs"),
        regex("https://github.com/acme/pkgs"),
        regex("https://github.com/acme/pkgs/|release.yml"),
        regex("^https://github.com/acme/"),
        regex("refs/heads/main$"),
        regex("(?m)^https://github.com/acme/pkgs/.*@refs/heads/mai"),
        regex(""),
        glob("https://github.com/acme/*"),
        glob("https://github.com/acme/pkgs/*@refs/heads/main"),
        glob("https://github.com/*/.github/workflows/release.yml@refs/heads/main"),
        glob("https://github.com/acme/pkgs/.github/workflows/*"),
        glob("https://github.com/acme/pkgs/.github/workflows/release.yml@*"),
        glob("*"),
        glob(""),
        exactly("https://github.com/acme/pkgs"),
        exactly("http://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main"),
        exactly(""),
    ] {
        let refusal = certified.ask(&acme(), &policy).await;
        let refusal = refusal.unwrap_or_else(|| panic!("{policy:?} accepts it"));
        assert!(refusal.starts_with("expected identity "), "{refusal}");
    }
}

#[tokio::test]
async fn what_a_policy_names_inexactly_accepts_nobody() {
    let mut certified = Certified::start().await;
    for (claims, claim) in [
        (repo("acme/pkgs/"), "repository"),
        (repo("acme/"), "repository"),
        (repo("acme/*"), "repository"),
        (repo("pkgs"), "repository"),
        (repo(""), "repository"),
        (repo("http://github.com/acme/pkgs"), "repository"),
        (repo("https://GitHub.com/acme/pkgs"), "repository"),
        (repo("https://github.com/acme/pkgs.git"), "repository"),
        (owner("acme/"), "owner"),
        (owner("ACME"), "owner"),
        (owner("http://github.com/acme"), "owner"),
        (owner(""), "owner"),
        (
            Github {
                sha: acme().commit.map(|sha| sha[..12].to_owned()),
                ..repo("acme/pkgs")
            },
            "commit",
        ),
        (
            Github {
                issuer: Some(format!("{ISSUER}/")),
                ..repo("acme/pkgs")
            },
            "issuer",
        ),
        (
            Github {
                issuer: Some(ISSUER.replace("https", "http")),
                ..repo("acme/pkgs")
            },
            "issuer",
        ),
    ] {
        let policy = github(claims);
        let refusal = certified.ask(&acme(), &policy).await;
        let refusal = refusal.unwrap_or_else(|| panic!("{policy:?} accepts it"));
        assert!(
            refusal.starts_with(&format!("expected {claim} ")),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn of_several_policies_one_has_to_accept_by_itself() {
    let mut certified = Certified::start().await;
    let main = Github {
        git_ref: text("refs/heads/main"),
        ..repo("acme/other")
    };
    let tag = Github {
        git_ref: text("refs/tags/v1"),
        ..repo("acme/pkgs")
    };
    // The repository of one and the ref of the other are not enough.
    let neither = Policy::AnyOf(vec![github(main), github(tag)]);
    let refusal = certified.ask(&acme(), &neither).await.unwrap();
    assert!(
        refusal.starts_with("none of 2 policies accepts it"),
        "{refusal}"
    );
    assert!(refusal.contains("expected repository"), "{refusal}");
    assert!(refusal.contains("expected ref"), "{refusal}");

    let either = Policy::AnyOf(vec![neither, github(repo("acme/pkgs"))]);
    assert_eq!(certified.ask(&acme(), &either).await, None);
    let nobody = Policy::AnyOf(Vec::new());
    assert!(certified.ask(&acme(), &nobody).await.is_some());
}

#[tokio::test]
async fn a_certificate_without_the_claims_satisfies_no_policy_about_them() {
    let mut certified = Certified::start().await;
    let person = Claims {
        issuer: text(ISSUER),
        ..Claims::default()
    };
    for claims in [repo("acme/pkgs"), owner("acme"), repo(""), owner("")] {
        let refusal = certified.ask(&person, &github(claims)).await.unwrap();
        assert!(refusal.ends_with("found none"), "{refusal}");
    }
}
