//! The names of the simulated disk: directories, and the changes of names that are not durable yet.
//! May import `content` and `random`, and from `log` the entry of a listing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::content::Content;
use super::random::Random;
use crate::log::Entry;

/// A file or directory, whatever it is called. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct NodeId(u64);

const ROOT: NodeId = NodeId(0);

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    directory: NodeId,
    name: String,
}

#[derive(Debug)]
enum Node {
    Directory(Directory),
    File(Content),
}

#[derive(Debug, Default)]
struct Directory {
    /// As the process sees it.
    now: BTreeMap<String, NodeId>,
    /// As the disk has it.
    durable: BTreeMap<String, NodeId>,
    /// No change from this one on becomes durable: a sync of this directory failed.
    stuck_from: Option<u64>,
}

/// One change of names, done for the process and not durable.
#[derive(Debug)]
struct Change {
    /// Later ones have higher numbers.
    number: u64,
    kind: ChangeKind,
}

#[derive(Debug)]
enum ChangeKind {
    /// A file or directory was made.
    Link(Place, NodeId),
    /// A file was removed.
    Unlink(Place),
    /// A directory was removed, empty.
    RemoveDirectory(Place, NodeId),
    /// A name was changed; in one step also from one directory to another.
    Rename { from: Place, to: Place },
}

impl Change {
    /// The directories in whose order of changes it stands. To remove a directory is also the last
    /// change of that one: a journal does not remove what still has names in it.
    fn directories(&self) -> [NodeId; 2] {
        match &self.kind {
            ChangeKind::Link(place, _) | ChangeKind::Unlink(place) => [place.directory; 2],
            ChangeKind::RemoveDirectory(place, removed) => [place.directory, *removed],
            ChangeKind::Rename { from, to } => [from.directory, to.directory],
        }
    }

    fn touches(&self, directory: NodeId) -> bool {
        self.directories().contains(&directory)
    }

    /// The directory that has to be on the disk before: what was durable elsewhere may not get lost
    /// by moving into a directory that a journal would have made first.
    fn needs(&self) -> Option<NodeId> {
        match &self.kind {
            ChangeKind::Rename { from, to } if from.directory != to.directory => Some(to.directory),
            ChangeKind::Rename { .. }
            | ChangeKind::Link(..)
            | ChangeKind::Unlink(_)
            | ChangeKind::RemoveDirectory(..) => None,
        }
    }
}

/// All files and directories.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next_node: u64,
    /// Oldest first.
    pending: Vec<Change>,
    next_change: u64,
}

impl Tree {
    /// An empty data directory.
    pub(super) fn new() -> Self {
        let root = Node::Directory(Directory::default());
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next_node: 1,
            pending: Vec::new(),
            next_change: 0,
        }
    }

    fn directory(&self, id: NodeId) -> io::Result<&Directory> {
        match self.nodes.get(&id) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn directory_mut(&mut self, id: NodeId) -> Option<&mut Directory> {
        match self.nodes.get_mut(&id) {
            Some(Node::Directory(directory)) => Some(directory),
            Some(Node::File(_)) | None => None,
        }
    }

    fn find(&self, path: &str) -> io::Result<NodeId> {
        let mut at = ROOT;
        for name in names(path)? {
            at = self.entry(at, name)?;
        }
        Ok(at)
    }

    fn entry(&self, directory: NodeId, name: &str) -> io::Result<NodeId> {
        let found = self.directory(directory)?.now.get(name).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Where a path's last name stands or would stand.
    fn place(&self, path: &str) -> io::Result<Place> {
        let path = checked(path)?.trim_end_matches('/');
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let directory = self.find(above)?;
        self.directory(directory)?;
        Ok(Place { directory, name: name.to_owned() })
    }

    /// A file's content.
    pub(super) fn file(&self, path: &str) -> io::Result<&Content> {
        match self.nodes.get(&self.find(path)?) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A file's content, to change it.
    pub(super) fn file_mut(&mut self, path: &str) -> io::Result<&mut Content> {
        let id = self.find(path)?;
        match self.nodes.get_mut(&id) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A new file of zeros.
    pub(super) fn create(&mut self, path: &str, bytes: usize) -> io::Result<()> {
        let place = self.place(path)?;
        if self.entry(place.directory, &place.name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.link(place, Node::File(Content::zeros(bytes)));
        Ok(())
    }

    /// A directory and those above it.
    pub(super) fn make_dir(&mut self, path: &str) -> io::Result<()> {
        let mut at = ROOT;
        for name in names(path)? {
            at = match self.entry(at, name) {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let place = Place { directory: at, name: name.to_owned() };
                    self.link(place, Node::Directory(Directory::default()))
                }
                Err(error) => return Err(error),
            };
        }
        self.directory(at).map(|_| ())
    }

    /// Removes a file.
    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        self.file(path)?;
        let place = self.place(path)?;
        self.change(ChangeKind::Unlink(place));
        Ok(())
    }

    /// Removes an empty directory.
    pub(super) fn remove_dir(&mut self, path: &str) -> io::Result<()> {
        let id = self.find(path)?;
        if !self.directory(id)?.now.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let place = self.place(path)?;
        self.change(ChangeKind::RemoveDirectory(place, id));
        Ok(())
    }

    /// Changes a name, over a file that has it.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let moved = self.find(from)?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        if from == to {
            return Ok(());
        }
        let is_directory = self.directory(moved).is_ok();
        if let Ok(replaced) = self.entry(to.directory, &to.name) {
            if self.directory(replaced).is_ok() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if is_directory {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        if is_directory && self.below(moved, Names::Now).contains(&to.directory) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.change(ChangeKind::Rename { from, to });
        Ok(())
    }

    /// What is in a directory; nothing if it does not exist.
    pub(super) fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let id = match self.find(path) {
            Ok(id) => id,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = self.directory(id)?.now.iter();
        Ok(names.map(|(name, node)| self.describe(name.clone(), *node)).collect())
    }

    fn describe(&self, name: String, node: NodeId) -> Entry {
        match self.nodes.get(&node) {
            Some(Node::File(content)) => {
                let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
                Entry { name, is_dir: false, bytes }
            }
            Some(Node::Directory(_)) | None => Entry { name, is_dir: true, bytes: 0 },
        }
    }

    /// All files by path, with their lengths.
    pub(super) fn files(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut waiting = vec![String::new()];
        while let Some(above) = waiting.pop() {
            for entry in self.list(above.trim_end_matches('/')).unwrap_or_default() {
                let path = format!("{above}{}", entry.name);
                if entry.is_dir {
                    waiting.push(path + "/");
                } else {
                    found.push((path, entry.bytes));
                }
            }
        }
        found.sort();
        found
    }

    /// The names in a directory are durable, and of other directories what had to be before.
    pub(super) fn sync_dir(&mut self, path: &str) -> io::Result<()> {
        let id = self.find(path)?;
        self.directory(id)?;
        let mut directories = BTreeSet::from([id]);
        let mut made = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        for change in self.pending.iter().rev() {
            let is_needed =
                matches!(&change.kind, ChangeKind::Link(_, node) if made.contains(node));
            if is_needed || change.directories().iter().any(|id| directories.contains(id)) {
                directories.extend(change.directories());
                made.extend(change.needs());
                if is_needed {
                    made.extend(change.directories());
                }
                wanted.insert(change.number);
            }
        }
        self.settle(|change| wanted.contains(&change.number));
        Ok(())
    }

    /// A sync of a directory that fails: from some change on nothing of it becomes durable any more,
    /// whatever later syncs say.
    pub(super) fn fail_sync_dir(&mut self, path: &str, random: &mut Random) {
        let Ok(id) = self.find(path) else { return };
        let changes: Vec<u64> = self
            .pending
            .iter()
            .filter(|change| change.touches(id))
            .map(|change| change.number)
            .collect();
        let next = self.next_change;
        let lost = changes.get(random.index(changes.len())).copied().unwrap_or(next);
        if let Some(directory) = self.directory_mut(id) {
            directory.stuck_from = Some(directory.stuck_from.map_or(lost, |old| old.min(lost)));
        }
    }

    /// The power is cut: of each directory's changes a first part survives, then the contents.
    pub(super) fn crash(&mut self, random: &mut Random) {
        let mut counts: BTreeMap<NodeId, u64> = BTreeMap::new();
        for change in &self.pending {
            for directory in BTreeSet::from(change.directories()) {
                *counts.entry(directory).or_insert(0) += 1;
            }
        }
        for count in counts.values_mut() {
            *count = match random.below(4) {
                0 => 0,
                1 => *count,
                _ => random.below(*count + 1),
            };
        }
        self.settle(|change| {
            let directories = BTreeSet::from(change.directories());
            let is_first = |id: &NodeId| counts.get(id).is_some_and(|count| *count > 0);
            let survives = directories.iter().all(is_first);
            for directory in directories {
                counts.entry(directory).and_modify(|count| *count = count.saturating_sub(1));
            }
            survives
        });
        self.pending.clear();
        let reachable = self.below(ROOT, Names::Durable);
        self.nodes.retain(|id, _| reachable.contains(id));
        for node in self.nodes.values_mut() {
            match node {
                Node::Directory(directory) => {
                    directory.now.clone_from(&directory.durable);
                    directory.stuck_from = None;
                }
                Node::File(content) => content.crash(random),
            }
        }
    }

    /// The process is killed: what a failed sync of a directory had lost is merely not durable yet. A
    /// file system that could not write its journal lets nobody change anything until it was mounted
    /// anew; that a new process can work at all means that somebody did that.
    pub(super) fn kill(&mut self) {
        for node in self.nodes.values_mut() {
            match node {
                Node::Directory(directory) => directory.stuck_from = None,
                Node::File(_) => {}
            }
        }
    }

    /// Makes those of the pending changes durable that are wanted, unless an earlier one of the same
    /// directory is not.
    fn settle(&mut self, mut is_wanted: impl FnMut(&Change) -> bool) {
        let mut held_up = BTreeSet::new();
        for change in std::mem::take(&mut self.pending) {
            let directories = change.directories();
            let is_held_up = directories.iter().any(|id| {
                let stuck_from = self.directory(*id).ok().and_then(|found| found.stuck_from);
                held_up.contains(id) || stuck_from.is_some_and(|from| from <= change.number)
            });
            let is_ready =
                change.needs().is_none_or(|id| self.below(ROOT, Names::Durable).contains(&id));
            if is_wanted(&change) && is_ready && !is_held_up {
                if let Some(gone) = self.apply(&change.kind, Names::Durable) {
                    self.nodes.remove(&gone);
                }
            } else {
                held_up.extend(directories);
                self.pending.push(change);
            }
        }
    }

    fn link(&mut self, place: Place, node: Node) -> NodeId {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        self.nodes.insert(id, node);
        self.change(ChangeKind::Link(place, id));
        id
    }

    /// Changes names for the process; for the disk only later.
    fn change(&mut self, kind: ChangeKind) {
        self.apply(&kind, Names::Now);
        self.pending.push(Change { number: self.next_change, kind });
        self.next_change += 1;
    }

    /// Changes one of the two sets of names; what has no name in it any more.
    fn apply(&mut self, kind: &ChangeKind, names: Names) -> Option<NodeId> {
        match kind {
            ChangeKind::Link(place, node) => self.put(place, *node, names),
            ChangeKind::Unlink(place) | ChangeKind::RemoveDirectory(place, _) => {
                self.take(place, names)
            }
            ChangeKind::Rename { from, to } => {
                let moved = self.take(from, names)?;
                self.put(to, moved, names)
            }
        }
    }

    fn put(&mut self, place: &Place, node: NodeId, names: Names) -> Option<NodeId> {
        self.directory_mut(place.directory)?.names_mut(names).insert(place.name.clone(), node)
    }

    fn take(&mut self, place: &Place, names: Names) -> Option<NodeId> {
        self.directory_mut(place.directory)?.names_mut(names).remove(&place.name)
    }

    /// A directory and everything below it.
    fn below(&self, top: NodeId, names: Names) -> BTreeSet<NodeId> {
        let mut found = BTreeSet::from([top]);
        let mut waiting = vec![top];
        while let Some(id) = waiting.pop() {
            let Ok(directory) = self.directory(id) else { continue };
            for node in directory.names(names).values() {
                if found.insert(*node) {
                    waiting.push(*node);
                }
            }
        }
        found
    }
}

/// Which of a directory's two sets of names.
#[derive(Debug, Clone, Copy)]
enum Names {
    Now,
    Durable,
}

impl Directory {
    const fn names(&self, names: Names) -> &BTreeMap<String, NodeId> {
        match names {
            Names::Now => &self.now,
            Names::Durable => &self.durable,
        }
    }

    const fn names_mut(&mut self, names: Names) -> &mut BTreeMap<String, NodeId> {
        match names {
            Names::Now => &mut self.now,
            Names::Durable => &mut self.durable,
        }
    }
}

/// The names of a path, none for the data directory itself.
fn names(path: &str) -> io::Result<impl Iterator<Item = &str>> {
    Ok(checked(path)?.split('/').filter(|name| !name.is_empty()))
}

/// A path that stays below the data directory.
fn checked(path: &str) -> io::Result<&str> {
    let is_wild = path.starts_with('/') || path.split('/').any(|name| name == "." || name == "..");
    if is_wild {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not below the data directory"));
    }
    Ok(path)
}
