//! What a list is cut down to: rows that have a name, in an order, on a page, in some columns. The
//! same for every list (amqp.md R110).
//!
//! May import regex, serde_json, `reply`, `request`.

use std::cmp::Ordering;
use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value, json};

use super::reply::{JSON, Problem, Reply};
use super::request::Query;

/// Rows of a page when nobody says.
const ROWS_USUAL: usize = 100;
/// Rows of a page (abuse row 92).
const ROWS_MAX: usize = 500;
/// Rows that are made before others of this thread have their turn.
const ROWS_PER_TURN: usize = 128;
/// Seconds that rates are asked for at most: a day (abuse row 92).
const AGE_S_MAX: usize = 86_400;
/// How clients of RabbitMQ ask for samples. There are none, and the rates are told anyway.
const AGES: [&str; 8] = [
    "lengths_age",
    "lengths_incr",
    "msg_rates_age",
    "msg_rates_incr",
    "data_rates_age",
    "data_rates_incr",
    "node_stats_age",
    "node_stats_incr",
];
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
    /// A page or an age that cannot be, or an expression that is none.
    pub(super) fn of(query: &Query) -> Result<Self, Problem> {
        for age in AGES {
            if query.number(age)?.is_some_and(|age| !(1..=AGE_S_MAX).contains(&age)) {
                return Err(Problem::Bad(format!("{age} must be 1 to {AGE_S_MAX}")));
            }
        }
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
        let page = Page { number, rows: per_page };
        let first = page.first(filtered)?;
        let items = rows.into_iter().skip(first).take(per_page).collect();
        Ok(page.reply(&self.cut(items), filtered, total))
    }

    /// The same of things whose rows are made one by one, and only those that are looked at: a long
    /// list keeps nobody else from this thread.
    ///
    /// # Errors
    /// There is no such page.
    pub(super) async fn reply_each<T>(
        &self,
        things: &[T],
        row_of: impl Fn(&T) -> Value,
    ) -> Result<Reply, Problem> {
        let mut kept: Vec<(Option<Value>, &T)> = Vec::with_capacity(things.len());
        for (place, thing) in things.iter().enumerate() {
            if self.name.is_none() && self.sort.is_none() {
                kept.push((None, thing));
                continue;
            }
            take_turns(place).await;
            let row = row_of(thing);
            if self.wants(&row) {
                let key = self.sort.as_ref().and_then(|field| field_of(&row, field).cloned());
                kept.push((key, thing));
            }
        }
        if self.sort.is_some() {
            kept.sort_by(|(a, _), (b, _)| compare(a.as_ref(), b.as_ref()));
            if self.is_reversed {
                kept.reverse();
            }
        }
        if let Some(page) = self.page {
            let shown = kept.iter().skip(page.first(kept.len())?).take(page.rows);
            let items = shown.map(|(_, thing)| row_of(thing)).collect();
            return Ok(page.reply(&self.cut(items), kept.len(), things.len()));
        }
        let mut text = String::from("[");
        for (place, (_, thing)) in kept.iter().enumerate() {
            take_turns(place).await;
            if place > 0 {
                text.push(',');
            }
            // Writing to a String does not fail.
            let _ = write!(text, "{}", self.columns_of(row_of(thing)));
        }
        text.push(']');
        Ok(Reply::Text(JSON, text))
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

impl Page {
    /// The place of its first row.
    fn first(self, filtered: usize) -> Result<usize, Problem> {
        let pages = self.count(filtered);
        if self.number > pages {
            let what = format!("page {} is out of range, there are {pages}", self.number);
            return Err(Problem::Bad(what));
        }
        Ok((self.number - 1).saturating_mul(self.rows))
    }

    fn count(self, filtered: usize) -> usize {
        filtered.div_ceil(self.rows).max(1)
    }

    fn reply(self, items: &[Value], filtered: usize, total: usize) -> Reply {
        Reply::Json(json!({
            "filtered_count": filtered,
            "item_count": items.len(),
            "items": items,
            "page": self.number,
            "page_count": self.count(filtered),
            "page_size": self.rows,
            "total_count": total,
        }))
    }
}

/// Lets others of this thread have their turn after so many rows.
async fn take_turns(place: usize) {
    if place % ROWS_PER_TURN == ROWS_PER_TURN - 1 {
        tokio::task::yield_now().await;
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

    /// amqp.md R110
    #[test]
    fn rows_that_are_made_one_by_one_are_the_same() {
        for query in [
            "",
            "name=a&sort=n&sort_reverse=true&columns=name,in.rate",
            "sort=in.rate&page=1&page_size=2&columns=name",
            "name=none",
            "page=2&page_size=3&name=a",
            "page=9",
        ] {
            let wanted = Wanted::of(&Query::parse(query).unwrap()).unwrap();
            let rows_here = rows();
            let each = wanted.reply_each(&rows_here, Value::clone);
            let each =
                tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(each);
            let json = |reply| {
                if let Reply::Text(_, text) = &reply {
                    return serde_json::from_str(text).unwrap();
                }
                let Reply::Json(value) = reply else { panic!("no JSON: {reply:?}") };
                value
            };
            let (each, all) = (each.map(json), wanted.reply(rows()).map(json));
            assert_eq!(each, all, "{query}");
        }
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
        for age in ["0", "x", "-1", "86401", "99999999999999999999"] {
            for name in AGES {
                let query = Query::parse(&format!("{name}={age}")).unwrap();
                assert!(Wanted::of(&query).is_err(), "{name}={age}");
            }
        }
        let query = "lengths_age=60&lengths_incr=5&msg_rates_age=60&msg_rates_incr=5";
        assert!(Wanted::of(&Query::parse(query).unwrap()).is_ok());
        let wanted = Wanted::of(&Query::parse("page=18446744073709551615").unwrap()).unwrap();
        assert!(matches!(wanted.reply(rows()), Err(Problem::Bad(_))));
    }
}
