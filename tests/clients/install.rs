//! Installs each client once per run into `target/clients/`, in pinned versions, through the
//! ordinary tool of its registry.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A folder beside this file.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// `target/clients`, beside the folder that cargo gives to tests.
fn target() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("target/tmp has a parent").join("clients")
}

/// The Python of a virtual environment with `requirements.txt` installed.
pub(crate) fn python() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = || {
        let venv = ["-c", "import venv, ensurepip"];
        is_there(
            "python3 with venv",
            "python3",
            &venv,
            "pika, aio-pika, kombu, Celery, paho and gmqtt",
        )?;
        let environment = target().join("venv");
        let python = environment.join("bin/python");
        let requirements = source("python").join("requirements.txt");
        if is_stale(&environment, &requirements) {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
            run(Command::new(&python).args(pip).arg(&requirements));
            mark(&environment, &requirements);
        }
        Some(python)
    };
    PYTHON.get_or_init(install).clone()
}

/// A folder with the suite and its packages: Node looks for packages beside the sources.
pub(crate) fn node() -> Option<PathBuf> {
    static NODE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = || {
        is_there("node", "node", &["--version"], "amqplib")?;
        is_there("npm", "npm", &["--version"], "amqplib")?;
        let directory = target().join("node");
        fs::create_dir_all(&directory).expect("a folder under target/");
        for entry in fs::read_dir(source("node")).expect("the suite") {
            let from = entry.expect("the suite").path();
            let to = directory.join(from.file_name().unwrap_or_default());
            fs::copy(&from, to).expect("a copy under target/");
        }
        let lock = source("node").join("package-lock.json");
        if is_stale(&directory, &lock) {
            run(Command::new("npm").args(["ci", "--silent"]).current_dir(&directory));
            mark(&directory, &lock);
        }
        Some(directory)
    };
    NODE.get_or_init(install).clone()
}

/// The folder with the script that calls the system's Mosquitto clients.
pub(crate) fn mosquitto() -> Option<PathBuf> {
    // It says its version with exit code 1.
    let there = Command::new("mosquitto_pub").arg("--version").output().is_ok();
    let (tool, name) =
        if there { ("true", "true") } else { ("mosquitto_pub", "mosquitto-clients") };
    is_there(name, tool, &[], "mosquitto_pub and mosquitto_sub")?;
    Some(source("shell"))
}

/// The suite as a compiled test binary.
pub(crate) fn go() -> Option<PathBuf> {
    static GO: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = || {
        // `go list` refuses a go.mod that is newer than itself; Debian 12's own Go is.
        let source = source("go");
        let list = ["-C", &source.to_string_lossy(), "list", "-e", "."];
        is_there("go 1.22 or newer", "go", &list, "amqp091-go")?;
        let directory = target().join("go");
        fs::create_dir_all(&directory).expect("a folder under target/");
        let suite = directory.join("suite.test");
        run(Command::new("go")
            .args(["test", "-c", "-o"])
            .arg(&suite)
            .current_dir(source)
            .env("GOMODCACHE", directory.join("mod"))
            .env("GOCACHE", directory.join("build"))
            // Modules of the cache are read-only otherwise, and target/ could not be deleted.
            .env("GOFLAGS", "-buildvcs=false -modcacherw"));
        Some(suite)
    };
    GO.get_or_init(install).clone()
}

/// A suite in a folder as a program. Cargo is what runs us; the registry is asked the first time.
fn crate_in(folder: &str, program: &str) -> Option<PathBuf> {
    is_there("cargo", "cargo", &["--version"], program)?;
    let directory = target().join(folder);
    run(Command::new("cargo")
        .args(["build", "--quiet", "--locked", "--target-dir"])
        .arg(&directory)
        .current_dir(source(folder))
        // Those of the build around this would make it another build.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS"));
    Some(directory.join("debug").join(program))
}

/// rumqttc.
pub(crate) fn rust() -> Option<PathBuf> {
    static RUST: OnceLock<Option<PathBuf>> = OnceLock::new();
    RUST.get_or_init(|| crate_in("rust", "rumqttc-suite")).clone()
}

/// RabbitMQ's client for its HTTP API.
pub(crate) fn http_client() -> Option<PathBuf> {
    static HTTP: OnceLock<Option<PathBuf>> = OnceLock::new();
    HTTP.get_or_init(|| crate_in("http", "http-client-suite")).clone()
}

/// The script `rabbitmqadmin`, out of Debian's package of RabbitMQ, which is not installed.
pub(crate) fn rabbitmqadmin() -> Option<PathBuf> {
    static SCRIPT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = || {
        let name = "rabbitmq-server";
        let known = ["--print-uris", "download", name];
        is_there("Debian's list of packages", "apt-get", &known, "rabbitmqadmin")?;
        let directory = target().join("rabbitmqadmin");
        let script = directory.join("usr/bin/rabbitmqadmin");
        if !script.exists() {
            let packages = directory.join("packages");
            drop(fs::remove_dir_all(&packages));
            fs::create_dir_all(&packages).expect("a folder under target/");
            // As root, apt would fetch it as a user who may not write here.
            let options = ["-qq", "-o", "APT::Sandbox::User=root"];
            let mut fetch = Command::new("apt-get");
            run(fetch.args(options).args(["download", name]).current_dir(&packages));
            let package = fs::read_dir(&packages).expect("a folder").flatten().next();
            let package = package.expect("a package").path();
            run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&directory));
        }
        Some(script)
    };
    SCRIPT.get_or_init(install).clone()
}

/// Whether the tool runs with these arguments; without it `suites` are skipped, except where
/// nothing may be skipped.
fn is_there(name: &str, tool: &str, args: &[&str], suites: &str) -> Option<()> {
    if Command::new(tool).args(args).output().is_ok_and(|output| output.status.success()) {
        return Some(());
    }
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci, "{name} is missing, which {suites} need");
    eprintln!("skipped, because {name} is missing: {suites}");
    None
}

/// Runs a step of an installation.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
}

/// Whether what is installed is not what this file asks for.
fn is_stale(directory: &Path, wanted: &Path) -> bool {
    let wanted = fs::read(wanted).expect("a list of packages");
    fs::read(directory.join(stamp())).ok() != Some(wanted)
}

/// Remembers what has been installed, once it has been.
fn mark(directory: &Path, wanted: &Path) {
    fs::copy(wanted, directory.join(stamp())).expect("a copy under target/");
}

fn stamp() -> &'static OsStr {
    OsStr::new(".installed")
}
