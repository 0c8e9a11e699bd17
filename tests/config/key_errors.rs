//! Keys, params and routes that can't be used are refused, with what was perhaps meant.

use crate::config_folder::ConfigFolder;
use crate::refusals::{SETTINGS, in_keys, in_route, problems};

use insta::assert_snapshot;

#[test]
fn a_component_is_not_there() {
    let key = "[[key]]\nkey = \"orders\"\nsubject = \"orders\"\nfilter = \"redact\"\n";
    assert_snapshot!(in_keys(key), @r"
    keys/orders.toml:4:10: filter `redact` has no component: there is no `plugins/redact.wasm`
      components in `plugins/`: `orders`
    ");
    let elsewhere = format!("[folders]\nplugins = \"../plugins\"\n{SETTINGS}");
    assert_snapshot!(problems(&[("trommel.toml", &elsewhere), ("keys/orders.toml", key)]), @r"
    keys/orders.toml:4:10: filter `redact` has no component: there is no `../plugins/redact.wasm`
      there is no component in `../plugins/`
    ");
    let later = format!("[[filter]]\nname = \"order\"\n{SETTINGS}");
    let files = [("plugins/orders.wasm", ""), ("trommel.toml", &later)];
    assert_snapshot!(ConfigFolder::of(&files).warnings(), @r"
    trommel.toml:2:8: warning: filter `order` has no component: there is no `plugins/order.wasm`
      did you mean `orders`?
    ");
}

/// L07
#[test]
fn a_domain_that_is_not_the_names() {
    let text = "[[key]]\nkey = \"orders.large\"\nsubject = \"a\"\ndomain = \"order\"\n\
                [[key]]\nkey = \"orders\"\nsubject = \"a\"\ndomain = \"orders\"\n";
    assert_snapshot!(in_keys(text), @r"
    keys/orders.toml:4:10: the domain of key `orders.large` is `orders`, not `order`
      it is what comes before the first dot of the name: leave `domain` out, or name the key otherwise
    ");
}

/// X10, L03, F07
/// L04
#[test]
fn no_name_is_empty() {
    let ends = "[[source]]\nname = \"\"\ntype = \"lines\"\n[[sink]]\nname = \"\"\ntype = \"null\"\n\
                [[filter]]\nname = \"\"\n[nats]\nurl = \"nats://a\"\n\
                [[stream]]\nname = \"\"\nsubjects = \"a\"\n";
    let keys = "[[key]]\nkey = \"\"\nsubject = \"a\"\n[[key]]\nkey = \"b\"\nsubject = \"b\"\n\
                params = [{ name = \"\" }]\n[[route]]\nname = \"\"\nkey = \"b\"\nsinks = [\"out\"]\n";
    let told = problems(&[("trommel.toml", ends), ("keys/orders.toml", keys)]);
    for place in ["trommel.toml:2:8", "trommel.toml:5:8", "trommel.toml:8:8", "trommel.toml:12:8"] {
        assert!(told.contains(&format!("{place}: `name` can't be ``: ")), "{place}: {told}");
    }
    for place in ["orders.toml:2:7: `key`", "orders.toml:7:20: `name`", "orders.toml:9:8: `name`"] {
        assert!(told.contains(&format!("keys/{place} can't be ``: ")), "{place}: {told}");
    }
}

#[test]
fn keys_that_match_nothing() {
    let text = r#"
[[key]]
key = "a"

[[key]]
key = "b"
event_type = ""

[[key]]
key = "c"
subject = "orders.>.x"

[[key]]
key = "d"
subject = ".orders"

[[key]]
subject = "orders"

[[key]]
key = "e"
name = "f"
subject = "orders"
order_by = "payload"
"#;
    assert_snapshot!(in_keys(text), @r"
    keys/orders.toml:2:1: the key does not say which events it takes
      give it a `subject`, an `event_type` or both
    keys/orders.toml:7:14: `event_type` can't be ``: it is empty
    keys/orders.toml:11:11: `subject` can't be `orders.>.x`: `>` stands for the rest and must come last
    keys/orders.toml:15:11: `subject` can't be `.orders`: it has an empty token: dots separate tokens, one at a time, never first or last
    keys/orders.toml:17:1: `key` is missing
    keys/orders.toml:20:1: `key` and `name` are two words for the same: give one
    keys/orders.toml:24:12: `order_by` can't be `payload`: it is `subject`, `event_type`, `header:NAME`, a JSON pointer such as `/order/id`, or `none`
    ");
}

/// L02: the place of both.
#[test]
fn one_key_in_two_files() {
    let key = "[[key]]\nkey = \"orders\"\nsubject = \"orders\"\n";
    let files = [("trommel.toml", SETTINGS), ("keys/a.toml", key), ("keys/b.toml", key)];
    assert_snapshot!(problems(&files), @r"
    keys/b.toml:2:7: key `orders` appears twice
      first at keys/a.toml:2:7
    ");
}

/// L21, L22
#[test]
fn params_declared_wrongly() {
    let text = r#"
[[key]]
key = "orders"
subject = "orders.>"

[[key.params]]
name = "size"
type = "enum"

[[key.params]]
name = "sizes"
type = "multi"
values = { "a,b" = "both", large = "" }

[[key.params]]
name = "region"
type = "enum"
values = ["eu", "us"]

[[key.params]]
name = "zone"
values = { eu = "Europe" }

[[key.params]]
name = "amount"
type = "int"
default = "many"

[[key.params]]
name = "colour"
type = "enum"
values = { red = "Red", blue = "Blue" }
default = "rde"

[[key.params]]
name = "amount"
type = "xyz"
"#;
    assert_snapshot!(in_keys(text), @r#"
    keys/orders.toml:6:1: an enum or multi needs `values`
      write them with what they mean: `values = { eu = "Europe", us = "America" }`
    keys/orders.toml:13:12: the value `a,b` can't be told apart in a comma-separated list
    keys/orders.toml:13:28: the value `large` does not say what it means
    keys/orders.toml:18:10: `values` must be a table, found an array
    keys/orders.toml:22:10: only enums and multis have `values`
      give it `type = "enum"` or `type = "multi"`
    keys/orders.toml:27:11: param `amount` can't be `many`
      an int is a whole number of 64 bits: invalid digit found in string
    keys/orders.toml:33:11: param `colour` can't be `rde`
      did you mean `red`?
    keys/orders.toml:36:8: param `amount` appears twice
      first at keys/orders.toml:25:8
    keys/orders.toml:37:8: `type` can't be `xyz`
      known words: `bool`, `duration`, `enum`, `float`, `int`, `json`, `list`, `multi`, `secret`, `size` and `string`
    "#);
}

#[test]
fn routes_to_what_is_not_there() {
    assert_snapshot!(in_route("key = \"orders.lrage\"\nsinks = [\"lage\", \"xyz\", \"out\", \"out\"]\n"), @r"
    keys/orders.toml:17:7: there is no key `orders.lrage`
      did you mean `orders.large`?
    keys/orders.toml:18:10: there is no sink `lage`
      did you mean `large`?
    keys/orders.toml:18:18: there is no sink `xyz`
      known sinks: `large` and `out`
    keys/orders.toml:18:32: sink `out` appears twice
      first at keys/orders.toml:18:25
    ");
    assert_snapshot!(in_route("sinks = []\n"), @r"
    keys/orders.toml:16:1: `key` is missing
      without a key it takes events by a `match_regex` over their type, or `fallthrough = true`
    keys/orders.toml:17:9: the route feeds no sink
      to look at a filter's counters alone, add a sink of type `null`
    ");
    assert_snapshot!(in_route("key = \"orders.all\"\n"), @"keys/orders.toml:16:1: `sinks` is missing");
}

/// L129
#[test]
fn routes_without_a_key_that_take_nothing() {
    assert_snapshot!(in_route("match_regex = \"im.(message\"\nsinks = [\"out\"]\n"), @"keys/orders.toml:17:15: `match_regex` can't be `im.(message`: unclosed group");
    assert_snapshot!(in_route("match_regex = \"im\"\nfallthrough = true\nsinks = [\"out\"]\n"), @"keys/orders.toml:16:1: a route takes its events by `key`, by `match_regex` or as `fallthrough`: give one");
    assert_snapshot!(in_route("fallthrough = \"yes\"\nsinks = [\"out\"]\n"), @"keys/orders.toml:17:15: `fallthrough` must be `true` or `false`, found a string");
    assert_snapshot!(in_route("match_regexp = \"im\"\nfallthrough = false\nsinks = [\"out\"]\n"), @r"
    keys/orders.toml:16:1: `key` is missing
      without a key it takes events by a `match_regex` over their type, or `fallthrough = true`
    keys/orders.toml:17:1: unknown field `match_regexp`
      did you mean `match_regex`?
    ");
    let text = r#"name = "orders.all"
match_regex = "^im"
sinks = ["ou"]
params = { min_amount = 1 }

[[route]]
name = "orders.all"
fallthrough = true
sinks = ["out"]
"#;
    assert_snapshot!(in_route(text), @r"
    keys/orders.toml:19:10: there is no sink `ou`
      did you mean `out`?
    keys/orders.toml:20:10: only a route of a key has `params`
    keys/orders.toml:23:8: `orders.all` is a key
      outputs and counters bear the route's name as their key's: give it another
    ");
}

/// L24, L26, L27, X8
#[test]
fn routes_with_the_wrong_params() {
    let text = r#"key = "orders.large"
sinks = ["out"]
params = { region = ["eu"], currency = "eru", paid = "yes", regions = ["eu", "mars"], zzz = 1 }
"#;
    assert_snapshot!(in_route(text), @r"
    keys/orders.toml:16:1: param `min_amount` of key `orders.large` is required
      Smallest amount that passes
    keys/orders.toml:19:12: key `orders.large` has no param `region`
      did you mean `regions`?
    keys/orders.toml:19:40: param `currency` can't be `eru`
      did you mean `eur`?
    keys/orders.toml:19:54: param `paid` can't be `yes`
      a bool is `true` or `false`
    keys/orders.toml:19:71: param `regions` can't be `mars`
      known values: `asia`, `eu` and `us`
    keys/orders.toml:19:87: key `orders.large` has no param `zzz`
      known params: `currency`, `min_amount`, `paid` and `regions`
    ");
    assert_snapshot!(in_route("key = \"orders.all\"\nsinks = [\"out\"]\nparams = { min_amount = 5 }\n"), @r"
    keys/orders.toml:19:12: key `orders.all` has no param `min_amount`
      key `orders.all` takes no params
    ");
    let text = r#"key = "orders.large"
sinks = ["out"]
params = { min_amount = 1.5, paid = { yes = true } }
"#;
    assert_snapshot!(in_route(text), @r#"
    keys/orders.toml:19:25: param `min_amount` can't be `1.5`
      an int is a whole number of 64 bits: invalid digit found in string
    keys/orders.toml:19:37: param `paid` is of type `bool`, not a table
      tables and lists of any kind are declared with `type = "json"`
    "#);
    let text = r#"key = "orders.large"
sinks = ["out"]
params = { min_amount = ["1", "2"], paid = 1 }
"#;
    assert_snapshot!(in_route(text), @r"
    keys/orders.toml:19:25: param `min_amount` takes one value, not a list
    keys/orders.toml:19:44: param `paid` can't be `1`
      a bool is `true` or `false`
    ");
}

#[test]
fn one_route_twice() {
    let route = "key = \"orders.all\"\nsinks = [\"out\", \"large\"]\n";
    let reordered = "[[route]]\nkey = \"orders.all\"\nsinks = [\"large\", \"out\"]\n";
    assert_snapshot!(in_route(&format!("{route}{reordered}")), @r"
    keys/orders.toml:19:1: a route of key `orders.all` with these params and sinks appears twice
      first at keys/orders.toml:16:1
    ");
    assert_snapshot!(in_route(&format!("name = \"a\"\n{route}{reordered}name = \"a\"\n")), @r"
    keys/orders.toml:23:8: route `a` appears twice
      first at keys/orders.toml:17:8
    ");
}

#[test]
fn conditions_that_can_not_be() {
    let key = |conditions: &str| in_keys(&format!("[[key]]\nkey = \"a\"\nsubject = \"a\"\nwhere = {conditions}\n"));
    for (conditions, place, expected) in [
        (r#""/a = 1""#, "4:9", "line 1, column 4: `=` is not an operator, write `==`"),
        (
            "\"\"\"\n/a > 1\norder.id == 2\n\"\"\"",
            "4:9",
            "line 2, column 1: `order.id` is not a field, write `/order/id`",
        ),
        (r#"'/a matches "(x"'"#, "4:9", "`(x` is not a valid regular expression: unclosed group"),
        ("'subject fits a..b'", "4:9", "`a..b` is not a pattern of subjects: "),
        ("7", "4:9", "`where`"),
    ] {
        let said = key(conditions);
        assert!(said.starts_with(&format!("keys/orders.toml:{place}: ")) && said.contains(expected), "{said}");
    }
    let route = in_route("where = \"/a in eu\"\n");
    assert!(route.contains("line 1, column 7: `in` needs a list after it"), "{route}");
}
