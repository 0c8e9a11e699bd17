//! Files of the page.

use std::fmt::Write as _;

use axum::{
    Router,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest as _, Sha256};

/// Nothing runs and nothing is loaded but the page's own files; no other site may frame it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const NO_SNIFF: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const STYLE: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");

/// A file in the binary.
#[derive(Clone)]
struct PageFile {
    path: &'static str,
    kind: HeaderValue,
    text: &'static str,
}

macro_rules! file {
    ($path:literal, $kind:expr, $file:literal) => {
        PageFile { path: $path, kind: $kind, text: include_str!($file) }
    };
}

const FILES: [PageFile; 13] = [
    file!("/console", HTML, "index.html"),
    file!("/console/console.css", STYLE, "console.css"),
    file!("/console/console.js", SCRIPT, "console.js"),
    file!("/console/elements.js", SCRIPT, "elements.js"),
    file!("/console/feed.js", SCRIPT, "feed.js"),
    file!("/console/topology.js", SCRIPT, "topology.js"),
    file!("/console/picture.js", SCRIPT, "picture.js"),
    file!("/console/plots.js", SCRIPT, "plots.js"),
    file!("/console/events.js", SCRIPT, "events.js"),
    file!("/console/letters.js", SCRIPT, "letters.js"),
    file!("/console/plugins.js", SCRIPT, "plugins.js"),
    file!("/console/deliveries.js", SCRIPT, "deliveries.js"),
    file!("/console/playground.js", SCRIPT, "playground.js"),
];

/// Routes of the files.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, file| {
        let tag = tag(file.text);
        router.route(file.path, get(move |headers: HeaderMap| std::future::ready(serve(&file, &tag, &headers))))
    })
}

fn serve(file: &PageFile, tag: &HeaderValue, headers: &HeaderMap) -> Response {
    let fixed = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (ETAG, tag.clone()),
        NO_SNIFF,
    ];
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known == tag) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    (fixed, [(CONTENT_TYPE, file.kind.clone())], file.text).into_response()
}

/// Returns the tag of a content: another content has another one.
fn tag(text: &str) -> HeaderValue {
    let mut tag = String::from("\"");
    for byte in &Sha256::digest(text)[..8] {
        // Writing to a string can't fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}
