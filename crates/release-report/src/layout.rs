//! Where the nodes of a dependency graph are drawn: in columns, each node right of what it needs.

use std::collections::BTreeSet;

/// How often columns are sorted, there and back.
const SWEEPS: usize = 3;

/// A graph in columns. Where an edge passes a column, it has a place there of its own, so that it crosses no node.
#[derive(Debug, PartialEq)]
pub(crate) struct Layout {
    /// From what needs nothing to what is needed by nothing: nodes, and from `nodes` on the places where edges pass.
    pub(crate) columns: Vec<Vec<usize>>,
    /// For each edge the places it goes through, from what is needed to what needs it.
    pub(crate) routes: Vec<Vec<usize>>,
    nodes: usize,
}

impl Layout {
    /// Lays out so many nodes. An edge is a node and the node that it needs.
    ///
    /// Packages may run with each other in a circle: the first node of a circle, in the given order, stands before the
    /// others.
    pub(crate) fn new(nodes: usize, edges: &[(usize, usize)]) -> Self {
        let level = levels(nodes, edges);
        let count = level.iter().max().map_or(0, |last| last + 1);
        let mut layout = Self {
            columns: vec![Vec::new(); count],
            routes: Vec::new(),
            nodes,
        };
        for (node, level) in level.iter().enumerate() {
            layout.columns[*level].push(node);
        }
        let mut place = nodes;
        for &(node, needed) in edges {
            let mut route = vec![needed];
            for passed in level[needed] + 1..level[node] {
                layout.columns[passed].push(place);
                route.push(place);
                place += 1;
            }
            route.push(node);
            layout.routes.push(route);
        }
        layout.untangle(place);
        layout
    }

    /// Whether a place is that of a node.
    pub(crate) fn is_node(&self, place: usize) -> bool {
        place < self.nodes
    }

    /// Sorts each column by where the neighbours of its places lie, so that fewer edges cross.
    fn untangle(&mut self, places: usize) {
        let mut neighbours = [vec![Vec::new(); places], vec![Vec::new(); places]];
        for route in &self.routes {
            for pair in route.windows(2) {
                neighbours[0][pair[1]].push(pair[0]);
                neighbours[1][pair[0]].push(pair[1]);
            }
        }
        let mut row = vec![0; places];
        number(&self.columns, &mut row);
        for sweep in 0..SWEEPS {
            let neighbours = &neighbours[sweep % 2];
            let mut columns: Vec<&mut Vec<usize>> = self.columns.iter_mut().collect();
            if sweep % 2 == 1 {
                columns.reverse();
            }
            for column in columns {
                // The mean row, in thousandths: as exact as a sort needs. Who has no neighbour stays about where it is.
                column.sort_by_key(|place| {
                    let rows = neighbours[*place]
                        .iter()
                        .map(|neighbour| row[*neighbour] * 1000);
                    let sum: usize = rows.sum();
                    sum.checked_div(neighbours[*place].len())
                        .unwrap_or(row[*place] * 1000)
                });
                number(std::slice::from_ref(column), &mut row);
            }
        }
    }
}

/// Notes in which row of its column each place stands.
fn number(columns: &[Vec<usize>], row: &mut [usize]) {
    for column in columns {
        for (number, place) in column.iter().enumerate() {
            row[*place] = number;
        }
    }
}

/// How many others each node stands behind, at least.
fn levels(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut needs: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); nodes];
    for &(node, needed) in edges {
        if node != needed {
            needs[node].insert(needed);
        }
    }
    let mut level = vec![0; nodes];
    let mut left: BTreeSet<usize> = (0..nodes).collect();
    while let Some(&first) = left.first() {
        let is_free = |node: &&usize| needs[**node].is_disjoint(&left);
        let node = left.iter().find(is_free).copied().unwrap_or(first);
        left.remove(&node);
        let placed = needs[node].iter().filter(|needed| !left.contains(needed));
        level[node] = placed.map(|needed| level[*needed] + 1).max().unwrap_or(0);
    }
    level
}

#[cfg(test)]
mod tests {
    use super::Layout;

    #[test]
    fn every_node_stands_right_of_what_it_needs_and_no_edge_crosses_one() {
        // 0 and 1 need 2, which needs 3; 0 needs 3 itself, past 2.
        let layout = Layout::new(4, &[(0, 2), (1, 2), (2, 3), (0, 3)]);
        assert_eq!(layout.columns, [vec![3], vec![2, 4], vec![1, 0]]);
        assert_eq!(
            layout.routes,
            [vec![2, 0], vec![2, 1], vec![3, 2], vec![3, 4, 0]]
        );
        assert!(layout.is_node(3) && !layout.is_node(4));
    }

    #[test]
    fn a_circle_is_drawn_too() {
        let layout = Layout::new(3, &[(0, 1), (1, 0), (2, 1), (2, 2)]);
        assert_eq!(layout.columns, [vec![0], vec![1], vec![2]]);
    }

    #[test]
    fn edges_that_need_not_cross_do_not() {
        // 0 needs 3, 1 needs 2.
        let layout = Layout::new(4, &[(0, 3), (1, 2)]);
        assert_eq!(layout.columns, [vec![2, 3], vec![1, 0]]);
    }

    #[test]
    fn nothing_has_no_columns() {
        assert!(Layout::new(0, &[]).columns.is_empty());
    }
}
