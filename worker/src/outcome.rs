//! What a callback's answer means for a delivery (FC-WHK-04): a pure function.

use std::time::{Duration, SystemTime};

use actix_web::http::header::HttpDate;
use shared::{callbacks::Refusal, telemetry::metrics::CallbackAttempt};

use crate::http_client::{Answer, RequestError};

/// What comes of one attempt to deliver a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The subscriber has it.
    Delivered,
    /// The subscriber does not want it, and trying again would not help.
    Refused(u16),
    /// The subscriber wants nothing any more: its subscription ends.
    Gone,
    /// It is to be tried again, not before this time if the subscriber named one.
    Retry {
        /// `Retry-After`
        after: Option<Duration>,
    },
}

/// What an answer, or its absence, means.
pub fn outcome(result: &Result<Answer, RequestError>) -> Outcome {
    let Ok(answer) = result else { return Outcome::Retry { after: None } };
    match answer.status {
        200..=299 => Outcome::Delivered,
        410 => Outcome::Gone,
        408 | 425 | 429 => Outcome::Retry { after: answer.retry_after },
        // A redirect is not followed (FC-SEC-02), and would be the same the next time.
        300..=499 => Outcome::Refused(answer.status),
        _ => Outcome::Retry { after: answer.retry_after },
    }
}

/// How the attempt is counted.
pub fn counted_as(result: &Result<Answer, RequestError>) -> CallbackAttempt {
    match (outcome(result), result) {
        (Outcome::Delivered, _) => CallbackAttempt::Confirmed,
        (Outcome::Refused(_) | Outcome::Gone, _) => CallbackAttempt::Refused,
        (Outcome::Retry { .. }, Ok(_)) => CallbackAttempt::Failed,
        (_, Err(RequestError::TimedOut)) => CallbackAttempt::TimedOut,
        (
            _,
            Err(
                RequestError::Unreachable(_)
                | RequestError::Crowded
                | RequestError::Refused(Refusal::Unresolved(_)),
            ),
        ) => CallbackAttempt::Unreachable,
        (_, Err(RequestError::Refused(_))) => CallbackAttempt::Forbidden,
    }
}

/// Reads `Retry-After`: seconds, or a date. The date is by the clock of who answered, which its `Date`
/// tells; without one it has to be this machine's.
pub fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let read = |date: &str| date.trim().parse::<HttpDate>().ok().map(SystemTime::from);
    let now = date.and_then(read).unwrap_or_else(SystemTime::now);
    Some(read(value)?.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use shared::callbacks::Unresolved;

    use super::*;

    fn answer(status: u16, retry_after: Option<u64>) -> Result<Answer, RequestError> {
        Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body: None })
    }

    #[test]
    fn each_status_means_what_the_rule_says() {
        let retry = Outcome::Retry { after: None };
        for (status, expected) in [
            (200, Outcome::Delivered),
            (202, Outcome::Delivered),
            (204, Outcome::Delivered),
            (302, Outcome::Refused(302)),
            (400, Outcome::Refused(400)),
            (404, Outcome::Refused(404)),
            (409, Outcome::Refused(409)),
            (410, Outcome::Gone),
            (408, retry),
            (425, retry),
            (429, retry),
            (500, retry),
            (503, retry),
            (599, retry),
        ] {
            assert_eq!(outcome(&answer(status, None)), expected, "FC-WHK-04: {status}");
        }
    }

    #[test]
    fn retry_after_is_honoured_where_there_is_a_retry() {
        let after = Some(Duration::from_secs(7));
        assert_eq!(outcome(&answer(429, Some(7))), Outcome::Retry { after }, "FC-WHK-04");
        assert_eq!(outcome(&answer(503, Some(7))), Outcome::Retry { after }, "FC-WHK-04");
        assert_eq!(outcome(&answer(409, Some(7))), Outcome::Refused(409), "FC-WHK-04");
    }

    #[test]
    fn no_answer_is_tried_again_and_counted_by_its_cause() {
        for (error, expected) in [
            (RequestError::TimedOut, CallbackAttempt::TimedOut),
            (RequestError::Refused(Refusal::NotHttps), CallbackAttempt::Forbidden),
            (RequestError::Refused(Refusal::PortForbidden(6379)), CallbackAttempt::Forbidden),
            (RequestError::Refused(Refusal::Unresolved(Unresolved::NoAddress)), CallbackAttempt::Unreachable),
            (RequestError::Unreachable("refused".into()), CallbackAttempt::Unreachable),
        ] {
            assert_eq!(outcome(&Err(error.clone())), Outcome::Retry { after: None }, "FC-WHK-04");
            assert_eq!(counted_as(&Err(error)), expected);
        }
        assert_eq!(counted_as(&answer(503, None)), CallbackAttempt::Failed);
        assert_eq!(counted_as(&answer(410, None)), CallbackAttempt::Refused);
        assert_eq!(counted_as(&answer(201, None)), CallbackAttempt::Confirmed);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "FC-WHK-04: {value}");
        }
        let past = "Sun, 06 Nov 1994 08:50:37 GMT";
        assert_eq!(retry_after(past, None), Some(Duration::ZERO), "then by this machine's clock");
    }
}
