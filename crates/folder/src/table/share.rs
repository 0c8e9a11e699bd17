//! Numbers that express a share.

use toml::de::DeValue;

use crate::table::TomlTable;

impl TomlTable<'_> {
    /// Reads a number from 0 to 1.
    pub(crate) fn share(&mut self, name: &'static str) -> Option<f64> {
        let value = self.take(name)?;
        let text = match value.get_ref() {
            DeValue::Integer(integer) => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            _ => {
                self.wrong_type(name, "a number", &value);
                return None;
            }
        };
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            self.wrong_value(name, text, "it is a share, from 0 to 1", self.document.place(value.span()));
        }
        share
    }
}
