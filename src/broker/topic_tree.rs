//! Words and wildcards: a tree of patterns that are matched all at once.
//!
//! Serves topic exchanges, subscription filters and, the other way round, look-ups of stored
//! names by a filter. One per exchange or vhost and shard. May import nothing.

pub(crate) mod places;
pub(crate) mod syntax;
#[cfg(test)]
mod tests;
mod words;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem;

use self::syntax::Step;
pub(crate) use self::syntax::Syntax;
use self::words::{WordId, Words, next_index};

/// A place in the table of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct NodeId(u32);

impl NodeId {
    const fn index(self) -> usize {
        self.0 as usize
    }
}

const ROOT: NodeId = NodeId(0);

/// How a node hangs on its parent.
#[derive(Debug, Clone, Copy)]
enum Edge {
    Root,
    Word(WordId),
    One,
    Any,
}

#[derive(Debug)]
struct Node<V> {
    parent: NodeId,
    edge: Edge,
    /// The first of the children that hang on words; they are a list.
    first_child: Option<NodeId>,
    previous: Option<NodeId>,
    next: Option<NodeId>,
    one: Option<NodeId>,
    any: Option<NodeId>,
    value: Option<V>,
    /// The walk that came here last.
    walk: Cell<u64>,
}

impl<V> Node<V> {
    const fn new(parent: NodeId, edge: Edge) -> Self {
        Self {
            parent,
            edge,
            first_child: None,
            previous: None,
            next: None,
            one: None,
            any: None,
            value: None,
            walk: Cell::new(0),
        }
    }

    const fn is_leaf(&self) -> bool {
        self.first_child.is_none() && self.one.is_none() && self.any.is_none()
    }
}

/// Lists that a walk needs, kept for their memory.
#[derive(Debug, Default)]
struct Scratch {
    now: Vec<NodeId>,
    then: Vec<NodeId>,
    /// Nodes for any number of words: once entered they stay for the rest of the name.
    lasting: Vec<NodeId>,
}

/// Values by pattern. `V` is whatever hangs on one pattern, usually a small set.
#[derive(Debug)]
pub(crate) struct TopicTree<V> {
    syntax: Syntax,
    nodes: Vec<Node<V>>,
    free: Vec<NodeId>,
    words: Words,
    /// Children that hang on words. One map for the whole tree: a node is small, and the word of
    /// a name is hashed as text once, however many nodes are asked for it.
    children: HashMap<(NodeId, WordId), NodeId, ahash::RandomState>,
    pattern_count: usize,
    walks: Cell<u64>,
    scratch: RefCell<Scratch>,
    /// How often a node was looked at.
    #[cfg(test)]
    looks: Cell<u64>,
}

impl<V> TopicTree<V> {
    /// An empty tree.
    pub(crate) fn new(syntax: Syntax) -> Self {
        Self {
            syntax,
            nodes: vec![Node::new(ROOT, Edge::Root)],
            free: Vec::new(),
            words: Words::default(),
            children: HashMap::default(),
            pattern_count: 0,
            walks: Cell::new(0),
            scratch: RefCell::default(),
            #[cfg(test)]
            looks: Cell::new(0),
        }
    }

    #[cfg_attr(not(test), expect(dead_code, reason = "operators see it by the management API"))]
    /// The number of patterns that have a value.
    pub(crate) fn len(&self) -> usize {
        self.pattern_count
    }

    #[cfg_attr(not(test), expect(dead_code, reason = "operators see it by the management API"))]
    /// Whether no pattern has a value.
    pub(crate) fn is_empty(&self) -> bool {
        self.pattern_count == 0
    }

    /// Changes the value of a pattern, which is made if it is not there.
    pub(crate) fn update(&mut self, pattern: &str, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        let mut at = ROOT;
        for step in self.syntax.steps(pattern) {
            at = match self.child(at, &step) {
                Some(child) => child,
                None => self.grow(at, &step),
            };
        }
        if let Some(node) = self.nodes.get_mut(at.index()) {
            self.pattern_count += usize::from(node.value.is_none());
            change(node.value.get_or_insert_default());
        }
    }

    /// The value of a pattern.
    pub(crate) fn get(&self, pattern: &str) -> Option<&V> {
        self.node(self.find(pattern)?)?.value.as_ref()
    }

    /// The value of a pattern.
    pub(crate) fn get_mut(&mut self, pattern: &str) -> Option<&mut V> {
        let at = self.find(pattern)?;
        self.node_mut(at)?.value.as_mut()
    }

    /// Takes a pattern out, and the nodes that only it needed.
    pub(crate) fn remove(&mut self, pattern: &str) -> Option<V> {
        let at = self.find(pattern)?;
        self.take_out(at)
    }

    fn take_out(&mut self, at: NodeId) -> Option<V> {
        let value = self.node_mut(at)?.value.take()?;
        self.pattern_count -= 1;
        self.prune(at);
        Some(value)
    }

    /// Calls `found` with the value of every pattern that the name matches, each once. A name is
    /// taken word by word through all patterns at once: the cost is words times the patterns that
    /// still fit, whatever else is in the tree.
    pub(crate) fn matching(&self, name: &str, mut found: impl FnMut(&V)) {
        let mut scratch = self.scratch.take();
        let Scratch { now, then, lasting } = &mut scratch;
        now.clear();
        lasting.clear();
        let walk = self.next_walk();
        let hidden = self.syntax.hides(name);
        now.push(ROOT);
        if !hidden {
            self.enter_any(ROOT, walk, lasting, &mut found);
        }
        for (i, word) in self.syntax.words(name).enumerate() {
            if now.is_empty() && lasting.is_empty() {
                break;
            }
            let word = self.words.find(word);
            let wildcards = i > 0 || !hidden;
            // What joins them while this word is taken starts with the next word.
            let lasting_before = lasting.len();
            for at in 0..now.len() + lasting_before {
                let id = now.get(at).or_else(|| lasting.get(at - now.len()));
                let Some(node) = id.and_then(|id| self.node(*id)) else { continue };
                let by_word = word.filter(|_| node.first_child.is_some());
                let by_word = by_word.zip(id).and_then(|(w, id)| self.children.get(&(*id, w)));
                let by_one = node.one.filter(|_| wildcards);
                for child in by_word.copied().into_iter().chain(by_one) {
                    then.push(child);
                    self.enter_any(child, walk, lasting, &mut found);
                }
            }
            now.clear();
            mem::swap(now, then);
        }
        now.iter().filter_map(|id| self.node(*id)?.value.as_ref()).for_each(found);
        self.scratch.replace(scratch);
    }

    /// Enters the child of `at` that stands for any number of words, unless this walk has done so:
    /// it matches whatever comes, and is left only at the end of the name.
    fn enter_any(
        &self,
        at: NodeId,
        walk: u64,
        lasting: &mut Vec<NodeId>,
        found: &mut impl FnMut(&V),
    ) {
        let Some(any) = self.node(at).and_then(|node| node.any) else { return };
        let Some(node) = self.node(any) else { return };
        if node.walk.replace(walk) == walk {
            return;
        }
        if let Some(value) = &node.value {
            found(value);
        }
        if !node.is_leaf() {
            lasting.push(any);
        }
    }

    fn next_walk(&self) -> u64 {
        self.walks.set(self.walks.get() + 1);
        self.walks.get()
    }

    fn node(&self, id: NodeId) -> Option<&Node<V>> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        self.nodes.get(id.index())
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node<V>> {
        self.nodes.get_mut(id.index())
    }

    fn child(&self, at: NodeId, step: &Step<'_>) -> Option<NodeId> {
        match step {
            Step::Word(word) => self.children.get(&(at, self.words.find(word)?)).copied(),
            Step::One => self.node(at)?.one,
            Step::Any => self.node(at)?.any,
        }
    }

    /// The children that hang on words, without the hidden ones, which hang on the root.
    fn visible_children(&self, at: NodeId) -> impl Iterator<Item = NodeId> {
        let first = self.node(at).and_then(|node| node.first_child);
        let children = std::iter::successors(first, |id| self.node(*id)?.next);
        children.filter(move |id| at != ROOT || !self.is_hidden(*id))
    }

    fn is_hidden(&self, id: NodeId) -> bool {
        match self.node(id).map(|node| node.edge) {
            Some(Edge::Word(word)) => self.syntax.hides(self.words.text(word)),
            Some(Edge::Root | Edge::One | Edge::Any) | None => false,
        }
    }

    fn find(&self, pattern: &str) -> Option<NodeId> {
        self.syntax.steps(pattern).try_fold(ROOT, |at, step| self.child(at, &step))
    }

    fn grow(&mut self, parent: NodeId, step: &Step<'_>) -> NodeId {
        let edge = match step {
            Step::Word(word) => Edge::Word(self.words.hold(word)),
            Step::One => Edge::One,
            Step::Any => Edge::Any,
        };
        let id = self.free.pop().unwrap_or_else(|| NodeId(next_index(self.nodes.len())));
        match self.nodes.get_mut(id.index()) {
            Some(slot) => *slot = Node::new(parent, edge),
            None => self.nodes.push(Node::new(parent, edge)),
        }
        let Some(above) = self.node_mut(parent) else { return id };
        match edge {
            Edge::Root => {}
            Edge::One => above.one = Some(id),
            Edge::Any => above.any = Some(id),
            Edge::Word(word) => {
                let next = above.first_child.replace(id);
                self.link(None, Some(id));
                self.link(Some(id), next);
                self.children.insert((parent, word), id);
            }
        }
        id
    }

    /// Takes nodes out from `at` upwards as long as nothing hangs on them.
    fn prune(&mut self, mut at: NodeId) {
        while at != ROOT {
            let Some(node) = self.node(at).filter(|n| n.is_leaf() && n.value.is_none()) else {
                return;
            };
            let (parent, edge, previous, next) = (node.parent, node.edge, node.previous, node.next);
            match (edge, self.node_mut(parent)) {
                (Edge::Root, _) | (_, None) => {}
                (Edge::One, Some(above)) => above.one = None,
                (Edge::Any, Some(above)) => above.any = None,
                (Edge::Word(word), Some(above)) => {
                    if previous.is_none() {
                        above.first_child = next;
                    }
                    self.link(previous, next);
                    self.children.remove(&(parent, word));
                    self.words.release(word);
                }
            }
            self.free.push(at);
            at = parent;
        }
    }

    /// Makes two nodes neighbours in their parent's list.
    fn link(&mut self, left: Option<NodeId>, right: Option<NodeId>) {
        if let Some(node) = left.and_then(|id| self.node_mut(id)) {
            node.next = right;
        }
        if let Some(node) = right.and_then(|id| self.node_mut(id)) {
            node.previous = left;
        }
    }
}
