//! `render`: makes the payload that a webhook wants, by a template.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use serde::{Deserialize, de::IgnoredAny};
use trommel_filter::{Emission, Failure, Fields, FromParams, Outcome, Process, Result, export};

struct Render {
    templates: Environment<'static>,
    escape: Escape,
    content_type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    template: String,
    #[serde(default)]
    escape: Escape,
    content_type: Option<String>,
}

/// How values are put into the text.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Escape {
    /// As JSON, a text with its quotes.
    #[default]
    Json,
    Html,
    None,
}

/// The only template of a route.
const NAME: &str = "template";

impl FromParams for Render {
    type Params = Written;

    fn from_params(_key: &str, Written { template, escape, content_type }: Written) -> Result<Self> {
        let (auto_escape, usual_type) = match escape {
            Escape::Json => (AutoEscape::Json, "application/json"),
            Escape::Html => (AutoEscape::Html, "text/html; charset=utf-8"),
            Escape::None => (AutoEscape::None, "text/plain; charset=utf-8"),
        };
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(move |_| auto_escape);
        let added = templates.add_template_owned(NAME, template);
        added.map_err(|error| Failure::malformed(format!("`template`: {error}")))?;
        Ok(Self { templates, escape, content_type: content_type.unwrap_or_else(|| usual_type.to_owned()) })
    }
}

#[derive(Fields)]
struct Facts<'a> {
    payload: &'a [u8],
    subject: &'a str,
    event_type: &'a str,
    id: &'a str,
    source_time: Option<&'a str>,
    tenant: Option<&'a str>,
    key: &'a str,
    route: &'a str,
}

impl Process for Render {
    type Reads<'a> = Facts<'a>;

    fn process(&self, facts: Facts) -> Result<Outcome> {
        let payload: Value = serde_json::from_slice(facts.payload)
            .unwrap_or_else(|_| String::from_utf8_lossy(facts.payload).into_owned().into());
        let Facts { subject, event_type, id, source_time, tenant, key, route, .. } = facts;
        let values = context! { payload, subject, event_type, id, source_time, tenant, key, route };
        let rendered = self.templates.get_template(NAME).and_then(|template| template.render(values));
        let body = rendered.map_err(|error| Failure::malformed(error.to_string()).code("not_rendered"))?;
        if self.escape == Escape::Json
            && let Err(error) = serde_json::from_str::<IgnoredAny>(&body)
        {
            let why = format!("the template makes no JSON: {error}; a value brings its own quotes along");
            return Err(Failure::malformed(why).code("not_rendered"));
        }
        Ok(Emission::new(body).header("content-type", &*self.content_type).into())
    }
}

export!(Render, manifest = include_str!("../manifest.json"));

#[cfg(test)]
mod tests {
    use trommel_filter::testing::{TestEvent, TestRoute};

    use super::*;

    fn process(escape: &str, template: &str, payload: &str) -> Result<String> {
        let route = TestRoute::<Render>::new(&[("escape", escape), ("template", template)])?;
        let Outcome::Emit(emissions) = route.process(&TestEvent::new(payload))? else { panic!("no emission") };
        let [emission] = &emissions[..] else { panic!("{emissions:?}") };
        let (_, content_type) = &emission.headers[0];
        Ok(format!("{} {}", content_type.as_deref().unwrap(), String::from_utf8_lossy(&emission.payload)))
    }

    #[test]
    fn values_bring_their_quotes_and_escapes() {
        let template =
            r#"{"text": {{ "Order " ~ payload.id ~ " of " ~ payload.amount }}, "lines": {{ payload.lines }}}"#;
        let payload = r#"{"id":"a\"b\n</script>","amount":700.5,"lines":[{"sku":"é"}]}"#;
        let expected = r#"application/json {"text": "Order a\"b\n</script> of 700.5", "lines": [{"sku":"é"}]}"#;
        assert_eq!(process("json", template, payload).as_deref(), Ok(expected));
        let expected = "text/html; charset=utf-8 <b>&lt;i&gt;</b>";
        assert_eq!(process("html", "<b>{{ payload }}</b>", "<i>").as_deref(), Ok(expected));
        let expected = "text/plain; charset=utf-8 events id-1 <i>";
        assert_eq!(process("none", "{{ subject }} {{ id }} {{ payload }}", "<i>").as_deref(), Ok(expected));
    }

    #[test]
    fn conditions_loops_and_defaults_work() {
        let template =
            r#"[{% for line in payload.lines %}{{ line.sku|upper }}{% if not loop.last %},{% endif %}{% endfor %}]"#;
        let made = process("json", template, r#"{"lines":[{"sku":"a"},{"sku":"b"}]}"#);
        assert_eq!(made.as_deref(), Ok(r#"application/json ["A","B"]"#));
        let made = process("json", r#"{{ payload.none|default("-") }}"#, "{}");
        assert_eq!(made.as_deref(), Ok(r#"application/json "-""#));
    }

    #[test]
    fn what_can_not_be_rendered_is_buried() {
        for (template, why) in [
            (r#"{"a": {{ payload.none }}}"#, "undefined value"),
            (
                r#"{"a": "{{ payload.a }}"}"#,
                "the template makes no JSON: expected `,` or `}` at line 1 column 9; a value brings",
            ),
        ] {
            let failure = process("json", template, r#"{"a":"x"}"#).unwrap_err();
            assert_eq!(failure.cause.code.as_deref(), Some("not_rendered"));
            assert!(failure.cause.detail.starts_with(why), "{failure}");
        }
    }

    #[test]
    fn a_template_that_can_not_be_read_refuses_the_route() {
        let refused = process("json", "{{ a", "{}").unwrap_err();
        assert!(refused.cause.detail.starts_with("`template`: syntax error: "), "{refused}");
    }
}
