//! What people type: durations, sizes, modes, users.

use std::time::Duration;

use nix::unistd::User;

/// `250ms`, `2s`, `5m`, `1h`, or seconds: `1.5`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("expected a duration such as 250ms, 2s, 5m, 1h or 1.5 (seconds)".into()),
    };
    let number: f64 = digits.parse().map_err(|_| "expected a duration such as 250ms, 2s or 1.5 (seconds)")?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

/// Bytes; `K`, `M` and `G` stand for powers of 1024.
pub fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: usize = match &text[digits.len()..] {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err("expected a number of bytes such as 4096, 64K or 1M".into()),
    };
    let number: usize = digits.parse().map_err(|_| "expected a number of bytes such as 4096, 64K or 1M")?;
    number.checked_mul(unit).ok_or_else(|| "more bytes than there can be".into())
}

/// Permissions in octal.
pub fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| "expected permissions in octal, such as 0644".into())
}

/// A user, by name or number.
pub fn user(text: &str) -> Result<u32, String> {
    if let Ok(uid) = text.parse() {
        return Ok(uid);
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err("there is no such user".into()),
        Err(errno) => Err(errno.desc().into()),
    }
}

/// A span of time for people, in its largest unit: `12 us`, `3.4 s`, `2 days`.
pub fn span(duration: Duration) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;
    let seconds = duration.as_secs_f64();
    if seconds < 1e-3 {
        format!("{:.0} us", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 2.0 * MINUTE {
        format!("{seconds:.1} s")
    } else if seconds < 2.0 * HOUR {
        format!("{:.0} minutes", (seconds / MINUTE).floor())
    } else if seconds < 2.0 * DAY {
        format!("{:.0} hours", (seconds / HOUR).floor())
    } else {
        format!("{:.0} days", (seconds / DAY).floor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in
            [("250ms", 250), ("2s", 2000), ("1.5", 1500), ("0", 0), ("2m", 120_000), (".5s", 500)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "ms", "-1", "-1s", "nan", "inf", "1e999", "1 s", "2x", "1d2s", "99999999999999999999999"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!((bytes("4096"), bytes("64K"), bytes("1M")), (Ok(4096), Ok(65536), Ok(1 << 20)));
        for text in ["", "K", "-1", "1.5K", "4KB", "99999999999999999999", "99999999999G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_and_users() {
        assert_eq!((mode("0644"), mode("600")), (Ok(0o644), Ok(0o600)));
        assert!(mode("rw").is_err() && mode("8").is_err());
        assert_eq!((user("12345"), user("root")), (Ok(12345), Ok(0)));
        assert!(user("no such user").is_err());
    }

    #[test]
    fn spans() {
        let shown = |seconds| span(Duration::from_secs_f64(seconds));
        assert_eq!(
            [shown(12e-6), shown(0.0123), shown(1.26), shown(119.0), shown(125.0), shown(7300.0), shown(200_000.0)],
            ["12 us", "12 ms", "1.3 s", "119.0 s", "2 minutes", "2 hours", "2 days"]
        );
    }
}
