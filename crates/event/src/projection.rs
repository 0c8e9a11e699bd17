//! Parts of an event that a filter reads: it names them once, and is handed exactly these.

use std::{borrow::Cow, sync::Arc};

use smallvec::SmallVec;

use crate::{
    condition::{EventFacts, PathSet, PathSets},
    field::{Field, FieldError},
    json::{self, JsonPointer, NotJson},
};

/// Most fields that a filter reads.
const MOST: usize = 256;

/// Parts of an event that a filter reads, in the order in which it named them.
#[derive(Debug)]
pub struct Projection {
    fields: Box<[ProjectedField]>,
    /// Distinct pointers of all fields.
    paths: Option<Arc<PathSet>>,
}

#[derive(Debug)]
enum ProjectedField {
    /// A field that is not looked for in the payload.
    Plain(Field),
    /// A JSON pointer, by its position among the paths.
    Pointer(usize),
}

/// On whose behalf a filter reads an event, and for which time.
#[derive(Clone, Copy, Debug)]
pub struct ProjectedPlace<'a> {
    pub key: &'a str,
    pub route: &'a str,
    /// The value of `attempt`, which counts the router's own tries too.
    pub attempt: u32,
}

/// Values of the fields, `None` for those that the event does not have.
pub type ProjectedValues<'a> = SmallVec<[Option<Cow<'a, [u8]>>; 8]>;

/// Error in the names of fields that a filter reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProjectionError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("{0} fields are read, more than the limit of {MOST}: read `payload` instead of its parts")]
    TooMany(usize),
}

impl Projection {
    /// Parses names of fields. The pointers `beside` are looked up in the same walk.
    ///
    /// # Errors
    /// If one of them is not a field, or there are too many.
    pub fn new(names: &[String], known: &PathSets, beside: &[JsonPointer]) -> Result<Self, ProjectionError> {
        if names.len() > MOST {
            return Err(ProjectionError::TooMany(names.len()));
        }
        let fields = names.iter().map(|name| name.parse()).collect::<Result<Vec<Field>, _>>()?;
        let mut pointers = fields.iter().filter_map(Field::pointer).peekable();
        let paths = if pointers.peek().is_some() { Some(known.get(pointers.chain(beside))?) } else { None };
        let field = |field| match (field, &paths) {
            (Field::Pointer(pointer), Some(paths)) => ProjectedField::Pointer(paths.position(&pointer)),
            (plain, _) => ProjectedField::Plain(plain),
        };
        Ok(Self { fields: fields.into_iter().map(field).collect(), paths })
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns the values of all fields, those in the payload found in one walk: as JSON texts, as
    /// they are written. Allocates only for numbers and for more than a few fields.
    ///
    /// # Errors
    /// If there are fields in the payload and it is not JSON. JSON outside the paths to these
    /// fields, and inside texts, objects and arrays, is not checked.
    pub fn values<'a>(
        &'a self,
        facts: &mut EventFacts<'a>,
        place: &ProjectedPlace<'a>,
    ) -> Result<ProjectedValues<'a>, NotJson> {
        let event = facts.event();
        let in_payload = self.paths.as_ref().map(|paths| facts.raw_values(paths)).transpose()?;
        let value = |field: &'a ProjectedField| match field {
            ProjectedField::Plain(Field::Key) => Ok(Some(Cow::Borrowed(place.key.as_bytes()))),
            ProjectedField::Plain(Field::Route) => Ok(Some(Cow::Borrowed(place.route.as_bytes()))),
            ProjectedField::Plain(Field::Attempt) => Ok(Some(Cow::Owned(place.attempt.to_string().into_bytes()))),
            ProjectedField::Plain(Field::Payload) => Ok(Some(Cow::Borrowed(&*event.payload))),
            ProjectedField::Plain(field) => Ok(field.of(event).map(|text| match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            })),
            ProjectedField::Pointer(position) => {
                let raw = in_payload.as_ref().and_then(|value| value(*position));
                raw.map(|raw| written(raw).map(Cow::Borrowed)).transpose()
            }
        };
        self.fields.iter().map(value).collect()
    }
}

/// Returns a value that was found in the payload, if it can be one. The walk has seen where it
/// ends, not whether it is a word or a number.
fn written(raw: &str) -> Result<&[u8], NotJson> {
    let raw = raw.as_bytes();
    match raw.first() {
        Some(b'"' | b'{' | b'[') => Ok(raw),
        _ => json::check(raw).map(|()| raw).map_err(|_| NotJson),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        condition::{Conditions, parse},
        event::{Event, Headers, Origin},
    };

    const PLACE: ProjectedPlace<'_> = ProjectedPlace { key: "orders.paid", route: "r1", attempt: 3 };

    fn event(payload: &str) -> Event {
        let mut headers = Headers::default();
        headers.push("Tenant", "acme");
        headers.push("Empty", "");
        Event {
            id: "1".into(),
            uid: Default::default(),
            event_type: "created".into(),
            subject: "orders.eu".into(),
            source_time: None,
            observed_at: 17,
            attempt: 1,
            headers,
            payload: payload.to_owned().into(),
            origin: Arc::new(Origin { source: "s".to_owned(), stream: "S".to_owned() }),
            sequence: 42,
        }
    }

    fn projection(names: &str) -> Projection {
        let names: Vec<_> = names.split_whitespace().map(str::to_owned).collect();
        Projection::new(&names, &PathSets::default(), &[]).unwrap()
    }

    /// Shows the values of fields, `-` for one that is not there.
    fn values(names: &str, payload: &str) -> Result<String, NotJson> {
        let (event, projection) = (event(payload), projection(names));
        let values = projection.values(&mut EventFacts::new(&event), &PLACE)?;
        assert_eq!(values.len(), projection.len());
        let shown = values.iter().map(|value| match value {
            Some(value) => String::from_utf8_lossy(value).into_owned(),
            None => "-".to_owned(),
        });
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn fields_come_in_the_order_in_which_they_were_named() {
        let payload = r#"{"b":{"c":1.50,"c":"\u00e9"},"a":null,"l":[{"x":[1]}]}"#;
        for (names, expected) in [
            ("/b/c subject /a /none attempt", r#""\u00e9" orders.eu null - 3"#),
            ("/a /a /l/0 /l/0/x /l/1", r#"null null {"x":[1]} [1] -"#),
            ("key route sequence observed-at type", "orders.paid r1 42 17 created"),
            ("source-time header:none tenant source stream id", "- - acme s S 1"),
            ("payload", payload),
            ("", ""),
        ] {
            assert_eq!(values(names, payload).as_deref(), Ok(expected), "{names}");
        }
        assert_eq!(values("header:empty", payload).as_deref(), Ok(""), "an empty value is there");
    }

    #[test]
    fn only_a_field_in_the_payload_needs_json() {
        for payload in ["plain text", "", "{", r#"{"a":nope}"#, r#"{"a":01}"#] {
            assert_eq!(values("subject payload", payload), Ok(format!("orders.eu {payload}")));
            assert_eq!(values("subject /a", payload), Err(NotJson), "{payload}");
        }
        assert_eq!(values("/a", "12").as_deref(), Ok("-"));
    }

    #[test]
    fn a_wrong_name_is_told() {
        let error = |names: &[String]| Projection::new(names, &PathSets::default(), &[]).unwrap_err().to_string();
        assert!(error(&["subject".to_owned(), "total".to_owned()]).starts_with("`total` is not a field"));
        assert!(Projection::new(&vec!["/a".to_owned(); MOST], &PathSets::default(), &[]).is_ok());
        let many: Vec<_> = (0..=MOST).map(|n| format!("/{n}")).collect();
        assert!(error(&many).starts_with("257 fields are read"));
    }

    /// Conditions and fields that name the same parts share a walk.
    #[test]
    fn a_walk_that_conditions_made_is_not_repeated() {
        let (event, known) = (event(r#"{"n":10,"m":1}"#), PathSets::default());
        let beside = ["/m", "/n"].map(|pointer| pointer.parse().unwrap());
        let conditions = Conditions::new(parse("/n > 9").unwrap(), Duration::ZERO, &known, &beside).unwrap();
        let projection =
            Projection::new(&["/m".to_owned(), "/n".to_owned(), "id".to_owned()], &known, &beside).unwrap();
        let mut facts = EventFacts::new(&event);
        assert_eq!(conditions.test(&mut facts), Ok(true));
        let values = projection.values(&mut facts, &PLACE).unwrap();
        assert_eq!(values[1].as_deref(), Some(&b"10"[..]));
        assert_eq!(facts.walks(), 1);
    }
}
