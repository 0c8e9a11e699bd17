//! Messages as anybody may send them: any sizes up to the server's limit, any bytes in subjects,
//! headers and bodies.

use fastrand::Rng;

/// A message as it goes over the wire.
pub struct Odd {
    pub subject: Vec<u8>,
    /// With its first and its last line; empty for none.
    pub headers: Vec<u8>,
    pub body: Vec<u8>,
}

impl Odd {
    pub fn any(random: &mut Rng, max_payload: usize) -> Self {
        let (subject, headers) = (subject(random), headers(random, max_payload / 4));
        let body = body(random, max_payload - headers.len());
        Self { subject, headers, body }
    }
}

fn bytes(random: &mut Rng, length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

/// Below `odd.`: what the protocol does not take for white space, and what a stream's subjects do
/// not exclude.
fn subject(random: &mut Rng) -> Vec<u8> {
    let mut subject = b"odd.".to_vec();
    if random.f32() < 0.8 {
        subject.extend_from_slice(random.u8(b'a'..=b'z').to_string().as_bytes());
        return subject;
    }
    let length = random.usize(1..200);
    let token = bytes(random, length).into_iter().map(|byte| match byte {
        0..=b' ' | b'*' | b'>' | b'.' | 127 => b'_',
        byte => byte,
    });
    subject.extend(token);
    subject
}

fn headers(random: &mut Rng, longest: usize) -> Vec<u8> {
    if random.bool() {
        return Vec::new();
    }
    let mut block = b"NATS/1.0\r\n".to_vec();
    for _ in 0..random.usize(0..6) {
        let line = match random.u8(..10) {
            0 => b"Note: a\rb".to_vec(),
            1 => [b"Bad: ".as_slice(), &bytes(random, 20)].concat(),
            2 => b"no colon".to_vec(),
            3 => b": no name".to_vec(),
            4 => b"with space: x".to_vec(),
            5 => [b"Long: ".to_vec(), vec![b'x'; random.usize(..longest / 8)]].concat(),
            6 => b"tenant: a\x01b".to_vec(),
            7 => b"traceparent: 00-zz".to_vec(),
            8 => b"Trommel-Hops: 99999999999999999999".to_vec(),
            _ => b"Good: yes".to_vec(),
        };
        // What ends a line or the block is put there below.
        block.extend(line.into_iter().filter(|byte| *byte != b'\n'));
        block.extend_from_slice(b"\r\n");
    }
    block.extend_from_slice(b"\r\n");
    block
}

fn body(random: &mut Rng, longest: usize) -> Vec<u8> {
    let length = match random.u8(..20) {
        0 => longest,
        1 => random.usize(..=longest),
        _ => random.usize(..200),
    };
    let fill = |byte: u8| vec![byte; length];
    match random.u8(..8) {
        0 => bytes(random, length),
        1 => fill(1),
        2 => fill(b'"'),
        3 => fill(b'['),
        4 => br#"{"id":"a\nb\r\u0000","id":"c\nd"}"#.to_vec(),
        5 => {
            let id = "i".repeat(length.min(longest.saturating_sub(10)));
            format!(r#"{{"id":"{id}"}}"#).into_bytes()
        }
        _ => format!(r#"{{"id":"{}","n":{}}}"#, random.u32(..), random.u64(..)).into_bytes(),
    }
}
