//! The space of flags as a picture: which of its 2^15 subsets disagree.

use std::collections::BTreeSet;

use suite::spec::flags::Flags;

/// How many of the flags choose the column of a subset; the others choose its row.
const COLUMN_BITS: usize = 8;

/// Pixels of the picture.
const WIDTH: usize = 1 << COLUMN_BITS;
const HEIGHT: usize = 1 << (Flags::KNOWN.len() - COLUMN_BITS);

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

    fn disagrees(&self, subset: u64) -> bool {
        self.smallest.iter().any(|set| subset & set == *set)
    }

    /// The subset at a place of the picture.
    fn subset(column: usize, row: usize) -> u64 {
        let index = column | row << COLUMN_BITS;
        Flags::KNOWN
            .iter()
            .enumerate()
            .filter(|(bit, _)| index >> bit & 1 == 1)
            .fold(0, |subset, (_, flag)| subset | flag.0)
    }

    /// How many of the subsets disagree, and of how many.
    pub fn share(&self) -> (usize, usize) {
        let disagreeing = (0..HEIGHT)
            .flat_map(|row| (0..WIDTH).map(move |column| (column, row)))
            .filter(|&(column, row)| self.disagrees(Self::subset(column, row)))
            .count();
        (disagreeing, WIDTH * HEIGHT)
    }

    /// The picture as PNG: one pixel for each subset, dark where it disagrees.
    ///
    /// # Panics
    /// Never: memory takes what is written to it.
    pub fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, WIDTH as u32, HEIGHT as u32);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(vec![0xd8, 0xee, 0xdc, 0xc6, 0x28, 0x28]);
        let pixels: Vec<u8> = (0..HEIGHT)
            .flat_map(|row| (0..WIDTH).map(move |column| (column, row)))
            .map(|(column, row)| self.disagrees(Self::subset(column, row)).into())
            .collect();
        let mut writer = encoder.write_header().expect("memory takes it");
        writer.write_image_data(&pixels).expect("memory takes it");
        drop(writer);
        bytes
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
    fn the_picture_is_a_png() {
        let png = FlagSpace::of([Flags::FS]).unwrap().png();
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    }
}
