//! Channels on loopback: good ones, broken ones and hostile ones.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use cep27::Sha256;
use rattler_networking::authentication_storage::StorageBackend as _;
use rattler_networking::authentication_storage::backends::memory::MemoryStorage;
use rattler_networking::{Authentication, AuthenticationStorage};
use serde_json::{Value, json};

use super::*;
use crate::disk;
use crate::fixture::key;

const NAME: &str = "foo-1-0.conda";
const PACKAGE: &[u8] = b"a package's bytes";

/// What a server answers.
#[derive(Clone)]
enum Reply {
    Body(Vec<u8>),
    Status(u16),
    RetryAfter(u16, u64),
    Redirect(String),
    /// Some of it, then the connection is gone.
    Torn(Vec<u8>),
    /// A byte now and then, for ever.
    Trickle,
    /// Nothing, for ever.
    Hang,
}

/// A request that a server got.
#[derive(Debug, Clone)]
struct Seen {
    path: String,
    headers: HeaderMap,
}

#[derive(Default)]
struct Script {
    replies: HashMap<String, VecDeque<Reply>>,
    seen: Vec<Seen>,
}

/// A server on loopback that answers as it is told; the last answer of a path is repeated.
#[derive(Clone)]
struct Server {
    origin: String,
    script: Arc<Mutex<Script>>,
}

impl Server {
    async fn start() -> Self {
        let script = Arc::<Mutex<Script>>::default();
        let router = Router::new().fallback(answer).with_state(script.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { origin, script }
    }

    /// A server with a channel `/c` whose noarch repodata has this one record.
    async fn with(record: Value) -> Self {
        let server = Self::start().await;
        server.serve_repodata(json!({"packages.conda": {NAME: record}}));
        server.on(
            &format!("/c/noarch/{NAME}"),
            [Reply::Body(PACKAGE.to_vec())],
        );
        server
    }

    fn serve_repodata(&self, repodata: Value) {
        self.on(
            "/c/noarch/repodata.json",
            [Reply::Body(repodata.to_string().into_bytes())],
        );
    }

    fn on(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies = replies.into_iter().collect();
        self.script
            .lock()
            .unwrap()
            .replies
            .insert(path.to_owned(), replies);
    }

    fn seen(&self, path: &str) -> Vec<Seen> {
        let script = self.script.lock().unwrap();
        script
            .seen
            .iter()
            .filter(|seen| seen.path == path)
            .cloned()
            .collect()
    }

    fn channel(&self) -> ChannelUrl {
        format!("{}/c", self.origin).parse().unwrap()
    }

    async fn open_with(&self, settings: Settings) -> Result<RemoteChannel, Error> {
        RemoteChannel::open_with(self.channel(), None, hasty(), settings).await
    }

    async fn open(&self) -> Result<RemoteChannel, Error> {
        self.open_with(nothing()).await
    }

    async fn download(&self) -> Result<Download, Error> {
        let channel = self.open().await.unwrap();
        let listed = channel.packages().next().unwrap().unwrap();
        channel.download(&listed).await
    }

    async fn sidecar(&self) -> Result<Option<Sidecar>, Error> {
        self.open()
            .await
            .unwrap()
            .sidecar(&key(&format!("noarch/{NAME}")))
            .await
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let reply = {
        let mut script = script.lock().unwrap();
        script.seen.push(Seen {
            path: path.clone(),
            headers: request.headers().clone(),
        });
        match script.replies.get_mut(&path) {
            None => Reply::Status(404),
            Some(replies) if replies.len() > 1 => replies.pop_front().unwrap(),
            Some(replies) => replies[0].clone(),
        }
    };
    let status = |code: u16| Response::builder().status(StatusCode::from_u16(code).unwrap());
    match reply {
        Reply::Body(bytes) => status(200).body(Body::from(bytes)),
        Reply::Status(code) => status(code).body(Body::empty()),
        Reply::RetryAfter(code, seconds) => status(code)
            .header(header::RETRY_AFTER, seconds)
            .body(Body::empty()),
        Reply::Redirect(to) => status(302).header(header::LOCATION, to).body(Body::empty()),
        Reply::Torn(bytes) => {
            let torn = std::io::Error::other("the connection is gone");
            let chunks = [Ok(Bytes::from(bytes)), Err(torn)];
            status(200).body(Body::from_stream(futures::stream::iter(chunks)))
        }
        Reply::Trickle => {
            let drops = futures::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
            });
            status(200).body(Body::from_stream(drops))
        }
        Reply::Hang => std::future::pending().await,
    }
    .unwrap()
}

/// The patience of a test.
fn hasty() -> Patience {
    Patience {
        retries: 2,
        first_delay: Duration::from_millis(1),
        ..Patience::default()
    }
}

/// A machine with no settings of rattler's.
fn nothing() -> Settings {
    Settings {
        config: Default::default(),
        credentials: AuthenticationStorage::empty(),
    }
}

fn with_credentials(host: &str, authentication: &Authentication) -> Settings {
    let storage = MemoryStorage::new();
    storage.store(host, authentication).unwrap();
    let mut settings = nothing();
    settings.credentials.add_backend(Arc::new(storage));
    settings
}

fn sha256() -> Sha256 {
    disk::hash_of(PACKAGE)
}

fn record() -> Value {
    json!({"sha256": sha256(), "size": PACKAGE.len()})
}

fn advertising(sidecar: &[u8]) -> Value {
    json!({"sha256": sha256(), "attestations_sha256": disk::hash_of(sidecar)})
}

fn hashed(sidecar: &[u8]) -> String {
    format!("/c/noarch/{NAME}.sigs.{}", disk::hash_of(sidecar))
}

#[tokio::test]
async fn a_channel_is_read_through_its_repodata() {
    let bundles = b"[ {\"a\": 1}, {} ]";
    let server = Server::with(advertising(bundles)).await;
    server.on(&hashed(bundles), [Reply::Body(bundles.to_vec())]);
    let channel = server.open().await.unwrap();
    let listed: Vec<_> = channel.packages().map(Result::unwrap).collect();
    let package = key(&format!("noarch/{NAME}"));
    assert_eq!(listed[0].package, package);
    assert_eq!(
        channel.package_url(&package).unwrap(),
        format!("{}/c/noarch/{NAME}", server.origin)
    );
    let download = channel.download(&listed[0]).await.unwrap();
    assert_eq!(std::fs::read(download.path()).unwrap(), PACKAGE);
    assert_eq!(download.sha256(), sha256());
    let sidecar = channel.sidecar(&package).await.unwrap().unwrap();
    assert_eq!(sidecar.bundles().collect::<Vec<_>>(), ["{\"a\": 1}", "{}"]);
    let path = download.path().to_owned();
    drop(download);
    assert!(!path.exists());
}

#[tokio::test]
async fn compressed_repodata_is_preferred() {
    let server = Server::with(record()).await;
    let other = json!({"packages": {"bar-2-0.tar.bz2": {}}}).to_string();
    let compressed = zstd::encode_all(other.as_bytes(), 3).unwrap();
    server.on("/c/noarch/repodata.json.zst", [Reply::Body(compressed)]);
    let channel = server.open().await.unwrap();
    let listed: Vec<_> = channel.packages().map(Result::unwrap).collect();
    assert_eq!(listed[0].package, key("noarch/bar-2-0.tar.bz2"));
    assert!(server.seen("/c/noarch/repodata.json").is_empty());
}

#[tokio::test]
async fn a_store_that_hides_what_is_absent_is_read_uncompressed() {
    let server = Server::with(record()).await;
    server.on("/c/noarch/repodata.json.zst", [Reply::Status(403)]);
    assert_eq!(server.open().await.unwrap().packages().count(), 1);
}

#[tokio::test]
async fn without_the_repodata_that_must_be_there_it_is_no_channel() {
    let server = Server::start().await;
    let error = server.open().await.unwrap_err();
    assert_eq!(error.code(), "repodata_missing");
    assert!(
        error.to_string().contains("/c/noarch/repodata.json"),
        "{error}"
    );

    let server = Server::with(record()).await;
    let wanted = BTreeSet::from([key("linux-64/a-1-0.conda").subdir]);
    let error = RemoteChannel::open_with(server.channel(), Some(&wanted), hasty(), nothing())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("/c/linux-64/repodata.json"),
        "{error}"
    );
    assert!(server.seen("/c/noarch/repodata.json").is_empty());
}

#[tokio::test]
async fn only_a_channel_without_any_repodata_is_a_new_one() {
    let published = async |server: &Server| {
        let found = RemoteChannel::published_with(server.channel(), hasty(), nothing()).await;
        found.map(|it| it.map(|channel| channel.packages().count()))
    };
    let server = Server::start().await;
    assert_eq!(published(&server).await.unwrap(), None);
    let server = Server::with(record()).await;
    assert_eq!(published(&server).await.unwrap(), Some(1));
    // `noarch` is missing beside a good subdir.
    let server = Server::start().await;
    server.on("/c/linux-64/repodata.json", [Reply::Body(b"{}".to_vec())]);
    let error = published(&server).await.unwrap_err();
    assert_eq!(error.code(), "repodata_missing");
    assert!(
        error.to_string().contains("/c/linux-64/repodata.json"),
        "{error}"
    );

    let answers = [
        (
            Reply::Body(b"<html>Sign in</html>".to_vec()),
            "repodata_invalid",
        ),
        (
            Reply::Body(b"{\"error\": \"sign in\"}".to_vec()),
            "repodata_invalid",
        ),
        (
            Reply::Body(b"{\"packages\": {\"a".to_vec()),
            "repodata_invalid",
        ),
        (Reply::Body(Vec::new()), "repodata_invalid"),
        (Reply::Status(204), "channel_status"),
        (Reply::Status(206), "channel_status"),
        (Reply::Status(403), "channel_status"),
        (Reply::Status(500), "channel_unreachable"),
        (Reply::Torn(b"{}".to_vec()), "channel_unreachable"),
        (Reply::Redirect("/c/sign-in".to_owned()), "repodata_invalid"),
    ];
    for (reply, expected) in answers {
        for subdir in ["noarch", "osx-arm64"] {
            let server = Server::with(record()).await;
            server.on("/c/sign-in", [Reply::Body(b"<html>".to_vec())]);
            server.on(&format!("/c/{subdir}/repodata.json"), [reply.clone()]);
            assert_eq!(
                published(&server).await.unwrap_err().code(),
                expected,
                "{subdir}"
            );
        }
    }
}

#[tokio::test]
async fn malformed_repodata_is_an_error() {
    for bytes in [&b"{"[..], b"7", b"[]", b"{} x", b""] {
        let server = Server::start().await;
        server.on("/c/noarch/repodata.json", [Reply::Body(bytes.to_vec())]);
        assert_eq!(server.open().await.unwrap_err().code(), "repodata_invalid");
    }
    let server = Server::start().await;
    server.on(
        "/c/noarch/repodata.json.zst",
        [Reply::Body(b"not compressed".to_vec())],
    );
    assert_eq!(server.open().await.unwrap_err().code(), "repodata_invalid");
}

#[tokio::test]
async fn a_record_that_is_no_package_leaves_the_others_alone() {
    let server = Server::start().await;
    server.serve_repodata(json!({"packages.conda": {
        "../../../../etc/passwd": {}, "/etc/passwd-1-0.conda": {}, "a\u{1b}[2J-1-0.conda": {},
        "bad-1-0.conda": {"sha256": "../x"}, NAME: record(),
    }}));
    let channel = server.open().await.unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = channel.packages().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (1, 4));
    for error in bad {
        let message = error.unwrap_err().to_string();
        assert!(!message.contains('\u{1b}'), "{message}");
    }
}

#[tokio::test]
async fn what_fails_in_passing_is_asked_for_again() {
    // More than fits into the buffers on the way, so that half of it arrives.
    let package = vec![7; 8 << 20];
    let sha256 = disk::hash_of(&package);
    let server = Server::with(json!({"sha256": sha256, "size": package.len()})).await;
    let path = format!("/c/noarch/{NAME}");
    for passing in [
        Reply::Status(500),
        Reply::Status(503),
        Reply::RetryAfter(429, 0),
        Reply::Torn(package[..package.len() / 2].to_vec()),
    ] {
        let before = server.seen(&path).len();
        server.on(&path, [passing, Reply::Body(package.clone())]);
        // Whatever came before the connection was gone is no part of it.
        let download = server.download().await.unwrap();
        assert_eq!(download.sha256(), sha256);
        assert_eq!(disk::hash(download.path()).unwrap(), Some(sha256));
        assert_eq!(server.seen(&path).len() - before, 2);
    }
    server.on(&path, [Reply::Status(502)]);
    let before = server.seen(&path).len();
    let error = server.download().await.unwrap_err();
    assert_eq!(error.code(), "channel_unreachable");
    assert!(error.to_string().contains("502"), "{error}");
    assert_eq!(server.seen(&path).len() - before, 3);
}

#[tokio::test]
async fn what_fails_for_good_is_asked_for_once() {
    let server = Server::with(record()).await;
    let path = format!("/c/noarch/{NAME}");
    for (index, status) in [401, 403, 404, 418].into_iter().enumerate() {
        server.on(&path, [Reply::Status(status)]);
        let error = server.download().await.unwrap_err();
        assert_eq!(error.code(), "channel_status");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(server.seen(&path).len(), index + 1);
    }
}

#[tokio::test]
async fn a_server_that_holds_back_is_not_waited_for() {
    for (reply, patience) in [
        (
            Reply::Hang,
            Patience {
                idle: Duration::from_millis(50),
                retries: 0,
                ..hasty()
            },
        ),
        (
            Reply::Trickle,
            Patience {
                grace: Duration::ZERO,
                slowest: u64::MAX,
                retries: 0,
                ..hasty()
            },
        ),
    ] {
        let server = Server::with(record()).await;
        server.on("/c/noarch/repodata.json", [reply]);
        let error = RemoteChannel::open_with(server.channel(), None, patience, nothing())
            .await
            .unwrap_err();
        assert_eq!(error.code(), "channel_unreachable");
    }
}

#[tokio::test]
async fn a_package_is_what_the_repodata_says() {
    let path = format!("/c/noarch/{NAME}");
    let server = Server::with(record()).await;
    let mut other = PACKAGE.to_vec();
    other[0] ^= 1;
    server.on(&path, [Reply::Body(other)]);
    assert_eq!(server.download().await.unwrap_err().code(), "not_as_listed");
    server.on(&path, [Reply::Body(PACKAGE[1..].to_vec())]);
    assert_eq!(server.download().await.unwrap_err().code(), "not_as_listed");
    // More than the record says is not read to its end.
    server.on(&path, [Reply::Body([PACKAGE, b"x"].concat())]);
    assert_eq!(server.download().await.unwrap_err().code(), "too_large");
}

#[tokio::test]
async fn advertised_but_unusable_is_never_none() {
    let bundles = b"[{}]";
    let too_large = vec![b' '; SIDECAR_LIMIT as usize + 1];
    for (content, reply, expected) in [
        (&bundles[..], Reply::Status(404), "is not there"),
        (bundles, Reply::Status(403), "403"),
        (bundles, Reply::Status(500), "500"),
        (bundles, Reply::Body(b"[{ }]".to_vec()), "it has the sha256"),
        (bundles, Reply::Torn(b"[".to_vec()), "attempts"),
        (b"{}", Reply::Body(b"{}".to_vec()), "it is not a JSON array"),
        (
            &too_large,
            Reply::Body(too_large.clone()),
            "it is larger than 4194304 bytes",
        ),
    ] {
        let server = Server::with(advertising(content)).await;
        server.on(&hashed(content), [reply]);
        let error = server.sidecar().await.unwrap_err();
        assert_eq!(error.code(), "attestations_unusable");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_malformed_hash_is_refused_before_a_url_is_made_of_it() {
    for value in [
        json!("../../secret"),
        json!("A".repeat(64)),
        json!(7),
        json!(null),
    ] {
        let server = Server::with(json!({"attestations_sha256": value})).await;
        let error = server.sidecar().await.unwrap_err();
        assert_eq!(error.code(), "attestations_hash_malformed");
        let seen = server.script.lock().unwrap().seen.clone();
        assert!(
            seen.iter().all(|seen| seen.path.contains("repodata")),
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn only_advertised_attestations_are_looked_for() {
    let server = Server::with(record()).await;
    for suffix in ["sigs", "v0.sigs"] {
        server.on(
            &format!("/c/noarch/{NAME}.{suffix}"),
            [Reply::Body(b"[{}]".to_vec())],
        );
    }
    assert_eq!(server.sidecar().await.unwrap(), None);
}

#[tokio::test]
async fn prefix_dev_has_its_older_convention() {
    let server = Server::with(record()).await;
    let package = key(&format!("noarch/{NAME}"));
    let mut channel = server.open().await.unwrap();
    channel.v0_sidecars = true;
    assert_eq!(channel.sidecar(&package).await.unwrap(), None);
    let path = format!("/c/noarch/{NAME}.v0.sigs");
    server.on(&path, [Reply::Body(b"[{}, {}]".to_vec())]);
    let sidecar = channel.sidecar(&package).await.unwrap().unwrap();
    assert_eq!(sidecar.bundles().len(), 2);
    server.on(&path, [Reply::Body(b"<html>".to_vec())]);
    let error = channel.sidecar(&package).await.unwrap_err();
    assert_eq!(error.code(), "attestations_unusable");

    for (url, is_prefix) in [
        ("https://prefix.dev/acme", true),
        ("https://repo.prefix.dev/acme", true),
        ("https://notprefix.dev/acme", false),
        ("https://prefix.dev.example/acme", false),
    ] {
        assert_eq!(url.parse::<ChannelUrl>().unwrap().is_prefix(), is_prefix);
    }
}

#[tokio::test]
async fn packages_and_their_attestations_may_be_elsewhere() {
    let (server, files) = (Server::start().await, Server::start().await);
    let bundles = b"[{}]";
    server.serve_repodata(json!({
        "info": {"base_url": format!("{}/f", files.origin)}, "packages.conda": {NAME: advertising(bundles)},
    }));
    files.on(&format!("/f/{NAME}"), [Reply::Body(PACKAGE.to_vec())]);
    files.on(
        &format!("/f/{NAME}.sigs.{}", disk::hash_of(bundles)),
        [Reply::Body(bundles.to_vec())],
    );
    assert_eq!(server.download().await.unwrap().sha256(), sha256());
    assert!(server.sidecar().await.unwrap().is_some());

    server.serve_repodata(json!({"info": {"base_url": "http://conda.example/f"}}));
    let error = server.open().await.unwrap_err();
    assert_eq!(error.code(), "repodata_invalid");
    assert!(error.to_string().contains("is plain http"), "{error}");
}

#[tokio::test]
async fn redirects_lead_only_to_where_a_channel_may_be() {
    let server = Server::with(record()).await;
    let path = format!("/c/noarch/{NAME}");
    server.on(&path, [Reply::Redirect("/elsewhere".to_owned())]);
    server.on("/elsewhere", [Reply::Body(PACKAGE.to_vec())]);
    assert_eq!(server.download().await.unwrap().sha256(), sha256());
    for (to, reason) in [
        // Nobody is there (RFC 5737), and nobody is asked.
        ("http://192.0.2.1/x", "is plain http"),
        ("https://user:word@192.0.2.1/x", "has credentials"),
        ("ftp://192.0.2.1/x", "is not https"),
        (path.as_str(), "one redirect too many"),
    ] {
        server.on(&path, [Reply::Redirect(to.to_owned())]);
        let error = server.download().await.unwrap_err();
        assert_eq!(error.code(), "forbidden_address", "{error}");
        let message = error.to_string();
        assert!(
            message.contains(reason) && !message.contains("word"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn credentials_go_to_their_host_and_across_no_redirect() {
    let (server, other) = (Server::with(record()).await, Server::start().await);
    let path = format!("/c/noarch/{NAME}");
    server.on(&path, [Reply::Redirect(format!("{}/x", other.origin))]);
    other.on("/x", [Reply::Body(PACKAGE.to_vec())]);
    let bearer = Authentication::BearerToken("s3cret".to_owned());
    let channel = server
        .open_with(with_credentials("127.0.0.1", &bearer))
        .await
        .unwrap();
    let listed = channel.packages().next().unwrap().unwrap();
    channel.download(&listed).await.unwrap();
    let asked = &server.seen(&path)[0].headers;
    assert_eq!(asked[header::AUTHORIZATION], "Bearer s3cret");
    let led = &other.seen("/x")[0].headers;
    assert!(!led.contains_key(header::AUTHORIZATION), "{led:?}");
}

#[tokio::test]
async fn a_token_in_the_path_is_in_no_referer_and_no_message() {
    let (server, other) = (Server::start().await, Server::start().await);
    let token = Authentication::CondaToken("s3cret".to_owned());
    let repodata = "/t/s3cret/c/noarch/repodata.json";
    server.on(repodata, [Reply::Redirect(format!("{}/x", other.origin))]);
    other.on("/x", [Reply::Body(b"{}".to_vec())]);
    let settings = || with_credentials("127.0.0.1", &token);
    server.open_with(settings()).await.unwrap();
    let led = &other.seen("/x")[0].headers;
    assert!(!format!("{led:?}").contains("s3cret"), "{led:?}");
    for reply in [
        Reply::Status(401),
        Reply::Status(500),
        Reply::Torn(Vec::new()),
        Reply::Redirect("http://192.0.2.1/t/s3cret".to_owned()),
        Reply::Body(Vec::new()),
    ] {
        server.on(repodata, [reply]);
        let error = server.open_with(settings()).await.unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("s3cret"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn mirrors_are_asked_instead() {
    let (server, mirror) = (Server::start().await, Server::with(record()).await);
    let mut settings = nothing();
    settings.config.mirrors.insert(
        Url::parse(&format!("{}/c", server.origin)).unwrap(),
        vec![Url::parse(&format!("{}/c", mirror.origin)).unwrap()],
    );
    let channel = server.open_with(settings).await.unwrap();
    let listed = channel.packages().next().unwrap().unwrap();
    channel.download(&listed).await.unwrap();
    assert!(server.script.lock().unwrap().seen.is_empty());

    let mut settings = nothing();
    settings.config.mirrors.insert(
        Url::parse(&format!("{}/c", server.origin)).unwrap(),
        vec![Url::parse("http://192.0.2.1/c").unwrap()],
    );
    let error = server.open_with(settings).await.unwrap_err();
    assert_eq!(error.code(), "forbidden_address");
}

#[tokio::test]
async fn what_nobody_listens_for_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/c", listener.local_addr().unwrap());
    drop(listener);
    let error = RemoteChannel::open_with(url.parse().unwrap(), None, hasty(), nothing())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "channel_unreachable");
    assert!(error.to_string().contains("3 attempts"), "{error}");
}
