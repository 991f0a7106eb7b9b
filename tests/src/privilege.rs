//! Tests that need more than a user's rights: mounts in a namespace of their own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::{Output, within};

/// What is mounted before the command starts.
pub enum Mount {
    /// The folder itself again, read-only.
    ReadOnly(PathBuf),
    /// An empty file system of this many bytes.
    Small(PathBuf, u64),
}

impl Mount {
    /// The shell command that makes it.
    fn command(&self) -> String {
        let quoted = |path: &Path| format!("'{}'", path.display());
        match self {
            Self::ReadOnly(path) => {
                let path = quoted(path);
                format!("mount --bind {path} {path} && mount -o remount,bind,ro {path}")
            }
            Self::Small(path, bytes) => {
                format!("mount -t tmpfs -o size={bytes} tmpfs {}", quoted(path))
            }
        }
    }
}

/// Runs a command in a mount namespace of its own, which nobody else sees, after `mounts` and before `after`,
/// a shell command that looks at what is left there.
///
/// `None`, with a message, on a machine that allows no such namespace; on CI that is a failure.
pub fn in_namespace(command: &Command, mounts: &[Mount], after: &str) -> Option<Output> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--map-root-user"]);
    if !allows(&unshare) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must allow `unshare --mount`"
        );
        skip("this machine does not allow `unshare --mount --map-root-user`");
        return None;
    }
    let mounts: Vec<String> = mounts.iter().map(Mount::command).collect();
    let script = format!(
        "{} || exit 99; \"$@\"; status=$?; {after}\nexit $status",
        mounts.join(" && ")
    );
    unshare.args(["sh", "-c", &script, "sh"]);
    Some(Output::of(within(unshare, command)))
}

fn allows(unshare: &Command) -> bool {
    let tried = Command::new(unshare.get_program())
        .args(unshare.get_args())
        .args(["sh", "-c", "mount -t tmpfs tmpfs /mnt"])
        .output();
    tried.is_ok_and(|output| output.status.success())
}

#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
