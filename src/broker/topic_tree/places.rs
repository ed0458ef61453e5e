//! Stored names by the place they have in the tree: for walks that stop and go on later. A name
//! keeps its place as long as it is stored; afterwards another one may have it.
//!
//! May import the tree's parts.

use std::mem;

use super::syntax::Step;
use super::words::WordId;
use super::{Edge, NodeId, ROOT, TopicTree};

/// A filter as [`TopicTree::fits`] reads it, valid until the tree changes.
#[derive(Debug)]
pub(crate) struct Filter {
    steps: Vec<FilterStep>,
    /// It says nothing of names that are hidden from wildcards.
    shows_hidden: bool,
    /// Of the name that is looked at: kept for its memory.
    words: Vec<WordId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilterStep {
    /// `None`: no stored name has this word.
    Word(Option<WordId>),
    One,
    Any,
}

impl<V> TopicTree<V> {
    /// One more than the highest place.
    pub(crate) fn places(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }

    /// The value of the name that is stored there.
    pub(crate) fn at(&self, place: u32) -> Option<&V> {
        self.node(NodeId(place))?.value.as_ref()
    }

    /// The same, to be changed.
    pub(crate) fn at_mut(&mut self, place: u32) -> Option<&mut V> {
        self.node_mut(NodeId(place))?.value.as_mut()
    }

    /// Takes the name out that is stored there.
    pub(crate) fn remove_at(&mut self, place: u32) -> Option<V> {
        self.take_out(NodeId(place))
    }

    /// The other way round than [`Self::matching`]: calls `found` with the place of every stored
    /// name that the filter matches. Names have no wildcards; a wildcard in the tree is not looked
    /// at. Goes to no more nodes than `steps` has, takes off those it went to, and tells whether
    /// that was enough; `found` was not called if it was not.
    pub(crate) fn select(
        &self,
        filter: &str,
        steps: &mut usize,
        mut found: impl FnMut(u32),
    ) -> bool {
        let mut scratch = self.scratch.take();
        let enough = self.select_into(filter, steps, &mut scratch);
        if enough {
            let stored = |id: &&NodeId| self.node(**id).is_some_and(|node| node.value.is_some());
            scratch.now.iter().filter(stored).for_each(|id| found(id.0));
        }
        self.scratch.replace(scratch);
        enough
    }

    /// Leaves the nodes of the last word in `now`.
    fn select_into(
        &self,
        filter: &str,
        steps: &mut usize,
        super::Scratch { now, then, lasting: stack }: &mut super::Scratch,
    ) -> bool {
        now.clear();
        now.push(ROOT);
        let mut step_to = |id, to: &mut Vec<NodeId>| {
            *steps = steps.saturating_sub(1);
            to.push(id);
            *steps > 0
        };
        for step in self.syntax.steps(filter) {
            then.clear();
            let enough = match step {
                Step::Word(word) => {
                    let word = self.words.find(word);
                    let child = |id: &NodeId| self.children.get(&(*id, word?)).copied();
                    now.iter().filter_map(child).all(|id| step_to(id, then))
                }
                Step::One => now
                    .iter()
                    .all(|id| self.visible_children(*id).all(|child| step_to(child, then))),
                Step::Any => {
                    let walk = self.next_walk();
                    stack.clear();
                    stack.append(now);
                    let mut enough = true;
                    while enough && let Some(id) = stack.pop() {
                        // Below a node that was here everything was here.
                        let new = self.node(id).is_some_and(|node| node.walk.replace(walk) != walk);
                        if new {
                            then.push(id);
                            enough = self.visible_children(id).all(|child| step_to(child, stack));
                        }
                    }
                    enough
                }
            };
            if !enough {
                return false;
            }
            mem::swap(now, then);
        }
        true
    }

    /// Reads a filter for [`Self::fits`].
    pub(crate) fn filter(&self, filter: &str) -> Filter {
        let steps = self.syntax.steps(filter).map(|step| match step {
            Step::Word(word) => FilterStep::Word(self.words.find(word)),
            Step::One => FilterStep::One,
            Step::Any => FilterStep::Any,
        });
        let steps: Vec<_> = steps.collect();
        let shows_hidden = matches!(steps.first(), Some(FilterStep::Word(_)));
        Filter { steps, shows_hidden, words: Vec::new() }
    }

    /// Whether the filter matches the name that is stored at a place.
    pub(crate) fn fits(&self, place: u32, filter: &mut Filter) -> bool {
        let Filter { steps, shows_hidden, words } = filter;
        words.clear();
        let mut at = NodeId(place);
        while let Some(node) = self.node(at) {
            match node.edge {
                Edge::Root => break,
                Edge::Word(word) => words.push(word),
                // No name but a pattern.
                Edge::One | Edge::Any => return false,
            }
            at = node.parent;
        }
        words.reverse();
        let hidden = words.first().is_some_and(|word| self.syntax.hides(self.words.text(*word)));
        (*shows_hidden || !hidden) && fits(words, steps)
    }
}

/// Whether words fit the steps of a filter. Where a word does not fit, the last step for any number
/// of words takes one more: earlier ones need not be tried again.
fn fits(words: &[WordId], steps: &[FilterStep]) -> bool {
    let (mut word, mut step) = (0, 0);
    // Behind the last `Any`, and the word that this was tried with.
    let mut again: Option<(usize, usize)> = None;
    while let Some(now) = words.get(word) {
        match steps.get(step) {
            Some(FilterStep::Any) => {
                step += 1;
                again = Some((step, word));
                continue;
            }
            Some(FilterStep::One) => {
                (word, step) = (word + 1, step + 1);
                continue;
            }
            Some(FilterStep::Word(wanted)) if *wanted == Some(*now) => {
                (word, step) = (word + 1, step + 1);
                continue;
            }
            Some(FilterStep::Word(_)) | None => {}
        }
        let Some((behind, tried)) = &mut again else { return false };
        *tried += 1;
        (word, step) = (*tried, *behind);
    }
    steps.get(step..).unwrap_or_default().iter().all(|step| *step == FilterStep::Any)
}
