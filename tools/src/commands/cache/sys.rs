#![allow(unsafe_code, reason = "localtime_r has no safe wrapper")]
//! Local time.

use std::mem::MaybeUninit;

/// Unix seconds as `2006-01-02 15:04:05` by the clock on the wall; `None` for times beyond years.
pub(super) fn local_time(seconds: i64) -> Option<String> {
    let time = libc::time_t::from(seconds);
    let mut fields = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call, which keeps neither.
    let filled = unsafe { libc::localtime_r(&raw const time, fields.as_mut_ptr()) };
    if filled.is_null() {
        return None;
    }
    // SAFETY: localtime_r did not fail, so it filled them.
    let fields = unsafe { fields.assume_init() };
    Some(format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        i64::from(fields.tm_year) + 1900,
        fields.tm_mon + 1,
        fields.tm_mday,
        fields.tm_hour,
        fields.tm_min,
        fields.tm_sec,
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn times() {
        // Whatever the zone, less than a day away from UTC.
        let text = super::local_time(1_795_501_536).unwrap();
        assert!(text.starts_with("2026-11-2") && text.len() == 19, "{text}");
        assert_eq!(super::local_time(i64::MAX), None);
    }
}
