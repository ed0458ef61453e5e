//! One request, taken apart: path, query, fields, body. A segment of a path is decoded once, and
//! never reaches a file (abuse row 89).
//!
//! May import hyper, serde_json, `access`, `reply`.

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::{Map, Value};

use super::access::Subject;
use super::reply::Problem;

/// Segments of a path: the longest resource has nine.
pub(super) const SEGMENTS_MAX: usize = 16;

/// Words of a query.
const QUERY_WORDS_MAX: usize = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Request {
    /// Who asks.
    pub(super) subject: Subject,
    /// What stood in the places of the path that have a name, in order.
    pub(super) names: Vec<String>,
    /// What follows the question mark.
    pub(super) query: Query,
    /// The fields of the head.
    pub(super) fields: HeaderMap,
    /// The body.
    pub(super) body: Bytes,
}

impl Request {
    /// The name in that place of the path; there is one wherever the route has one.
    pub(super) fn name(&self, place: usize) -> &str {
        self.names.get(place).map_or("", String::as_str)
    }

    /// A field of the head, if it is text.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.to_str().ok()
    }

    /// The body as an object; nothing at all is an empty one.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn object(&self) -> Result<Map<String, Value>, Problem> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        // serde_json gives up at 128 levels (abuse row 91).
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(Problem::bad("body must be a JSON object")),
            Err(error) => Err(Problem::bad(format!("body is not JSON: {error}"))),
        }
    }
}

/// Words of a query, decoded; of a word that comes twice the first counts.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query apart.
    ///
    /// # Errors
    /// An escape that is none, or more words than any client sends.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let mut words = Vec::new();
        for word in text.split('&').filter(|word| !word.is_empty()) {
            if words.len() == QUERY_WORDS_MAX {
                return Err(Problem::bad("too many words in the query"));
            }
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let name = decode(&name.replace('+', " "));
            let value = decode(&value.replace('+', " "));
            words.push(name.zip(value).ok_or_else(|| Problem::bad("bad escape in the query"))?);
        }
        Ok(Self(words))
    }

    /// What a word says; `None` when it is not there or says nothing.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(word, _)| word == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All that a word says that may come several times.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(word, _)| word == name).map(|(_, value)| value.as_str())
    }

    /// Whether a word says yes.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// A number.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, Problem> {
        let bad = || Problem::bad(format!("{name} is not a number"));
        self.get(name).map(|text| text.parse().map_err(|_| bad())).transpose()
    }
}

/// The segments of a path, decoded.
///
/// # Errors
/// It has too many, or an escape that is none.
pub(super) fn segments(path: &str) -> Result<Vec<String>, Problem> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.split('/').count() > SEGMENTS_MAX {
        return Err(Problem::Missing);
    }
    let decoded: Option<Vec<String>> = path.split('/').map(decode).collect();
    decoded.ok_or_else(|| Problem::bad("bad escape in the path"))
}

/// Undoes percent encoding. `None`: an escape that is cut or no number, or octets that are no text.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(octet) = rest.next() {
        if *octet == b'%' {
            let digits = [*rest.next()?, *rest.next()?];
            let digit = |octet: u8| char::from(octet).to_digit(16);
            let value = digit(digits[0])? * 16 + digit(digits[1])?;
            octets.push(u8::try_from(value).ok()?);
        } else {
            octets.push(*octet);
        }
    }
    String::from_utf8(octets).ok()
}

/// The reverse of [`decode`], for addresses that are told.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-_.~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_decoded_once_and_what_is_encoded_comes_back() {
        assert_eq!(segments("/api/vhosts/%2F").unwrap(), ["api", "vhosts", "/"]);
        assert_eq!(segments("/api/vhosts/%252F/").unwrap(), ["api", "vhosts", "%2F"]);
        assert_eq!(segments("/api/%2E%2E%2Fx").unwrap(), ["api", "../x"]);
        for bad in ["/api/%", "/api/%2", "/api/%zz", "/api/%ff", "/%+1"] {
            assert!(matches!(segments(bad), Err(Problem::Bad(_))), "{bad}");
        }
        assert_eq!(segments(&"/x".repeat(17)), Err(Problem::Missing));
        for text in ["a/b%c d+e", "127.0.0.1:1 -> 127.0.0.1:2", "\u{e4}\u{20ac}"] {
            assert_eq!(decode(&encode(text)).unwrap(), text);
        }
    }

    #[test]
    fn a_query_gives_its_first_words() {
        let query = Query::parse("page=2&name=a%26b+c&page=3&empty=&use_regex=true").unwrap();
        assert_eq!(query.number("page"), Ok(Some(2)));
        assert_eq!(query.get("name"), Some("a&b c"));
        assert_eq!((query.get("empty"), query.get("none")), (None, None));
        assert!(query.is_on("use_regex") && !query.is_on("page"));
        assert!(Query::parse("page=-1").unwrap().number("page").is_err());
        assert!(Query::parse("a=%f").is_err() && Query::parse(&"a&".repeat(33)).is_err());
    }
}
