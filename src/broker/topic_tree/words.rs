//! The distinct words of a tree, as numbers.
//!
//! May import nothing.

use std::collections::HashMap;
use std::rc::Rc;

/// A word's number; every distinct word is kept once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WordId(u32);

/// Memory is gone long before 2^32 nodes or words are there.
pub(super) fn next_index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The distinct words of all patterns, with the number of nodes that hang on each.
#[derive(Debug, Default)]
pub(super) struct Words {
    ids: HashMap<Rc<str>, WordId, ahash::RandomState>,
    words: Vec<(Rc<str>, u32)>,
    free: Vec<WordId>,
}

impl Words {
    /// The number of a word that some node hangs on.
    pub(super) fn find(&self, word: &str) -> Option<WordId> {
        self.ids.get(word).copied()
    }

    /// The word of a number.
    pub(super) fn text(&self, id: WordId) -> &str {
        self.words.get(id.0 as usize).map_or("", |(word, _)| word)
    }

    /// The number of a word on which one more node hangs.
    pub(super) fn hold(&mut self, word: &str) -> WordId {
        if let Some(id) = self.find(word) {
            if let Some((_, uses)) = self.words.get_mut(id.0 as usize) {
                *uses += 1;
            }
            return id;
        }
        let word: Rc<str> = word.into();
        let id = self.free.pop().unwrap_or_else(|| WordId(next_index(self.words.len())));
        match self.words.get_mut(id.0 as usize) {
            Some(slot) => *slot = (Rc::clone(&word), 1),
            None => self.words.push((Rc::clone(&word), 1)),
        }
        self.ids.insert(word, id);
        id
    }

    /// One node less hangs on the word.
    pub(super) fn release(&mut self, id: WordId) {
        let Some((word, uses)) = self.words.get_mut(id.0 as usize) else { return };
        *uses -= 1;
        if *uses == 0 {
            self.ids.remove(&**word);
            *word = "".into();
            self.free.push(id);
        }
    }
}

#[cfg(test)]
impl Words {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}
