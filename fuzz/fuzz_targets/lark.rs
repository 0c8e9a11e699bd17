//! Whatever is sent in Lark's name, its body is read as any reader of JSON reads it, and decrypts to what was encrypted or
//! to nothing.
#![no_main]

use std::sync::LazyLock;

use aes::Aes256;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use cbc::{
    Encryptor,
    cipher::{BlockEncryptMut as _, KeyIvInit as _, block_padding::Pkcs7},
};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};
use trommel::{
    json,
    source::http::{decrypted, request_facts},
};

const KEY: &str = "test key";

static DIGEST: LazyLock<[u8; 32]> = LazyLock::new(|| Sha256::digest(KEY).into());

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    if let Some(facts) = request_facts(&body) {
        let value = json::parse(data).expect("it was read as JSON");
        let places = [&["/encrypt"][..], &["/token", "/header/token"], &["/challenge"]];
        for (fact, places) in facts.iter().zip(places) {
            // Texts of one name that differ are refused, so that readers can't differ in which they take.
            let texts: Vec<_> = places.iter().filter_map(|place| value.pointer(place)?.as_str()).collect();
            let agrees = |fact: &str| texts.is_empty() || texts.contains(&fact);
            assert!(fact.as_deref().is_none_or(agrees), "{fact:?} {texts:?}");
        }
        if let [Some(encrypted), ..] = &facts {
            let plain = decrypted(KEY, encrypted);
            assert!(plain.is_none_or(|plain| plain.len() < encrypted.len()));
        }
    }
    let vector: [u8; 16] = std::array::from_fn(|n| data.get(n).copied().unwrap_or_default());
    let sealed = Encryptor::<Aes256>::new(&(*DIGEST).into(), &vector.into()).encrypt_padded_vec_mut::<Pkcs7>(data);
    let text = STANDARD.encode([&vector[..], &sealed].concat());
    assert_eq!(decrypted(KEY, &text).as_deref(), Some(data));
    assert_ne!(decrypted("another key", &text).as_deref(), Some(data));
});
