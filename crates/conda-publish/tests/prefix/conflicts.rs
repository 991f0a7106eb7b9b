//! Names that the channel has already.

use channel_servers::Fault;
use channel_servers::prefix::UPLOAD;
use conda_publish::{Error, OpenOptions};
use release_manifest::PublishResult;

use crate::support::{Fixture, package, upload};

#[tokio::test]
async fn a_lost_answer_to_a_successful_upload_is_recognised() {
    let fixture = Fixture::start().await;
    let channel = fixture.open().await;
    let first = fixture.attested("greet").await;
    fixture.server.faults().next(UPLOAD, [Fault::LoseAnswer]);
    let placed = channel.put(&first, &()).await.unwrap();
    assert_eq!(placed.result, PublishResult::Identical);

    // Also while the repodata doesn't list it yet: then the bytes themselves tell.
    fixture.server.stop_indexing();
    let second = fixture.attested("other").await;
    fixture.server.faults().next(UPLOAD, [Fault::LoseAnswer]);
    let placed = channel.put(&second, &()).await.unwrap();
    assert_eq!(placed.result, PublishResult::Identical);
    assert_eq!(fixture.server.uploads().len(), 2);
    assert_eq!(fixture.server.complaints(), [""; 0]);
}

#[tokio::test]
async fn another_package_of_the_same_name_is_a_conflict_that_names_both() {
    for listed in [true, false] {
        let fixture = Fixture::start().await;
        let channel = fixture.open().await;
        if !listed {
            fixture.server.stop_indexing();
        }
        let theirs = package(fixture.folder.path(), "greet", "theirs");
        fixture.server.publish(&theirs.path).await;
        let ours = fixture.plain("greet");
        let error = channel.put(&ours, &()).await.unwrap_err();
        let Error::Conflict { there, here, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((there, here), (theirs.sha256, ours.sha256));
    }
}

#[tokio::test]
async fn a_name_that_is_taken_but_not_served_is_neither_published_nor_a_conflict() {
    let fixture = Fixture::start().await;
    let channel = fixture.open().await;
    let taken = Fault::Answer(409, b"already exists".to_vec());
    fixture.server.faults().next(UPLOAD, [taken]);
    let error = channel.put(&fixture.plain("greet"), &()).await.unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
    assert!(error.help().unwrap().contains("serves no such package"));
}

#[tokio::test]
async fn force_replaces_what_is_there() {
    let fixture = Fixture::start().await;
    let theirs = package(fixture.folder.path(), "greet", "theirs");
    fixture.server.publish(&theirs.path).await;
    let options = OpenOptions {
        force: true,
        ..fixture.options()
    };
    let channel = fixture.open_with(&options).await;
    let ours = upload(package(fixture.folder.path(), "greet", "ours"), Vec::new());
    let placed = channel.put(&ours, &()).await.unwrap();
    assert_eq!(placed.result, PublishResult::Uploaded);
    let uploads = fixture.server.uploads();
    assert!(uploads[0].force && uploads[0].sha256 == ours.sha256);
    assert_eq!(fixture.server.complaints(), [""; 0]);
}
