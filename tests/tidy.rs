//! The rules of the house, as tests. Each fails with the place and the remedy. A rule about a
//! file that does not exist yet waits for it; README.md must bring its table with it.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a source file may have.
const LINES_MAX: usize = 600;

/// Words of protocols: the broker core and the machine under it have words of their own, so that
/// a protocol can be added or deleted without touching them. Found in any case and in names too:
/// `DeliveryTag` and `delivery_tag` are "delivery tag".
const PROTOCOL_WORDS: &[&str] = &[
    "amqp",
    "amqp091",
    "mqtt",
    "stomp",
    "ack",
    "acks",
    "acked",
    "nack",
    "nacks",
    "nacked",
    "puback",
    "pub ack",
    "pubrec",
    "pubrel",
    "pubcomp",
    "suback",
    "qos",
    "frame",
    "frames",
    "delivery tag",
    "packet id",
];

/// What may contain such a word nevertheless: names that users see and citations. The text, and
/// why. Names such as "amq.direct" need no entry: "amq" is no word of the list.
const PROTOCOL_WORDS_ALLOWED: &[(&str, &str)] = &[
    ("amqp.md", "the citation of a rule"),
    ("AMQP 0-9-1", "the citation of a specification"),
    ("mqtt.md", "the citation of a rule"),
    ("stack frame", "the machine's, not a protocol's"),
];

/// Names of methods are looked for only in texts and comments: `self.queue.len()` is no protocol.
const METHOD_NAMES: &[&str] = &[
    "basic.publish",
    "basic.deliver",
    "basic.get",
    "basic.consume",
    "basic.cancel",
    "basic.return",
    "basic.ack",
    "basic.nack",
    "basic.reject",
    "basic.recover",
    "basic.qos",
    "queue.declare",
    "queue.bind",
    "queue.unbind",
    "queue.purge",
    "queue.delete",
    "exchange.declare",
    "exchange.delete",
    "exchange.bind",
    "exchange.unbind",
    "channel.open",
    "channel.close",
    "channel.flow",
    "connection.open",
    "connection.close",
    "connection.blocked",
    "tx.select",
    "tx.commit",
    "tx.rollback",
    "confirm.select",
];

/// Macros that stop the process; `assert!` and `debug_assert!` are for our own invariants.
const PANICKING: &[&str] = &["panic!(", "unreachable!(", "todo!(", "unimplemented!("];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `directory` with this extension, sorted; none when it does not exist.
fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(directory)];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.map(|entry| entry.expect("a readable directory").path()) {
            let name = entry.file_name().unwrap_or_default();
            if entry.is_dir() {
                if !["target", ".git", "node_modules", "data"].iter().any(|skip| name == *skip) {
                    waiting.push(entry);
                }
            } else if entry.extension().is_some_and(|found| found == extension) {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

/// Path from the root, with slashes.
fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// Fails with all findings at once.
fn must_be_empty(findings: &[String], remedy: &str) {
    assert!(findings.is_empty(), "{remedy}:\n  {}", findings.join("\n  "));
}

/// Source before its unit tests, which stand last in a file or in files of their own.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn is_test_file(path: &Path) -> bool {
    let name = name(path);
    name.starts_with("tests/")
        || name.contains("/tests/")
        || name.contains("/benches/")
        || name.ends_with("tests.rs")
        || read(path).contains("#![cfg(test)]")
}

/// The texts between backticks in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether a source file defines something of this name.
fn defines(text: &str, item: &str) -> bool {
    const KINDS: &[&str] =
        &["fn", "struct", "enum", "trait", "const", "static", "type", "mod", "macro_rules!"];
    let item = item.trim_end_matches("()");
    let last = item.rsplit("::").next().unwrap_or(item);
    text.lines().any(|line| {
        KINDS.iter().any(|kind| {
            line.split_once(&format!("{kind} {last}")).is_some_and(|(_, rest)| {
                !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            })
        })
    })
}

#[test]
fn the_way_of_a_message_in_the_readme_is_real() {
    let readme = root().join("README.md");
    if !readme.exists() {
        return;
    }
    let text = read(&readme);
    let is_title =
        |line: &&str| line.starts_with('#') && line.to_lowercase().contains("way of a message");
    let rows: Vec<&str> = text
        .lines()
        .skip_while(|line| !is_title(line))
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() > 5, "README.md has no table under a title 'The way of a message'");
    let mut findings = Vec::new();
    let mut seen = 0;
    for place in rows.iter().flat_map(|row| quoted(row)).filter(|place| place.contains(".rs")) {
        seen += 1;
        let (path, item) = place.split_once("::").map_or((place, None), |(p, i)| (p, Some(i)));
        let file = root().join(path);
        if !file.is_file() {
            findings.push(format!("{path} does not exist"));
        } else if let Some(item) = item.filter(|item| !defines(&read(&file), item)) {
            findings.push(format!("{path} has no {item}"));
        }
    }
    assert!(seen > 5, "the table names {seen} files in backticks: `path` or `path::function`");
    must_be_empty(&findings, "README's way of a message leads nowhere");
}

/// The part of a line that is a comment or a text literal.
fn prose(line: &str) -> String {
    let (code, comment) =
        line.split_once("//").map_or((line, ""), |(code, comment)| (code, comment));
    let literals: Vec<&str> = code.split('"').skip(1).step_by(2).collect();
    format!("{comment} {}", literals.join(" "))
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric();
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// `DeliveryTag` and `delivery_tag` are both "delivery tag" here.
fn words_of(line: &str) -> String {
    let mut words = String::with_capacity(line.len() + 8);
    let mut previous = ' ';
    for c in line.chars() {
        if c.is_ascii_uppercase() && previous.is_ascii_lowercase() {
            words.push(' ');
        }
        words.push(if c == '_' { ' ' } else { c.to_ascii_lowercase() });
        previous = c;
    }
    words
}

/// Protocol words in one line, without what is allowed.
fn protocol_words(line: &str) -> Vec<&'static str> {
    let mut line = line.to_owned();
    for (allowed, _why) in PROTOCOL_WORDS_ALLOWED {
        line = line.replace(allowed, " ");
    }
    let words = words_of(&line);
    let prose = prose(&line).to_lowercase();
    let mut found: Vec<&str> =
        PROTOCOL_WORDS.iter().filter(|word| has_word(&words, word)).copied().collect();
    found.extend(METHOD_NAMES.iter().filter(|method| has_word(&prose, method)));
    found
}

#[test]
fn no_protocol_word_stands_in_the_broker_or_the_machine() {
    let mut findings = Vec::new();
    for path in files("src/broker", "rs").into_iter().chain(files("shards", "rs")) {
        for (index, line) in read(&path).lines().enumerate() {
            for word in protocol_words(line) {
                findings.push(format!(
                    "{}:{}: '{word}' in: {}",
                    name(&path),
                    index + 1,
                    line.trim()
                ));
            }
        }
    }
    must_be_empty(&findings, "say it in the broker's own words (publish, deliver, settle, refuse)");
}

#[test]
fn unsafe_stands_only_in_shards() {
    let mut findings = Vec::new();
    for path in ["src", "bench", "tests"].iter().flat_map(|directory| files(directory, "rs")) {
        if name(&path) == "tests/tidy.rs" {
            continue;
        }
        for (index, line) in read(&path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            if !code.contains("unsafe_") && has_word(code, "unsafe") {
                findings.push(format!("{}:{}: {}", name(&path), index + 1, line.trim()));
            }
        }
    }
    let library = read(&root().join("src/lib.rs"));
    assert!(library.contains("#![forbid(unsafe_code)]"), "src/lib.rs must forbid unsafe code");
    must_be_empty(&findings, "unsafe belongs into shards/");
}

/// Files of a folder whose kind has a table in its mod.rs: each file that declares an entry must
/// stand in the table, and each entry must have a file or a folder.
fn table_and_files_agree(folder: &str, table: &str, entry: &str) {
    let module = root().join(folder).join("mod.rs");
    if !module.exists() {
        return;
    }
    let text = read(&module);
    let Some(at) = text.find(&format!("const {table}:")) else {
        panic!("{folder}/mod.rs has no table {table}")
    };
    // The list may begin on the next line.
    let value =
        text.get(at..).and_then(|rest| rest.split_once(" =")).map_or("", |(_, value)| value);
    let body = value.split_once("&[").map_or("", |(_, body)| body);
    let body = body.split_once("];").map_or(body, |(body, _)| body);
    let suffix = format!("::{entry}");
    let listed: BTreeSet<String> = body
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .filter_map(|word| word.strip_suffix(&suffix))
        .map(|path| path.rsplit("::").next().unwrap_or(path).to_owned())
        .collect();
    let declares = format!("const {entry}:");
    let mut there = BTreeSet::new();
    for item in fs::read_dir(root().join(folder)).expect("a readable directory") {
        let path = item.expect("a readable directory").path();
        let file = if path.is_dir() { path.join("mod.rs") } else { path.clone() };
        let is_entry = file.extension().is_some_and(|extension| extension == "rs")
            && file != module
            && file.exists()
            && read(&file).contains(&declares);
        if is_entry {
            there.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    assert_eq!(there, listed, "files of {folder} with a {entry} (left) and {table} (right) differ");
    assert!(!listed.is_empty(), "{table} in {folder}/mod.rs is empty");
}

#[test]
fn every_exchange_type_stands_in_its_table() {
    table_and_files_agree("src/broker/exchange", "EXCHANGE_TYPES", "TYPE");
}

#[test]
fn every_queue_type_stands_in_its_table() {
    table_and_files_agree("src/broker/queue", "QUEUE_TYPES", "TYPE");
}

#[test]
fn every_protocol_stands_in_its_table() {
    // The table comes with the first session; until then there are only codecs.
    let module = root().join("src/protocol/mod.rs");
    if module.exists() && root().join("src/connection.rs").exists() {
        table_and_files_agree("src/protocol", "PROTOCOLS", "PROTOCOL");
    }
}

#[test]
fn no_file_is_longer_than_a_reader_bears() {
    let findings: Vec<String> = files("", "rs")
        .iter()
        .map(|path| (path, read(path).lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", name(path)))
        .collect();
    must_be_empty(&findings, "split it into two nouns");
}

#[test]
fn nothing_panics_on_purpose_outside_tests() {
    let mut findings = Vec::new();
    for path in ["src", "shards", "bench"].iter().flat_map(|directory| files(directory, "rs")) {
        if is_test_file(&path) {
            continue;
        }
        for (index, line) in without_tests(&read(&path)).lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            if PANICKING.iter().any(|word| code.contains(word)) && !code.contains("debug_assert") {
                findings.push(format!("{}:{}: {}", name(&path), index + 1, line.trim()));
            }
        }
    }
    must_be_empty(&findings, "return an error instead");
}

#[test]
fn every_dependency_has_its_reason() {
    let mut findings = Vec::new();
    for path in files("", "toml").iter().filter(|path| path.ends_with("Cargo.toml")) {
        let text = read(path);
        let mut in_dependencies = false;
        let mut previous = "";
        for line in text.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies]");
            } else if in_dependencies
                && line.starts_with(|c: char| c.is_ascii_alphanumeric())
                && !previous.starts_with('#')
            {
                findings.push(format!("{}: {line}", name(path)));
            }
            previous = line;
        }
    }
    must_be_empty(&findings, "say in the line above what it is for");
}

/// Section and key of each declaration: the first two texts behind `Setting::new(`.
fn declared_settings(text: &str) -> Vec<(&str, &str)> {
    text.split("Setting::new(")
        .skip(1)
        .filter_map(|declaration| {
            let mut literals = declaration.split('"').skip(1).step_by(2);
            Some((literals.next()?, literals.next()?))
        })
        .collect()
}

#[test]
fn every_setting_is_documented() {
    let declarations = root().join("src/config/settings.rs");
    if !declarations.exists() {
        return;
    }
    let text = read(&declarations);
    let settings = declared_settings(&text);
    assert!(
        settings.len() > 10,
        "only {} settings found in {}",
        settings.len(),
        name(&declarations)
    );
    let mut findings = Vec::new();
    for document in ["deploy/ringmq.ini", "tuning.md"] {
        let text = read(&root().join(document));
        for (section, key) in &settings {
            let is_there =
                text.lines().any(|line| has_word(&line.replace('_', "x"), &key.replace('_', "x")));
            if !is_there {
                findings.push(format!("{document}: [{section}] {key}"));
            }
        }
    }
    must_be_empty(&findings, "write the documents of the settings anew from their declarations");
}

#[test]
fn the_word_rule_finds_what_it_should() {
    for line in [
        "/// Sends an AMQP frame.",
        "let delivery_tag = 5;",
        "struct DeliveryTag;",
        "fn nack() {}",
        "// answered with basic.ack",
        "PubAck",
        "let reason = \"queue.declare failed\";",
        "x.ack(1)",
    ] {
        assert!(!protocol_words(line).is_empty(), "{line}");
    }
    for line in [
        "let n = self.queue.len();",
        "// amqp.md P32",
        "\"amq.direct\"",
        "let back = stack.pop();",
        "fn framework() {}",
        "acknowledge",
        "self.exchange.bind(x)",
        "// AMQP 0-9-1 3.1.3",
    ] {
        assert!(protocol_words(line).is_empty(), "{line}: {:?}", protocol_words(line));
    }
}
