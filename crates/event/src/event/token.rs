//! Escaping of arbitrary text for use in a subject (H08).

use std::borrow::Cow;

/// Escapes a text as one token of a subject: an empty one becomes `_`, and so does each dot,
/// wildcard, space, tab and line break. The rest is kept.
pub fn token(text: &str) -> Cow<'_, str> {
    const PARTING: [char; 7] = ['.', '*', '>', ' ', '\t', '\r', '\n'];
    match text {
        "" => Cow::Borrowed("_"),
        _ if text.contains(PARTING) => Cow::Owned(text.replace(PARTING, "_")),
        _ => Cow::Borrowed(text),
    }
}

/// Joins exactly these tokens to a subject, each as [`token`] escapes it.
pub fn subject_of<'a>(tokens: impl IntoIterator<Item = &'a str>) -> String {
    let tokens: Vec<_> = tokens.into_iter().map(token).collect();
    tokens.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::check_subject;

    /// H08 to H10
    #[test]
    fn tokens_stay_as_many_as_they_are() {
        for (tokens, subject) in [
            (["no des", "n*1", "act>ion"], "no_des.n_1.act_ion"),
            (["", "", ""], "_._._"),
            (["nodes", "a.b", "started"], "nodes.a_b.started"),
            (["a\tb", "c\r\nd", "é-1_$"], "a_b.c__d.é-1_$"),
            ([".", ">", "*"], "_._._"),
        ] {
            assert_eq!(subject_of(tokens), subject);
            assert_eq!(check_subject(subject), Ok(()));
        }
    }
}
