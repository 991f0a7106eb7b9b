//! The machine: its tools, its disk, what it allows.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use super::{Findings, Need};
use crate::{printer::size, tool::tool, workspace::Workspace};

/// What a release of a few packages writes at most before somebody would look at the disk anyway.
const SPACE: u64 = 1 << 30;
/// Enough for the packages that are built, attested and published at the same time.
const FILES: u64 = 256;

pub(super) fn check(workspace: &Workspace, findings: &mut Findings) {
    tools(workspace, findings);
    output(workspace, findings);
    open_files(findings);
    match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
        Ok(_) => findings.ok("loopback", "a rehearsal's Sigstore can listen on 127.0.0.1"),
        Err(error) => findings.missing(
            "loopback",
            Need::Rehearsal,
            format!("cannot listen on 127.0.0.1: {error}"),
            "allow this program to open sockets on the loopback interface",
        ),
    }
}

fn tools(workspace: &Workspace, findings: &mut Findings) {
    match version("git") {
        Some(version) => findings.ok("git", version),
        None => findings.missing(
            "git",
            Need::Live,
            "not found: packages and attestations would name no commit",
            "install git",
        ),
    }
    if cfg!(unix) {
        match version("bash") {
            Some(version) => findings.ok("bash", version),
            None => findings.missing(
                "bash",
                Need::Rehearsal,
                "not found: build scripts are run by it",
                "install bash",
            ),
        }
    }
    if workspace.config().build.sandbox.is_some() {
        let sandbox = "rattler-sandbox";
        match on_path(sandbox) {
            true => findings.ok("sandbox", format!("{sandbox} is there")),
            false => findings.missing(
                "sandbox",
                Need::Rehearsal,
                format!("{sandbox} was not found on PATH, and `build.sandbox` needs it"),
                format!("install {sandbox}, or remove `build.sandbox`"),
            ),
        }
    }
    if workspace.root().join("Cargo.toml").is_file() {
        match version("cargo") {
            Some(version) => findings.ok("cargo", version),
            None => findings.missing(
                "cargo",
                Need::Rehearsal,
                "not found: recipes of workspace members read `cargo metadata`",
                "install Rust from https://rustup.rs, or add cargo to PATH",
            ),
        }
    }
}

/// The first line of what a tool says of itself.
fn version(name: &str) -> Option<String> {
    let output = tool(name).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?;
    output.status.success().then(|| line.trim().to_owned())
}

fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let file = format!("{tool}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).any(|folder| folder.join(&file).is_file())
}

/// Whether there is room where everything is written.
fn output(workspace: &Workspace, findings: &mut Findings) {
    let output = workspace.output();
    let shown = workspace.shown(output);
    let elsewhere = "choose another output folder with --output";
    // The folder itself may not be there yet.
    let folder = output.ancestors().find(|folder| folder.exists());
    let folder = folder.unwrap_or(Path::new("."));
    if let Err(error) = tempfile::tempfile_in(folder) {
        return findings.missing(
            "output",
            Need::Rehearsal,
            format!("`{shown}` cannot be written: {error}"),
            elsewhere,
        );
    }
    match free(folder) {
        Some(free) if free < SPACE => findings.missing(
            "output",
            Need::Rehearsal,
            format!(
                "{} free for `{shown}`, expected {}",
                size(free),
                size(SPACE)
            ),
            "make room, or choose an output folder on another disk with --output",
        ),
        Some(free) => findings.ok("output", format!("`{shown}`, {} free", size(free))),
        None => findings.ok("output", format!("`{shown}`")),
    }
}

/// How many bytes this user can write to the disk that a folder lies on.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

#[cfg(unix)]
fn open_files(findings: &mut Findings) {
    use rustix::process::{Resource, getrlimit};
    match getrlimit(Resource::Nofile).current {
        Some(allowed) if allowed < FILES => findings.missing(
            "open_files",
            Need::Rehearsal,
            format!("{allowed} are allowed, expected at least {FILES}"),
            format!("`ulimit -n {FILES}` or more before a release"),
        ),
        Some(allowed) => findings.ok("open_files", format!("{allowed} are allowed")),
        None => findings.ok("open_files", "any number is allowed"),
    }
}

#[cfg(not(unix))]
fn open_files(_: &mut Findings) {}
