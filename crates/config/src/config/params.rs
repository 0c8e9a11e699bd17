//! Params: declarations of a key, and checks of given values. Values are checked here, before any
//! component receives them, in this order: defaults for absent ones, then required ones, then
//! unknown names, then types (L24, X8).

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::{Number, json};

use super::{ParamDeclaration, ParamKind, nearest::suggest, values};

/// Error in one of the given values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamProblem {
    pub param: String,
    pub message: String,
    pub hint: Option<String>,
}

impl ParamKind {
    pub const ALL: [(&'static str, Self); 11] = [
        ("string", Self::String),
        ("enum", Self::Enum),
        ("multi", Self::Multi),
        ("bool", Self::Bool),
        ("int", Self::Int),
        ("float", Self::Float),
        ("duration", Self::Duration),
        ("size", Self::Size),
        ("json", Self::Json),
        ("list", Self::List),
        ("secret", Self::Secret),
    ];

    /// The word for it in the configuration.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    pub fn has_values(self) -> bool {
        matches!(self, Self::Enum | Self::Multi)
    }
}

/// Checks `given` against the declarations of `key`. The result includes the defaults, is sorted by
/// name, and has every value in canonical form: a multi sorted and without repeats (L26), an int
/// without leading zeros. It has no secrets: a given one is refused, because only the router's
/// files say where they are kept.
///
/// # Errors
/// Returns every param that is missing, unknown or of the wrong type, sorted by name (L27).
pub fn check_params(
    key: &str,
    declared: &[ParamDeclaration],
    given: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, Vec<ParamProblem>> {
    let mut params = BTreeMap::new();
    let mut problems = Vec::new();
    for declaration in declared {
        let name = &declaration.name;
        match given.get(name).or(declaration.default.as_ref()).map(|value| normalize(declaration, value)) {
            Some(Ok(value)) => {
                params.insert(name.clone(), value);
            }
            Some(Err(problem)) => problems.push(problem),
            None if declaration.required && declaration.secret.is_none() => problems.push(ParamProblem {
                param: name.clone(),
                message: format!("param `{name}` of key `{key}` is required"),
                hint: (!declaration.description.is_empty()).then(|| declaration.description.clone()),
            }),
            None => {}
        }
    }
    let names = declared.iter().map(|declaration| declaration.name.as_str());
    for param in given.keys().filter(|name| names.clone().all(|declared| declared != name.as_str())) {
        let nothing = format!("key `{key}` takes no params");
        problems.push(ParamProblem {
            param: param.clone(),
            message: format!("key `{key}` has no param `{param}`"),
            hint: Some(suggest(param, names.clone(), "known params", &nothing)),
        });
    }
    problems.sort_by(|a, b| a.param.cmp(&b.param));
    if problems.is_empty() { Ok(params.into_iter().collect()) } else { Err(problems) }
}

/// The canonical form of a value, if it is of the declared type.
pub fn normalize(declaration: &ParamDeclaration, value: &str) -> Result<String, ParamProblem> {
    let ParamDeclaration { name, kind, values, .. } = declaration;
    let allowed = || values.iter().map(|(value, _)| value.as_str());
    let refuse = |value: &str, hint: String| ParamProblem {
        param: name.clone(),
        message: format!("param `{name}` can't be `{value}`"),
        hint: Some(hint),
    };
    let one_of = |value: &str| match allowed().find(|allowed| *allowed == value) {
        Some(value) => Ok(value.to_owned()),
        None => Err(refuse(value, suggest(value, allowed(), "known values", "it has no values"))),
    };
    match kind {
        ParamKind::String => Ok(value.to_owned()),
        ParamKind::Enum => one_of(value),
        ParamKind::Multi => {
            let chosen = value.split(',').map(str::trim).filter(|value| !value.is_empty());
            let mut chosen = chosen.map(one_of).collect::<Result<Vec<_>, _>>()?;
            chosen.sort_unstable();
            chosen.dedup();
            Ok(chosen.join(","))
        }
        ParamKind::Bool if matches!(value, "true" | "false") => Ok(value.to_owned()),
        ParamKind::Bool => Err(refuse(value, "a bool is `true` or `false`".into())),
        ParamKind::Int => match value.parse::<i64>() {
            Ok(number) => Ok(number.to_string()),
            Err(error) => Err(refuse(value, format!("an int is a whole number of 64 bits: {error}"))),
        },
        ParamKind::Float => match value.parse().ok().and_then(Number::from_f64) {
            Some(number) => Ok(number.to_string()),
            None => Err(refuse(value, "a float is a number such as `0.5` or `1e3`".into())),
        },
        ParamKind::Duration => match values::duration(value) {
            Ok(duration) if duration.subsec_nanos() % 1_000_000 == 0 => Ok(format!("{}ms", duration.as_millis())),
            Ok(_) => Err(refuse(value, "a duration has whole milliseconds".into())),
            Err(error) => Err(refuse(value, format!("a duration is such as `5m` or `1h 30m`: {error}"))),
        },
        ParamKind::Size => match values::size(value) {
            Ok(bytes) => Ok(bytes.to_string()),
            Err(error) => Err(refuse(value, format!("a size is a number of bytes, or such as `64MiB`: {error}"))),
        },
        ParamKind::Json => match serde_json::from_str::<IgnoredAny>(value) {
            Ok(_) => Ok(value.trim().to_owned()),
            Err(error) => Err(refuse(value, format!("it is not JSON: {error}"))),
        },
        ParamKind::List if value.starts_with('[') => match serde_json::from_str::<Vec<String>>(value) {
            Ok(texts) => Ok(json!(texts).to_string()),
            Err(error) => Err(refuse(value, format!("a list has texts alone: {error}"))),
        },
        ParamKind::List => Ok(json!([value]).to_string()),
        // The value is not shown.
        ParamKind::Secret => Err(ParamProblem {
            param: name.clone(),
            message: format!("param `{name}` is a secret, which is not written down"),
            hint: Some(
                "in the router's files, say where it is kept: `{ env = \"NAME\" }` or `{ file = \"PATH\" }`".into(),
            ),
        }),
    }
}

/// The text that filters are handed for a param of the canonical form `value`.
pub fn handed(kind: ParamKind, value: &str) -> &str {
    match kind {
        ParamKind::Duration => value.strip_suffix("ms").unwrap_or(value),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declare(name: &str, kind: ParamKind) -> ParamDeclaration {
        let values = if kind.has_values() { &["large", "medium", "small"][..] } else { &[] };
        ParamDeclaration {
            name: name.into(),
            kind,
            required: false,
            default: None,
            secret: None,
            description: String::new(),
            values: values.iter().map(|value| ((*value).to_owned(), "a size".to_owned())).collect(),
            subscription_key: false,
        }
    }

    fn required(name: &str) -> ParamDeclaration {
        ParamDeclaration { required: true, ..declare(name, ParamKind::String) }
    }

    fn check(declared: &[ParamDeclaration], given: &[(&str, &str)]) -> Result<Vec<(String, String)>, Vec<String>> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let line = |problem: ParamProblem| format!("{} ({})", problem.message, problem.hint.unwrap_or_default());
        check_params("orders", declared, &given).map_err(|problems| problems.into_iter().map(line).collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// L24 (1)
    #[test]
    fn a_default_fills_in_for_what_is_absent_only() {
        let declared = [ParamDeclaration { default: Some("eu".into()), ..declare("region", ParamKind::String) }];
        assert_eq!(check(&declared, &[]), Ok(pairs(&[("region", "eu")])));
        assert_eq!(check(&declared, &[("region", "")]), Ok(pairs(&[("region", "")])));
    }

    /// L24 (2)
    #[test]
    fn an_empty_value_satisfies_required() {
        assert_eq!(check(&[required("region")], &[("region", "")]), Ok(pairs(&[("region", "")])));
        assert_eq!(
            check(&[required("region")], &[]),
            Err(vec!["param `region` of key `orders` is required ()".into()])
        );
    }

    /// L25
    #[test]
    fn a_default_satisfies_required() {
        let declared = [ParamDeclaration { default: Some("eu".into()), ..required("region") }];
        assert_eq!(check(&declared, &[]), Ok(pairs(&[("region", "eu")])));
    }

    /// L24 (3) and L27
    #[test]
    fn every_unknown_name_is_reported_in_order() {
        let declared = [declare("min_amount", ParamKind::Int), declare("region", ParamKind::String)];
        assert_eq!(
            check(&declared, &[("zone", "x"), ("regoin", "eu"), ("amount", "1")]),
            Err(vec![
                "key `orders` has no param `amount` (did you mean `min_amount`?)".into(),
                "key `orders` has no param `regoin` (did you mean `region`?)".into(),
                "key `orders` has no param `zone` (known params: `min_amount` and `region`)".into(),
            ])
        );
    }

    /// L24 (3)
    #[test]
    fn a_key_without_params_says_so() {
        assert_eq!(
            check(&[], &[("zone", "x")]),
            Err(vec!["key `orders` has no param `zone` (key `orders` takes no params)".into()])
        );
    }

    /// L21, L26 and X8
    #[test]
    fn types_are_enforced() {
        let value = |kind, value: &str| check(&[declare("p", kind)], &[("p", value)]).map(|params| params[0].1.clone());
        assert_eq!(value(ParamKind::String, " a,b "), Ok(" a,b ".into()));
        assert_eq!(value(ParamKind::Enum, "large"), Ok("large".into()));
        assert_eq!(
            value(ParamKind::Enum, "lage"),
            Err(vec!["param `p` can't be `lage` (did you mean `large`?)".into()])
        );
        assert_eq!(
            value(ParamKind::Enum, ""),
            Err(vec!["param `p` can't be `` (known values: `large`, `medium` and `small`)".into()])
        );
        assert_eq!(value(ParamKind::Bool, "true"), Ok("true".into()));
        assert_eq!(
            value(ParamKind::Bool, "yes"),
            Err(vec!["param `p` can't be `yes` (a bool is `true` or `false`)".into()])
        );
        assert_eq!(value(ParamKind::Int, "-0500"), Ok("-500".into()));
        for bad in ["", "1.5", "ten", "9223372036854775808"] {
            let problems = value(ParamKind::Int, bad).unwrap_err();
            assert!(problems[0].starts_with(&format!("param `p` can't be `{bad}`")), "{problems:?}");
        }
    }

    #[test]
    fn types_with_units_and_structure_have_one_form() {
        let value = |kind, value: &str| check(&[declare("p", kind)], &[("p", value)]).map(|params| params[0].1.clone());
        for (kind, given, expected) in [
            (ParamKind::Float, "5", "5.0"),
            (ParamKind::Float, "-1e3", "-1000.0"),
            (ParamKind::Duration, "1m 30s", "90000ms"),
            (ParamKind::Duration, "1.5s", "1500ms"),
            (ParamKind::Size, "64MiB", "67108864"),
            (ParamKind::Json, " {\"b\": 1.50, \"a\": []} ", "{\"b\": 1.50, \"a\": []}"),
            (ParamKind::List, "[\"b\", \"a\"]", "[\"b\",\"a\"]"),
            (ParamKind::List, "b, a", "[\"b, a\"]"),
        ] {
            assert_eq!(value(kind, given).as_deref(), Ok(expected), "{given}");
            assert_eq!(value(kind, expected).as_deref(), Ok(expected), "it has one form");
        }
        assert_eq!(handed(ParamKind::Duration, "90000ms"), "90000");
        for (kind, given, expected) in [
            (ParamKind::Float, "NaN", "param `p` can't be `NaN` (a float is a number such as `0.5` or `1e3`)"),
            (ParamKind::Duration, "5", "param `p` can't be `5` (a duration is such as `5m` or `1h 30m`: "),
            (ParamKind::Duration, "5us", "param `p` can't be `5us` (a duration has whole milliseconds)"),
            (ParamKind::Size, "much", "param `p` can't be `much` (a size is a number of bytes, or such as `64MiB`: "),
            (ParamKind::Json, "{", "param `p` can't be `{` (it is not JSON: EOF"),
            (ParamKind::List, "[1]", "param `p` can't be `[1]` (a list has texts alone: "),
        ] {
            let problems = value(kind, given).unwrap_err();
            assert!(problems[0].starts_with(expected), "{problems:?}");
        }
    }

    #[test]
    fn a_secret_is_neither_taken_as_text_nor_shown() {
        let problems = check(&[declare("p", ParamKind::Secret)], &[("p", "s3cret")]).unwrap_err();
        assert!(problems[0].starts_with("param `p` is a secret, which is not written down (in the router's files"));
        assert!(!problems[0].contains("s3cret"));
    }

    /// L26: different spellings have one form.
    #[test]
    fn a_multi_is_sorted_and_without_repeats() {
        let multi = |value: &str| check(&[declare("p", ParamKind::Multi)], &[("p", value)]);
        assert_eq!(multi("small, large,small"), Ok(pairs(&[("p", "large,small")])));
        assert_eq!(multi(""), Ok(pairs(&[("p", "")])));
        assert_eq!(multi("small,lrage"), Err(vec!["param `p` can't be `lrage` (did you mean `large`?)".into()]));
    }

    #[test]
    fn params_come_out_sorted_by_name() {
        let declared = [declare("b", ParamKind::Int), declare("a", ParamKind::Int)];
        assert_eq!(check(&declared, &[("b", "2"), ("a", "1")]), Ok(pairs(&[("a", "1"), ("b", "2")])));
    }
}
