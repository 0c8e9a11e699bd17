//! Lark's open platform, as it sends events of one app: encrypted and signed, or with a token.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking and says why")]

use std::time::{SystemTime, UNIX_EPOCH};

use aes::Aes256;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cbc::{
    Encryptor,
    cipher::{BlockEncryptMut as _, KeyIvInit as _, block_padding::Pkcs7},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub const TOKEN: &str = "v-token";

/// Headers and body of a request.
pub struct LarkRequest {
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl LarkRequest {
    pub fn plain(body: &Value) -> Self {
        Self { headers: vec![("Content-Type", "application/json; charset=utf-8".to_owned())], body: body.to_string() }
    }

    /// Encrypted, and not signed, as verifications of a URL are.
    pub fn encrypted(key: &str, body: &str) -> Self {
        Self::plain(&json!({ "encrypt": encrypt(key, body.as_bytes()) }))
    }

    pub fn signed(key: &str, body: &Value) -> Self {
        Self::signed_at(key, body, now())
    }

    pub fn signed_at(key: &str, body: &Value, seconds: u64) -> Self {
        Self::encrypted(key, &body.to_string()).with_signature(key, seconds)
    }

    pub fn with_signature(mut self, key: &str, seconds: u64) -> Self {
        let nonce = "n0nce".to_owned();
        let signature = Sha256::digest(format!("{seconds}{nonce}{key}{}", self.body));
        self.headers.extend([
            ("X-Lark-Request-Timestamp", seconds.to_string()),
            ("X-Lark-Request-Nonce", nonce),
            ("X-Lark-Signature", format!("{signature:x}")),
        ]);
        self
    }

    pub fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn encrypt(key: &str, body: &[u8]) -> String {
    let vector = *b"sixteen bytes iv";
    let cipher = Encryptor::<Aes256>::new(&Sha256::digest(key), &vector.into());
    let encrypted = [&vector[..], &cipher.encrypt_padded_vec_mut::<Pkcs7>(body)].concat();
    STANDARD.encode(encrypted)
}

pub fn verification() -> Value {
    json!({ "challenge": "ajls384kdjx98XX", "token": TOKEN, "type": "url_verification" })
}

/// An event of version 2.0.
pub fn message(app: &str, id: &str) -> Value {
    json!({
        "schema": "2.0",
        "header": {
            "event_id": id, "event_type": "im.message.receive_v1", "create_time": "1608725989000",
            "token": TOKEN, "app_id": app, "tenant_key": "tenant-1",
        },
        "event": {
            "sender": { "sender_id": { "open_id": "ou_s" }, "sender_type": "user" },
            "message": {
                "message_id": format!("om_{id}"), "create_time": "1608725988000", "chat_id": "oc_1",
                "chat_type": "p2p", "message_type": "text", "content": "{\"text\":\"hello\"}",
            },
        },
    })
}

/// An event of version 1.0.
pub fn first_version(app: &str, id: &str) -> Value {
    json!({
        "uuid": id, "token": TOKEN, "ts": "1502199207.7171419", "type": "event_callback",
        "event": { "type": "app_open", "app_id": app, "tenant_key": "tenant-1", "open_id": "ou_s" },
    })
}
