//! A list that nearly always has one member and then takes no allocation.
//!
//! May import nothing.

use std::mem;

/// Members in no particular order.
#[derive(Debug, Clone)]
pub(crate) enum Few<T> {
    /// Exactly one.
    One(T),
    /// Any number, also none.
    Many(Vec<T>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T: Copy + PartialEq> Few<T> {
    /// The members.
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(member) => std::slice::from_ref(member),
            Self::Many(members) => members,
        }
    }

    /// Adds a member, whether or not it is there already; tells its position.
    pub(crate) fn push(&mut self, member: T) -> usize {
        let position = self.as_slice().len();
        *self = match mem::take(self) {
            Self::One(first) => Self::Many(vec![first, member]),
            Self::Many(members) if members.is_empty() => Self::One(member),
            Self::Many(mut members) => {
                members.push(member);
                Self::Many(members)
            }
        };
        position
    }

    /// Takes the member at a position out, moves the last one there and returns that one if
    /// there was one to move.
    pub(crate) fn swap_remove(&mut self, position: usize) -> Option<T> {
        match self {
            Self::One(_) if position == 0 => *self = Self::default(),
            Self::One(_) => {}
            Self::Many(members) if position < members.len() => {
                members.swap_remove(position);
                return members.get(position).copied();
            }
            Self::Many(_) => {}
        }
        None
    }

    /// Takes one occurrence of a member out; tells whether there was one.
    pub(crate) fn remove(&mut self, member: T) -> bool {
        let position = self.as_slice().iter().position(|&m| m == member);
        if let Some(position) = position {
            self.swap_remove(position);
        }
        position.is_some()
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_and_go_across_the_border_between_one_and_many() {
        let mut few = Few::default();
        assert!(few.is_empty());
        for member in 0..4 {
            assert_eq!(few.push(member), member);
        }
        assert_eq!(few.swap_remove(1), Some(3));
        assert_eq!(few.as_slice(), [0, 3, 2]);
        assert_eq!(few.swap_remove(2), None);
        assert!(few.remove(0) && few.remove(3) && !few.remove(3));
        assert!(few.is_empty());
        few.push(9);
        assert_eq!(few.as_slice(), [9]);
        assert_eq!(few.swap_remove(1), None);
        assert_eq!(few.as_slice(), [9]);
    }
}
