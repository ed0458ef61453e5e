//! Where a result was measured: kernel and processor. Imports std.

use std::fs;

/// Release of the kernel, or "unknown".
pub(crate) fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned())
}

/// Model of the first processor, or "unknown".
pub(crate) fn processor() -> String {
    let listing = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    model(&listing).unwrap_or("unknown").to_owned()
}

/// How many processors there are.
pub(crate) fn processors() -> usize {
    // Not std's available_parallelism, which counts those that --pin has left us.
    let listing = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    listing.lines().filter(|line| line.starts_with("processor")).count()
}

fn model(listing: &str) -> Option<&str> {
    let line = listing.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_what_follows_the_colon() {
        assert_eq!(model("processor : 0\nmodel name\t: Some CPU\n"), Some("Some CPU"));
        assert_eq!(model("processor : 0\n"), None);
    }
}
