//! One [`Fifo`] per priority; the highest goes first (L47, R6).
//!
//! May import `fifo` and `store`.

use super::fifo::Fifo;

/// The priority a message has within its queue.
pub(crate) type Level = u8;

/// Which priorities a queue tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scale {
    /// The highest; what is above counts as this.
    pub(crate) max: Level,
    /// For a message that says nothing.
    pub(crate) default: Level,
}

impl Scale {
    /// No priorities.
    #[cfg(test)]
    pub(crate) const FLAT: Self = Self { max: 0, default: 0 };

    /// The level of a message with this priority.
    pub(crate) fn level(self, priority: Option<u8>) -> Level {
        priority.unwrap_or(self.default).min(self.max)
    }
}

/// See the module. Rows are made when a priority is first seen: a queue that allows 255 and sees
/// none of them is as small as any other.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    rows: Vec<Fifo>,
    /// A bit per level that has a message: 256 levels are four words, so finding one is constant.
    occupied: [u64; 4],
}

impl Levels {
    /// Changes one row.
    pub(crate) fn with<T>(&mut self, level: Level, change: impl FnOnce(&mut Fifo) -> T) -> T {
        let index = usize::from(level);
        if self.rows.len() <= index {
            self.rows.resize_with(index + 1, Fifo::default);
        }
        let mut unused = Fifo::default();
        let row = self.rows.get_mut(index).unwrap_or(&mut unused);
        let result = change(row);
        let empty = row.is_empty();
        if let Some(word) = self.occupied.get_mut(index / 64) {
            let bit = 1_u64 << (index % 64);
            *word = if empty { *word & !bit } else { *word | bit };
        }
        result
    }

    /// Looks at one row.
    pub(crate) fn row(&self, level: Level) -> Option<&Fifo> {
        self.rows.get(usize::from(level))
    }

    /// The highest level that has a message.
    pub(crate) fn highest(&self) -> Option<Level> {
        let (word, bits) = self.occupied.iter().enumerate().rev().find(|(_, bits)| **bits != 0)?;
        u8::try_from(word * 64 + 63 - bits.leading_zeros() as usize).ok()
    }

    /// The lowest level that has a message.
    pub(crate) fn lowest(&self) -> Option<Level> {
        let (word, bits) = self.occupied.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        u8::try_from(word * 64 + bits.trailing_zeros() as usize).ok()
    }

    /// Every level that has a message, in no order that matters.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = Level> + '_ {
        let rows = self.rows.iter().enumerate().filter(|(_, row)| !row.is_empty());
        rows.filter_map(|(index, _)| u8::try_from(index).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fifo::Run;
    use super::super::store::Position;
    use super::*;

    #[test]
    fn the_highest_and_the_lowest_level_are_found_over_the_whole_range() {
        let mut levels = Levels::default();
        assert_eq!((levels.highest(), levels.lowest()), (None, None));
        for level in [7, 64, 255, 0] {
            levels.with(level, |row| row.push(Run::one(Position::new(u64::from(level)))));
        }
        assert_eq!((levels.highest(), levels.lowest()), (Some(255), Some(0)));
        levels.with(255, Fifo::pop);
        levels.with(0, Fifo::pop);
        assert_eq!((levels.highest(), levels.lowest()), (Some(64), Some(7)));
        assert_eq!(levels.occupied().collect::<Vec<_>>(), [7, 64]);
    }

    #[test]
    fn a_priority_above_the_scale_counts_as_the_highest_and_none_as_the_default() {
        let scale = Scale { max: 31, default: 4 };
        assert_eq!(scale.level(Some(200)), 31);
        assert_eq!(scale.level(None), 4);
        assert_eq!(Scale::FLAT.level(Some(9)), 0);
    }
}
