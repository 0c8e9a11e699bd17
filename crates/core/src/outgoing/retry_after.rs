//! `Retry-After`: how long an API wants to be left alone, in seconds or until a date (RFC 9110,
//! 10.2.3).

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// `None` also when it can't be read. A date that is over means now.
pub fn pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than there is room for is as good as for ever.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let then = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let now = Timestamp::try_from(now).ok()?;
    Some(Duration::try_from(then.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates() {
        let now = SystemTime::from(rfc2822::parse("Wed, 21 Oct 2015 07:28:00 GMT").unwrap().timestamp());
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (text, expected) in [
            ("0", seconds(0)),
            (" 120 ", seconds(120)),
            ("18446744073709551615", seconds(u64::MAX)),
            ("Wed, 21 Oct 2015 07:29:30 GMT", seconds(90)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", seconds(0)),
            ("18446744073709551616", seconds(u64::MAX)),
            ("99999999999999999999999", seconds(u64::MAX)),
            ("+5", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(pause(&headers, now), expected, "{text}");
        }
        assert_eq!(pause(&HeaderMap::new(), now), None);
    }
}
