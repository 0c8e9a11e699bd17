//! Pretty-printed JSON: one member or element per line.

/// Deepest level that is broken into lines: each further level makes every line below it longer.
const DEEPEST: usize = 16;

/// Formats `json` with line breaks and two spaces a level. Values and the order of members are
/// kept. Text that is not JSON comes out as other text that is not JSON.
pub fn pretty(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let (mut in_string, mut escaped) = (false, false);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            out.push(byte);
            continue;
        }
        // An empty object or array stays on its line, which is known only now.
        let opened = matches!(out.last(), Some(b'{' | b'['));
        match byte {
            byte if byte.is_ascii_whitespace() => continue,
            b'}' | b']' => {
                if !opened {
                    new_line(&mut out, depth, depth.saturating_sub(1));
                }
                depth = depth.saturating_sub(1);
            }
            _ if opened => new_line(&mut out, depth, depth),
            _ => {}
        }
        out.push(byte);
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b',' => new_line(&mut out, depth, depth),
            b':' => out.push(b' '),
            _ => {}
        }
    }
    out
}

/// Begins a line at `depth`.
fn new_line(out: &mut Vec<u8>, depth: usize, indent: usize) {
    if depth <= DEEPEST {
        out.push(b'\n');
        out.resize(out.len() + 2 * indent, b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        String::from_utf8(pretty(json.as_bytes())).unwrap()
    }

    #[test]
    fn members_and_elements_have_lines_of_their_own() {
        assert_eq!(
            text(r#" {"b":1.10,"a" : [ {}, [ ], "x: [1,\"2\"]\\",{"c":null}]} "#),
            "{\n  \"b\": 1.10,\n  \"a\": [\n    {},\n    [],\n    \"x: [1,\\\"2\\\"]\\\\\",\n    {\n      \"c\": null\n    }\n  ]\n}"
        );
        assert_eq!(text("17"), "17");
        assert_eq!(text(r#""{""#), r#""{""#);
    }

    #[test]
    fn depth_costs_no_memory() {
        let deep = format!("{}1,2{}", "[".repeat(100_000), "]".repeat(100_000));
        let pretty = text(&deep);
        assert!(pretty.len() < deep.len() + 2000, "{}", pretty.len());
        assert_eq!(pretty.split_ascii_whitespace().collect::<String>(), deep);
    }
}
