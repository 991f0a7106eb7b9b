//! A log that folds: what goes well is folded away by phases, what does not is seen.

use std::sync::{Mutex, PoisonError};

use super::runner::Runner;

/// Which phase is under way, and whether its group is open. Groups do not nest.
#[derive(Debug)]
pub(crate) struct Log {
    /// Who shows it.
    pub(crate) runner: Runner,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phases: Vec<String>,
    /// The name of the group that is open.
    open: Option<String>,
}

/// Whether lines are folded away with the phase that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// They are.
    Away,
    /// They are to be seen.
    Never,
}

impl Log {
    /// A log that this runner shows.
    pub(crate) fn new(runner: Runner) -> Self {
        Self {
            runner,
            state: Mutex::default(),
        }
    }

    /// A phase begins.
    pub(crate) fn begin(&self, phase: &str) {
        self.lock().phases.push(phase.to_owned());
    }

    /// The phase that began last ends; what is to be written for it goes to `write`.
    pub(crate) fn end(&self, write: impl FnOnce(&str)) {
        let mut state = self.lock();
        state.phases.pop();
        if state.phases.is_empty()
            && let Some(name) = state.open.take()
        {
            write(&self.runner.end(&name));
        }
    }

    /// Writes text in which nothing is obeyed.
    pub(crate) fn text<T>(&self, fold: Fold, text: &str, write: impl FnOnce(&str) -> T) -> T {
        self.put(fold, &self.runner.text(text), write)
    }

    /// Writes a command of ours, where it is seen.
    pub(crate) fn command(&self, command: &str, write: impl FnOnce(&str)) {
        self.put(Fold::Never, command, write);
    }

    /// Writes somebody's log, in a group of its own.
    pub(crate) fn excerpt(&self, title: &str, lines: &str, write: impl FnOnce(&str)) {
        let group = self.runner.group(title);
        let (lines, end) = (self.runner.lines(lines), self.runner.end(&group.name));
        self.command(&format!("{}\n{lines}\n{end}", group.begin), write);
    }

    /// Writes under the lock, so that lines of several threads stand in the groups that they are for.
    fn put<T>(&self, fold: Fold, text: &str, write: impl FnOnce(&str) -> T) -> T {
        let mut state = self.lock();
        let phase = state.phases.first().filter(|_| fold == Fold::Away).cloned();
        let before = match (phase, state.open.take()) {
            (Some(phase), None) => {
                let group = self.runner.group(&phase);
                state.open = Some(group.name);
                group.begin
            }
            (None, Some(name)) => self.runner.end(&name),
            (_, open) => {
                state.open = open;
                return write(text);
            }
        };
        write(&format!("{before}\n{text}"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::{Fold, Log};
    use crate::actions::Runner;

    #[test]
    fn what_goes_well_is_folded_and_what_fails_is_seen() {
        let written = RefCell::new(String::new());
        let write = |text: &str| written.borrow_mut().push_str(&format!("{text}\n"));
        let log = Log::new(Runner::GitHub);
        log.text(Fold::Away, "before", write);
        log.begin("Building 2 packages");
        log.begin("Nested");
        log.text(Fold::Away, "built one", write);
        log.text(Fold::Away, "::error::x", write);
        log.end(write);
        log.text(Fold::Never, "failed two", write);
        log.text(Fold::Away, "built three", write);
        log.end(write);
        log.begin("Attesting");
        log.end(write);
        log.text(Fold::Away, "after", write);
        assert_eq!(
            written.into_inner(),
            "before\n::group::Building 2 packages\nbuilt one\n: :error::x\n::endgroup::\nfailed two\n::group::Building 2 packages\nbuilt three\n::endgroup::\nafter\n"
        );
    }
}
