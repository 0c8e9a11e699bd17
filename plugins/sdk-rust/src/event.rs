//! The event as a filter sees it: the values of the fields that it asked for.

use serde::Deserialize;

use crate::{Failure, Result, columns::Row, reading};

/// One event, by the names of its fields. For fields that only the params decide; those that are
/// known beforehand are better a struct with `#[derive(Fields)]`.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    names: &'a [String],
    values: Values<'a>,
}

/// The values, one by one or where they stand in a batch.
#[derive(Clone, Copy, Debug)]
enum Values<'a> {
    List(&'a [Option<Vec<u8>>]),
    Row(Row<'a>),
}

impl<'a> Event<'a> {
    pub(crate) fn new(names: &'a [String], values: &'a [Option<Vec<u8>>]) -> Self {
        Self { names, values: Values::List(values) }
    }

    pub(crate) fn of_batch(names: &'a [String], row: Row<'a>) -> Self {
        Self { names, values: Values::Row(row) }
    }

    /// Reads a field: a JSON pointer as JSON, any other as text; the payload as JSON, or as it came
    /// where that is `&str`, `String` or `&[u8]`. `None` if it is absent, or `null` where `T` has
    /// none: `get::<Option<T>>` tells the two apart.
    ///
    /// # Errors
    /// `malformed` if it is not a `T`, `broken` if it is not among the fields that are read.
    pub fn get<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>> {
        self.bytes(name).and_then(|value| reading::optional(name, value))
    }

    /// As [`Self::get`], for a field that the event has to have.
    ///
    /// # Errors
    /// As [`Self::get`], and `malformed` if it is absent.
    pub fn require<T: Deserialize<'a>>(&self, name: &str) -> Result<T> {
        self.bytes(name).and_then(|value| reading::required(name, value))
    }

    /// The bytes of a field as they are written, a text in JSON with its quotes.
    ///
    /// # Errors
    /// `broken` if it is not among the fields that are read.
    pub fn bytes(&self, name: &str) -> Result<Option<&'a [u8]>> {
        let position = self.names.iter().position(|known| known == name);
        let position = position.ok_or_else(|| {
            Failure::broken(format!("`{name}` is not among the fields that are read: return it from `reads`"))
        })?;
        Ok(self.value(position))
    }

    /// The payload as it came.
    ///
    /// # Errors
    /// `broken` if `payload` is not among the fields that are read.
    pub fn payload(&self) -> Result<&'a [u8]> {
        Ok(self.bytes("payload")?.unwrap_or_default())
    }

    pub(crate) fn value(&self, position: usize) -> Option<&'a [u8]> {
        match self.values {
            Values::List(values) => values.get(position)?.as_deref(),
            Values::Row(row) => row.value(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::columns::Columns;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn absent_null_and_empty_are_told_apart() {
        let names = names(&["/absent", "/null", "/empty"]);
        let values = [None, Some(b"null".to_vec()), Some(br#""""#.to_vec())];
        let event = Event::new(&names, &values);
        assert_eq!(event.get::<String>("/absent"), Ok(None));
        assert_eq!(event.get::<Option<String>>("/absent"), Ok(None));
        assert_eq!(event.get::<String>("/null"), Ok(None));
        assert_eq!(event.get::<Option<String>>("/null"), Ok(Some(None)));
        assert_eq!(event.get::<Value>("/null"), Ok(Some(Value::Null)));
        assert_eq!(event.get::<String>("/empty"), Ok(Some(String::new())));
        assert_eq!(event.require::<String>("/absent"), Err(Failure::malformed("`/absent` is missing")));
        assert_eq!(event.require::<String>("/null"), Err(Failure::malformed("`/null` is null")));
        assert_eq!(event.require::<Option<u8>>("/null"), Ok(None));
    }

    #[test]
    fn a_field_that_was_not_asked_for_is_the_filters_fault() {
        let (names, values) = (names(&["subject"]), [Some(b"a".to_vec())]);
        let why = "`payload` is not among the fields that are read: return it from `reads`";
        assert_eq!(Event::new(&names, &values).payload(), Err(Failure::broken(why)));
    }

    /// As the router lays out two events, the second with nothing but the third field.
    #[test]
    fn a_row_of_a_batch_reads_like_an_event_alone() {
        let names = names(&["/a", "header:b", "payload"]);
        let arena = b"12.5ten{}";
        let index = [2, 2, 3, 0, 4, 4, 3, 7, 2, u32::MAX, 0, u32::MAX, 0, 7, 0];
        let index = index.map(u32::to_le_bytes);
        let columns = Columns::new(arena, index.as_flattened());
        let rows: Vec<_> = columns.rows().map(|row| Event::of_batch(&names, row)).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].get::<f64>("/a"), Ok(Some(12.5)));
        assert_eq!(rows[0].get::<&str>("header:b"), Ok(Some("ten")));
        assert_eq!(rows[0].payload(), Ok(&b"{}"[..]));
        assert_eq!(rows[1].get::<f64>("/a"), Ok(None));
        assert_eq!(rows[1].payload(), Ok(&b""[..]));
    }
}
