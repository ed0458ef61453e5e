//! How patterns of words are spelled and taken apart.
//!
//! May import nothing.

/// How patterns are spelled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Syntax {
    /// Stands between words.
    pub(crate) separator: char,
    /// The word that stands for any one word.
    pub(crate) one: &'static str,
    /// The word that stands for any number of words, also none.
    pub(crate) any: &'static str,
    /// A name that begins so is not found by a wildcard in its first word.
    pub(crate) hidden: Option<char>,
}

impl Syntax {
    /// `a.*.#`: keys of topic exchanges.
    pub(crate) const DOTS: Self = Self { separator: '.', one: "*", any: "#", hidden: None };
    /// `a/+/#`: filters of subscriptions; names beginning with `$` are the server's own.
    pub(crate) const SLASHES: Self = Self { separator: '/', one: "+", any: "#", hidden: Some('$') };

    /// Empty text has no word; between separators there may be an empty word.
    pub(super) fn words<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        text.split(self.separator).skip(usize::from(text.is_empty()))
    }

    /// Any number of words twice in a row is any number of words: without this a pattern such as
    /// `#.#.#.#` would be a chain of nodes that are all entered at once (abuse row 37).
    pub(super) fn steps<'a>(&self, pattern: &'a str) -> impl Iterator<Item = Step<'a>> + use<'a> {
        let (one, any) = (self.one, self.any);
        let mut after_any = false;
        self.words(pattern).filter_map(move |word| {
            let again = after_any;
            after_any = word == any;
            match word {
                _ if word == any => (!again).then_some(Step::Any),
                _ if word == one => Some(Step::One),
                _ => Some(Step::Word(word)),
            }
        })
    }

    pub(super) fn hides(&self, text: &str) -> bool {
        self.hidden.is_some_and(|hidden| text.starts_with(hidden))
    }
}

/// One step down the tree.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    Word(&'a str),
    One,
    Any,
}
