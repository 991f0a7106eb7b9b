//! Large batches to a server like prefix.dev that fails now and then, and on which others publish meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use channel_servers::{Fault, Hold, prefix::UPLOAD};
use end_to_end::{
    Attested, COMMIT, Output, PREFIX_KEY, Sigstore, Workspace, prefix_server, write_package,
};

/// The bench has 500.
const PACKAGES: usize = 120;
/// What others publish with other bytes.
const TAKEN: [usize; 3] = [50, 77, 119];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_in_passing_is_published_and_what_is_taken_meanwhile_is_named() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let server = prefix_server(&sigstore, None).await;
    let workspace = Workspace::plain();
    workspace.config("publish.channel-type = \"prefix\"");
    let package = |folder: &str, number: usize| -> PathBuf {
        let name = format!("noarch/p{number:03}-1-0.conda");
        write_package(&workspace.beside(folder), &name, folder)
    };
    let channel = server.channel();
    let (attested, theirs) = tokio::task::block_in_place(|| {
        let ours = (0..PACKAGES).map(|number| package("ours", number));
        let attested = Attested::by(&sigstore, &workspace, ours.collect(), &channel);
        (attested, TAKEN.map(|number| package("theirs", number)))
    });
    let publish = || {
        let args = ["--output-format", "json"];
        let mut command = attested.publishing(attested.packages(), &channel, &args);
        command.env("PREFIX_API_KEY", PREFIX_KEY);
        workspace.start_command(command)
    };

    // Uploads begin when the channel was compared with what is to be published.
    let hold = Arc::<Hold>::default();
    server
        .faults()
        .always(UPLOAD, Fault::Hold(Arc::clone(&hold)));
    for (every, fault) in [(60, Fault::LoseAnswer), (20, Fault::Status(503))] {
        server.faults().every(UPLOAD, every, fault);
    }
    let publishing = publish();
    hold.reached().await;
    for path in &theirs {
        server.publish(path).await;
    }
    hold.open();
    let output = tokio::task::block_in_place(|| publishing.wait()).ends(8);
    let refused = refused(&output);
    assert_eq!(refused.len(), TAKEN.len(), "{output}");
    for (number, theirs) in TAKEN.iter().zip(&theirs) {
        let message = &refused[&format!("noarch/p{number:03}-1-0.conda")];
        for path in [&attested.packages()[*number], theirs] {
            assert!(message.contains(&sha256(path)), "{message}");
            assert!(output.mentions(&sha256(path)), "{output}");
        }
    }
    let uploads = server.uploads();
    assert_eq!(uploads.len(), PACKAGES - TAKEN.len(), "each once");
    assert!(uploads.iter().all(|upload| upload.attested));
    assert_eq!(server.packages().len(), PACKAGES);

    let attempts = server.attempts();
    let output = tokio::task::block_in_place(|| publish().wait())
        .ends(8)
        .says("0 new, 117 already there, 3 conflicts");
    assert_eq!(self::refused(&output).len(), TAKEN.len(), "{output}");
    assert_eq!(server.attempts(), attempts, "nothing is sent again");
    assert_eq!(server.complaints(), [""; 0]);
}

/// The packages that were not published, and why.
fn refused(output: &Output) -> BTreeMap<String, String> {
    let report = output.json();
    let packages = report["packages"].as_array().unwrap().iter();
    let refused = packages.filter_map(|package| {
        let name = package["package"].as_str().unwrap().to_owned();
        Some((name, package["error"].as_str()?.to_owned()))
    });
    refused.collect()
}

fn sha256(path: &PathBuf) -> String {
    let digest = release_manifest::Digest::of(&fs_err::read(path).unwrap()).to_string();
    digest.trim_start_matches("sha256:").to_owned()
}
