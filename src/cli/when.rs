//! Times as people write them.
//!
//! | written | means |
//! |---|---|
//! | `2026-11-23T14:30:00Z`, with any offset from UTC | that instant (RFC 3339) |
//! | `10m ago`, `1h 30m ago`, `2 days ago` | so long before now |
//! | `2026-11-23 14:30`, with seconds or without, `2026-11-23` | local time; a date alone is its midnight |
//! | `14:30`, `14:30:05` | today, local time |
//! | `now` | now |

use std::str::FromStr;

use jiff::{Span, Timestamp, Zoned, civil, tz::TimeZone};

/// A time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct When(pub(super) u64);

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text.trim(), &Zoned::now())
    }
}

impl When {
    pub(super) fn is_to_come(self) -> bool {
        Timestamp::now().as_millisecond().cast_unsigned() < self.0
    }
}

/// A time as people read it, here.
pub(super) fn local(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(String::new, |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string())
}

fn read(text: &str, now: &Zoned) -> Result<When, String> {
    let time = instant(text, now).ok_or_else(|| {
        format!("{text:?} is no time: write 2026-11-23T14:30:00Z, \"2026-11-23 14:30\", 14:30, \"10m ago\" or now")
    })?;
    u64::try_from(time.as_millisecond()).map(When).map_err(|_| format!("{text:?} is before 1970"))
}

fn instant(text: &str, now: &Zoned) -> Option<Timestamp> {
    if text == "now" {
        return Some(now.timestamp());
    }
    if let Some(span) = text.strip_suffix("ago") {
        let span: Span = span.trim().parse().ok()?;
        return now.checked_sub(span.abs()).ok().map(|time| time.timestamp());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let local = text.parse::<civil::DateTime>().or_else(|_| text.parse::<civil::Date>().map(|date| date.at(0, 0, 0, 0)));
    let local = local.or_else(|_| text.parse::<civil::Time>().map(|time| now.date().to_datetime(time)));
    local.ok()?.to_zoned(now.time_zone().clone()).ok().map(|time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use jiff::tz::offset;

    use super::*;

    /// 2026-11-23 15:00 at two hours east of Greenwich.
    fn now() -> Zoned {
        "2026-11-23T13:00:00Z".parse::<Timestamp>().unwrap().to_zoned(TimeZone::fixed(offset(2)))
    }

    fn read_as(text: &str) -> String {
        let When(ms) = read(text, &now()).unwrap();
        Timestamp::from_millisecond(ms as i64).unwrap().to_string()
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, expected) in [
            ("now", "2026-11-23T13:00:00Z"),
            ("10m ago", "2026-11-23T12:50:00Z"),
            ("1h 30m ago", "2026-11-23T11:30:00Z"),
            ("2 days ago", "2026-11-21T13:00:00Z"),
            ("90s ago", "2026-11-23T12:58:30Z"),
            ("2026-11-23T12:34:56.789Z", "2026-11-23T12:34:56.789Z"),
            ("2026-11-23T12:34:56+01:00", "2026-11-23T11:34:56Z"),
            ("2026-11-22", "2026-11-21T22:00:00Z"),
            ("2026-11-22 08:15", "2026-11-22T06:15:00Z"),
            ("2026-11-22T08:15:01", "2026-11-22T06:15:01Z"),
            ("14:30", "2026-11-23T12:30:00Z"),
            ("14:30:05", "2026-11-23T12:30:05Z"),
        ] {
            assert_eq!(read_as(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_told_what_one_looks_like() {
        for text in ["", "yesterday", "ago", "10 parsecs ago", "25:00", "2026-13-01", "1960-01-01"] {
            let said = read(text, &now()).unwrap_err();
            assert!(said.contains(text) && !said.contains('\n'), "{said}");
        }
    }
}
