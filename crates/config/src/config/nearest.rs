//! "Did you mean" hints: the names nearest to an unknown one.

/// Longest list of names in a hint.
const LISTED: usize = 40;

/// At most three candidates: first those that contain `name` or are contained in it, then those
/// within a few typing mistakes (L115).
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let name = name.to_lowercase();
    // Two mistakes in a name of two letters match every such name.
    let tolerance = (name.chars().count() / 5).max(2).min(name.chars().count().saturating_sub(1));
    let mut ranked: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let folded = candidate.to_lowercase();
            // One or two letters are contained in too many names.
            let telling = name.len().min(folded.len()) > 2;
            if telling && (folded.contains(&name) || name.contains(&folded)) {
                return Some((0, candidate));
            }
            let mistakes = strsim::damerau_levenshtein(&name, &folded);
            (mistakes <= tolerance).then_some((mistakes, candidate))
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().take(3).map(|(_, candidate)| candidate).collect()
}

/// A hint that names the nearest candidates. If none is near it lists all of them after
/// `introduction`; if there are none it is `nothing`.
pub fn suggest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    introduction: &str,
    nothing: &str,
) -> String {
    let near = nearest(name, candidates.clone());
    if !near.is_empty() {
        return format!("did you mean {}?", quoted(near, "or"));
    }
    let mut all: Vec<&str> = candidates.into_iter().collect();
    all.sort_unstable();
    if all.is_empty() { nothing.to_owned() } else { format!("{introduction}: {}", quoted(all, "and")) }
}

/// A list of names: `` `a`, `b` and `c` ``.
pub fn quoted<'a>(names: impl IntoIterator<Item = &'a str>, conjunction: &str) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if let Some(more @ 1..) = names.len().checked_sub(LISTED) {
        names.truncate(LISTED);
        names.push(format!("{more} more"));
    }
    match names.pop() {
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} {conjunction} {last}", names.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L115
    #[test]
    fn parts_come_before_typing_mistakes_and_three_are_enough() {
        let keys = ["orders.large", "orders.small", "order", "oders", "invoices", "orders"];
        assert_eq!(nearest("orders", keys), ["order", "orders", "orders.large"]);
        assert_eq!(nearest("ordrs", ["orders", "invoices"]), ["orders"]);
        assert_eq!(nearest("Orders", ["orders"]), ["orders"]);
    }

    #[test]
    fn short_names_are_not_near_everything() {
        assert_eq!(nearest("id", ["by", "ttl"]), [""; 0]);
        assert_eq!(nearest("", ["by"]), [""; 0]);
    }

    #[test]
    fn without_a_near_name_all_are_listed() {
        assert_eq!(suggest("x", ["ttl", "by"], "known fields", "none"), "known fields: `by` and `ttl`");
        assert_eq!(suggest("x", [], "known fields", "there are none"), "there are none");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..LISTED + 2).map(|number| format!("key-{number:02}")).collect();
        let list = quoted(names.iter().map(String::as_str), "and");
        assert!(list.ends_with("`key-39` and 2 more"), "{list}");
    }
}
