//! Lists as people and programs read them. May import `options`.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::options::{Format, Options};

/// A field of a row, that of a field with a dot.
fn field<'a>(row: &'a Value, path: &str) -> &'a Value {
    path.split('.').try_fold(row, |value, name| value.get(name)).unwrap_or(&Value::Null)
}

/// A value in a column.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace(['\t', '\n', '\r'], " "),
        Value::Array(values) => {
            format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// A list in these columns: the heading of each, and the field.
pub(crate) fn list(
    options: &Options,
    title: &str,
    columns: &[(&str, &str)],
    rows: &[Value],
) -> String {
    if options.format == Format::Json {
        let pick = |row: &Value| {
            let picked =
                columns.iter().map(|(name, path)| ((*name).into(), field(row, path).clone()));
            Value::Object(picked.collect::<Map<_, _>>())
        };
        let rows: Vec<Value> = rows.iter().map(pick).collect();
        return format!("{}\n", Value::Array(rows));
    }
    let mut text = String::new();
    if !options.is_quiet {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{title} ...");
    }
    if !options.is_silent {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let _ = writeln!(text, "{}", names.join("\t"));
    }
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|(_, path)| shown(field(row, path))).collect();
        let _ = writeln!(text, "{}", cells.join("\t"));
    }
    text
}

/// One thing, a line for each of its fields.
pub(crate) fn one(options: &Options, title: &str, fields: &[(&str, Value)]) -> String {
    if options.format == Format::Json {
        let all = fields.iter().map(|(name, value)| ((*name).into(), value.clone()));
        return format!("{}\n", Value::Object(all.collect::<Map<_, _>>()));
    }
    let mut text = String::new();
    if !options.is_quiet {
        let _ = writeln!(text, "{title} ...");
    }
    for (name, value) in fields {
        let _ = writeln!(text, "{name}: {}", shown(value));
    }
    text
}

/// What is said of something that was done.
pub(crate) fn done(options: &Options, text: &str) -> String {
    if options.is_quiet { String::new() } else { format!("{text} ...\n") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::options::Asked;

    fn options(line: &str) -> Options {
        match Options::parse(line.split_whitespace().map(Into::into)).unwrap() {
            Asked::Run { options, .. } => options,
            other @ (Asked::Help | Asked::Version) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_list_has_a_title_headings_and_rows_or_is_json() {
        let rows = [json!({ "name": "a\tb", "tags": ["x", "y"], "in": { "n": 3 } })];
        let columns = [("user", "name"), ("tags", "tags"), ("n", "in.n")];
        let text = |line| list(&options(line), "Listing users", &columns, &rows);
        assert_eq!(text("list_users"), "Listing users ...\nuser\ttags\tn\na b\t[x, y]\t3\n");
        assert_eq!(text("list_users -q"), "user\ttags\tn\na b\t[x, y]\t3\n");
        assert_eq!(text("list_users -s"), "a b\t[x, y]\t3\n");
        let read: Value = serde_json::from_str(&text("list_users -f json")).unwrap();
        assert_eq!(read, json!([{ "user": "a\tb", "tags": ["x", "y"], "n": 3 }]));
    }
}
