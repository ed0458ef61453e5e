//! Rows through the places of a table: a member joins and leaves any row in constant time, and
//! nothing is allocated for it.
//!
//! May import nothing.

/// A member's neighbours in one row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Links {
    before: Option<u32>,
    after: Option<u32>,
}

/// Which of a node's links a row uses.
pub(crate) type Pick<T> = fn(&mut T) -> &mut Links;

/// The ends of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row {
    first: Option<u32>,
    last: Option<u32>,
}

impl Row {
    pub(crate) const fn first(&self) -> Option<u32> {
        self.first
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Joins at the end; must not be a member already.
    pub(crate) fn push<T>(&mut self, nodes: &mut [T], pick: Pick<T>, index: u32) {
        if let Some(node) = nodes.get_mut(index as usize) {
            *pick(node) = Links { before: self.last, after: None };
        }
        match self.last.and_then(|last| nodes.get_mut(last as usize)) {
            Some(last) => pick(last).after = Some(index),
            None => self.first = Some(index),
        }
        self.last = Some(index);
    }

    /// Leaves; must be a member.
    pub(crate) fn remove<T>(&mut self, nodes: &mut [T], pick: Pick<T>, index: u32) {
        let Some(links) = nodes.get_mut(index as usize).map(|node| std::mem::take(pick(node)))
        else {
            return;
        };
        match links.before.and_then(|before| nodes.get_mut(before as usize)) {
            Some(before) => pick(before).after = links.after,
            None => self.first = links.after,
        }
        match links.after.and_then(|after| nodes.get_mut(after as usize)) {
            Some(after) => pick(after).before = links.before,
            None => self.last = links.before,
        }
    }
}

/// The member after this one.
pub(crate) fn after<T>(nodes: &mut [T], pick: Pick<T>, index: u32) -> Option<u32> {
    pick(nodes.get_mut(index as usize)?).after
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(row: &Row, nodes: &mut [Links]) -> Vec<u32> {
        std::iter::successors(row.first(), |at| after(nodes, |n| n, *at)).collect()
    }

    #[test]
    fn members_leave_from_anywhere_and_the_order_stays() {
        let mut nodes = vec![Links::default(); 5];
        let mut row = Row::default();
        (0..5).for_each(|n| row.push(&mut nodes, |n| n, n));
        for n in [2, 0, 4] {
            row.remove(&mut nodes, |n| n, n);
        }
        assert_eq!(members(&row, &mut nodes), [1, 3]);
        row.push(&mut nodes, |n| n, 0);
        assert_eq!(members(&row, &mut nodes), [1, 3, 0]);
        for n in [1, 3, 0] {
            row.remove(&mut nodes, |n| n, n);
        }
        assert!(row.is_empty());
    }
}
