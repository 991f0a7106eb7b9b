//! Many publishers at once.

use super::*;
use crate::fixture::{bundle, upload};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_publishers_at_once_lose_nothing() {
    const ROUNDS: usize = 20;
    let Some((server, sources)) = start() else {
        return;
    };
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        // Each has a package of its own, and both the same one, each with an attestation of its own.
        let uploads = ["a", "b"].map(|who| {
            let own = upload(
                sources.path(),
                &format!("noarch/{who}-{round}-0.conda"),
                who,
            );
            let mut both = upload(sources.path(), "linux-64/both-1-0.conda", "both");
            both.bundles = vec![bundle(sources.path(), &format!("{who} {round}"))];
            vec![own, both]
        });
        let publishers = uploads.clone().map(|uploads| {
            let channel = channel_at(&server.endpoint(), PATH);
            tokio::spawn(async move {
                for upload in &uploads {
                    channel.put(upload, &()).await.unwrap();
                }
                channel.finish().await.unwrap();
            })
        });
        for publisher in publishers {
            publisher.await.unwrap();
        }
        all.extend(uploads.into_iter().flatten());
        check_complete(&channel_at(&server.endpoint(), PATH), &all).await;
    }
    let channel = channel_at(&server.endpoint(), PATH);
    let both = sidecar(&channel, "linux-64/both-1-0.conda").await.unwrap();
    assert_eq!(both.bundles().len(), 2 * ROUNDS);
    assert_eq!(records(&channel, "noarch").await.len(), 2 * ROUNDS);
}

/// As where a gateway compares the tag of an object and replaces it one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attestation_that_another_took_the_place_of_is_added_again() {
    let Some((server, sources)) = start() else {
        return;
    };
    let uploads = ["first", "second"].map(|who| {
        let mut both = upload(sources.path(), "linux-64/both-1-0.conda", "both");
        both.bundles = vec![bundle(sources.path(), who)];
        both
    });
    let [first, second] = [PATH; 2].map(|path| channel_at(&server.endpoint(), path));
    first.put(&uploads[0], &()).await.unwrap();
    let package = &uploads[0].package;
    let mutable = format!("{package}.sigs");
    first.bucket.delete(&mutable).await.unwrap();
    second.put(&uploads[1], &()).await.unwrap();
    second.finish().await.unwrap();
    let alone = sidecar(&second, &package.to_string()).await.unwrap();
    assert_eq!(alone.bundles().len(), 1);

    first.finish().await.unwrap();
    check_complete(&channel_at(&server.endpoint(), PATH), &uploads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_large_package_from_two_publishers_is_there_once() {
    let Some((server, sources)) = start() else {
        return;
    };
    let package = large(sources.path(), "linux-64/both-1-0.conda", 24 << 20);
    let put = async || {
        let channel = channel_at(&server.endpoint(), PATH);
        channel.put(&package, &()).await.unwrap();
        channel.finish().await.unwrap();
    };
    tokio::join!(put(), put());
    let channel = channel_at(&server.endpoint(), PATH);
    check_complete(&channel, std::slice::from_ref(&package)).await;
    assert_eq!(unfinished(&channel).await, 0);
}
