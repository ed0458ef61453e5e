//! Which data directory this is, as its log files say: for when BOOT cannot. The records of a log are
//! readable only with the right id. May import `file_header`, `files`, `ids` and `paths`.

use std::collections::HashMap;

use super::file_header::{BLOCK_BYTES, FileHeader};
use super::files::Files;
use super::ids::LogFile;
use super::paths::{self, SHARDS};

/// The id that most log files have in their headers, and of equally frequent ones that of the latest
/// file; `None` if no header can be read. A file with another file's header has no say.
pub fn dir_id_of_logs(files: &mut dyn Files) -> Option<u64> {
    let mut votes: HashMap<u64, (u32, LogFile)> = HashMap::new();
    // What cannot be listed or read was noted when the names were looked at, or is when it is needed.
    for dir in files.list(SHARDS).unwrap_or_default() {
        let Some(shard) = paths::shard_from_name(&dir.name) else { continue };
        for entry in files.list(&paths::shard_dir(shard)).unwrap_or_default() {
            let Some(file) = LogFile::from_name(&entry.name, "log.") else { continue };
            let block = files.read_at(&paths::log(shard, file), 0, BLOCK_BYTES);
            let header = block.ok().and_then(|block| FileHeader::decode(&block).ok());
            let own = header.filter(|header| header.file == file && header.shard == shard);
            if let Some(header) = own {
                let (count, latest) = votes.entry(header.dir_id).or_insert((0, file));
                *count = count.saturating_add(1);
                *latest = file.max(*latest);
            }
        }
    }
    votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(dir_id, _)| dir_id)
}
