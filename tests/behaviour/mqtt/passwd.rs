//! `ringmq passwd`: what it writes lets in whom it should, at this broker and at Mosquitto's tools
//! (mqtt.md V-221).

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::client::Client;
use super::ground::Ground;
use super::octets::{BOTH, Hello};
use crate::support::siege::unique;

/// Runs the tool with this on its standard input.
fn passwd(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .arg("passwd")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // What wants no password does not read it.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn done(arguments: &[&str], input: &str) {
    let output = passwd(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// It ends with an error of one line that says this, and the file is as it was.
fn refused(file: &Path, arguments: &[&str], input: &str, text: &str) {
    let before = fs::read(file).ok();
    let output = passwd(arguments, input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.contains(text) && said.lines().count() == 1, "{arguments:?}: {said}");
    assert_eq!(fs::read(file).ok(), before, "{arguments:?}");
}

fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique("passwd"))
}

fn code(ground: &Ground, version: u8, user: &str, password: &str) -> u8 {
    let hello = Hello {
        user: user.into(),
        password: password.into(),
        ..Hello::new(version, &unique("knocks"))
    };
    Client::try_connect(ground.addr, &hello).1.code
}

/// V-221
#[test]
fn who_is_in_a_file_that_the_tool_has_made_gets_in_and_nobody_else() {
    let file = place();
    let name = file.to_str().expect("a path of ours");
    done(&["-c", name, "ann"], "first\n");
    done(&["-b", "-H", "sha512", name, "joe", "second"], "");
    done(&["-H", "scram-sha-256", "-I", "4096", name, "eve"], "third");
    done(&["-b", name, "bob", "fourth"], "");
    done(&["-b", name, "ann", "changed"], "");
    done(&["-D", name, "bob"], "");
    let mode = fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Somebody writes a password down, and has it hashed.
    let text = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, format!("# ours\n{text}sue:fif:th\n")).expect("it can be written");
    done(&["-U", name], "");
    let text = fs::read_to_string(&file).expect("it is there");
    assert!(text.starts_with("# ours\nann:$7$1000$") && !text.contains("fif:th"), "{text}");
    let ground = Ground::own(1, &format!("vmq_passwd.password_file = {name}"));
    let users = [("ann", "changed"), ("joe", "second"), ("eve", "third"), ("sue", "fif:th")];
    for version in BOTH {
        for (user, password) in users {
            assert_eq!(code(&ground, version, user, password), 0, "{user}");
        }
        for (user, password) in [("ann", "first"), ("bob", "fourth"), ("joe", "")] {
            assert_ne!(code(&ground, version, user, password), 0, "{user}");
        }
    }
    ground.lift();
    drop(fs::remove_file(file));
}

#[test]
fn what_cannot_stand_in_a_file_is_refused_and_the_file_stays() {
    let file = place();
    let name = file.to_str().expect("a path of ours");
    refused(&file, &[name, "ann"], "x", "No such file");
    done(&["-c", name, "ann"], "x\n");
    refused(&file, &["-D", name, "joe"], "", "there is no user 'joe'");
    refused(&file, &[name, "a:b"], "x", "a user name has");
    refused(&file, &[name, "joe"], "", "a password is one line");
    refused(&file, &[name, "joe"], &"x".repeat(65_536), "a password is one line");
    refused(&file, &["-I", "20001", name, "joe"], "x", "20001");
    refused(&file, &["-H", "argon2", name, "joe"], "x", "argon2");
    refused(&file, &["-c", "-D", name, "joe"], "x", "cannot be used with");
    refused(&file, &[name, "joe", "x"], "", "required arguments");
    refused(&file, &[name], "x", "required arguments");
    fs::write(&file, "ann:$6$cut\n").expect("it can be written");
    refused(&file, &["-U", name], "", ":1: a hash is");
    drop(fs::remove_file(file));
}

/// The same file serves `mosquitto_passwd`, and Mosquitto's serves this, where that is installed.
#[test]
fn mosquittos_tool_goes_on_with_a_file_of_ours() {
    let file = place();
    let name = file.to_str().expect("a path of ours");
    done(&["-c", name, "ann"], "ours\n");
    let theirs = Command::new("mosquitto_passwd").args(["-b", name, "joe", "theirs"]).output();
    let Ok(output) = theirs else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    done(&["-b", name, "sue", "ours again"], "");
    let ground = Ground::own(1, &format!("vmq_passwd.password_file = {name}"));
    for (user, password) in [("ann", "ours"), ("joe", "theirs"), ("sue", "ours again")] {
        assert_eq!(code(&ground, 5, user, password), 0, "{user}");
    }
    ground.lift();
    drop(fs::remove_file(file));
}
