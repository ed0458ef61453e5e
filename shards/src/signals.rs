//! Signals of the operating system as calls on a thread of their own. Imports libc.
#![expect(unsafe_code, reason = "signal masks have no wrapper in the standard library")]

use std::io;

/// What the operating system asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGTERM: stop.
    Terminate,
    /// SIGINT: stop, from the keyboard.
    Interrupt,
    /// SIGHUP: read the settings again.
    HangUp,
}

const WATCHED: [(libc::c_int, Signal); 3] = [
    (libc::SIGTERM, Signal::Terminate),
    (libc::SIGINT, Signal::Interrupt),
    (libc::SIGHUP, Signal::HangUp),
];

/// Signals that are blocked and wait to be watched.
pub struct Signals {
    set: libc::sigset_t,
}

impl Signals {
    /// Blocks the signals in this thread and in every thread it makes from now on, and ignores SIGPIPE. Call it in `main`
    /// before anything else starts: a thread that does not block them would be killed by them.
    ///
    /// # Errors
    ///
    /// What the system call says.
    pub fn block() -> io::Result<Self> {
        // SAFETY: a sigset_t is plain data for which all zeros is a valid value.
        let mut set = unsafe { std::mem::zeroed::<libc::sigset_t>() };
        // SAFETY: the set is ours.
        unsafe { libc::sigemptyset(&raw mut set) };
        for (number, _) in WATCHED {
            // SAFETY: the set is ours and initialised.
            unsafe { libc::sigaddset(&raw mut set, number) };
        }
        // SAFETY: the set is initialised; no old set is asked for.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        // A peer that is gone must be an error of the write, not the end of the process.
        // SAFETY: SIG_IGN runs no code of ours.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        Ok(Self { set })
    }

    /// Calls `act` for each signal, on a thread made here that lives as long as the process.
    ///
    /// # Errors
    ///
    /// If the thread cannot be made.
    pub fn watch(self, mut act: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
        let name = "ringmq-signals".to_owned();
        std::thread::Builder::new().name(name).spawn(move || {
            loop {
                if let Some(signal) = self.next() {
                    act(signal);
                }
            }
        })?;
        Ok(())
    }

    fn next(&self) -> Option<Signal> {
        let mut number: libc::c_int = 0;
        // SAFETY: the set is initialised and the number is ours. Waits until one of the set arrives.
        let result = unsafe { libc::sigwait(&raw const self.set, &raw mut number) };
        let known = WATCHED.into_iter().find(|(watched, _)| *watched == number);
        if result == 0 { known.map(|(_, signal)| signal) } else { None }
    }
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}
