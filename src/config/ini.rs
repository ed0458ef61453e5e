//! An INI file as lines with a section, a key and a value. Knows no setting.
//!
//! Comments are whole lines that begin with `;` or `#`, as LavinMQ reads them; after a value
//! they belong to it, since passwords and paths may contain both. May import nothing.

/// One `key = value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// From 1.
    pub line: usize,
    /// The section it stands in.
    pub section: &'a str,
    /// Before the equals sign.
    pub key: &'a str,
    /// After it; may be empty.
    pub value: &'a str,
}

/// The entries in the order of the file, or the first line that is none with the reason.
pub(super) fn parse(text: &str) -> Result<Vec<Entry<'_>>, (usize, &'static str)> {
    let mut section = None;
    let mut entries = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.strip_suffix(']').ok_or((number, "a section ends with ']'"))?;
            section = Some(name.trim());
            continue;
        }
        let (key, value) =
            line.split_once('=').ok_or((number, "neither a [section] nor key = value"))?;
        let section = section.ok_or((number, "a key before the first [section]"))?;
        entries.push(Entry { line: number, section, key: key.trim(), value: value.trim() });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_values_and_comments_are_told_apart() {
        let text = "\u{feff}; a\n# b\n[main]\r\n key = a = b ; c \n\n[ amqp ]\nempty =\n";
        let expected = [
            Entry { line: 4, section: "main", key: "key", value: "a = b ; c" },
            Entry { line: 7, section: "amqp", key: "empty", value: "" },
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn a_line_that_is_nothing_of_that_is_named() {
        assert_eq!(parse("[main]\nport 5672"), Err((2, "neither a [section] nor key = value")));
        assert_eq!(parse("\nport = 1"), Err((2, "a key before the first [section]")));
        assert_eq!(parse("[main"), Err((1, "a section ends with ']'")));
    }
}
