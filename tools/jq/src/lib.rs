//! Programs in the jq language, for one JSON text at a time.

use jaq_core::{
    Ctx, Vars,
    data::JustLut,
    load::{Arena, Error, File, Loader},
    unwrap_valr,
};
use jaq_json::{Val, read, write};

type Filter = jaq_core::Filter<JustLut<Val>>;

/// Levels that a text may be nested for a program, as in jq itself. Each takes some of the stack.
pub const MAX_DEPTH: usize = 10_000;
/// Levels for which any stack is large enough.
const MAX_COLOURED: usize = 500;

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

    /// The results for one JSON text as they are made, each on one line. What fails ends them. They
    /// are JSON but for numbers that JSON has not, which are written as `NaN` and `Infinity`.
    ///
    /// # Errors
    /// When the text is no JSON, or nested too deeply.
    pub fn results(&self, json: &[u8]) -> Result<impl Iterator<Item = Result<Vec<u8>, String>>, String> {
        if depth(json) > MAX_DEPTH {
            return Err(format!("this is nested more than {MAX_DEPTH} levels deep"));
        }
        let input = read::parse_single(json).map_err(|error| format!("this is not JSON: {error}"))?;
        let context = Ctx::<JustLut<Val>>::new(&self.0.lut, Vars::new([]));
        let results = self.0.id.run((context, input)).map(unwrap_valr);
        Ok(results.map(|result| line(&write::Pp::default(), &result.map_err(|error| error.to_string())?)))
    }
}

/// A JSON text in the colours of a terminal. `None` when it is no JSON, or nested too deeply for
/// people to read.
pub fn in_colour(json: &[u8]) -> Option<Vec<u8>> {
    if depth(json) > MAX_COLOURED {
        return None;
    }
    let colours = write::Pp { styles: write::Styles::ansi(), ..write::Pp::default() };
    line(&colours, &read::parse_single(json).ok()?).ok()
}

/// How deep arrays and objects are nested. Nothing is checked otherwise.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut is_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
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
        let results = match jq.results(json.as_bytes()) {
            Ok(results) => results,
            Err(error) => return vec![Err(error)],
        };
        results.map(|line| line.map(|line| String::from_utf8(line).unwrap())).collect()
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
    fn results_come_one_by_one() {
        let jq = Jq::compile("range(infinite)").unwrap();
        let first: Vec<_> = jq.results(b"0").unwrap().take(3).map(Result::unwrap).collect();
        assert_eq!(first, [b"0", b"1", b"2"]);
    }

    #[test]
    fn depth_is_what_is_nested_and_no_text() {
        for (json, expected) in [("1", 0), ("[]", 1), (r#"[{"a":[]},[]]"#, 3), (r#"["[[\"[["]"#, 1), ("]]]", 0)] {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
        let deep = |levels| [vec![b'['; levels], vec![b']'; levels]].concat();
        assert!(in_colour(&deep(MAX_COLOURED)).is_some() && in_colour(&deep(MAX_COLOURED + 1)).is_none());
        let error = Jq::compile(".").unwrap().results(&deep(100_000)).err().unwrap();
        assert_eq!(error, "this is nested more than 10000 levels deep");
    }

    #[test]
    fn a_program_that_can_not_be_read_says_where() {
        let error = |program: &str| Jq::compile(program).err().unwrap();
        insta::assert_snapshot!(error(".a |"), @"expected term at the end");
        insta::assert_snapshot!(error("nosuch(.a)"), @"there is no filter `nosuch`");
    }
}
