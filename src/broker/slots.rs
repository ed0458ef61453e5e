//! A table that hands out places with a generation, so that an identity that comes back late
//! never meets the place's next tenant. May import `ringmq_shards` (a list).

use std::marker::PhantomData;

use ringmq_shards::Chunks;

use crate::ids::{ConnectionId, ConsumerId, QueueId};

/// An identity that is a place and a generation.
pub(crate) trait SlotId: Copy {
    fn make(index: u32, generation: u32) -> Self;
    fn place(self) -> usize;
    fn age(self) -> u32;
}

macro_rules! slot_id {
    ($($name:ty),*) => {$(
        impl SlotId for $name {
            fn make(index: u32, generation: u32) -> Self {
                Self::new(index, generation)
            }
            fn place(self) -> usize {
                self.index()
            }
            fn age(self) -> u32 {
                self.generation()
            }
        }
    )*};
}
slot_id!(ConnectionId, QueueId, ConsumerId);

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// The table. Places are reused, last freed first, which keeps the table dense.
#[derive(Debug)]
pub(crate) struct Slots<I, T> {
    slots: Chunks<Slot<T>>,
    free: Vec<u32>,
    id: PhantomData<I>,
}

impl<I, T> Default for Slots<I, T> {
    fn default() -> Self {
        Self { slots: Chunks::new(), free: Vec::new(), id: PhantomData }
    }
}

impl<I: SlotId, T> Slots<I, T> {
    /// Puts a value in; `None` when four thousand million are there already.
    pub(crate) fn insert(&mut self, value: T) -> Option<I> {
        if let Some(index) = self.free.pop() {
            let slot = self.slots.get_mut(index as usize)?;
            slot.value = Some(value);
            return Some(I::make(index, slot.generation));
        }
        let index = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(Slot { generation: 0, value: Some(value) });
        Some(I::make(index, 0))
    }

    pub(crate) fn get(&self, id: I) -> Option<&T> {
        self.slots.get(id.place()).filter(|s| s.generation == id.age())?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: I) -> Option<&mut T> {
        self.slots.get_mut(id.place()).filter(|s| s.generation == id.age())?.value.as_mut()
    }

    pub(crate) fn remove(&mut self, id: I) -> Option<T> {
        let index = u32::try_from(id.place()).ok()?;
        let slot = self.slots.get_mut(id.place()).filter(|s| s.generation == id.age())?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    /// What is in `count` places, and where to go on if there are more places.
    pub(crate) fn page(
        &self,
        from: usize,
        count: usize,
    ) -> (impl Iterator<Item = (I, &T)>, Option<usize>) {
        let next = from.saturating_add(count);
        let page =
            (from..next.min(self.slots.len())).filter_map(|at| Some((self.slots.get(at)?, at)));
        let page = page.filter_map(|(slot, index)| {
            let value = slot.value.as_ref()?;
            Some((I::make(u32::try_from(index).ok()?, slot.generation), value))
        });
        (page, (next < self.slots.len()).then_some(next))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((I::make(u32::try_from(index).ok()?, slot.generation), value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_does_not_outlive_its_tenant() {
        let mut slots: Slots<QueueId, &str> = Slots::default();
        let first = slots.insert("a").unwrap();
        assert_eq!(slots.remove(first), Some("a"));
        let second = slots.insert("b").unwrap();
        assert_eq!(second.index(), first.index());
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.get(second), Some(&"b"));
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn pages_show_each_tenant_once() {
        let mut slots: Slots<QueueId, u32> = Slots::default();
        let ids: Vec<QueueId> = (0..10).map(|n| slots.insert(n).unwrap()).collect();
        slots.remove(ids[3]);
        let (mut found, mut from) = (Vec::new(), Some(0));
        while let Some(place) = from {
            let (page, next) = slots.page(place, 4);
            found.extend(page.map(|(id, n)| (id, *n)));
            from = next;
        }
        assert_eq!(found, slots.iter().map(|(id, n)| (id, *n)).collect::<Vec<_>>());
        assert!(slots.page(usize::MAX, usize::MAX).0.next().is_none());
    }
}
