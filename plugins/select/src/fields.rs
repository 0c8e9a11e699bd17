//! The params `keep` and `rename`: which members of a JSON document stay, and under which names.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What becomes of a document: one tree of names, walked together with the document.
#[derive(Debug)]
pub struct Selection {
    root: Node,
    /// Where renamed values go, by the number in [`Fate::Move`].
    targets: Vec<Target>,
}

#[derive(Debug, Default)]
struct Node {
    /// `None`: as the parent.
    fate: Option<Fate>,
    children: BTreeMap<String, Node>,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Keep,
    Move(usize),
}

#[derive(Debug)]
struct Target {
    pointer: String,
    parents: Vec<String>,
    name: String,
}

impl Selection {
    /// Reads `keep`, JSON pointers parted by commas or lines, and `rename`, pairs `/old=/new` parted likewise. An
    /// empty `keep` keeps all; otherwise what is renamed is kept too. `None` when both are empty.
    ///
    /// # Errors
    ///
    /// Which item is wrong, and how it is written.
    pub fn parse(keep: &str, rename: &str) -> Result<Option<Self>, String> {
        let mut root = Node::default();
        let mut targets: Vec<Target> = Vec::new();
        for pointer in items(keep) {
            let path = tokens(pointer).map_err(|problem| format!("`keep`: {problem}"))?;
            root.descend(path).fate = Some(Fate::Keep);
        }
        if root.children.is_empty() {
            root.fate = Some(Fate::Keep);
        }
        for item in items(rename) {
            let refuse = |problem: String| format!("`rename`: {problem}");
            let (old, new) =
                item.split_once('=').ok_or_else(|| refuse(format!("`{item}` is no pair, write `{item}=/new`")))?;
            let (old, new) = (old.trim(), new.trim());
            let source = root.descend(tokens(old).map_err(refuse)?);
            if let Some(Fate::Move(_)) = source.fate {
                return Err(refuse(format!("`{old}` is renamed twice")));
            }
            source.fate = Some(Fate::Move(targets.len()));
            let mut parents = tokens(new).map_err(refuse)?;
            let name = parents.pop().unwrap_or_default();
            if targets.iter().any(|target| target.pointer == new) {
                return Err(refuse(format!("two fields are renamed to `{new}`")));
            }
            targets.push(Target { pointer: new.to_owned(), parents, name });
        }
        let changes_nothing = root.children.is_empty();
        Ok((!changes_nothing).then_some(Self { root, targets }))
    }

    /// The selected part of `payload`, numbers and the order of members as they were.
    ///
    /// # Errors
    ///
    /// Why this payload can't be selected from: it is no JSON, it is neither object nor array, or a renamed value
    /// would have to go into something that is no object.
    pub fn apply(&self, payload: &[u8]) -> Result<Vec<u8>, String> {
        let document: Value =
            serde_json::from_slice(payload).map_err(|error| format!("the payload is not JSON: {error}"))?;
        let nothing = match &document {
            Value::Object(_) => Value::Object(Map::new()),
            Value::Array(_) => Value::Array(Vec::new()),
            _ => return Err("the payload is neither object nor array, it has no fields".to_owned()),
        };
        let mut moved: Vec<Option<Value>> = self.targets.iter().map(|_| None).collect();
        let mut selected = self.root.pick(document, false, &mut moved).unwrap_or(nothing);
        for (target, value) in self.targets.iter().zip(moved) {
            if let Some(value) = value {
                target.put(&mut selected, value)?;
            }
        }
        serde_json::to_vec(&selected).map_err(|error| format!("the selection can't be written: {error}"))
    }
}

impl Node {
    fn descend(&mut self, path: Vec<String>) -> &mut Self {
        path.into_iter().fold(self, |node, name| node.children.entry(name).or_default())
    }

    /// What stays of `value` here; what is to be moved goes to `moved`. A container of which nothing stays is left
    /// out, unless it was to be kept itself.
    fn pick(&self, value: Value, kept: bool, moved: &mut [Option<Value>]) -> Option<Value> {
        let kept = kept || self.fate.is_some();
        let mut pick = |name: &str, value: Value| match self.children.get(name) {
            Some(child) => child.pick(value, kept, moved),
            None => kept.then_some(value),
        };
        let left = match value {
            Value::Object(members) if !self.children.is_empty() => {
                let members: Map<String, Value> = members
                    .into_iter()
                    .filter_map(|(name, value)| pick(&name, value).map(|value| (name, value)))
                    .collect();
                (kept || !members.is_empty()).then_some(Value::Object(members))
            }
            Value::Array(elements) if !self.children.is_empty() => {
                let elements: Vec<Value> = elements
                    .into_iter()
                    .enumerate()
                    .filter_map(|(index, value)| pick(&index.to_string(), value))
                    .collect();
                (kept || !elements.is_empty()).then_some(Value::Array(elements))
            }
            value => kept.then_some(value),
        };
        match self.fate {
            Some(Fate::Move(target)) => {
                moved[target] = left;
                None
            }
            Some(Fate::Keep) | None => left,
        }
    }
}

impl Target {
    fn put(&self, document: &mut Value, value: Value) -> Result<(), String> {
        let no_object = || format!("the payload has no object that `{}` could be put into", self.pointer);
        let mut place = document;
        for parent in &self.parents {
            let members = place.as_object_mut().ok_or_else(no_object)?;
            place = members.entry(parent.as_str()).or_insert_with(|| Value::Object(Map::new()));
        }
        place.as_object_mut().ok_or_else(no_object)?.insert(self.name.clone(), value);
        Ok(())
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty())
}

/// The names along a JSON pointer (RFC 6901) other than the empty one.
///
/// # Errors
///
/// What is wrong with `pointer`, and what was meant.
pub fn tokens(pointer: &str) -> Result<Vec<String>, String> {
    let Some(path) = pointer.strip_prefix('/') else {
        return Err(format!("`{pointer}` is no JSON pointer, write `/{}`", pointer.replace('.', "/")));
    };
    let unescaped = pointer.replace("~0", "").replace("~1", "");
    if unescaped.contains('~') {
        return Err(format!("`{pointer}` is no JSON pointer: `~` is written `~0`, and `/` in a name `~1`"));
    }
    Ok(path.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str =
        r#"{"id":"o-1","order":{"amount":1.10,"lines":[{"sku":"a","n":1},{"sku":"b","n":2}]},"by":"x"}"#;

    fn select(keep: &str, rename: &str, payload: &str) -> Result<String, String> {
        let selection = Selection::parse(keep, rename)?.ok_or("nothing to do")?;
        selection.apply(payload.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn only_what_is_kept_stays_in_its_order() {
        for (keep, expected) in [
            ("/by, /id", r#"{"id":"o-1","by":"x"}"#),
            ("/order/amount\n/by", r#"{"order":{"amount":1.10},"by":"x"}"#),
            ("/order,/order/amount", &ORDER.replace(r#""id":"o-1","#, "").replace(r#","by":"x""#, "")),
            ("/order/lines/1/sku", r#"{"order":{"lines":[{"sku":"b"}]}}"#),
            ("/absent, /order/absent, /by/absent, /order/lines/7", "{}"),
        ] {
            assert_eq!(select(keep, "", ORDER).unwrap(), expected, "{keep}");
        }
    }

    #[test]
    fn arrays_are_selected_from_by_index() {
        assert_eq!(select("/1/a", "", r#"[{"a":1},{"a":2,"b":3}]"#).unwrap(), r#"[{"a":2}]"#);
        assert_eq!(select("/a", "", r#"[{"a":1}]"#).unwrap(), "[]");
    }

    #[test]
    fn renamed_fields_leave_their_place() {
        for (keep, rename, expected) in [
            ("/id", "/order/amount=/amount", r#"{"id":"o-1","amount":1.10}"#),
            ("/id", "/by=/meta/user/name", r#"{"id":"o-1","meta":{"user":{"name":"x"}}}"#),
            (
                "/id",
                "/order=/o, /order/lines=/lines",
                r#"{"id":"o-1","o":{"amount":1.10},"lines":[{"sku":"a","n":1},{"sku":"b","n":2}]}"#,
            ),
            ("/id,/by", "/id=/by, /by=/id", r#"{"by":"o-1","id":"x"}"#),
            (
                "",
                "/order=/o, /absent=/p",
                &ORDER
                    .replace(r#""order":"#, "\"o\":")
                    .replace(r#","by":"x"}"#, "}")
                    .replace(r#""o-1","#, r#""o-1","by":"x","#),
            ),
            (
                "/order",
                "/order/lines=/lines, /id=/order/id",
                r#"{"order":{"amount":1.10,"id":"o-1"},"lines":[{"sku":"a","n":1},{"sku":"b","n":2}]}"#,
            ),
        ] {
            assert_eq!(select(keep, rename, ORDER).unwrap(), expected, "{keep}; {rename}");
        }
    }

    #[test]
    fn numbers_survive_byte_for_byte() {
        let payload =
            r#"{"a":1.10,"b":12345678901234567890123,"c":-0.0,"d":0.1000000000000000055511151231257827,"z":0}"#;
        assert_eq!(select("/a,/b,/c,/d", "", payload).unwrap(), payload.replace(r#","z":0"#, ""));
    }

    #[test]
    fn escaped_names_are_found() {
        assert_eq!(select("/a~1b, /c~0d", "", r#"{"a/b":1,"c~d":2,"e":3}"#).unwrap(), r#"{"a/b":1,"c~d":2}"#);
        assert_eq!(tokens("/~01").unwrap(), ["~1"]);
        assert_eq!(tokens("/").unwrap(), [""]);
    }

    #[test]
    fn payloads_without_fields_are_refused() {
        for (payload, expected) in [
            ("", "the payload is not JSON: EOF while parsing a value at line 1 column 0"),
            ("17", "the payload is neither object nor array, it has no fields"),
            (r#"{"id":1,"by":2}"#, "the payload has no object that `/by/id` could be put into"),
        ] {
            let result = select("/by", "/id=/by/id", payload);
            assert_eq!(result.unwrap_or_else(|problem| problem), expected, "{payload}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(select("/by", "", &deep).unwrap_err().contains("recursion limit"));
    }

    #[test]
    fn bad_lists_are_refused() {
        for (keep, rename, expected) in [
            ("order.id", "", "`keep`: `order.id` is no JSON pointer, write `/order/id`"),
            ("/a~", "", "`keep`: `/a~` is no JSON pointer: `~` is written `~0`, and `/` in a name `~1`"),
            ("", "/a", "`rename`: `/a` is no pair, write `/a=/new`"),
            ("", "/a=b", "`rename`: `b` is no JSON pointer, write `/b`"),
            ("", "/a=/b, /a=/c", "`rename`: `/a` is renamed twice"),
            ("", "/a=/c, /b=/c", "`rename`: two fields are renamed to `/c`"),
        ] {
            assert_eq!(Selection::parse(keep, rename).unwrap_err(), expected);
        }
        assert!(Selection::parse(" ,\n", "").unwrap().is_none());
    }
}
