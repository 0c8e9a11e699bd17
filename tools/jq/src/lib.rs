//! Programs in the jq language, for one JSON text at a time.

use jaq_core::{
    Ctx, Vars,
    data::JustLut,
    load::{Arena, Error, File, Loader},
    unwrap_valr,
};
use jaq_json::{Val, read, write};

type Filter = jaq_core::Filter<JustLut<Val>>;

/// A compiled program.
pub struct Jq(Filter);

impl Jq {
    /// # Errors
    /// What can't be understood, and where.
    pub fn compile(program: &str) -> Result<Self, String> {
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let arena = Arena::default();
        let modules = Loader::new(definitions).load(&arena, File { code: program, path: () });
        let modules =
            modules.map_err(|errors| errors.into_iter().map(|(_, error)| unreadable(error)).collect::<String>())?;
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let compiled = jaq_core::Compiler::default().with_funs(functions).compile(modules);
        compiled.map(Self).map_err(|errors| {
            let undefined = errors.into_iter().flat_map(|(_, undefined)| undefined);
            let undefined: Vec<_> =
                undefined.map(|(name, what)| format!("there is no {} `{name}`", what.as_str())).collect();
            undefined.join("; ")
        })
    }

    /// Every result for one JSON text, each as JSON on one line. What fails ends the results.
    pub fn results(&self, json: &[u8]) -> Vec<Result<Vec<u8>, String>> {
        let input = match read::parse_single(json) {
            Ok(input) => input,
            Err(error) => return vec![Err(format!("this is not JSON: {error}"))],
        };
        let context = Ctx::<JustLut<Val>>::new(&self.0.lut, Vars::new([]));
        let results = self.0.id.run((context, input)).map(unwrap_valr);
        results.map(|result| line(&write::Pp::default(), &result.map_err(|error| error.to_string())?)).collect()
    }
}

/// A JSON text in the colours of a terminal. `None` when it is no JSON.
pub fn in_colour(json: &[u8]) -> Option<Vec<u8>> {
    let colours = write::Pp { styles: write::Styles::ansi(), ..write::Pp::default() };
    line(&colours, &read::parse_single(json).ok()?).ok()
}

fn line(style: &write::Pp, value: &Val) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    write::write(&mut line, style, 0, value).map_err(|error| error.to_string())?;
    Ok(line)
}

fn unreadable(error: Error<&str>) -> String {
    let at = |expected: &str, rest: &str| match rest {
        "" => format!("expected {expected} at the end"),
        rest => format!("expected {expected} at `{rest}`"),
    };
    let places: Vec<_> = match error {
        Error::Io(errors) => errors.into_iter().map(|(path, error)| format!("can't read `{path}`: {error}")).collect(),
        Error::Lex(errors) => errors.into_iter().map(|(expected, rest)| at(expected.as_str(), rest)).collect(),
        Error::Parse(errors) => errors.into_iter().map(|(expected, rest)| at(expected.as_str(), rest)).collect(),
    };
    places.join("; ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn run(program: &str, json: &str) -> Vec<Result<String, String>> {
        let jq = Jq::compile(program).unwrap();
        jq.results(json.as_bytes()).into_iter().map(|line| line.map(|line| String::from_utf8(line).unwrap())).collect()
    }

    #[test]
    fn every_result_is_a_line() {
        assert_eq!(run(".a[]", r#"{"a":[1,"x",null]}"#), [Ok("1".into()), Ok("\"x\"".into()), Ok("null".into())]);
        assert_eq!(run("select(.n > 2)", r#"{"n":1}"#), []);
        assert_eq!(run("{n: .n, big: (.n > 2)}", r#"{"n": 3}"#), [Ok(r#"{"n":3,"big":true}"#.into())]);
    }

    #[test]
    fn what_fails_is_an_error() {
        let results = run(".a.b", r#"{"a":1}"#);
        assert!(matches!(&results[..], [Err(error)] if error.contains("index")), "{results:?}");
        assert!(matches!(&run(".", "{")[..], [Err(_)]));
    }

    #[test]
    fn a_program_that_can_not_be_read_says_where() {
        let error = |program: &str| Jq::compile(program).err().unwrap();
        insta::assert_snapshot!(error(".a |"), @"expected term at the end");
        insta::assert_snapshot!(error("nosuch(.a)"), @"there is no filter `nosuch`");
    }
}
