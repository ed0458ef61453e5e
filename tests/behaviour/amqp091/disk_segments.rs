//! Segments: messages that left memory lie in files; those that nobody promised to keep lie in
//! files without a name, of which nothing stays.

use std::path::{Path, PathBuf};

use crate::support::Broker;
use crate::support::broker::{Ending, Options};
use crate::support::setup::Stage;

use super::bounds_gauge::{client, fill, fill_with, number_of, wait_until};
use super::durability::{declare_durable, persistent};

on_every_setup!(
    transient_messages_that_left_memory_leave_no_file_behind,
    segments_go_when_their_messages_have_gone,
);

const CONFIG: &str = "max_memory = 8M\nqueue_memory_max = 1M\nsegment_size = 1M\n\
                      log_file_size = 4M\nlog_size_max = 16M";
const BYTES: usize = 10_000;
const COUNT: u64 = 3000;

/// The files of queues in a data directory.
fn segments(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![data.join("queues")];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found
}

/// Files without a name that the broker has mapped.
fn unlinked(broker: &Broker) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", broker.pid())).expect("maps");
    let data = broker.data_directory();
    let data = std::fs::canonicalize(data).expect("a data directory").display().to_string();
    maps.lines().filter(|line| line.ends_with("(deleted)") && line.contains(&data)).count()
}

fn transient_messages_that_left_memory_leave_no_file_behind(stage: &Stage) {
    let broker = stage.setup.own(CONFIG);
    let mut owner = crate::support::Client::connect(broker.addr());
    owner.log_in(&crate::support::Login { capabilities: &[], ..Default::default() });
    owner.open_channel(1);
    owner.declare(1, "q");
    fill(&mut owner, "q", COUNT, BYTES);
    assert!(unlinked(&broker) > 5, "{} segments without a name", unlinked(&broker));
    // A name it has only until it is written.
    let data = broker.data_directory();
    wait_until("segments have no names", || segments(&data).is_empty());
    for number in 0..COUNT / 2 {
        assert_eq!(number_of(&owner.get(1, "q", true).expect("a message").body), number);
    }
    assert_eq!(u64::from(owner.delete(1, "q")), COUNT - COUNT / 2);
    wait_until("segments without a name are given back", || unlinked(&broker) == 0);
    owner.declare(1, "again");
    owner.close();
    let mut owner = crate::support::Client::connect(broker.addr());
    owner.log_in(&crate::support::Login { capabilities: &[], ..Default::default() });
    owner.open_channel(1);
    fill(&mut owner, "again", COUNT, BYTES);
    let options = Options { config: CONFIG, ..stage.setup.next().options() };
    let broker = broker.again(Ending::Kill, options);
    wait_until("what was being written is gone too", || segments(&data).is_empty());
    client(broker.addr()).close();
    broker.terminate();
}

fn segments_go_when_their_messages_have_gone(stage: &Stage) {
    let broker = stage.setup.own(CONFIG);
    let mut owner = client(broker.addr());
    for queue in ["taken", "purged", "deleted"] {
        declare_durable(&mut owner, queue, &[]);
        let mut filler = crate::support::Client::connect(broker.addr());
        filler.log_in(&crate::support::Login { capabilities: &[], ..Default::default() });
        filler.open_channel(1);
        fill_with(&mut filler, queue, &persistent(), COUNT / 3, BYTES);
        filler.close();
    }
    let before = segments(&broker.data_directory()).len();
    assert!(before > 5, "{before} files");
    let config = CONFIG;
    let broker = broker.again(Ending::Kill, Options { config, ..stage.setup.next().options() });
    let mut owner = client(broker.addr());
    for number in 0..COUNT / 3 {
        assert_eq!(number_of(&owner.get(1, "taken", true).expect("a message").body), number);
    }
    assert_eq!(u64::from(owner.purge(1, "purged")), COUNT / 3);
    assert_eq!(u64::from(owner.delete(1, "deleted")), COUNT / 3);
    let data = broker.data_directory();
    wait_until("the files are gone", || segments(&data).is_empty());
    let broker = broker.again(Ending::Kill, Options { config, ..stage.setup.options() });
    let mut owner = client(broker.addr());
    for queue in ["taken", "purged"] {
        declare_durable(&mut owner, queue, &[]);
    }
    assert_eq!(segments(&data), Vec::<PathBuf>::new());
    owner.close();
    broker.terminate();
}
