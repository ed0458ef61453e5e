//! How long the threads of this process keep a core while others wait for it. Imports libc.
#![expect(
    unsafe_code,
    reason = "scheduler attributes have no safe wrapper in the standard library"
)]

use std::io;

/// Octets of the kernel's structure in its first version, which all kernels take.
const ATTRIBUTES_BYTES: u32 = 48;
const _: () = assert!(size_of::<libc::sched_attr>() == ATTRIBUTES_BYTES as usize);

/// Asks for short turns on the core: the calling thread, and the threads that it makes from now on, are given the core for
/// `slice_us` at a time instead of the kernel's usual slice (about 3 ms). A thread with short turns that wakes up is also
/// let in before one with long turns has used up its own, and that is what it is for: a shard whose core is taken by a busy
/// client hears of its sockets sooner. Policy and nice value stay as they are.
///
/// # Errors
///
/// `Unsupported`: the kernel (before 6.12) knows no such slice, or the thread is not scheduled in turns. Otherwise what the
/// system call says.
pub fn set_slice(slice_us: u32) -> io::Result<()> {
    let mut attributes = attributes()?;
    let policy = i32::try_from(attributes.sched_policy).unwrap_or(-1);
    if policy != libc::SCHED_OTHER && policy != libc::SCHED_BATCH {
        return Err(io::ErrorKind::Unsupported.into());
    }
    attributes.sched_runtime = u64::from(slice_us) * 1_000;
    // SAFETY: the kernel reads the structure, whose size it carries; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // Kernels without a slice of one's own take the call and change nothing.
    if self::attributes()?.sched_runtime == attributes.sched_runtime {
        Ok(())
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Those of the calling thread.
fn attributes() -> io::Result<libc::sched_attr> {
    let mut attributes = libc::sched_attr {
        size: ATTRIBUTES_BYTES,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel writes at most the given number of bytes into the structure, which is ours.
    let result = unsafe {
        libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, ATTRIBUTES_BYTES, 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(attributes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_are_made_afterwards_have_the_same_slice() {
        let first = std::thread::Builder::new().spawn(|| {
            let before = attributes().unwrap();
            if let Err(error) = set_slice(200) {
                // A kernel without it, or one that forbids it, leaves everything as it was.
                assert_eq!(attributes().unwrap().sched_runtime, before.sched_runtime, "{error}");
                return;
            }
            let second = std::thread::Builder::new().spawn(|| attributes().unwrap());
            let second = second.unwrap().join().unwrap();
            assert_eq!(second.sched_runtime, 200_000);
            assert_eq!(
                (second.sched_policy, second.sched_nice),
                (before.sched_policy, before.sched_nice)
            );
        });
        first.unwrap().join().unwrap();
    }
}
