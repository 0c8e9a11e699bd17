//! The content of a message as text, by the message's type.

use serde_json::{Map, Value, json};

use crate::{
    json::{elements, text},
    post,
};

/// Somebody who is named in a message.
#[derive(Debug)]
pub struct Mention<'a> {
    /// Stands for the name in the text, as `@_user_1`.
    key: &'a str,
    id: &'a str,
    name: &'a str,
}

impl<'a> Mention<'a> {
    pub fn read(mention: &'a Value) -> Self {
        let id = mention.get("id").unwrap_or(&Value::Null);
        Self { key: text(mention, "key"), id: id.as_str().unwrap_or(text(id, "open_id")), name: text(mention, "name") }
    }

    pub fn says_something(&self) -> bool {
        ![self.key, self.id, self.name].iter().all(|part| part.is_empty())
    }

    pub fn to_json(&self) -> Value {
        let members = [("key", self.key), ("id", self.id), ("name", self.name)];
        let there = members.into_iter().filter(|(_, value)| !value.is_empty());
        Value::Object(there.map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>())
    }
}

/// `content` is the JSON text that messages carry. What is no JSON is said to be none.
pub fn render(kind: &str, content: &str, mentions: &[Mention<'_>]) -> String {
    match kind {
        _ if content.is_empty() => return String::new(),
        "sticker" => return "[Sticker]".to_owned(),
        "video_chat" => return "[Video call]".to_owned(),
        // Its content is a placeholder; the messages must be asked for.
        "merge_forward" => return "[Merged forward]".to_owned(),
        _ => {}
    }
    let Some(of) = described(kind) else { return format!("[{kind}]") };
    let Ok(parsed @ Value::Object(_)) = serde_json::from_str(content) else { return format!("[Invalid {of} JSON]") };
    let field = |name| text(&parsed, name);
    match kind {
        "text" => match field("text") {
            "" => content.to_owned(),
            said => with_names(said, mentions),
        },
        "post" => with_names(&post::render(&parsed), mentions),
        "interactive" => with_names(&card(&parsed), mentions),
        "image" => with_detail("Image", field("image_key")),
        "file" => tag("file", &[("key", field("file_key")), ("name", field("file_name"))]),
        "folder" => tag("folder", &[("key", field("file_key")), ("name", field("file_name"))]),
        "audio" if field("file_key").is_empty() => with_detail("Voice", &duration(&parsed)),
        "audio" => tag("audio", &[("key", field("file_key")), ("duration", &duration(&parsed))]),
        "video" | "media" => tag(
            "video",
            &[
                ("key", field("file_key")),
                ("name", field("file_name")),
                ("duration", &duration(&parsed)),
                ("cover_image_key", field("image_key")),
            ],
        ),
        "share_chat" => with_detail("Chat card", field("chat_id")),
        "share_user" => with_detail("User card", field("user_id")),
        "location" => with_detail("Location", field("name")),
        "share_calendar_event" => calendar("calendar_share", &parsed),
        "calendar" => calendar("calendar_invite", &parsed),
        "general_calendar" => calendar("calendar", &parsed),
        "todo" => todo(&parsed),
        "vote" => vote(&parsed),
        "hongbao" => tag("hongbao", &[("text", field("text"))]),
        _ => system(&parsed),
    }
}

/// What a type of message whose content is JSON is called.
fn described(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "text" => "text",
        "post" => "rich text",
        "interactive" => "card",
        "image" => "image",
        "file" => "file",
        "folder" => "folder",
        "audio" => "audio",
        "video" | "media" => "video",
        "share_chat" => "chat card",
        "share_user" => "user card",
        "location" => "location",
        "share_calendar_event" | "calendar" | "general_calendar" => "calendar",
        "todo" => "todo",
        "vote" => "vote",
        "hongbao" => "hongbao",
        "system" => "system message",
        _ => return None,
    })
}

/// `said` with the names in the place of their keys. Of two keys that begin alike, as `@_user_1` and `@_user_10`, the
/// longer counts.
fn with_names(said: &str, mentions: &[Mention<'_>]) -> String {
    let mut named = String::with_capacity(said.len());
    let mut rest = said;
    while let Some(at) = rest.find('@') {
        named.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = mentions.iter().filter(|mention| !mention.key.is_empty() && !mention.name.is_empty());
        let meant = known.filter(|mention| rest.starts_with(mention.key)).max_by_key(|mention| mention.key.len());
        named.push('@');
        match meant {
            Some(mention) => {
                named.push_str(mention.name);
                rest = &rest[mention.key.len()..];
            }
            None => rest = &rest[1..],
        }
    }
    named.push_str(rest);
    named
}

/// `[what: detail]`
fn with_detail(what: &str, detail: &str) -> String {
    if detail.is_empty() { format!("[{what}]") } else { format!("[{what}: {detail}]") }
}

/// `<name key="value"/>`; what is empty is left out, quotes are escaped as in JSON.
pub fn tag(name: &str, attributes: &[(&str, &str)]) -> String {
    format!("<{name}{}/>", written(attributes))
}

/// A tag around lines.
fn block(name: &str, attributes: &[(&str, &str)], lines: &[String]) -> String {
    let lines: Vec<_> = lines.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
    let inside = if lines.is_empty() { name.to_owned() } else { lines.join("\n") };
    let inside = inside.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<{name}{}>\n{inside}\n</{name}>", written(attributes))
}

fn written(attributes: &[(&str, &str)]) -> String {
    let there = attributes.iter().filter(|(_, value)| !value.is_empty());
    there.map(|(name, value)| format!(" {name}={}", json!(value))).collect()
}

/// Milliseconds, shown in whole seconds.
fn duration(content: &Value) -> String {
    match content.get("duration").and_then(Value::as_f64) {
        Some(millis) if millis > 0.0 => format!("{:.0}s", (millis / 1000.0).round()),
        _ => String::new(),
    }
}

fn calendar(name: &str, event: &Value) -> String {
    let times = [time(text(event, "start_time")), time(text(event, "end_time"))];
    let when = if times.iter().any(String::is_empty) { times.concat() } else { times.join(" ~ ") };
    let attributes = ["open_calendar_id", "open_event_id", "share_token"].map(|name| (name, text(event, name)));
    block(name, &attributes, &[text(event, "summary").to_owned(), when])
}

fn todo(todo: &Value) -> String {
    let summary = todo.get("summary").unwrap_or(&Value::Null);
    let mut lines = vec![text(summary, "title").to_owned()];
    lines.extend(elements(summary, "content").iter().map(post::paragraph));
    let due = time(text(todo, "due_time"));
    if !due.is_empty() {
        lines.push(format!("Due: {due}"));
    }
    block("todo", &[("task_id", text(todo, "task_id"))], &lines)
}

fn vote(vote: &Value) -> String {
    let mut lines = vec![text(vote, "topic").to_owned()];
    let options = elements(vote, "options").iter().filter_map(Value::as_str);
    lines.extend(options.filter(|option| !option.is_empty()).map(|option| format!("• {option}")));
    if vote.get("status").and_then(Value::as_f64).is_some_and(|status| status != 0.0) {
        lines.push("(Closed)".to_owned());
    }
    block("vote", &[], &lines)
}

/// A template with `{names}` of other members in it.
fn system(message: &Value) -> String {
    let mut said = String::new();
    let mut rest = text(message, "template");
    while let Some((before, inside)) = rest.split_once('{') {
        said.push_str(before);
        let Some((name, after)) = inside.split_once('}') else {
            said.push('{');
            rest = inside;
            continue;
        };
        match message.get(name) {
            Some(Value::String(value)) => said.push_str(value),
            Some(Value::Array(names)) => {
                let names: Vec<_> = names.iter().filter_map(Value::as_str).filter(|name| !name.is_empty()).collect();
                said.push_str(&names.join(", "));
            }
            Some(divider @ Value::Object(_)) => said.push_str(text(divider, "text")),
            _ if matches!(name, "from_user" | "to_chatters" | "divider_text") => {}
            _ => said.extend(["{", name, "}"]),
        }
        rest = after;
    }
    said.push_str(rest);
    match said.trim() {
        "" => "[System message]".to_owned(),
        said => said.to_owned(),
    }
}

/// Title and text of a card, a line for each part.
fn card(card: &Value) -> String {
    let mut lines = Vec::new();
    let title = card.pointer("/header/title").unwrap_or(&Value::Null);
    match [text(title, "content"), text(card, "title")].concat().as_str() {
        "" => {}
        title => lines.push(format!("**{title}**")),
    }
    let body = card.get("body").unwrap_or(card);
    elements(body, "elements").iter().for_each(|element| card_part(element, &mut lines));
    if lines.is_empty() { "[Card]".to_owned() } else { lines.join("\n") }
}

fn card_part(part: &Value, lines: &mut Vec<String>) {
    if part.is_array() {
        lines.push(post::paragraph(part));
        return;
    }
    let said = part.get("text").map_or("", |inner| inner.as_str().unwrap_or(text(inner, "content")));
    match text(part, "tag") {
        "button" => lines.push(format!("[{said}]")),
        "a" | "at" | "img" | "hr" | "code_block" => lines.push(post::element(part).trim().to_owned()),
        _ => lines.extend([text(part, "content"), said].into_iter().filter(|said| !said.is_empty()).map(str::to_owned)),
    }
    for inner in ["fields", "columns", "elements", "actions"] {
        elements(part, inner).iter().for_each(|part| card_part(part, lines));
    }
    part.get("extra").into_iter().for_each(|part| card_part(part, lines));
}

/// Seconds or milliseconds since 1970, shown as UTC; empty when it is no time.
fn time(stamp: &str) -> String {
    let Ok(count) = stamp.parse::<u64>() else { return String::new() };
    let seconds = if stamp.len() >= 13 { count / 1000 } else { count };
    // Later than the year 9999 is no time that somebody meant.
    if seconds == 0 || seconds > 253_402_300_799 {
        return String::new();
    }
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(kind: &str, content: &str) -> String {
        super::render(kind, content, &[])
    }

    /// L56: the same texts as upstream's, times excepted, which it shows in the zone that it runs in.
    #[test]
    fn every_type_is_rendered() {
        for (kind, content, expected) in [
            ("text", r#"{"text":"hello"}"#, "hello"),
            ("text", "{}", "{}"),
            ("image", r#"{"image_key":"img_1"}"#, "[Image: img_1]"),
            ("image", "{}", "[Image]"),
            ("file", r#"{"file_key":"f_\"1","file_name":"a.pdf"}"#, r#"<file key="f_\"1" name="a.pdf"/>"#),
            ("folder", r#"{"file_key":"fld_1","file_name":"Docs"}"#, r#"<folder key="fld_1" name="Docs"/>"#),
            ("audio", r#"{"file_key":"a_1","duration":3500}"#, r#"<audio key="a_1" duration="4s"/>"#),
            ("audio", r#"{"duration":3500}"#, "[Voice: 4s]"),
            ("audio", "{}", "[Voice]"),
            (
                "media",
                r#"{"file_key":"f_2","file_name":"c.mp4","duration":5000,"image_key":"img_c"}"#,
                r#"<video key="f_2" name="c.mp4" duration="5s" cover_image_key="img_c"/>"#,
            ),
            ("sticker", r#"{"file_key":"s"}"#, "[Sticker]"),
            ("video_chat", "{}", "[Video call]"),
            ("merge_forward", "Merged and Forwarded Message", "[Merged forward]"),
            ("share_chat", r#"{"chat_id":"oc_1"}"#, "[Chat card: oc_1]"),
            ("share_user", r#"{"user_id":"ou_1"}"#, "[User card: ou_1]"),
            ("location", r#"{"name":"Shanghai"}"#, "[Location: Shanghai]"),
            (
                "share_calendar_event",
                r#"{"summary":"A & B","start_time":"1710500000","end_time":"1710503600000","open_event_id":"e_1"}"#,
                "<calendar_share open_event_id=\"e_1\">\nA &amp; B\n2024-03-15T10:53:20Z ~ 2024-03-15T11:53:20Z\n</calendar_share>",
            ),
            (
                "calendar",
                r#"{"start_time":"1709208000"}"#,
                "<calendar_invite>\n2024-02-29T12:00:00Z\n</calendar_invite>",
            ),
            ("general_calendar", "{}", "<calendar>\ncalendar\n</calendar>"),
            (
                "todo",
                r#"{"task_id":"t","summary":{"title":"Report","content":[[{"tag":"text","text":"slides"}]]},"due_time":"1710500000"}"#,
                "<todo task_id=\"t\">\nReport\nslides\nDue: 2024-03-15T10:53:20Z\n</todo>",
            ),
            (
                "vote",
                r#"{"topic":"Lunch","options":["A","B",""],"status":1}"#,
                "<vote>\nLunch\n• A\n• B\n(Closed)\n</vote>",
            ),
            ("hongbao", r#"{"text":"恭喜发财"}"#, "<hongbao text=\"恭喜发财\"/>"),
            (
                "system",
                r#"{"template":"{from_user} invited {to_chatters} to {name}{divider_text}: {what","from_user":["Alice"],"to_chatters":["Bob","Carol"],"name":"{Room}"}"#,
                "Alice invited Bob, Carol to {Room}: {what",
            ),
            ("system", "{}", "[System message]"),
            ("new_kind", "{}", "[new_kind]"),
            ("share_user", "{invalid", "[Invalid user card JSON]"),
            ("image", "[]", "[Invalid image JSON]"),
            ("text", "", ""),
        ] {
            assert_eq!(render(kind, content), expected, "{kind} {content}");
        }
    }

    #[test]
    fn cards_give_their_texts() {
        let content = r#"{"header":{"title":{"tag":"plain_text","content":"Approval"}},"elements":[
            {"tag":"div","text":{"content":"3 days off"},"fields":[{"text":{"content":"from Monday"}}]},
            {"tag":"hr"},{"tag":"action","actions":[{"tag":"button","text":{"content":"Yes"}},{"tag":"button","text":{"content":"No"}}]},
            {"tag":"markdown","content":"**now**"}]}"#;
        assert_eq!(render("interactive", content), "**Approval**\n3 days off\nfrom Monday\n---\n[Yes]\n[No]\n**now**");
        let pushed = r#"{"title":"Approval","elements":[[{"tag":"text","text":"by "},{"tag":"a","text":"Ada","href":"https://x.test"}]]}"#;
        assert_eq!(render("interactive", pushed), "**Approval**\nby [Ada](https://x.test)");
        assert_eq!(render("interactive", "{}"), "[Card]");
    }

    /// Upstream replaces in any order, so that `@_user_1` may take the start of `@_user_10`.
    #[test]
    fn names_take_the_place_of_their_own_keys() {
        let mention = |key, name| Mention { key, id: "", name };
        let mentions = [mention("@_user_1", "Alice"), mention("@_user_10", "@_user_1"), mention("", "Nobody")];
        let said = |text: &str| super::render("text", &json!({ "text": text }).to_string(), &mentions);
        assert_eq!(said("@_user_10, @_user_1 a@b @_user_2 @"), "@@_user_1, @Alice a@b @_user_2 @");
    }

    #[test]
    fn times_are_utc() {
        for (stamp, expected) in [
            ("951782400", "2000-02-29T00:00:00Z"),
            ("4107542399", "2100-02-28T23:59:59Z"),
            ("1704067199000", "2023-12-31T23:59:59Z"),
            ("18446744073709551615", ""),
            ("0", ""),
            ("-1", ""),
            ("soon", ""),
        ] {
            assert_eq!(time(stamp), expected, "{stamp}");
        }
    }
}
