//! Ratios of two results. Imports serde_json.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::error::PerfError;

/// A table of all numbers that both files have, and their ratio.
///
/// # Errors
/// A file that is missing or is no result.
pub(crate) fn compare(base: &Path, other: &Path) -> Result<String, PerfError> {
    Ok(table(&read(base)?, &read(other)?))
}

fn read(path: &Path) -> Result<Value, PerfError> {
    let wrong = |reason: String| PerfError::File { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let results = value.get("results").cloned();
    results.ok_or_else(|| wrong("no result of ringmqperf".to_owned()))
}

fn table(base: &Value, other: &Value) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{:<36}{:>16}{:>16}{:>10}", "", "base", "other", "ratio");
    put_rows(&mut text, "", base, other);
    text
}

/// The nesting is that of `results`, three levels at most.
fn put_rows(text: &mut String, prefix: &str, base: &Value, other: &Value) {
    for (name, base) in base.as_object().into_iter().flatten() {
        let Some(other) = other.get(name) else { continue };
        let title = format!("{prefix}{name}");
        let (Some(base_number), Some(other_number)) = (base.as_f64(), other.as_f64()) else {
            put_rows(text, &format!("{title}."), base, other);
            continue;
        };
        let ratio = if base_number == 0.0 {
            "-".to_owned()
        } else {
            format!("{:.3}", other_number / base_number)
        };
        let _ = writeln!(text, "{title:<36}{base_number:>16}{other_number:>16}{ratio:>10}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_in_both_results_are_compared() {
        let base = json!({"rate": 10, "latency": {"p50": 4.0}, "broker": null, "gone": 1});
        let other = json!({"rate": 25, "latency": {"p50": 1.0}, "broker": {"cpu": 1}});
        let text = table(&base, &other);
        let rows: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(rows.contains(&vec!["rate", "10", "25", "2.500"]), "{text}");
        assert!(rows.contains(&vec!["latency.p50", "4", "1", "0.250"]), "{text}");
        assert!(!text.contains("gone") && !text.contains("broker"));
    }

    #[test]
    fn nothing_to_divide_by_gives_no_ratio() {
        assert!(table(&json!({"a": 0}), &json!({"a": 5})).lines().any(|line| line.ends_with('-')));
    }
}
