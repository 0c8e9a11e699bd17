//! Rich text: paragraphs of elements, as Markdown.

use serde_json::Value;

use crate::{
    content::tag,
    json::{elements, text},
};

const LOCALES: [&str; 3] = ["zh_cn", "en_us", "ja_jp"];

/// Title, paragraphs and attachments of a message of type `post`.
pub fn render(content: &Value) -> String {
    let mut lines = Vec::new();
    if let Some(body) = body(content) {
        lines.push(text(body, "title").to_owned());
        lines.extend(elements(body, "content").iter().map(paragraph));
    }
    let files = elements(content, "files").iter().filter(|file| !text(file, "file_key").is_empty());
    lines.extend(files.map(|file| {
        let is_folder = file.get("is_folder").and_then(Value::as_bool).unwrap_or(false);
        tag(
            if is_folder { "folder" } else { "file" },
            &[("key", text(file, "file_key")), ("name", text(file, "file_name"))],
        )
    }));
    let rendered = lines.join("\n");
    match rendered.trim() {
        "" => "[Rich text message]".to_owned(),
        rendered => rendered.to_owned(),
    }
}

/// What is said in one language; a received message has no other. A message that was sent may have several.
fn body(content: &Value) -> Option<&Value> {
    if content.get("content").is_some() || content.get("title").is_some() {
        return Some(content);
    }
    let preferred = LOCALES.iter().filter_map(|locale| content.get(locale));
    let any = content.as_object().into_iter().flat_map(|members| members.values());
    preferred.chain(any).find(|body| body.is_object())
}

/// The elements of a paragraph, which make one line.
pub fn paragraph(paragraph: &Value) -> String {
    paragraph.as_array().into_iter().flatten().map(element).collect()
}

pub fn element(element: &Value) -> String {
    let said = text(element, "text");
    match text(element, "tag") {
        "a" => styled(element, link(said, text(element, "href"))),
        "at" => {
            let named = match (text(element, "user_name"), text(element, "user_id")) {
                (_, "@_all" | "all") => "all",
                // The key of a mention, for which the name is put in afterwards.
                ("", id) => id.trim_start_matches('@'),
                (name, _) => name,
            };
            styled(element, format!("@{named}"))
        }
        "emotion" => match text(element, "emoji_type") {
            "" => String::new(),
            emoji => format!(":{emoji}:"),
        },
        "img" => match text(element, "image_key") {
            "" => "[Image]".to_owned(),
            key => format!("![Image]({key})"),
        },
        "media" => match text(element, "file_key") {
            "" => "[Media]".to_owned(),
            key => format!("[Media: {key}]"),
        },
        "code_block" => format!("\n```{}\n{said}\n```\n", text(element, "language")),
        "hr" => "\n---\n".to_owned(),
        "md" => said.to_owned(),
        _ => styled(element, said.to_owned()),
    }
}

pub fn link(said: &str, href: &str) -> String {
    match (said, href) {
        (said, "") => said.to_owned(),
        ("", href) => href.to_owned(),
        // A bracket would end the text of the link.
        (said, href) => format!("[{}]({href})", said.replace('[', "\\[").replace(']', "\\]")),
    }
}

fn styled(element: &Value, said: String) -> String {
    let styles = elements(element, "style");
    let marks = [("bold", "**", "**"), ("italic", "*", "*"), ("underline", "<u>", "</u>"), ("lineThrough", "~~", "~~")];
    let wanted = marks.iter().filter(|(style, ..)| !said.is_empty() && styles.iter().any(|given| given == style));
    wanted.fold(said.clone(), |said, (_, before, after)| format!("{before}{said}{after}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_post_becomes_markdown() {
        let post = json!({
            "title": "Release",
            "content": [
                [
                    { "tag": "text", "text": "now ", "style": ["bold", "italic"] },
                    { "tag": "a", "text": "notes [2]", "href": "https://example.com/2" },
                    { "tag": "at", "user_id": "ou_a", "user_name": "Alice" }
                ],
                [{ "tag": "img", "image_key": "img_1" }, { "tag": "emotion", "emoji_type": "SMILE" }],
                [{ "tag": "code_block", "language": "sh", "text": "make" }],
                [{ "tag": "new", "text": "read all the same", "style": ["lineThrough"] }, 7]
            ],
            "files": [{ "file_key": "f_1", "file_name": "a.pdf" }, { "file_key": "f_2", "is_folder": true }, {}]
        });
        let expected = "Release\n***now ***[notes \\[2\\]](https://example.com/2)@Alice\n![Image](img_1):SMILE:\n\n\
                        ```sh\nmake\n```\n\n~~read all the same~~\n\
                        <file key=\"f_1\" name=\"a.pdf\"/>\n<folder key=\"f_2\"/>";
        assert_eq!(render(&post), expected);
    }

    #[test]
    fn one_of_several_languages_is_rendered() {
        let body = |title: &str| json!({ "title": title, "content": [] });
        assert_eq!(render(&json!({ "fr_fr": body("fr"), "en_us": body("en") })), "en");
        assert_eq!(render(&json!({ "x": 7, "fr_fr": body("fr") })), "fr");
        for nothing in [json!({}), json!([]), json!({ "content": "text" }), json!({ "title": "" })] {
            assert_eq!(render(&nothing), "[Rich text message]");
        }
    }
}
