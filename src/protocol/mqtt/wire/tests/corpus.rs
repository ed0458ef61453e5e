//! Every file of the fuzz corpora through its target, on the stable compiler.

use std::path::Path;

use super::super::fuzzing::TARGETS;

#[test]
fn every_corpus_file_passes_its_fuzz_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    for (name, target) in TARGETS {
        let mut files = 0;
        for entry in std::fs::read_dir(root.join(name)).unwrap() {
            let input = std::fs::read(entry.unwrap().path()).unwrap();
            target(&input);
            // A corpus file cut anywhere, or changed anywhere, is as good as another one.
            for cut in 0..input.len().min(512) {
                target(&input[..cut]);
                let mut changed = input.clone();
                changed[cut] ^= 0xFF;
                target(&changed);
            }
            files += 1;
        }
        assert!(files > 0, "the corpus of {name} is empty");
    }
}

#[test]
fn every_fuzz_target_has_a_file_that_runs_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let source = std::fs::read_to_string(root.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("fuzzing::{name}")));
        assert!(manifest.contains(&format!("name = \"{name}\"")));
    }
}
