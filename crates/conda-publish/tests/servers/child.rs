//! Tests in a process of their own, which has an environment and a memory of its own.

use std::path::PathBuf;
use std::process::Command;

use channel_servers::anaconda::AnacondaOrg;
use channel_servers::artifactory::Artifactory;
use channel_servers::cloudsmith::Cloudsmith;
use conda_publish::{ChannelLocation, ChannelType, OpenOptions, Upload, open};

use crate::{expect_error, patience};

const LOCATION: &str = "TEST_LOCATION";
const TYPE: &str = "TEST_TYPE";
const READ_AT: &str = "TEST_READ_AT";
const PACKAGE: &str = "TEST_PACKAGE";

/// Runs [`body`] with these variables, and gives what it prints.
pub(crate) async fn run(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child::body", "--ignored", "--nocapture"])
        .envs(variables.iter().copied());
    // The servers of a test answer meanwhile.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{said}");
    printed
}

/// Variables for publishing one package, whose file, name and hash are given.
pub(crate) fn publishing(upload: &Upload) -> (&'static str, String) {
    let (source, package, sha256) = (upload.source.display(), &upload.package, upload.sha256);
    (PACKAGE, format!("{source}\n{package}\n{sha256}"))
}

/// Opens the channel that the environment names and asks for everything that publishing needs; publishes a package
/// if one is named, and tells the most memory that all this took.
#[tokio::test]
#[ignore = "the other tests here start it"]
#[allow(clippy::print_stdout, reason = "how it talks to its parent")]
async fn body() {
    let Ok(location) = std::env::var(LOCATION) else {
        return;
    };
    let location = match std::env::var(TYPE) {
        Ok(kind) => {
            let kind: ChannelType = kind.parse().unwrap();
            ChannelLocation::of_type(&location, kind).unwrap()
        }
        Err(_) => location.parse().unwrap(),
    };
    let options = OpenOptions {
        patience: patience(),
        read_at: std::env::var(READ_AT).ok().map(|url| url.parse().unwrap()),
        ..OpenOptions::default()
    };
    let channel = open(&location, &options).await.unwrap();
    channel.preflight().await.unwrap();
    if let Ok(package) = std::env::var(PACKAGE) {
        let parts: Vec<&str> = package.lines().collect();
        let upload = Upload {
            source: PathBuf::from(parts[0]),
            package: parts[1].parse().unwrap(),
            sha256: parts[2].parse().unwrap(),
            bundles: Vec::new(),
        };
        let placed = channel.put(&upload, &()).await.unwrap();
        println!("{:?}", placed.result);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    if let Some(most) = most {
        println!("VmHWM:{}", most.trim().trim_end_matches(" kB"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_servers_are_named_by_variables() {
    let artifactory = Artifactory::start("Bearer s3cret").await;
    let url = artifactory.url("conda-local");
    run(&[
        (LOCATION, &url),
        (TYPE, "artifactory"),
        ("ARTIFACTORY_TOKEN", "s3cret"),
    ])
    .await;
    // alice:s3cret
    let artifactory = Artifactory::start("Basic YWxpY2U6czNjcmV0").await;
    let url = artifactory.url("conda-local");
    let basic = [
        ("ARTIFACTORY_USERNAME", "alice"),
        ("ARTIFACTORY_PASSWORD", "s3cret"),
    ];
    run(&[
        &[(LOCATION, url.as_str()), (TYPE, "artifactory")],
        &basic[..],
    ]
    .concat())
    .await;
    let anaconda = AnacondaOrg::start("s3cret").await;
    run(&[
        (LOCATION, "https://anaconda.org/acme"),
        (READ_AT, &anaconda.channel()),
        ("ANACONDA_SERVER_URL", anaconda.api()),
        ("ANACONDA_API_KEY", "s3cret"),
    ])
    .await;
    let cloudsmith = Cloudsmith::start("s3cret").await;
    run(&[
        (LOCATION, "cloudsmith://acme/pkgs"),
        (READ_AT, &cloudsmith.channel()),
        ("CLOUDSMITH_API_URL", &cloudsmith.api()),
        ("CLOUDSMITH_API_KEY", "s3cret"),
    ])
    .await;
    assert_eq!(anaconda.shelf().complaints(), [""; 0]);
    assert_eq!(cloudsmith.shelf().complaints(), [""; 0]);
}

#[tokio::test]
async fn an_api_elsewhere_needs_to_be_https_and_to_say_where_clients_read() {
    for location in ["https://anaconda.org/acme", "cloudsmith://acme/pkgs"] {
        let location: ChannelLocation = location.parse().unwrap();
        let mut options = OpenOptions {
            api_url: Some("http://api.example.org".parse().unwrap()),
            ..OpenOptions::default()
        };
        let opened = open(&location, &options).await.map(drop);
        assert!(opened.unwrap_err().to_string().contains("clients read"));
        options.read_at = Some("https://conda.example.org/acme".parse().unwrap());
        let opened = open(&location, &options).await.map(drop);
        assert!(opened.unwrap_err().to_string().contains("is not https"));
    }
    let folder = tempfile::tempdir().unwrap();
    let options = crate::options(folder.path(), r#"{"BearerToken":"s3cret"}"#);
    let url = "http://127.0.0.1:9/acme";
    let location = ChannelLocation::of_type(url, ChannelType::Quetz).unwrap();
    let channel = open(&location, &options).await.unwrap();
    let refused = channel.preflight().await;
    expect_error(
        refused,
        "no_credentials",
        "expected a conda token, found BearerToken",
        "s3cret",
    );
}
