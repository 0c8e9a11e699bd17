//! Values from an event, made safe for a name in a path (L82, L130): it neither leaves its folder
//! nor is hidden.

/// Appends letters, digits, `.`, `_` and `-` as they are and `_` for all else, also for a dot that
/// is first or next to another, for a dash at the beginning of a name, which programs take for an
/// option, and for an empty text. Takes `max` characters at most.
pub(super) fn push_safe(name: &mut String, text: &str, max: usize) {
    let start = name.len();
    for char in text.chars().take(max) {
        let before = &name[start..];
        let is_safe = char.is_ascii_alphanumeric()
            || char == '_'
            || (char == '-' && !(before.is_empty() && (start == 0 || name.ends_with('/'))))
            || (char == '.' && !before.ends_with('.') && !before.is_empty());
        name.push(if is_safe { char } else { '_' });
    }
    if name.len() == start {
        name.push('_');
    }
}

/// Returns a text made safe by [`push_safe`].
pub(super) fn safe(text: &str, max: usize) -> String {
    let mut safe = String::new();
    push_safe(&mut safe, text, max);
    safe
}
