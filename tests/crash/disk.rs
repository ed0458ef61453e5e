//! The disk under the data directory: a folder under target/, or a file system of its own in a
//! file, which loses its power when told to and is unmounted whatever happens. May import nothing.
//!
//! The power cut is ext4's own: `EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH` lets nothing more reach the
//! (loop) device; after unmounting and mounting again there is what a cut would have left: what was
//! synced, and of the rest as much as the kernel had written by then.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Reads paths from standard input and cuts the power of the file system that each is on. A
/// process that waits, so that a cut comes at once when it is asked for; Python, since an ioctl
/// from Rust is unsafe and this is no place for that. 0x8004587d is _IOR('X', 125, u32).
const CUTTER: &str = r#"
import fcntl, os, struct, sys
print("ready", flush=True)
for line in sys.stdin:
    directory = os.open(line.rstrip("\n"), os.O_RDONLY)
    fcntl.ioctl(directory, 0x8004587d, struct.pack("I", 2))
    os.close(directory)
    print("cut", flush=True)
"#;

/// See the module.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Holds everything of this run; kept when the run fails.
    directory: PathBuf,
    image: Option<Image>,
}

#[derive(Debug)]
struct Image {
    file: PathBuf,
    mount: PathBuf,
    is_mounted: bool,
    cutter: Option<Child>,
}

impl Disk {
    /// A folder.
    pub(crate) fn folder(name: &str) -> Self {
        let name = format!("crash-{name}-{}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).expect("a directory under target/");
        Self { directory, image: None }
    }

    /// An ext4 of so many MiB, mounted; or why this machine has none.
    pub(crate) fn ext4(name: &str, mib: u64) -> Result<Self, String> {
        let mut disk = Self::folder(name);
        let file = disk.directory.join("image");
        let mount = disk.directory.join("mount");
        fs::create_dir_all(&mount).expect("a directory under target/");
        let image = fs::File::create(&file).expect("a file under target/");
        image.set_len(mib * 1024 * 1024).expect("a sparse file");
        drop(image);
        let made = disk.make(&file, mount);
        if made.is_err() {
            disk.remove();
        }
        made.map(|()| disk)
    }

    fn make(&mut self, file: &Path, mount: PathBuf) -> Result<(), String> {
        let mut format = Command::new("mkfs.ext4");
        // No blocks for root alone: the broker may be root here, and full must be full.
        format.args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
        run(format.arg(file))?;
        let cutter = Command::new("/usr/bin/python3")
            .args(["-c", CUTTER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        let file = file.to_owned();
        self.image = Some(Image { file, mount, is_mounted: false, cutter: Some(cutter) });
        self.answer("ready")?;
        self.mount()
    }

    /// Where a broker puts its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.image.as_ref().map_or(&self.directory, |image| &image.mount).join("data")
    }

    /// What the broker must not share a disk with: its log and configuration.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the file system is, if it is one of its own.
    pub(crate) fn root(&self) -> &Path {
        self.image.as_ref().map_or(&self.directory, |image| &image.mount)
    }

    fn mount(&mut self) -> Result<(), String> {
        let Some(image) = &mut self.image else { return Ok(()) };
        let mut mount = Command::new("mount");
        run(mount.args(["-t", "ext4", "-o", "loop"]).arg(&image.file).arg(&image.mount))?;
        image.is_mounted = true;
        Ok(())
    }

    /// From now on nothing reaches the disk.
    pub(crate) fn cut(&mut self) -> Result<(), String> {
        let Some(image) = &mut self.image else { return Err("a folder has no power".into()) };
        let mount = image.mount.display().to_string();
        let pipe = image.cutter.as_mut().and_then(|cutter| cutter.stdin.as_mut());
        writeln!(pipe.ok_or("no cutter")?, "{mount}").map_err(|error| error.to_string())?;
        self.answer("cut")
    }

    /// The next line of the cutter, which must be this one.
    fn answer(&mut self, wanted: &str) -> Result<(), String> {
        let cutter = self.image.as_mut().and_then(|image| image.cutter.as_mut());
        let output = cutter.and_then(|cutter| cutter.stdout.as_mut()).ok_or("no cutter")?;
        let mut line = String::new();
        // One line at a time is under way, so the buffer never holds the start of another.
        BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
        if line.trim() == wanted { Ok(()) } else { Err(format!("python3 said {line:?}")) }
    }

    /// The power comes back, if it can go; the broker must have ended.
    pub(crate) fn restore(&mut self) -> Result<(), String> {
        self.unmount()?;
        self.mount()
    }

    /// Fails unless a cut keeps what was synced and takes what was not: else runs prove nothing.
    pub(crate) fn must_forget(&mut self) -> Result<(), String> {
        let (kept, gone) = (self.root().join("synced"), self.root().join("not-synced"));
        let said = |error: std::io::Error| error.to_string();
        fs::write(&kept, "synced").map_err(said)?;
        fs::File::open(&kept).and_then(|file| file.sync_all()).map_err(said)?;
        fs::File::open(self.root()).and_then(|root| root.sync_all()).map_err(said)?;
        fs::write(&gone, "not synced").map_err(said)?;
        self.cut()?;
        self.restore()?;
        let is_kept = fs::read(&kept).is_ok_and(|octets| octets == b"synced");
        let is_gone = fs::read(&gone).map_or(true, |octets| octets.is_empty());
        drop(fs::remove_file(kept));
        drop(fs::remove_file(gone));
        if is_kept && is_gone {
            return Ok(());
        }
        Err(format!("after a cut: synced is there {is_kept}, not synced is gone {is_gone}"))
    }

    fn unmount(&mut self) -> Result<(), String> {
        let Some(image) = &mut self.image else { return Ok(()) };
        let mut result = Ok(());
        // The kernel may still be ending the broker's requests.
        for _ in 0..100 {
            if !image.is_mounted {
                return Ok(());
            }
            result = run(Command::new("umount").arg(&image.mount));
            image.is_mounted = result.is_err();
            if image.is_mounted {
                thread::sleep(Duration::from_millis(20));
            }
        }
        result
    }

    /// The run went well: nothing of it is needed any more.
    pub(crate) fn remove(&mut self) {
        if self.unmount().is_ok() {
            drop(fs::remove_dir_all(&self.directory));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("cannot unmount: {error}");
        }
        if let Some(mut cutter) = self.image.as_mut().and_then(|image| image.cutter.take()) {
            drop(cutter.stdin.take());
            drop(cutter.wait());
        }
        if self.directory.exists() {
            eprintln!("what it left is in {}", self.directory.display());
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{name}: {} {said}", output.status))
}
