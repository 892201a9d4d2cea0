//! What the flags take: choices, sizes, times.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::ValueEnum;

use crate::session::{Classic, Level};
use crate::store::IfExists;
use crate::transfer::{Brake, Compress};
use crate::ui::{ColorChoice, QrChoice};

/// Makes the choices of one flag from those of a room.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident -> $target:ty { $($(#[$item_doc:meta])* $item:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub(super) enum $name {
            $($(#[$item_doc])* $item),+
        }

        impl From<$name> for $target {
            fn from(choice: $name) -> Self {
                match choice {
                    $($name::$item => <$target>::$item),+
                }
            }
        }
    };
}

choices!(
    /// `--yes`.
    Yes -> Level {
        /// Both ends are known by their keys
        Verified,
        /// Also whoever has scanned the code
        Private,
        /// Anyone, also without encryption
        Open,
    }
);
choices!(
    /// `--if-exists`.
    Existing -> IfExists {
        /// Give the new one another name
        Rename,
        /// Leave out what is identical
        Skip,
        /// Replace the old one
        Replace,
    }
);
choices!(
    /// `--classic` of `receive`.
    ClassicMode -> Classic {
        /// Turn them away
        Off,
        /// Ask a person
        Ask,
        /// Take them
        Accept,
    }
);
choices!(
    /// `--compress`.
    Compressing -> Compress {
        /// Where that is quicker, decided again and again
        Auto,
        /// Whatever becomes smaller
        Always,
        /// Nothing
        Never,
    }
);
choices!(
    /// `--qr`.
    Qr -> QrChoice {
        /// On a terminal
        Auto,
        /// Wherever standard error goes
        Always,
        /// Not at all
        Never,
    }
);
choices!(
    /// `--color`.
    Color -> ColorChoice {
        /// On a terminal, unless NO_COLOR is set
        Auto,
        /// Everywhere
        Always,
        /// Nowhere
        Never,
    }
);

/// How long a code is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ttl {
    /// For as long as the command runs.
    Run,
    /// For this long, then another is drawn.
    For(Duration),
}

/// `run`, or a [`duration`].
pub(super) fn ttl(text: &str) -> Result<Ttl, String> {
    if text == "run" { Ok(Ttl::Run) } else { duration(text).map(Ttl::For) }
}

/// `90`, `90s`, `10m`, `1h30m`: a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 30s or 10m"))
}

/// A [`size`] in a second: `500kB`, `20MB/s`.
pub(super) fn rate(text: &str) -> Result<NonZeroU64, String> {
    let rate = size(text.strip_suffix("/s").unwrap_or(text))?;
    NonZeroU64::new(rate).filter(|rate| rate.get() >= Brake::LEAST).ok_or_else(|| "the lowest rate is 1kB".to_owned())
}

/// `500`, `20MB`, `2GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err("write it like 500MB or 2GiB".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| "write it like 500MB or 2GiB".to_owned())?;
    Ok((number * factor as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_as_people_write_them() {
        assert_eq!(size("500"), Ok(500));
        assert_eq!(size("1.5GB"), Ok(1_500_000_000));
        assert_eq!(size("2 GiB"), Ok(2 << 30));
        assert!(size("much").is_err());
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(ttl("run"), Ok(Ttl::Run));
    }
}
