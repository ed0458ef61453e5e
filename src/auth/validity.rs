//! Until when a certificate is good, and moments as people read them.
//!
//! May import `certificate` (its reader of DER). A crate for X.509 would bring a dozen others for
//! the two forms of a date that are read here.

use super::certificate::Der;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

const DAY_S: i64 = 86_400;

/// When a certificate (DER) ends, seconds since 1970-01-01 UTC; `None`: it does not say so as RFC
/// 5280 4.1.2.5 has it.
pub fn ends_at_s(certificate: &[u8]) -> Option<i64> {
    let mut validity = Der::validity(certificate)?;
    // It begins.
    validity.next()?;
    let (tag, text) = validity.next()?;
    let text = std::str::from_utf8(text).ok()?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = digits(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (digits(year)?, rest)
        }
        _ => return None,
    };
    let mut rest = rest.strip_suffix('Z').filter(|rest| rest.len() == 10)?;
    let mut next = |range: std::ops::RangeInclusive<i64>| {
        let (pair, after) = rest.split_at_checked(2)?;
        rest = after;
        digits(pair).filter(|number| range.contains(number))
    };
    let (month, day) = (next(1..=12)?, next(1..=31)?);
    let (hour, minute, second) = (next(0..=23)?, next(0..=59)?, next(0..=60)?);
    Some(day_number(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second)
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Days since 1970-01-01. Years are counted from March, so that the day that some have more is
/// their last; an era of 400 has always as many days.
const fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A moment as RabbitMQ writes it: `2026-04-01 19:31:01`.
pub fn shown(at_s: i64) -> String {
    let (days, second) = (at_s.div_euclid(DAY_S) + 719_468, at_s.rem_euclid(DAY_S));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leaps = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_day_of_each_year_is_read_from_a_certificate_and_shown() {
        // From 2050 on the other form of a date.
        for (year, month, day, at_s) in [
            (1970, 1, 2, 86_400),
            (2000, 2, 29, 951_782_400),
            (2026, 3, 1, 1_772_323_200),
            (2049, 12, 31, 2_524_521_600),
            (2050, 1, 1, 2_524_608_000),
            (2100, 3, 1, 4_107_542_400),
        ] {
            let mut params = CertificateParams::new(["host.example".to_owned()]).unwrap();
            params.not_before = date_time_ymd(1960, 1, 1);
            params.not_after = date_time_ymd(year, month, day);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(ends_at_s(certificate.der()), Some(at_s), "{year}-{month}-{day}");
            assert_eq!(shown(at_s), format!("{year}-{month:02}-{day:02} 00:00:00"));
            for cut in 0..certificate.der().len() {
                assert_eq!(ends_at_s(&certificate.der()[..cut]), None, "{cut}");
            }
        }
        assert_eq!(shown(1_775_071_861), "2026-04-01 19:31:01");
        assert_eq!(shown(-1), "1969-12-31 23:59:59");
    }

    #[test]
    fn every_day_of_eight_centuries_is_shown_and_counted_alike() {
        let mut before = String::new();
        for days in -146_097..146_097 {
            let text = shown(days * DAY_S);
            assert!(text > before, "{text} after {before}");
            let mut parts = text.split(['-', ' ']).map(|part| part.parse().unwrap_or(-1));
            let mut next = || parts.next().unwrap();
            assert_eq!(day_number(next(), next(), next()), days, "{text}");
            before = text;
        }
    }
}
