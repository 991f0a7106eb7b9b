//! An append-only Merkle tree with the hashes and proofs of RFC 6962, section 2.1.

use sigstore_merkle::{hash_children, hash_leaf};
use sigstore_types::Sha256Hash;

/// A tree that keeps the hash of every complete subtree, so that roots and proofs cost O(log n).
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// `levels[k][i]` is the hash of the complete subtree over leaves `i * 2^k .. (i + 1) * 2^k`.
    levels: Vec<Vec<Sha256Hash>>,
}

impl Tree {
    /// The number of leaves.
    pub(crate) fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Appends a leaf with these data and returns its index.
    pub(crate) fn append(&mut self, data: &[u8]) -> u64 {
        let index = self.size();
        let mut hash = hash_leaf(data);
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let row = &mut self.levels[level];
            row.push(hash);
            if row.len() % 2 == 1 {
                break;
            }
            hash = hash_children(&row[row.len() - 2], &row[row.len() - 1]);
        }
        index
    }

    /// The root over the first `size` leaves, which must be there: `MTH(D[0:size])`.
    pub(crate) fn root(&self, size: u64) -> Sha256Hash {
        self.hash(0, size)
    }

    /// The audit path of a leaf in the tree of the first `size` leaves: `PATH(index, D[0:size])`.
    pub(crate) fn inclusion_proof(&self, index: u64, size: u64) -> Vec<Sha256Hash> {
        let mut path = Vec::new();
        let (mut start, mut end) = (0, size);
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                path.push(self.hash(middle, end));
                end = middle;
            } else {
                path.push(self.hash(start, middle));
                start = middle;
            }
        }
        path.reverse();
        path
    }

    /// `MTH(D[start:end])`. `start` is a multiple of the largest power of two within the range, as
    /// every range is that the algorithms of RFC 6962 split off.
    fn hash(&self, start: u64, end: u64) -> Sha256Hash {
        let length = end - start;
        if length == 0 {
            return Sha256Hash::new(EMPTY);
        }
        if length.is_power_of_two() {
            let level = length.trailing_zeros();
            return self.levels[level as usize][(start >> level) as usize];
        }
        let middle = start + split(length);
        hash_children(&self.hash(start, middle), &self.hash(middle, end))
    }
}

/// The root of the empty tree: the SHA-256 of nothing.
const EMPTY: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// The largest power of two smaller than `n`, for `n > 1`.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

#[cfg(test)]
impl Tree {
    /// Proves that the tree of `old` leaves is a prefix of the tree of `new`: `PROOF(old, D[0:new])`.
    pub(crate) fn consistency_proof(&self, old: u64, new: u64) -> Vec<Sha256Hash> {
        if old == 0 || old == new {
            return Vec::new();
        }
        let mut proof = Vec::new();
        let (mut start, mut end, mut whole) = (0, new, true);
        while old != end {
            let middle = start + split(end - start);
            if old <= middle {
                proof.push(self.hash(middle, end));
                end = middle;
            } else {
                proof.push(self.hash(start, middle));
                start = middle;
                whole = false;
            }
        }
        if !whole {
            proof.push(self.hash(start, end));
        }
        proof.reverse();
        proof
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};
    use sigstore_merkle::{verify_consistency_proof, verify_inclusion_proof};

    fn leaf(index: u64) -> Vec<u8> {
        format!("leaf {index}").into_bytes()
    }

    fn tree(size: u64) -> Tree {
        let mut tree = Tree::default();
        for index in 0..size {
            assert_eq!(tree.append(&leaf(index)), index);
        }
        tree
    }

    /// RFC 6962's definition of the tree hash, word for word.
    fn definition(leaves: &[Vec<u8>]) -> Sha256Hash {
        match leaves {
            [] => Sha256Hash::new(Sha256::digest([]).into()),
            [leaf] => hash_leaf(leaf),
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                hash_children(&definition(left), &definition(right))
            }
        }
    }

    proptest! {
        #[test]
        fn roots_and_proofs_are_those_of_rfc_6962(new in 0u64..200, old in 0u64..200, index in 0u64..200) {
            let (old, new) = (old.min(new), old.max(new));
            let tree = tree(new);
            let leaves: Vec<_> = (0..new).map(leaf).collect();
            let (old_root, new_root) = (tree.root(old), tree.root(new));
            prop_assert_eq!(new_root, definition(&leaves));
            prop_assert_eq!(old_root, definition(&leaves[..old as usize]));
            verify_consistency_proof(old, new, &tree.consistency_proof(old, new), &old_root, &new_root).unwrap();
            for size in [old, new] {
                if index < size {
                    let proof = tree.inclusion_proof(index, size);
                    verify_inclusion_proof(&hash_leaf(&leaf(index)), index, size, &proof, &tree.root(size)).unwrap();
                }
            }
        }
    }
}
