//! Toxiproxy: a TCP proxy that treats connections as bad networks do.
#![expect(
    clippy::expect_used,
    reason = "a server that does not start ends the test"
)]

use std::process::Command;

use serde_json::{Value, json};

use crate::program::{self, Running, free};

/// The program, until it is dropped.
#[derive(Debug)]
pub struct Toxiproxy {
    running: Running,
    http: reqwest::Client,
}

/// A way through it to a server.
#[derive(Debug)]
pub struct Proxy<'a> {
    toxiproxy: &'a Toxiproxy,
    name: String,
    /// Where it listens, as host and port.
    pub address: String,
}

/// The direction in which bytes are treated badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// What the server answers.
    Client,
    /// What the client asks and sends.
    Server,
}

impl Toxiproxy {
    /// Starts it; `None` where it isn't installed.
    ///
    /// # Panics
    /// It doesn't start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = program::find("toxiproxy")?;
        let running = Running::start(|address| {
            let mut command = Command::new(&program);
            command
                .args(["-host", "127.0.0.1", "-port"])
                .arg(address.port().to_string());
            command
        });
        let http = reqwest::Client::builder().no_proxy().build();
        Some(Self {
            running,
            http: http.expect("a client"),
        })
    }

    /// Makes a way to a server, which is named by host and port.
    ///
    /// # Panics
    /// It can't be made.
    pub async fn to(&self, upstream: &str) -> Proxy<'_> {
        let address = free().to_string();
        let proxy = Proxy {
            toxiproxy: self,
            name: address.replace([':', '.'], "-"),
            address,
        };
        let wanted = json!({
            "name": proxy.name, "listen": proxy.address, "upstream": upstream, "enabled": true,
        });
        self.ask("/proxies", &wanted).await;
        proxy
    }

    async fn ask(&self, path: &str, wanted: &Value) {
        let url = format!("http://{}{path}", self.running.address());
        let answer = self.http.post(url).json(wanted).send().await;
        let answer = answer.expect("toxiproxy answers");
        assert!(answer.status().is_success(), "{path}: {answer:?}");
    }
}

impl Proxy<'_> {
    /// Everything comes so many milliseconds later.
    pub async fn latency(&self, towards: Towards, milliseconds: u64) {
        self.add("latency", towards, 1.0, &json!({"latency": milliseconds}))
            .await;
    }

    /// This share of the connections is reset after so many milliseconds.
    pub async fn reset_peer(&self, towards: Towards, share: f32, milliseconds: u64) {
        self.add(
            "reset_peer",
            towards,
            share,
            &json!({"timeout": milliseconds}),
        )
        .await;
    }

    /// This share of the connections is closed after so many bytes.
    pub async fn limit_data(&self, towards: Towards, share: f32, bytes: u64) {
        self.add("limit_data", towards, share, &json!({"bytes": bytes}))
            .await;
    }

    /// No more than so many KiB a second pass.
    pub async fn bandwidth(&self, towards: Towards, rate: u64) {
        self.add("bandwidth", towards, 1.0, &json!({"rate": rate}))
            .await;
    }

    /// Nothing passes any more, and connections stay open.
    pub async fn silence(&self, towards: Towards) {
        self.add("timeout", towards, 1.0, &json!({"timeout": 0}))
            .await;
    }

    /// Treats connections that begin from now on badly no more.
    ///
    /// # Panics
    /// There was no such toxic.
    pub async fn remove(&self, toxic: &str, towards: Towards) {
        let url = format!(
            "http://{}/proxies/{}/toxics/{}",
            self.toxiproxy.running.address(),
            self.name,
            name(toxic, towards),
        );
        let answer = self.toxiproxy.http.delete(url).send().await;
        let answer = answer.expect("toxiproxy answers");
        assert!(answer.status().is_success(), "{toxic}: {answer:?}");
    }

    async fn add(&self, toxic: &str, towards: Towards, share: f32, attributes: &Value) {
        let stream = match towards {
            Towards::Client => "downstream",
            Towards::Server => "upstream",
        };
        let wanted = json!({
            "name": name(toxic, towards), "type": toxic, "stream": stream, "toxicity": share,
            "attributes": attributes,
        });
        let path = format!("/proxies/{}/toxics", self.name);
        self.toxiproxy.ask(&path, &wanted).await;
    }
}

fn name(toxic: &str, towards: Towards) -> String {
    format!("{toxic}-{towards:?}").to_lowercase()
}
