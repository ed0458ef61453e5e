//! What a list is cut down to: rows that have a name, in an order, on a page, in some columns. The
//! same for every list (amqp.md R110).
//!
//! May import regex, serde_json, `reply`, `request`.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value, json};

use super::reply::{Problem, Reply};
use super::request::Query;

/// Rows of a page when nobody says.
const ROWS_USUAL: usize = 100;
/// Rows of a page (abuse row 92).
const ROWS_MAX: usize = 500;
/// Octets of a compiled expression.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// What a request wants of a list.
#[derive(Debug)]
pub(super) struct Wanted {
    name: Option<Name>,
    sort: Option<String>,
    is_reversed: bool,
    columns: Vec<String>,
    page: Option<Page>,
}

#[derive(Debug)]
enum Name {
    /// Anywhere in it, in any case.
    Part(String),
    Regex(Regex),
}

#[derive(Debug, Clone, Copy)]
struct Page {
    number: usize,
    rows: usize,
}

impl Wanted {
    /// What the query asks for.
    ///
    /// # Errors
    /// A page that cannot be, or an expression that is none.
    pub(super) fn of(query: &Query) -> Result<Self, Problem> {
        let page = match (query.number("page")?, query.number("page_size")?) {
            (None, None) => None,
            (number, rows) => {
                let page = Page { number: number.unwrap_or(1), rows: rows.unwrap_or(ROWS_USUAL) };
                if page.number == 0 || page.rows == 0 || page.rows > ROWS_MAX {
                    let what = format!("page must be 1 or more, page_size 1 to {ROWS_MAX}");
                    return Err(Problem::Bad(what));
                }
                Some(page)
            }
        };
        let name = match query.get("name") {
            None => None,
            Some(text) if query.is_on("use_regex") => {
                let mut regex = RegexBuilder::new(text);
                let regex = regex.size_limit(REGEX_BYTES_MAX).case_insensitive(true).build();
                Some(Name::Regex(regex.map_err(|_| Problem::bad("name is no expression"))?))
            }
            Some(text) => Some(Name::Part(text.to_lowercase())),
        };
        let columns = query.get("columns").unwrap_or_default();
        Ok(Self {
            name,
            sort: query.get("sort").map(Into::into),
            is_reversed: query.is_on("sort_reverse"),
            columns: columns.split(',').filter(|c| !c.is_empty()).map(Into::into).collect(),
            page,
        })
    }

    fn wants(&self, row: &Value) -> bool {
        let Some(wanted) = &self.name else { return true };
        let Some(name) = row.get("name").and_then(Value::as_str) else { return true };
        match wanted {
            Name::Part(part) => name.to_lowercase().contains(part),
            Name::Regex(regex) => regex.is_match(name),
        }
    }

    /// What is wanted of these rows.
    ///
    /// # Errors
    /// There is no such page.
    pub(super) fn reply(&self, mut rows: Vec<Value>) -> Result<Reply, Problem> {
        let total = rows.len();
        rows.retain(|row| self.wants(row));
        let filtered = rows.len();
        if let Some(field) = &self.sort {
            rows.sort_by(|a, b| compare(field_of(a, field), field_of(b, field)));
            if self.is_reversed {
                rows.reverse();
            }
        }
        let Some(Page { number, rows: per_page }) = self.page else {
            return Ok(Reply::Json(self.cut(rows).into()));
        };
        let pages = filtered.div_ceil(per_page).max(1);
        if number > pages {
            let what = format!("page {number} is out of range, there are {pages}");
            return Err(Problem::Bad(what));
        }
        let first = (number - 1).saturating_mul(per_page);
        let items: Vec<Value> = rows.into_iter().skip(first).take(per_page).collect();
        Ok(Reply::Json(json!({
            "filtered_count": filtered,
            "item_count": items.len(),
            "items": self.cut(items),
            "page": number,
            "page_count": pages,
            "page_size": per_page,
            "total_count": total,
        })))
    }

    /// One thing instead of a list.
    pub(super) fn one(&self, row: Value) -> Reply {
        Reply::Json(self.columns_of(row))
    }

    fn cut(&self, rows: Vec<Value>) -> Vec<Value> {
        rows.into_iter().map(|row| self.columns_of(row)).collect()
    }

    fn columns_of(&self, row: Value) -> Value {
        if self.columns.is_empty() {
            return row;
        }
        let mut kept = Map::new();
        for column in &self.columns {
            if let Some(value) = field_of(&row, column) {
                put(&mut kept, column, value.clone());
            }
        }
        Value::Object(kept)
    }
}

/// A field of a field: `message_stats.publish_details.rate`.
fn field_of<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(row, |value, field| value.get(field))
}

fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.insert(path.into(), value);
        }
        Some((first, rest)) => {
            let inner = object.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// Numbers by size, the rest as text; what is missing comes first.
fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            let (a, b) = (a.as_f64().unwrap_or_default(), b.as_f64().unwrap_or_default());
            a.total_cmp(&b)
        }
        (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
        (Some(a), Some(b)) => a.to_string().cmp(&b.to_string()),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Value> {
        let row = |name: &str, n: u32| json!({ "name": name, "n": n, "in": { "rate": n * 2 } });
        vec![row("beta", 10), row("Alpha", 9), row("gamma", 100), row("alphabet", 1)]
    }

    fn names(query: &str) -> Vec<String> {
        let wanted = Wanted::of(&Query::parse(query).unwrap()).unwrap();
        let Reply::Json(reply) = wanted.reply(rows()).unwrap() else { panic!("no JSON") };
        let list = if reply.is_array() { &reply } else { &reply["items"] };
        list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().into()).collect()
    }

    /// amqp.md R110
    #[test]
    fn a_list_is_filtered_sorted_and_paged() {
        assert_eq!(names("").len(), 4);
        assert_eq!(names("name=ALPHA"), ["Alpha", "alphabet"]);
        assert_eq!(names("name=^a.*t$&use_regex=true"), ["alphabet"]);
        assert_eq!(names("sort=n"), ["alphabet", "Alpha", "beta", "gamma"]);
        assert_eq!(names("sort=in.rate&sort_reverse=true&page=1&page_size=2"), ["gamma", "beta"]);
        assert_eq!(names("page=2&page_size=3"), ["alphabet"]);
        assert_eq!(names("page=1&name=nobody"), Vec::<String>::new());
    }

    #[test]
    fn a_page_says_where_it_stands_and_columns_are_picked() {
        let query = Query::parse("page=1&page_size=2&columns=name,in.rate,none&name=a").unwrap();
        let Reply::Json(page) = Wanted::of(&query).unwrap().reply(rows()).unwrap() else {
            panic!("no JSON")
        };
        assert_eq!((&page["total_count"], &page["page_count"]), (&json!(4), &json!(2)));
        assert_eq!((&page["filtered_count"], &page["item_count"]), (&json!(4), &json!(2)));
        assert_eq!(page["items"][0], json!({ "name": "beta", "in": { "rate": 20 } }));
    }

    /// reliability.md row 92
    #[test]
    fn pages_that_cannot_be_are_refused() {
        for query in
            ["page=0", "page=x", "page_size=501", "page_size=0", "page=-1", "name=(&use_regex=true"]
        {
            assert!(Wanted::of(&Query::parse(query).unwrap()).is_err(), "{query}");
        }
        let wanted = Wanted::of(&Query::parse("page=18446744073709551615").unwrap()).unwrap();
        assert!(matches!(wanted.reply(rows()), Err(Problem::Bad(_))));
    }
}
