//! Error codes of the JetStream API, and which of them are final.

pub const CONSUMER_CREATE: u64 = 10012;
pub const CONSUMER_NOT_FOUND: u64 = 10014;
/// More unacknowledged messages than the server or the stream lets a consumer have.
pub const MAX_ACK_PENDING: u64 = 10121;
/// Errors in a consumer's settings, which the server repeats until they change.
pub const CONSUMER_SETTINGS: [u64; 22] = [
    10017, 10084, 10093, 10098, 10099, 10100, 10101, 10102, 10103, 10121, 10127, 10131, 10132, 10136, 10137, 10138,
    10139, 10153, 10181, 10182, 10183, 10225,
];
pub const MESSAGE_NOT_FOUND: u64 = 10037;
pub const NO_JETSTREAM: u64 = 10039;
pub const MESSAGE_EXCEEDS_MAXIMUM: u64 = 10054;
pub const STREAM_NOT_FOUND: u64 = 10059;
pub const WRONG_LAST_SEQUENCE: u64 = 10071;
pub const STORE_FAILED: u64 = 10077;
pub const HEADER_EXCEEDS_MAXIMUM: u64 = 10097;
/// Refusals of a batch of fast ingest, and not of a message in it.
pub const BATCH_PUBLISH: [u64; 5] = [10205, 10206, 10207, 10208, 10211];

/// Errors that stay however often the request is repeated, with their reason. All others pass by
/// themselves or once the server is repaired: no leader, no room, an id in process, and any codes
/// of later servers.
const FINAL: &[(&str, &[u64])] = &[
    ("the message is larger than the stream or the server takes", &[10054, 10097]),
    ("the stream takes nothing any more, and can't be opened again", &[10109]),
    ("the message is for another stream, or for another place in it", &[10060, 10070, 10071, 10164, 10193]),
    (
        "what its headers ask for is wrong, or not for this stream: roll-ups, times to live, counters, batches, \
         schedules",
        &[
            10111, 10165, 10166, 10168, 10169, 10170, 10171, 10172, 10174, 10175, 10177, 10179, 10188, 10189, 10190,
            10191, 10192, 10199, 10200, 10201, 10203, 10205, 10206, 10207, 10212, 10223, 10227,
        ],
    ),
    ("the request is not one that this server understands", &[10003, 10025, 10038, 10056, 10157, 10185]),
    ("there is no such message: sequences are not used twice", &[10037, 10043]),
    ("more subjects than an answer has room for", &[10117]),
    ("a server alone has no replicas, tags or moves", &[10006, 10010, 10011, 10036, 10074]),
    (
        "the stream's settings contradict each other, what it is, another stream or the account's limits",
        &[
            10021, 10022, 10024, 10030, 10031, 10032, 10033, 10034, 10046, 10052, 10055, 10061, 10065, 10113, 10120,
            10122, 10123, 10128, 10133, 10140, 10141, 10142, 10143, 10144, 10145, 10146, 10147, 10150, 10151, 10152,
            10154, 10155, 10156, 10173, 10186, 10187, 10198, 10209, 10213, 10214, 10215, 10216, 10217,
        ],
    ),
    (
        "the consumer's settings contradict each other, what it is, its stream or another consumer",
        &[
            10015, 10016, 10017, 10018, 10019, 10020, 10078, 10079, 10080, 10081, 10082, 10083, 10084, 10085, 10086,
            10087, 10088, 10089, 10090, 10091, 10092, 10093, 10094, 10095, 10098, 10099, 10100, 10101, 10102, 10103,
            10106, 10107, 10108, 10112, 10114, 10115, 10116, 10121, 10125, 10126, 10127, 10131, 10132, 10134, 10135,
            10136, 10137, 10138, 10139, 10153, 10159, 10160, 10161, 10162, 10178, 10181, 10182, 10183, 10184, 10196,
            10197, 10204, 10218, 10219, 10220, 10221, 10222,
        ],
    ),
];

/// Returns whether the answer stays the same however often the request is repeated.
pub fn is_final(code: u64) -> bool {
    FINAL.iter().any(|(_, codes)| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The other codes of nats-server 2.15, from its `errors.json`.
    const PASSING: &[(&str, &[u64])] = &[
        (
            "limits of the account or of the machine: messages are deleted, or the limits are raised",
            &[10002, 10023, 10026, 10027, 10028, 10047, 10053],
        ),
        (
            "there is no leader, servers are away or start, JetStream is off or out of order",
            &[
                10004, 10005, 10007, 10008, 10009, 10035, 10039, 10041, 10075, 10076, 10118, 10119, 10194, 10195,
                10202, 10224, 10225,
            ],
        ),
        (
            "something of that name is there, or not there: another client was faster, so a second look \
             finds another state",
            &[10013, 10014, 10058, 10059, 10105, 10148, 10149],
        ),
        (
            "what went wrong is said in words alone, and was seen in a stream or consumer that was being deleted",
            &[10012, 10048, 10049, 10050, 10051, 10057, 10069, 10096, 10104, 10110],
        ),
        ("a copy that could not be set up yet", &[10029, 10045]),
        ("a stream that is being moved", &[10124, 10129, 10226]),
        (
            "no room, no time, or the first of two is still under way",
            &[10063, 10077, 10158, 10163, 10167, 10176, 10180, 10208, 10210, 10211],
        ),
        (
            "answers to what is never asked",
            &[10040, 10042, 10044, 10062, 10064, 10066, 10067, 10068, 10072, 10073, 10130],
        ),
    ];

    #[test]
    fn every_code_of_the_server_is_final_or_passing() {
        let mut known = BTreeSet::new();
        for code in FINAL.iter().chain(PASSING).flat_map(|(_, codes)| *codes) {
            assert!(known.insert(*code), "{code} stands twice");
        }
        assert_eq!(known, (10002..=10227).collect(), "a code is missing");
    }

    #[test]
    fn what_nobody_knows_passes() {
        for code in [0, 10001, 10228, 20000] {
            assert!(!is_final(code), "{code}");
        }
    }
}
