//! Which of many things belong together.

/// Disjoint groups of numbers, each named by its smallest one.
#[derive(Clone)]
pub(super) struct Groups(Vec<usize>);

impl Groups {
    /// Each of the numbers below `count` in a group of its own.
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    /// The smallest number of the group that this one is in.
    pub(super) fn of(&mut self, number: usize) -> usize {
        let mut found = number;
        while self.0[found] != found {
            self.0[found] = self.0[self.0[found]];
            found = self.0[found];
        }
        found
    }

    /// Puts the groups of both together.
    pub(super) fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one.max(other)] = one.min(other);
    }
}
