//! Texts that commands write into a router's folder.

use std::fmt;

use toml::Value;

/// A webhook to declare.
#[derive(Clone, Copy, Debug)]
pub struct NewWebhook<'a> {
    pub name: &'a str,
    pub url: &'a str,
    pub tenant: Option<&'a str>,
    /// Event types; none means all.
    pub events: &'a [String],
    /// Path as it is written to the file.
    pub secret_file: &'a str,
    pub allow_private: bool,
}

/// Formats a `[[webhook]]`, as a user would write it.
impl fmt::Display for NewWebhook<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, url, tenant, events, secret_file, allow_private } = *self;
        let fields = [
            ("name", Some(name.into())),
            ("url", Some(url.into())),
            ("tenant", tenant.map(Value::from)),
            ("events", (!events.is_empty()).then(|| events.to_vec().into())),
            ("secret_file", Some(secret_file.into())),
            ("allow_private", allow_private.then_some(true.into())),
        ];
        writeln!(f, "[[webhook]]")?;
        let mut fields = fields.into_iter().filter_map(|(name, value): (_, Option<Value>)| Some((name, value?)));
        fields.try_for_each(|(name, value)| writeln!(f, "{name} = {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let events = ["instance.*".to_owned(), "a\"b\\\n\u{7f}".to_owned()];
        let least = NewWebhook {
            name: "acme",
            url: "https://acme.example/hook",
            tenant: None,
            events: &[],
            secret_file: "secrets/acme",
            allow_private: false,
        };
        insta::assert_snapshot!(least, @r#"
        [[webhook]]
        name = "acme"
        url = "https://acme.example/hook"
        secret_file = "secrets/acme"
        "#);
        let most = NewWebhook { tenant: Some("a'\"\\"), events: &events, allow_private: true, ..least };
        let read: toml::Table = most.to_string().parse().unwrap();
        let read = &read["webhook"][0];
        assert_eq!((read["tenant"].as_str(), read["allow_private"].as_bool()), (Some("a'\"\\"), Some(true)));
        let words: Vec<_> = read["events"].as_array().unwrap().iter().map(|event| event.as_str().unwrap()).collect();
        assert_eq!(words, events);
    }
}
