//! Other people's programs, which get none of our secrets.

use std::process::{Command, Stdio};

use conda_recipes::worker::is_credential;

/// A program on the PATH, to be asked something: with nothing to read, and with an environment
/// without identities and credentials. Git, for one, runs what a checkout's own configuration
/// says, such as `core.fsmonitor`.
pub(crate) fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        // Git's own, as `GIT_CONFIG_KEY_0`, are for it.
        if is_credential(&text) && !text.starts_with("GIT_") {
            command.env_remove(variable);
        }
    }
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}
