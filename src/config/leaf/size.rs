//! Sizes as people write them: `64MB`, `10GiB`, `1.5 GiB`.

/// Units by their power of 1000 and of 1024. A bare `K`, `M` or `G` is rejected: for half of the tools
/// it is the first, for half the second.
const UNITS: [(&str, &str); 5] =
    [("KB", "KiB"), ("MB", "MiB"), ("GB", "GiB"), ("TB", "TiB"), ("PB", "PiB")];

/// The number of bytes in `text`: a number, perhaps with a fraction, and a unit in upper or lower case.
/// `None` for any other text and for more than 64 bits. A fraction of a byte is dropped.
pub fn parse(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = factor(unit.trim_start())?;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (number, "0"),
    };
    // More digits are a mistake.
    let half_bytes = factor == 1 && number.contains('.');
    if half_bytes || whole.is_empty() || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let whole = u128::from(whole.parse::<u64>().ok()?);
    let fraction = u128::from(fraction.parse::<u64>().ok()?);
    u64::try_from(whole * factor + fraction * factor / scale).ok()
}

fn factor(unit: &str) -> Option<u128> {
    if unit.is_empty() || unit.eq_ignore_ascii_case("B") {
        return Some(1);
    }
    (1..).zip(UNITS).find_map(|(power, (decimal, binary))| {
        if unit.eq_ignore_ascii_case(decimal) {
            Some(1000_u128.pow(power))
        } else if unit.eq_ignore_ascii_case(binary) {
            Some(1024_u128.pow(power))
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_an_exact_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("64MB", 64_000_000),
            ("10GiB", 10 << 30),
            ("10 gib", 10 << 30),
            ("1.5KiB", 1536),
            ("0.25MB", 250_000),
            ("16PiB", 16 << 50),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for bad in [
            "",
            "MB",
            "-1",
            "1M",
            "1G",
            "1 X",
            "1.",
            ".5MB",
            "1..5MB",
            "1.5.5MB",
            "1_000",
            "1e6",
            "1.5",
            "1.5B",
            "18446744073709551616",
            "16384PiB",
            "1MB ",
            "٣MB",
            "0.0000000001GB",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
