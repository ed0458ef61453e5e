//! The fuzz target of sessions on the stable compiler: its corpus, and random scripts.

use std::path::Path;

use proptest::prelude::*;

use crate::protocol::mqtt::fuzzing::{TARGETS, mqtt_session};

#[test]
fn every_corpus_file_passes_its_fuzz_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for (name, target) in TARGETS {
        let mut files = 0;
        for entry in std::fs::read_dir(root.join("corpus").join(name)).unwrap() {
            let input = std::fs::read(entry.unwrap().path()).unwrap();
            target(&input);
            for cut in 0..input.len() {
                target(&input[..cut]);
                let mut changed = input.clone();
                changed[cut] ^= 0xFF;
                target(&changed);
            }
            files += 1;
        }
        assert!(files > 0, "the corpus of {name} is empty");
        let source = root.join(format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(std::fs::read_to_string(source).unwrap().contains(&format!("fuzzing::{name}")));
        let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("name = \"{name}\"")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn scripts_do_no_harm(script in prop::collection::vec(any::<u8>(), 0..400)) {
        mqtt_session(&script);
    }
}
