//! The order in which nodes of a graph run: what may start now, what is blocked, and when all is settled.
//!
//! Pure: it runs nothing, it only decides. [`Schedule::next`] says what to do, [`Schedule::finish`] takes what came of it.

use std::{collections::BTreeSet, num::NonZeroUsize};

/// A node, known by its place in the list. Of several nodes that may start, the first in the list does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// Nodes that must have succeeded before this one starts.
    pub(crate) needs: Vec<usize>,
    /// Nodes this one does not wait for, but that block it when they have failed by the time it would start: what is known to
    /// be broken is not built upon.
    pub(crate) doubts: Vec<usize>,
    /// Nodes of the same folder never run at the same time.
    pub(crate) folder: Option<String>,
}

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Run this node.
    Start(usize),
    /// This node never runs, because of these failed nodes.
    Blocked(usize, BTreeSet<usize>),
    /// Nothing may start before a running node ends.
    Wait,
    /// Every node is settled.
    Done,
}

#[derive(Clone, Debug)]
enum State {
    Pending,
    Running,
    Succeeded,
    Failed,
    Blocked(BTreeSet<usize>),
}

/// The state of a run.
#[derive(Debug)]
pub(crate) struct Schedule {
    nodes: Vec<Node>,
    states: Vec<State>,
    jobs: NonZeroUsize,
    running: usize,
}

impl Schedule {
    /// A run of `nodes`, at most `jobs` at a time.
    pub(crate) fn new(nodes: Vec<Node>, jobs: NonZeroUsize) -> Self {
        let states = vec![State::Pending; nodes.len()];
        Self {
            nodes,
            states,
            jobs,
            running: 0,
        }
    }

    /// What to do next. A [`Step::Start`] counts as started, a [`Step::Blocked`] as reported.
    pub(crate) fn next(&mut self) -> Step {
        for node in 0..self.nodes.len() {
            if !matches!(self.states[node], State::Pending) || !self.needs_settled(node) {
                continue;
            }
            let by = self.culprits(node);
            if !by.is_empty() {
                self.states[node] = State::Blocked(by.clone());
                return Step::Blocked(node, by);
            }
            if self.running < self.jobs.get() && self.folder_is_free(node) {
                self.states[node] = State::Running;
                self.running += 1;
                return Step::Start(node);
            }
        }
        if self.running > 0 {
            return Step::Wait;
        }
        // Nothing runs and nothing may start: all is settled, or the rest waits for itself. Plans have no cycles; a run that
        // met one all the same must end rather than hang.
        match self
            .states
            .iter()
            .position(|state| matches!(state, State::Pending))
        {
            Some(node) => {
                let by = BTreeSet::from([node]);
                self.states[node] = State::Blocked(by.clone());
                Step::Blocked(node, by)
            }
            None => Step::Done,
        }
    }

    /// The running `node` has ended.
    pub(crate) fn finish(&mut self, node: usize, succeeded: bool) {
        if let State::Running = self.states[node] {
            self.running -= 1;
            self.states[node] = if succeeded {
                State::Succeeded
            } else {
                State::Failed
            };
        }
    }

    fn needs_settled(&self, node: usize) -> bool {
        self.nodes[node]
            .needs
            .iter()
            .all(|&need| !matches!(self.states[need], State::Pending | State::Running))
    }

    /// The failed nodes at the bottom of what `node` builds upon.
    fn culprits(&self, node: usize) -> BTreeSet<usize> {
        let Node { needs, doubts, .. } = &self.nodes[node];
        let mut by = BTreeSet::new();
        for &other in needs.iter().chain(doubts) {
            match &self.states[other] {
                State::Failed => by.extend([other]),
                State::Blocked(roots) => by.extend(roots),
                State::Pending | State::Running | State::Succeeded => {}
            }
        }
        by
    }

    fn folder_is_free(&self, node: usize) -> bool {
        let Some(folder) = &self.nodes[node].folder else {
            return true;
        };
        !self.nodes.iter().zip(&self.states).any(|(other, state)| {
            matches!(state, State::Running) && other.folder.as_ref() == Some(folder)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Up to 12 nodes whose edges lead to earlier ones, over three folders, some of which fail.
    fn graphs() -> impl Strategy<Value = (Vec<Node>, Vec<bool>)> {
        prop::collection::vec(
            (
                any::<u16>(),
                any::<u16>(),
                prop::option::of(0..3u8),
                prop::bool::weighted(0.8),
            ),
            1..12,
        )
        .prop_map(|raw| {
            let earlier = |mask: u16, node: usize| {
                (0..node)
                    .filter(|&other| mask & (1 << other) != 0)
                    .collect()
            };
            raw.iter()
                .enumerate()
                .map(|(node, &(needs, doubts, folder, succeeds))| {
                    let node = Node {
                        needs: earlier(needs & needs.rotate_left(5), node),
                        doubts: earlier(doubts & doubts.rotate_left(3), node),
                        folder: folder.map(|folder| folder.to_string()),
                    };
                    (node, succeeds)
                })
                .unzip()
        })
    }

    proptest! {
        /// An executor that ends running nodes in any order, watching every promise.
        #[test]
        fn every_node_is_settled_once_and_none_too_early(
            (nodes, succeeds) in graphs(),
            jobs in 1..5usize,
            choices in prop::collection::vec(any::<prop::sample::Index>(), 16),
        ) {
            let mut schedule = Schedule::new(nodes.clone(), NonZeroUsize::new(jobs).unwrap());
            let mut choices = choices.into_iter();
            let (mut running, mut ended) = (Vec::new(), BTreeSet::new());
            let mut seen = BTreeSet::new();
            loop {
                match schedule.next() {
                    Step::Start(node) => {
                        prop_assert!(seen.insert(node), "{node} was settled before");
                        for need in &nodes[node].needs {
                            prop_assert!(ended.contains(need) && succeeds[*need], "{node} began before {need}");
                        }
                        for doubt in &nodes[node].doubts {
                            prop_assert!(!ended.contains(doubt) || succeeds[*doubt], "{node} began upon the failed {doubt}");
                        }
                        for &other in &running {
                            let other: usize = other;
                            let folder = &nodes[other].folder;
                            prop_assert!(folder.is_none() || *folder != nodes[node].folder, "{node} and {other} share a folder");
                        }
                        running.push(node);
                        prop_assert!(running.len() <= jobs);
                    }
                    Step::Blocked(node, by) => {
                        prop_assert!(seen.insert(node), "{node} was settled before");
                        prop_assert!(!by.is_empty());
                        for culprit in by {
                            prop_assert!(ended.contains(&culprit) && !succeeds[culprit], "{culprit} is no failure");
                        }
                    }
                    Step::Wait => {
                        prop_assert!(!running.is_empty());
                        let node = running.remove(choices.next().unwrap().index(running.len()));
                        ended.insert(node);
                        schedule.finish(node, succeeds[node]);
                    }
                    Step::Done => break,
                }
            }
            prop_assert!(running.is_empty());
            prop_assert_eq!(seen.len(), nodes.len());
        }
    }

    fn node(needs: &[usize]) -> Node {
        Node {
            needs: needs.to_vec(),
            ..Node::default()
        }
    }

    #[test]
    fn a_failure_blocks_all_that_builds_upon_it_and_nothing_else() {
        let nodes = vec![node(&[]), node(&[0]), node(&[1]), node(&[])];
        let mut schedule = Schedule::new(nodes, NonZeroUsize::MIN);
        assert_eq!(schedule.next(), Step::Start(0));
        schedule.finish(0, false);
        assert_eq!(schedule.next(), Step::Blocked(1, BTreeSet::from([0])));
        assert_eq!(
            schedule.next(),
            Step::Blocked(2, BTreeSet::from([0])),
            "the culprit is the failure, not the blocked one"
        );
        assert_eq!(schedule.next(), Step::Start(3));
        schedule.finish(3, true);
        assert_eq!(schedule.next(), Step::Done);
    }

    #[test]
    fn all_culprits_are_known_when_a_node_is_blocked() {
        let nodes = vec![node(&[]), node(&[]), node(&[0, 1])];
        let mut schedule = Schedule::new(nodes, NonZeroUsize::new(2).unwrap());
        assert_eq!(
            (schedule.next(), schedule.next()),
            (Step::Start(0), Step::Start(1))
        );
        schedule.finish(1, false);
        assert_eq!(schedule.next(), Step::Wait);
        schedule.finish(0, false);
        assert_eq!(schedule.next(), Step::Blocked(2, BTreeSet::from([0, 1])));
    }

    #[test]
    fn a_cycle_ends_instead_of_hanging() {
        let mut schedule = Schedule::new(vec![node(&[1]), node(&[0])], NonZeroUsize::MIN);
        assert!(matches!(schedule.next(), Step::Blocked(0, _)));
        assert!(matches!(schedule.next(), Step::Blocked(1, _)));
        assert_eq!(schedule.next(), Step::Done);
    }
}
