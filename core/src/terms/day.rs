//! Days, which begin at another moment in each time zone.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// The first moment of a day. Where a clock was put forward at midnight, the day begins later.
pub fn midnight(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    // A quarter of an hour divides every change of clocks there has been; a whole day was skipped in 2011 (Samoa).
    let quarters = (0..=4 * 24).map(|quarters| midnight + TimeDelta::minutes(15 * quarters));
    let begins = quarters.filter_map(|time| zone.from_local_datetime(&time).earliest()).next();
    begins.map_or_else(|| midnight.and_utc(), |time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_moment(day: &str, zone: &str) -> String {
        midnight(day.parse().expect("a day"), zone.parse().expect("a zone")).to_rfc3339()
    }

    #[test]
    fn a_day_begins_at_its_local_midnight() {
        assert_eq!(first_moment("2026-04-01", "America/Los_Angeles"), "2026-04-01T07:00:00+00:00");
        assert_eq!(first_moment("2026-10-25", "Europe/Berlin"), "2026-10-24T22:00:00+00:00");
    }

    #[test]
    fn a_day_whose_midnight_was_skipped_begins_later() {
        assert_eq!(first_moment("2018-11-04", "America/Sao_Paulo"), "2018-11-04T03:00:00+00:00");
        assert_eq!(first_moment("2011-12-30", "Pacific/Apia"), first_moment("2011-12-31", "Pacific/Apia"));
    }
}
