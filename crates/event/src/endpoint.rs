//! Callable endpoints of an API: a method and a pattern of paths, such as `GET /mail/v1/users/*`.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Longest path, in bytes, query included.
const MAX_PATH: usize = 8 << 10;

/// Allowed calls: one method, and the paths that match a pattern. In the pattern `*` stands for one
/// segment and a last `**` for one or more. Those of an API with a name begin with it, as in
/// `crm: GET /users/*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Empty for the API without a name.
    api: String,
    method: String,
    pattern: String,
}

/// A path, with or without a query, that every server on the way reads alike: nothing in it is
/// resolved, merged, or decoded to a character with a meaning of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    whole: &'a str,
    path: &'a str,
}

/// Error for a path that must not be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("it has {0} bytes, more than {MAX_PATH}")]
    TooLong(usize),
    #[error("it does not begin with `/`")]
    NotAbsolute,
    #[error("it holds {0:?}, which belongs in no path: `\\` and `#` never, the rest percent-encoded")]
    Character(char),
    #[error("it has an empty segment: `/` separates segments, one at a time")]
    EmptySegment,
    #[error("it has a segment `.` or `..`")]
    Dots,
    #[error("it has a `%` that hides `.`, `/`, `\\`, `%` or a control character, or that is not UTF-8")]
    Escape,
}

/// Error while parsing an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("it is a method and a path, such as `GET /users/*`, behind `NAME: ` for an API with a name")]
    Form,
    #[error("its method is not one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH` and `DELETE`")]
    Method,
    #[error("its path is compared without what follows a `?`")]
    Query,
    #[error("a wildcard must be a whole segment, as in `/users/*/mails`")]
    PartialWildcard,
    #[error("`**` stands for the rest and must come last")]
    RestNotLast,
    #[error("its path can't be called: {0}")]
    Path(PathError),
}

impl Endpoint {
    /// Name of the API, empty for the one without a name.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// Returns whether a call is among these. The query does not matter.
    pub fn allows(&self, method: &str, target: RequestTarget<'_>) -> bool {
        self.method == method && fits(&self.pattern, target.path)
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        match (wanted, segments.next()) {
            ("*", Some(segment)) if !segment.is_empty() => {}
            ("**", Some(segment)) => return !segment.is_empty(),
            (_, Some(segment)) if wanted == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (api, call) = text.split_once(": ").unwrap_or(("", text));
        if !api.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(EndpointError::Form);
        }
        let (method, pattern) = call.split_once(' ').ok_or(EndpointError::Form)?;
        if !METHODS.contains(&method) {
            return Err(EndpointError::Method);
        }
        if pattern.contains('?') {
            return Err(EndpointError::Query);
        }
        RequestTarget::new(pattern).map_err(EndpointError::Path)?;
        if pattern.split('/').any(|segment| segment.contains('*') && segment != "*" && segment != "**") {
            return Err(EndpointError::PartialWildcard);
        }
        if pattern.split('/').rev().skip(1).any(|segment| segment == "**") {
            return Err(EndpointError::RestNotLast);
        }
        Ok(Self { api: api.to_owned(), method: method.to_owned(), pattern: pattern.to_owned() })
    }
}

impl<'a> RequestTarget<'a> {
    /// Checks a path.
    ///
    /// # Errors
    /// Returns an error if the path is ambiguous. It is refused rather than cleaned, as its
    /// intended meaning can't be known.
    pub fn new(whole: &'a str) -> Result<Self, PathError> {
        if whole.len() > MAX_PATH {
            return Err(PathError::TooLong(whole.len()));
        }
        if !whole.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        if let Some(stranger) = whole.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '\\' | '#')) {
            return Err(PathError::Character(stranger));
        }
        let path = whole.split_once('?').map_or(whole, |(path, _)| path);
        // Only inner segments are checked: a trailing slash ends in an empty last segment.
        if path.contains("//") {
            return Err(PathError::EmptySegment);
        }
        path.split('/').try_for_each(check_segment)?;
        Ok(Self { whole, path })
    }

    /// The path without the query.
    pub fn path(self) -> &'a str {
        self.path
    }

    pub fn as_str(self) -> &'a str {
        self.whole
    }
}

fn check_segment(segment: &str) -> Result<(), PathError> {
    for (index, _) in segment.match_indices('%') {
        let hex = segment.get(index + 1..index + 3).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or(PathError::Escape)?;
        if matches!(byte, b'.' | b'/' | b'\\' | b'%') {
            return Err(PathError::Escape);
        }
    }
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| PathError::Escape)?;
    if decoded.contains(char::is_control) {
        return Err(PathError::Escape);
    }
    // Some servers cut off what follows a `;` before they look at the dots.
    if matches!(decoded.split(';').next(), Some("." | "..")) {
        return Err(PathError::Dots);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(endpoint: &str, method: &str, path: &str) -> bool {
        endpoint.parse::<Endpoint>().unwrap().allows(method, RequestTarget::new(path).unwrap())
    }

    #[test]
    fn calls_fit_by_method_and_segments() {
        for (endpoint, method, path, expected) in [
            ("GET /users/me", "GET", "/users/me", true),
            ("GET /users/me", "GET", "/users/me?fields=all&x=/../y", true),
            ("GET /users/me", "POST", "/users/me", false),
            ("GET /users/me", "get", "/users/me", false),
            ("GET /users/me", "GET", "/users/me/mails", false),
            ("GET /users/me", "GET", "/Users/me", false),
            ("GET /users/me", "GET", "/users/me/", false),
            ("GET /users/me/", "GET", "/users/me/", true),
            ("GET /users/*", "GET", "/users/me", true),
            ("GET /users/*", "GET", "/users/a%40b", true),
            ("GET /users/*", "GET", "/users/", false),
            ("GET /users/*", "GET", "/users", false),
            ("GET /users/*", "GET", "/users/me/mails", false),
            ("GET /users/*/mails", "GET", "/users/me/mails", true),
            ("GET /users/*/mails", "GET", "/users/me/files", false),
            ("POST /x/**", "POST", "/x/a", true),
            ("POST /x/**", "POST", "/x/a/b/c", true),
            ("POST /x/**", "POST", "/x", false),
            ("POST /x/**", "POST", "/x/", false),
            ("POST /x/**", "POST", "/xa/b", false),
            ("GET /**", "GET", "/x/a", true),
            ("GET /", "GET", "/", true),
        ] {
            assert_eq!(allows(endpoint, method, path), expected, "{endpoint}: {method} {path}");
        }
    }

    #[test]
    fn calls_of_an_api_with_a_name_begin_with_it() {
        let endpoint: Endpoint = "crm: GET /users/*".parse().unwrap();
        assert_eq!((endpoint.api(), endpoint.allows("GET", RequestTarget::new("/users/1").unwrap())), ("crm", true));
        assert_eq!("GET /users/*".parse::<Endpoint>().unwrap().api(), "");
        assert_eq!("c r m: GET /users".parse::<Endpoint>(), Err(EndpointError::Form));
    }

    /// L53: a path is refused if any server on the way could read it as another one.
    #[test]
    fn paths_that_could_mean_another_are_refused() {
        use PathError::{Character, Dots, EmptySegment, Escape, NotAbsolute, TooLong};
        let long = format!("/{}", "a".repeat(MAX_PATH));
        for (path, expected) in [
            ("", NotAbsolute),
            ("users", NotAbsolute),
            ("http://evil.example/", NotAbsolute),
            ("@evil.example/", NotAbsolute),
            ("//evil.example/", EmptySegment),
            ("/users//me", EmptySegment),
            ("/..", Dots),
            ("/users/../admin", Dots),
            ("/users/./me", Dots),
            ("/users/..", Dots),
            ("/users/..?x", Dots),
            ("/users/..;v=1/admin", Dots),
            ("/users/..%3b/admin", Dots),
            ("/users/%2e%2e/admin", Escape),
            ("/users/.%2E/admin", Escape),
            ("/users/a%2fb", Escape),
            ("/users/a%2Fb", Escape),
            ("/users/%5cadmin", Escape),
            ("/users/%252e%252e/admin", Escape),
            ("/users/%c0%ae%c0%ae/admin", Escape),
            ("/users/%00", Escape),
            ("/users/%0d%0aHost:x", Escape),
            ("/users/%7f", Escape),
            ("/users/%c2%85", Escape),
            ("/users/%", Escape),
            ("/users/%4", Escape),
            ("/users/%+1", Escape),
            ("/users/\\..\\admin", Character('\\')),
            ("/users\\me", Character('\\')),
            ("/users/me#x", Character('#')),
            ("/users/me?x#y", Character('#')),
            ("/users/m e", Character(' ')),
            ("/users/me\r\nHost: x", Character('\r')),
            ("/users/me?x=\n", Character('\n')),
            ("/users/\t../admin", Character('\t')),
            ("/users/\u{ff0e}\u{ff0e}/admin", Character('\u{ff0e}')),
            ("/users/\0", Character('\0')),
            (&long, TooLong(MAX_PATH + 1)),
        ] {
            assert_eq!(RequestTarget::new(path), Err(expected), "{path:?}");
        }
        for path in ["/", "/users/me/", "/a/...", "/a/..b", "/a;v=1/b", "/a/b%20c", "/a/%C3%A9", "/a/*", "/a?q=/../%2e"]
        {
            assert!(RequestTarget::new(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_names_no_calls_is_refused() {
        for (text, expected) in [
            ("/users", EndpointError::Form),
            ("GET", EndpointError::Form),
            ("get /users", EndpointError::Method),
            ("CONNECT /users", EndpointError::Method),
            (" /users", EndpointError::Method),
            ("GET users", EndpointError::Path(PathError::NotAbsolute)),
            ("GET  /users", EndpointError::Path(PathError::NotAbsolute)),
            ("GET /users/../admin", EndpointError::Path(PathError::Dots)),
            ("GET /users?x=*", EndpointError::Query),
            ("GET /users/a*", EndpointError::PartialWildcard),
            ("GET /users/***", EndpointError::PartialWildcard),
            ("GET /users/**/mails", EndpointError::RestNotLast),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(expected), "{text:?}");
        }
    }
}
