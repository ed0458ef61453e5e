//! A field table that can be built and changed; entries that are not changed keep their octets
//! (P7: same letters, same order). May import `octets`, `value`, `field_table`, `field_value`.

use super::field_table::TableRef;
use super::field_value::{FieldRef, put_entries, put_name, put_value};
use crate::protocol::octets::WireError;
use crate::value::{Table, Value};

/// The octets of a table's entries, valid at all times.
///
/// What is built here may have more entries than `TABLE_ENTRIES_MAX`: that limit is for what
/// peers send, and a message at it must still take the headers that the broker adds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableBuffer {
    bytes: Vec<u8>,
}

impl TableBuffer {
    /// An empty table.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// The neutral table as octets.
    ///
    /// # Errors
    /// `Limit` for names longer than 255 octets and for tables within tables beyond `DEPTH_MAX`.
    pub fn from_table(table: &Table) -> Result<Self, WireError> {
        let mut bytes = Vec::new();
        put_entries(&mut bytes, table, 1)?;
        Ok(Self { bytes })
    }

    /// To be read, or put into a method or a property block.
    pub fn view(&self) -> TableRef<'_> {
        TableRef::unchecked(&self.bytes)
    }

    /// Replaces the value under `name` where it stands, or appends it.
    ///
    /// # Errors
    /// As [`Self::from_table`]; the table is then unchanged.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), WireError> {
        self.place(name, |out| put_value(out, value, 1))
    }

    /// The same for a value that is not a neutral one: a text from elsewhere, or another
    /// table's value.
    ///
    /// # Errors
    /// `Limit` for names longer than 255 octets; the table is then unchanged.
    pub fn set_field(&mut self, name: &str, value: FieldRef<'_>) -> Result<(), WireError> {
        self.place(name, |out| {
            value.put(out);
            Ok(())
        })
    }

    /// Removes every entry under `name`; tells whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        if self.find_last(name).is_none() {
            return false;
        }
        // In one pass, since a peer may repeat a name as often as a table has entries.
        let mut kept = Vec::with_capacity(self.bytes.len());
        for entry in self.view().entries().filter(|e| e.name != name.as_bytes()) {
            kept.extend_from_slice(self.bytes.get(entry.start..entry.end).unwrap_or_default());
        }
        self.bytes = kept;
        true
    }

    /// Where the entry that counts under `name` stands.
    fn find_last(&self, name: &str) -> Option<(usize, usize)> {
        let same = self.view().entries().filter(|e| e.name == name.as_bytes());
        same.last().map(|e| (e.start, e.end))
    }

    fn place(
        &mut self,
        name: &str,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let old = self.find_last(name);
        let length = self.bytes.len();
        // Written at the end, then moved to where the old one was.
        if let Err(error) = put_name(&mut self.bytes, name).and_then(|()| put(&mut self.bytes)) {
            self.bytes.truncate(length);
            return Err(error);
        }
        if let Some((start, end)) = old {
            let entry = self.bytes.split_off(length);
            self.bytes.splice(start..end, entry);
        }
        Ok(())
    }
}

impl From<TableRef<'_>> for TableBuffer {
    fn from(table: TableRef<'_>) -> Self {
        Self { bytes: table.as_bytes().to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P71: dead-lettering adds and removes headers; the others keep letters and order.
    #[test]
    fn a_change_of_one_entry_leaves_the_octets_of_the_others() {
        let octets = b"\x01aL\0\0\0\0\0\0\0\x07\x01bU\0\x01\x01cV";
        let mut table = TableBuffer::from(TableRef::unchecked(octets));
        table.set("b", &Value::text("x")).unwrap();
        table.set("d", &Value::Bool(true)).unwrap();
        assert_eq!(
            table.view().as_bytes(),
            b"\x01aL\0\0\0\0\0\0\0\x07\x01bS\0\0\0\x01x\x01cV\x01dt\x01"
        );
        assert!(table.remove("a"));
        assert!(!table.remove("a"));
        assert_eq!(table.view().as_bytes(), b"\x01bS\0\0\0\x01x\x01cV\x01dt\x01");
    }

    #[test]
    fn removing_a_repeated_name_removes_all_of_it() {
        let mut table = TableBuffer::from(TableRef::unchecked(b"\x01aV\x01bV\x01aV"));
        assert!(table.remove("a"));
        assert_eq!(table.view().as_bytes(), b"\x01bV");
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let mut table = TableBuffer::new();
        table.set("a", &Value::Void).unwrap();
        let before = table.clone();
        let mut deep = Value::Void;
        for _ in 0..40 {
            deep = Value::Array(vec![Value::Bool(true), deep]);
        }
        assert!(matches!(table.set("b", &deep), Err(WireError::Limit { max: 32, .. })));
        assert!(matches!(
            table.set(&"n".repeat(256), &Value::Void),
            Err(WireError::Limit { max: 255, .. })
        ));
        assert_eq!(table, before);
    }
}
