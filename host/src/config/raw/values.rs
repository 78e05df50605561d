//! Durations, sizes and counts as people type them, each with its bounds in its type.
//!
//! Owns the syntax (`10s`, `64KiB`, `128`) and the bounds check, once for flags, environment and
//! TOML. Knows no setting by name.
//! Invariant: a value of one of these types is within its bounds.

use std::{fmt, marker::PhantomData, str::FromStr, time::Duration};

use serde::de::{Deserialize, Deserializer, Error as _, Unexpected, Visitor};

/// A value that a setting cannot have. The message says what it can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A number alone says nothing about its unit.
    #[error("`{0}` has no unit: write `{0}s`, `{0}ms` or `{0}min`")]
    NoUnit(String),
    /// No duration.
    #[error(
        "`{0}` is not a duration: write a whole number and `ms`, `s`, `min` or `h`, as in `10s`"
    )]
    Duration(String),
    /// No size.
    #[error(
        "`{0}` is not a size: write a whole number and `B`, `KiB`, `MiB`, `GiB` or `TiB`, as in \
         `64KiB`"
    )]
    Size(String),
    /// No count.
    #[error("`{0}` is not a whole number")]
    Count(String),
    /// Outside the bounds.
    #[error("`{given}` is outside the bounds: from {min} to {max} is allowed")]
    Bounds {
        /// As typed.
        given: String,
        /// The smallest allowed value.
        min: String,
        /// The largest allowed value.
        max: String,
    },
}

/// What flags, environment and TOML need to know of a bounded value.
pub trait Setting: FromStr<Err = ValueError> {
    /// In `--help`: `<DURATION>`.
    const PLACEHOLDER: &'static str;

    /// `from 1ms to 10min`.
    fn bounds() -> String;

    /// A TOML integer.
    ///
    /// # Errors
    /// See [`ValueError`].
    fn from_number(number: u64) -> Result<Self, ValueError>;
}

/// A duration from `MIN` to `MAX`. Units: milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time<const MIN: u64, const MAX: u64>(u64);

/// What a plugin may take to the head of its answer.
pub type PluginTime = Time<1, { 24 * HOUR }>;

/// A number of bytes from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<const MIN: u64, const MAX: u64>(u64);

/// A number of things from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<const MIN: u64, const MAX: u64>(u64);

/// One second, minute and hour. Units: milliseconds.
pub const SECOND: u64 = 1000;
/// See [`SECOND`].
pub const MINUTE: u64 = 60 * SECOND;
/// See [`SECOND`].
pub const HOUR: u64 = 60 * MINUTE;
/// Units: bytes.
pub const KIB: u64 = 1 << 10;
/// Units: bytes.
pub const MIB: u64 = 1 << 20;
/// Units: bytes.
pub const GIB: u64 = 1 << 30;
/// Units: bytes.
pub const TIB: u64 = 1 << 40;

const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", SECOND), ("min", MINUTE), ("h", HOUR)];
const SIZES: [(&str, u64); 5] = [("B", 1), ("KiB", KIB), ("MiB", MIB), ("GiB", GIB), ("TiB", TIB)];

/// `number` with the largest unit that leaves it whole.
fn with_unit(number: u64, units: &[(&str, u64)]) -> String {
    let whole = |(_, size): &&(&str, u64)| number != 0 && number.is_multiple_of(*size);
    let (unit, size) = units.iter().rev().find(whole).unwrap_or(&units[0]);
    format!("{}{unit}", number / size)
}

/// `10s` split into 10 and its unit's size; `None` when it is no such text or too large for it.
fn split_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*size)
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())
}

fn within(
    number: u64,
    given: &str,
    bounds: std::ops::RangeInclusive<u64>,
    show: impl Fn(u64) -> String,
) -> Result<u64, ValueError> {
    if bounds.contains(&number) {
        return Ok(number);
    }
    let (min, max) = (show(*bounds.start()), show(*bounds.end()));
    Err(ValueError::Bounds { given: given.to_owned(), min, max })
}

impl<const MIN: u64, const MAX: u64> Setting for Time<MIN, MAX> {
    const PLACEHOLDER: &'static str = "DURATION";

    fn bounds() -> String {
        format!("from {} to {}", with_unit(MIN, &TIMES), with_unit(MAX, &TIMES))
    }

    fn from_number(number: u64) -> Result<Self, ValueError> {
        Err(ValueError::NoUnit(number.to_string()))
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Time<MIN, MAX> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if all_digits(text) {
            return Err(ValueError::NoUnit(text.to_owned()));
        }
        let number =
            split_unit(text, &TIMES).ok_or_else(|| ValueError::Duration(text.to_owned()))?;
        within(number, text, MIN..=MAX, |number| with_unit(number, &TIMES)).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64> Setting for Size<MIN, MAX> {
    const PLACEHOLDER: &'static str = "SIZE";

    fn bounds() -> String {
        format!("from {} to {}", with_unit(MIN, &SIZES), with_unit(MAX, &SIZES))
    }

    fn from_number(number: u64) -> Result<Self, ValueError> {
        within(number, &number.to_string(), MIN..=MAX, |number| with_unit(number, &SIZES)).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Size<MIN, MAX> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // Bytes are the only unit that a bare number can mean here.
        let number = if all_digits(text) { text.parse().ok() } else { split_unit(text, &SIZES) };
        let number = number.ok_or_else(|| ValueError::Size(text.to_owned()))?;
        within(number, text, MIN..=MAX, |number| with_unit(number, &SIZES)).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64> Setting for Count<MIN, MAX> {
    const PLACEHOLDER: &'static str = "COUNT";

    fn bounds() -> String {
        format!("from {MIN} to {MAX}")
    }

    fn from_number(number: u64) -> Result<Self, ValueError> {
        within(number, &number.to_string(), MIN..=MAX, |number| number.to_string()).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Count<MIN, MAX> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if !all_digits(text) {
            return Err(ValueError::Count(text.to_owned()));
        }
        let number = text.parse().map_err(|_| ValueError::Count(text.to_owned()))?;
        Self::from_number(number)
    }
}

/// Reads a [`Setting`] from a TOML string or integer.
struct Typed<T>(PhantomData<T>);

impl<T: Setting> Visitor<'_> for Typed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} {}", T::PLACEHOLDER.to_lowercase(), T::bounds())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        T::from_number(number).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        let positive = u64::try_from(number)
            .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
        self.visit_u64(positive)
    }
}

macro_rules! setting_traits {
    ($($kind:ident => $($plain:ty: |$value:ident| $convert:expr),*;)*) => { $(
        impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for $kind<MIN, MAX> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Typed(PhantomData))
            }
        }

        $(impl<const MIN: u64, const MAX: u64> From<$kind<MIN, MAX>> for $plain {
            fn from($kind($value): $kind<MIN, MAX>) -> Self {
                $convert
            }
        })*
    )* };
}

// No maximum of a setting that becomes a `usize` or `u32` is above `u32::MAX`, so nothing is cut;
// `fits` in `limits.rs` tests it.
setting_traits! {
    Time => Duration: |ms| Self::from_millis(ms);
    Size =>
        u64: |bytes| bytes,
        usize: |bytes| Self::try_from(bytes).unwrap_or(Self::MAX);
    Count =>
        u32: |count| Self::try_from(count).unwrap_or(Self::MAX),
        usize: |count| Self::try_from(count).unwrap_or(Self::MAX);
}

/// Reads any type with a `FromStr` whose error is worth reading from a TOML string.
pub(super) fn from_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Wait = Time<1, { 10 * MINUTE }>;
    type Room = Size<{ 4 * KIB }, { 4 * GIB }>;
    type Many = Count<1, 128>;

    #[test]
    fn a_duration_needs_a_unit() {
        for (text, ms) in [("200ms", 200), ("10s", 10_000), ("10min", 600_000), ("1 s", 1000)] {
            assert_eq!(text.parse::<Wait>(), Ok(Time(ms)), "{text}");
        }
        assert_eq!("10".parse::<Wait>(), Err(ValueError::NoUnit("10".to_owned())));
        for text in ["", "s", "-1s", "1.5s", "10 minutes", "99999999999999999999s", "1S"] {
            assert_eq!(text.parse::<Wait>(), Err(ValueError::Duration(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn bounds_belong_to_the_allowed() {
        assert!("1ms".parse::<Wait>().is_ok());
        assert!("10min".parse::<Wait>().is_ok());
        let error = "600001ms".parse::<Wait>().unwrap_err().to_string();
        assert_eq!(error, "`600001ms` is outside the bounds: from 1ms to 10min is allowed");
        assert!("0s".parse::<Wait>().is_err());
        assert!("4KiB".parse::<Room>().is_ok());
        assert!("4095B".parse::<Room>().is_err());
        assert!("4GiB".parse::<Room>().is_ok());
        assert!("4294967297".parse::<Room>().is_err());
        assert!("0".parse::<Many>().is_err());
        assert_eq!("128".parse::<Many>(), Ok(Count(128)));
        assert!("129".parse::<Many>().is_err());
    }

    #[test]
    fn a_size_has_binary_units_only() {
        assert_eq!("64KiB".parse::<Room>(), Ok(Size(65_536)));
        assert_eq!("65536".parse::<Room>(), Ok(Size(65_536)));
        for text in ["64KB", "64k", "KiB", "1e6", "", "20000000TiB"] {
            assert_eq!(text.parse::<Room>(), Err(ValueError::Size(text.to_owned())), "{text}");
        }
    }
}
