//! The space of flags as a picture: which of its 2^15 subsets disagree.

use crate::prelude::*;

/// How many of the flags choose the column of a subset; the others choose its row.
const COLUMN_BITS: usize = 8;

/// Columns and rows of the picture.
pub const WIDTH: usize = 1 << COLUMN_BITS;
/// See [`WIDTH`].
pub const HEIGHT: usize = 1 << (Flags::KNOWN.len() - COLUMN_BITS);

/// What disagrees in the space of all subsets of the known flags, as far as the smallest sets that
/// disagree tell: a sweep stops at them and shrinks, so that a subset counts when it holds one.
pub struct FlagSpace {
    smallest: BTreeSet<u64>,
}

impl FlagSpace {
    /// The space with these smallest sets that disagree; none when there is nothing to see.
    pub fn of(sets: impl IntoIterator<Item = Flags>) -> Option<Self> {
        let known = Flags::KNOWN.iter().fold(0, |all, flag| all | flag.0);
        let smallest: BTreeSet<u64> =
            sets.into_iter().map(|flags| flags.0).filter(|flags| flags & !known == 0).collect();
        (!smallest.is_empty()).then_some(Self { smallest })
    }

    /// The smallest sets.
    pub fn smallest(&self) -> impl Iterator<Item = Flags> {
        self.smallest.iter().map(|&flags| Flags(flags))
    }

    /// Whether the subset with the flags of these bits of the index disagrees.
    fn disagrees(&self, index: usize) -> bool {
        let flags = Flags::KNOWN.iter().enumerate().filter(|(bit, _)| index >> bit & 1 == 1);
        let subset = flags.fold(0, |subset, (_, flag)| subset | flag.0);
        self.smallest.iter().any(|set| subset & set == *set)
    }

    /// How many of the subsets disagree, and of how many.
    pub fn share(&self) -> (usize, usize) {
        let all = WIDTH * HEIGHT;
        ((0..all).filter(|&index| self.disagrees(index)).count(), all)
    }

    /// The picture as the path of an SVG: one unit square for each subset that disagrees, joined to runs.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for row in 0..HEIGHT {
            let cells: Vec<bool> = (0..WIDTH).map(|column| self.disagrees(column | row << COLUMN_BITS)).collect();
            let mut column = 0;
            for run in cells.chunk_by(|one, next| one == next) {
                if run[0] {
                    let _ = write!(path, "M{column} {row}h{}v1h-{}z", run.len(), run.len());
                }
                column += run.len();
            }
        }
        path
    }

    /// Which flags choose the column, and which the row, lowest first.
    pub fn axes() -> (&'static [Flags], &'static [Flags]) {
        const KNOWN: &[Flags] = &Flags::KNOWN;
        KNOWN.split_at(COLUMN_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_smallest_set_disagrees() {
        let space = FlagSpace::of([Flags::NEWNS | Flags::NEWPID]).unwrap();
        // Two flags of fifteen are given, the others are free.
        assert_eq!(space.share(), (1 << 13, 1 << 15));
        let everything = FlagSpace::of([Flags::NONE]).unwrap();
        assert_eq!(everything.share(), (1 << 15, 1 << 15));
        assert!(FlagSpace::of([]).is_none());
        assert!(FlagSpace::of([Flags(1 << 40)]).is_none());
    }

    #[test]
    fn the_picture_has_a_run_for_each_stretch_that_disagrees() {
        assert!(FlagSpace::of([Flags::NONE]).unwrap().path().starts_with("M0 0h256v1h-256zM0 1h256"));
        // The flag with the highest bit of the row: its half of the lines is full.
        let last = FlagSpace::of([*Flags::KNOWN.last().unwrap()]).unwrap().path();
        assert!(last.starts_with("M0 64h256v1h-256z") && last.matches('M').count() == 64, "{last}");
    }
}
