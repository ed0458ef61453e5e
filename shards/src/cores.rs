//! Which cores this process may use, and staying on one. Imports libc.
#![expect(unsafe_code, reason = "scheduler affinity has no safe wrapper in the standard library")]

use std::io;

/// 4,096 cores, more than any kernel is built for.
const MASK_WORDS: usize = 64;
const WORD_BITS: usize = 64;

/// The cores this process may run on (taskset, cgroup cpuset), in ascending order.
///
/// # Errors
///
/// What `sched_getaffinity` says.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let mut mask = [0_u64; MASK_WORDS];
    // SAFETY: the kernel writes at most the given number of bytes into the mask, which is ours.
    let written =
        unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) };
    if written < 0 {
        return Err(io::Error::last_os_error());
    }
    let is_set = |core: &usize| {
        mask.get(core / WORD_BITS).is_some_and(|word| word >> (core % WORD_BITS) & 1 == 1)
    };
    Ok((0..MASK_WORDS * WORD_BITS).filter(is_set).collect())
}

/// Keeps the calling thread on `core`.
pub(crate) fn pin_to(core: usize) -> io::Result<()> {
    let mut mask = [0_u64; MASK_WORDS];
    let Some(word) = mask.get_mut(core / WORD_BITS) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    *word = 1 << (core % WORD_BITS);
    // SAFETY: the kernel reads the given number of bytes from the mask, which is ours and initialised.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_that_core_alone() {
        let pinned = std::thread::Builder::new().spawn(|| {
            let core = *allowed_cores().unwrap().last().unwrap();
            pin_to(core).unwrap();
            (core, allowed_cores().unwrap())
        });
        let (core, allowed) = pinned.unwrap().join().unwrap();

        assert_eq!(allowed, vec![core]);
    }

    #[test]
    fn a_core_beyond_every_mask_is_refused() {
        assert!(pin_to(MASK_WORDS * WORD_BITS).is_err());
    }
}
