//! Numbers as people read them.

const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];

/// Bytes in decimal units with one decimal: `999 B`, `3.2 MB`, `18.4 EB`.
pub fn human_bytes(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let rounded_tenths = |power| {
        let unit_bytes = 1_000_u128.pow(power);
        (u128::from(bytes) * 10 + unit_bytes / 2) / unit_bytes
    };
    let (tenths, unit) = (1..)
        .map(rounded_tenths)
        .zip(UNITS)
        .find(|(tenths, _)| *tenths < 10_000)
        .expect("a u64 holds less than 1,000 EB");
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// A rate: `3.2 MB/s`. What is no number or negative counts as 0.
pub fn human_rate(bytes_per_second: f64) -> String {
    // The cast saturates, and takes NaN to 0.
    format!("{}/s", human_bytes(bytes_per_second.round() as u64))
}

/// A time in its two largest units: `0.4 s`, `45 s`, `3 min 05 s`, `2 h 07 min`, `4 d 01 h`; `over 99 d` beyond. What is
/// no number or negative counts as 0.
pub fn human_duration(seconds: f64) -> String {
    if (0.0..10.0).contains(&seconds) && seconds.fract() != 0.0 {
        return format!("{seconds:.1} s");
    }
    // The cast saturates, and takes NaN to 0.
    let seconds = seconds.round() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min {:02} s", seconds % 60),
        3_600..86_400 => format!("{hours} h {:02} min", minutes % 60),
        _ if days < 100 => format!("{days} d {:02} h", hours % 24),
        _ => "over 99 d".to_owned(),
    }
}
