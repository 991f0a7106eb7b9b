//! The person at the terminal, who can log in to sign.

use std::io::{self, IsTerminal};

use async_trait::async_trait;
use conda_attest::{Environment, Person};
use url::Url;

use crate::{foreign::harmless_lines, printer::Printer};

/// Somebody who sees what this process writes, and can answer.
pub(crate) struct AtTerminal<'a> {
    printer: &'a Printer,
    has_browser: bool,
}

impl<'a> AtTerminal<'a> {
    /// The person, if one is there: standard input and standard error are both a terminal.
    pub(crate) fn find(printer: &'a Printer, environment: &dyn Environment) -> Option<Self> {
        let is_there = io::stdin().is_terminal() && io::stderr().is_terminal();
        is_there.then(|| Self {
            printer,
            has_browser: has_browser(environment, cfg!(any(windows, target_os = "macos"))),
        })
    }
}

/// Whether a browser that is opened here shows in front of who asked for it.
fn has_browser(environment: &dyn Environment, is_desktop: bool) -> bool {
    let is_set = |name| environment.variable(name).is_some_and(|it| !it.is_empty());
    let is_remote = ["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"]
        .into_iter()
        .any(is_set);
    !is_remote && (is_desktop || ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(is_set))
}

#[async_trait]
impl Person for AtTerminal<'_> {
    fn open(&self, url: &Url) -> bool {
        self.has_browser && open::that_detached(url.as_str()).is_ok()
    }

    fn show(&self, text: &str) {
        // However quiet: nobody could answer what they are not shown.
        self.printer.error(&harmless_lines(text));
    }

    async fn ask_code(&self) -> io::Result<String> {
        let line = || {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_| line)
        };
        let line = tokio::task::spawn_blocking(line).await??;
        Ok(line.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::has_browser;

    #[test]
    fn a_browser_is_opened_only_where_it_is_seen() {
        let has = |variables: &[&str], is_desktop| {
            let variables = variables.iter().map(|it| (it.to_string(), "x".to_owned()));
            has_browser(&variables.collect::<BTreeMap<_, _>>(), is_desktop)
        };
        assert!(has(&[], true));
        assert!(has(&["DISPLAY"], false) && has(&["WAYLAND_DISPLAY"], false));
        assert!(!has(&[], false));
        assert!(!has(&["DISPLAY", "SSH_CONNECTION"], false));
        assert!(!has(&["SSH_TTY"], true));
    }
}
