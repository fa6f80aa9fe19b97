//! Days and moments as text, in UTC and the usual calendar.

use opencredits_schema::{Timestamp, civil};

const DAY_MS: i64 = 86_400_000;

/// A day, counted from 1970, as `2026-11-23`.
#[must_use]
pub fn day_text(day: i64) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A moment to the second as `2026-11-23T09:30:00Z`.
#[must_use]
pub fn moment_text(at: Timestamp) -> String {
    let seconds = at.seconds().rem_euclid(86_400);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", day_text(at.day()))
}

/// Reads seconds since 1970, a day (its beginning), or a moment with its offset.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    if let Some(seconds) = number(text, 1, 11) {
        return Some(Timestamp::from_millis(seconds * 1000));
    }
    let Some((date, time)) = text.split_once('T') else {
        return Some(Timestamp::from_millis(day(text)? * DAY_MS));
    };
    let (clock, offset_s) = match time.strip_suffix('Z') {
        Some(clock) => (clock, 0),
        None => {
            let (clock, offset) = time.split_at_checked(time.rfind(['+', '-'])?)?;
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            let seconds = number(hours, 2, 2)? * 3600 + number(minutes, 2, 2)? * 60;
            (clock, if offset.starts_with('-') { -seconds } else { seconds })
        }
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':').map(|part| number(part, 2, 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let is_clock = hour < 24 && minute < 60 && second < 60 && parts.next().is_none();
    number(fraction, 1, 9).filter(|_| is_clock)?;
    let seconds = hour * 3600 + minute * 60 + second - offset_s;
    Some(Timestamp::from_millis(day(date)? * DAY_MS + seconds * 1000))
}

/// Reads `2026-11-23` as days since 1970.
#[must_use]
pub fn day(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let year = number(parts.next()?, 4, 4)?;
    let (month, day) = (number(parts.next()?, 2, 2)?, number(parts.next()?, 2, 2)?);
    let days = days_from_civil(year, month, day);
    // A day that the calendar lacks comes back as another one.
    (civil(days) == (year, month, day)).then_some(days)
}

/// A number of so many digits and nothing else.
fn number(text: &str, digits_min: usize, digits_max: usize) -> Option<i64> {
    let fits = (digits_min..=digits_max).contains(&text.len());
    let is_number = fits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_reads_what_it_shows() {
        for (text, days) in [("1970-01-01", 0), ("2000-02-29", 11_016), ("2026-11-23", 20_780)] {
            assert_eq!(day(text), Some(days));
            assert_eq!(day_text(days), text);
        }
        for days in -1000..60_000 {
            let (year, month, day) = civil(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
        for bad in
            ["", "2026-11", "2026-02-29", "2026-13-01", "26-11-23", "2026-11-23x", "2026-1-1"]
        {
            assert_eq!(day(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_moment_is_seconds_or_a_day_or_has_its_offset() {
        for (text, seconds) in [
            ("1795426200", 1_795_426_200),
            ("2026-11-23", 1_795_392_000),
            ("2026-11-23T09:30:00Z", 1_795_426_200),
            ("2026-11-23T11:30:00.250+02:00", 1_795_426_200),
        ] {
            assert_eq!(parse(text), Some(Timestamp::from_millis(seconds * 1000)), "{text}");
        }
        let shown = moment_text(Timestamp::from_millis(1_795_426_200_999));
        assert_eq!(shown, "2026-11-23T09:30:00Z");
        for bad in
            ["", "-1", "999999999999", "2026-11-23T", "2026-11-23T25:00:00Z", "2026-11-23T1Z"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
