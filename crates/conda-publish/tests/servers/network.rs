//! Bad networks between us and each kind of server.

use std::time::Duration;

use channel_servers::toxiproxy::{Proxy, Towards, Toxiproxy};
use conda_publish::{Channel, OpenOptions, Patience, Upload};

use crate::kinds::{Kind, SECRET, Server};
use crate::package::{self, noise};
use crate::patience;

/// What buffers on the way don't take, in bytes.
const LARGE: usize = 24 << 20;

/// How a network is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Toxic {
    /// Connections are reset.
    Reset,
    /// Nothing comes back, and connections stay open.
    Silent,
    /// Connections end after the first bytes of a request.
    CutRequests,
    /// Connections end after the first bytes of an answer.
    CutAnswers,
    /// Next to nothing passes.
    Drips,
}

impl Toxic {
    const ALL: [Self; 5] = [
        Self::Reset,
        Self::Silent,
        Self::CutRequests,
        Self::CutAnswers,
        Self::Drips,
    ];

    async fn begin(self, proxy: &Proxy<'_>) {
        match self {
            Self::Reset => proxy.reset_peer(Towards::Client, 1.0, 0).await,
            Self::Silent => proxy.silence(Towards::Client).await,
            Self::CutRequests => proxy.limit_data(Towards::Server, 1.0, 100).await,
            Self::CutAnswers => proxy.limit_data(Towards::Client, 1.0, 20).await,
            Self::Drips => proxy.bandwidth(Towards::Server, 1).await,
        }
    }

    async fn end(self, proxy: &Proxy<'_>) {
        let (name, towards) = match self {
            Self::Reset => ("reset_peer", Towards::Client),
            Self::Silent => ("timeout", Towards::Client),
            Self::CutRequests => ("limit_data", Towards::Server),
            Self::CutAnswers => ("limit_data", Towards::Client),
            Self::Drips => ("bandwidth", Towards::Server),
        };
        proxy.remove(name, towards).await;
    }

    /// How large a package is that it does something to.
    fn size(self) -> usize {
        match self {
            Self::Drips => LARGE,
            _ => 64 << 10,
        }
    }
}

/// Publishes through each bad network, which has to be told, and then through a good one.
async fn survives(kind: Kind) {
    let Some(toxiproxy) = Toxiproxy::start() else {
        return;
    };
    let Some(server) = Server::start(kind).await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let proxy = toxiproxy.to(&server.address()).await;
    let origin = format!("http://{}", proxy.address);
    let open = async |patience: Patience| {
        let options = OpenOptions {
            patience,
            ..kind.options(folder.path())
        };
        kind.open(&origin, options).await
    };
    let patient = open(patience()).await;
    let impatient = open(Patience {
        connect: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        answer: Duration::from_secs(1),
        grace: Duration::from_secs(1),
        retries: 1,
        ..patience()
    })
    .await;
    let published = async |upload: &Upload| {
        patient.put(upload, &()).await.unwrap();
        assert_eq!(server.sha256(&upload.package).await, Some(upload.sha256));
    };

    proxy.latency(Towards::Client, 300).await;
    let name = "noarch/late-1-0.conda";
    published(&package::upload(folder.path(), name, b"late")).await;
    proxy.remove("latency", Towards::Client).await;

    for toxic in Toxic::ALL {
        // These take the package at another address.
        if toxic == Toxic::Drips && matches!(kind, Kind::Anaconda | Kind::Cloudsmith) {
            continue;
        }
        let name = format!("noarch/{}-1-0.conda", format!("{toxic:?}").to_lowercase());
        let upload = package::upload(folder.path(), &name, &noise(toxic.size()));
        toxic.begin(&proxy).await;
        told(
            &*impatient,
            &upload,
            &proxy.address,
            &format!("{kind:?}, {toxic:?}"),
        )
        .await;
        toxic.end(&proxy).await;
        // Whole or not at all, as the answer may be what was lost.
        let there = server.sha256(&upload.package).await;
        assert!(
            there.is_none_or(|there| there == upload.sha256),
            "{toxic:?}"
        );
        published(&upload).await;
    }
}

/// Asserts that what is wrong with the way to a server is told.
async fn told(channel: &dyn Channel, upload: &Upload, server: &str, case: &str) {
    let error = channel.put(upload, &()).await.unwrap_err();
    let message = error.to_string();
    assert!(
        matches!(error.code(), "not_sent" | "channel_unreachable"),
        "{case}: {message}"
    );
    assert!(message.contains(server), "{case}: {message}");
    assert!(message.contains("(2 attempts)"), "{case}: {message}");
    assert!(error.help().unwrap().contains("the network"), "{case}");
    assert!(!format!("{message} {error:?}").contains(SECRET), "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prefix_is_published_to_through_bad_networks() {
    survives(Kind::Prefix).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quetz_is_published_to_through_bad_networks() {
    survives(Kind::Quetz).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn artifactory_is_published_to_through_bad_networks() {
    survives(Kind::Artifactory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anaconda_org_is_published_to_through_bad_networks() {
    survives(Kind::Anaconda).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudsmith_is_published_to_through_bad_networks() {
    survives(Kind::Cloudsmith).await;
}
