//! Fields that the server does not change once a stream or a consumer is there.

use serde_json::{Value, json};

use crate::FieldDifference;

impl FieldDifference {
    /// Returns whether the server refuses this change of an existing stream.
    pub fn is_fixed_in_stream(&self) -> bool {
        let is_off = |value: &Value| value.is_null() || *value == json!(false);
        match self.field.as_str() {
            "storage" | "max_consumers" | "persist_mode" | "allow_msg_counter" => true,
            "retention" => [&self.found, &self.wanted].contains(&&json!("workqueue")),
            // Once promised to publishers and readers, these stay.
            "deny_delete" | "deny_purge" | "sealed" | "allow_msg_ttl" => is_off(&self.wanted),
            field => field == "mirror" || field.starts_with("mirror."),
        }
    }

    /// Returns whether the server refuses this change of an existing consumer.
    pub fn is_fixed_in_consumer(&self) -> bool {
        self.field == "ack_policy"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stream_is_stays_and_what_it_keeps_changes() {
        for (field, found, wanted, expected) in [
            ("storage", json!("file"), json!("memory"), true),
            ("retention", json!("limits"), json!("workqueue"), true),
            ("retention", json!("limits"), json!("interest"), false),
            ("deny_delete", json!(true), json!(false), true),
            ("deny_delete", json!(false), json!(true), false),
            ("mirror.name", json!("A"), json!("B"), true),
            ("max_age", json!(1), json!(2), false),
            ("num_replicas", json!(1), json!(3), false),
        ] {
            let difference = FieldDifference { field: field.to_owned(), found, wanted };
            assert_eq!(difference.is_fixed_in_stream(), expected, "{difference}");
        }
    }
}
