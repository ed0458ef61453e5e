//! Whether the executor can open files below a directory for direct writes. May import libc's numbers.
//!
//! It reads the properties of the block device when it opens the first file, of the device with minor
//! number 0 at that, and ends the process if one of them is not there: where a container hides them, or
//! where minor number 0 is a partition. Here we look first, and go without the ring if need be.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What it reads as numbers, below the device's `queue`.
const NUMBERS: [&str; 7] = [
    "rotational",
    "minimum_io_size",
    "optimal_io_size",
    "logical_block_size",
    "physical_block_size",
    "max_sectors_kb",
    "max_segment_size",
];

/// Whether opening a file below `root` for direct writes can be tried.
pub(super) fn can_be_tried(root: &Path) -> bool {
    let Ok(data) = root.metadata() else { return false };
    let device = format!("/sys/dev/block/{}:0", libc::major(data.dev()));
    match Path::new(&device).canonicalize() {
        Ok(device) => is_described(&device),
        // Not a disk: memory, a network, a device that consists of others. It asks nothing further then.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn is_described(device: &Path) -> bool {
    let text = |name: &str| std::fs::read_to_string(device.join("queue").join(name)).ok();
    let is_number =
        |name: &&str| text(name).is_some_and(|text| text.trim().parse::<isize>().is_ok());
    let cache = text("write_cache");
    NUMBERS.iter().all(is_number)
        && cache.is_some_and(|cache| matches!(cache.trim(), "write back" | "write through"))
        && device.join("slaves").read_dir().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_all_its_properties_is_not_tried() {
        assert!(!is_described(Path::new("/sys/dev/block")), "no device");
        assert!(!can_be_tried(Path::new("/nothing/here")));
        // No disk is under it.
        assert!(can_be_tried(Path::new("/proc")));
    }
}
