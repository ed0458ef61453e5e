//! A map that nearly always has a few entries and then takes no more memory than these.
//!
//! May import nothing.

use std::collections::BTreeMap;

/// Entries up to which they are a list: a tree has room for eleven from the first on.
const FEW_MAX: usize = 8;

/// Values by key, in order.
#[derive(Debug)]
pub(crate) enum FewMap<K, V> {
    /// Sorted.
    Few(Vec<(K, V)>),
    /// There were more once.
    Many(BTreeMap<K, V>),
}

impl<K, V> Default for FewMap<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Ord, V> FewMap<K, V> {
    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::Few(few) => few.get(place(few, key).ok()?).map(|(_, value)| value),
            Self::Many(many) => many.get(key),
        }
    }

    /// The value of a key, to be changed.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self {
            Self::Few(few) => {
                let place = place(few, key).ok()?;
                few.get_mut(place).map(|(_, value)| value)
            }
            Self::Many(many) => many.get_mut(key),
        }
    }

    /// Changes the value of a key, which is made if it is not there.
    pub(crate) fn update(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        match self.get_mut(&key) {
            Some(value) => change(value),
            None => {
                let mut value = V::default();
                change(&mut value);
                self.insert(key, value);
            }
        }
    }

    /// Puts a value in; the one that was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let few = match self {
            Self::Many(many) => return many.insert(key, value),
            Self::Few(few) => few,
        };
        match place(few, &key) {
            Ok(place) => few.get_mut(place).map(|(_, old)| std::mem::replace(old, value)),
            Err(place) if few.len() < FEW_MAX => {
                if few.is_empty() {
                    few.reserve_exact(1);
                }
                few.insert(place, (key, value));
                None
            }
            Err(_) => {
                let mut many: BTreeMap<K, V> = std::mem::take(few).into_iter().collect();
                let old = many.insert(key, value);
                *self = Self::Many(many);
                old
            }
        }
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        match self {
            Self::Few(few) => {
                let place = place(few, key).ok()?;
                Some(few.remove(place).1)
            }
            Self::Many(many) => many.remove(key),
        }
    }

    /// The entry with the least key.
    pub(crate) fn first(&self) -> Option<(&K, &V)> {
        match self {
            Self::Few(few) => few.first().map(|(key, value)| (key, value)),
            Self::Many(many) => many.first_key_value(),
        }
    }

    /// All, in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few), None),
            Self::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten().map(|(key, value)| (key, value));
        few.chain(many.into_iter().flatten())
    }
}

fn place<K: Ord, V>(few: &[(K, V)], key: &K) -> Result<usize, usize> {
    few.binary_search_by(|(other, _)| other.cmp(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_tree_holds(
            acts in prop::collection::vec((0u8..4, 0u8..20, any::<u8>()), 0..200),
        ) {
            let mut map = FewMap::default();
            let mut model = BTreeMap::new();
            for (act, key, value) in acts {
                match act {
                    0 => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    1 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    2 => {
                        map.update(key, |old: &mut u8| *old = old.wrapping_add(value));
                        let old = model.entry(key).or_default();
                        *old = old.wrapping_add(value);
                    }
                    _ => prop_assert_eq!(map.get_mut(&key), model.get_mut(&key)),
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(map.first(), model.first_key_value());
                prop_assert!(map.iter().eq(model.iter()));
            }
        }
    }
}
