//! The text that a plugin carries about itself, readable without loading it.
//!
//! Owns the syntax: a first line with the format's number, then `key=value` lines. Unknown keys
//! are skipped, so that later builds may add some. Knows nothing of where the text lies in a file.

/// The symbol under which the export macro places the text.
pub const SYMBOL: &[u8] = b"hotseat_manifest\0";

/// First line of the only format there is.
const FIRST_LINE: &str = "hotseat-manifest 1";

/// What a plugin says of itself. Texts are empty where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginManifest {
    /// ABI version of its build: major and minor.
    pub abi: (u16, u16),
    /// Feature bits that its host must know.
    pub requires: u64,
    /// Its crate's name, `handler_v2`.
    pub crate_name: String,
    /// Its package's name, `handler`.
    pub package: String,
    /// Its package's version, `2.1.0`.
    pub version: String,
    /// The plugin name that its author gave to the export macro.
    pub name: String,
    /// The label that its author gave to the export macro.
    pub label: String,
    /// The compiler that built it, as `rustc -V` says.
    pub rustc: String,
    /// Version of the `hotseat-plugin-api` package it was built with.
    pub api: String,
    /// The panic strategy of its build; only `unwind` can be hosted.
    pub panic: String,
}

/// A manifest that cannot be read. The message says where it stops making sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestTextError {
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    NotText,
    /// Another format.
    #[error("its first line is `{0}`, `hotseat-manifest 1` is expected")]
    Format(String),
    /// A line that is needed and missing.
    #[error("`{0}=` is missing")]
    KeyMissing(&'static str),
    /// A value that cannot be read.
    #[error("`{key}={value}` cannot be read")]
    Value {
        /// Which line.
        key: &'static str,
        /// What stands there.
        value: String,
    },
}

impl PluginManifest {
    /// Reads the text up to its first NUL.
    ///
    /// # Errors
    /// [`ManifestTextError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestTextError> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let text = str::from_utf8(&bytes[..end]).map_err(|_| ManifestTextError::NotText)?;
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        if first != FIRST_LINE {
            let shown = first.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(ManifestTextError::Format(shown));
        }
        let pairs: Vec<_> = lines.filter_map(|line| line.split_once('=')).collect();
        let find =
            |key| pairs.iter().find(|(found, _)| *found == key).map(|(_, value)| value.trim());
        let needed = |key| find(key).ok_or(ManifestTextError::KeyMissing(key));
        let text = |key| find(key).unwrap_or_default().to_owned();
        let wrong = |key, value: &str| {
            let value = value.chars().filter(|c| !c.is_control()).take(40).collect();
            ManifestTextError::Value { key, value }
        };
        let abi = needed("abi")?;
        let requires = needed("requires")?;
        Ok(Self {
            abi: parse_abi(abi).ok_or_else(|| wrong("abi", abi))?,
            requires: parse_bits(requires).ok_or_else(|| wrong("requires", requires))?,
            crate_name: text("crate"),
            package: text("package"),
            version: text("version"),
            name: text("name"),
            label: text("label"),
            rustc: text("rustc"),
            api: text("api"),
            panic: needed("panic")?.to_owned(),
        })
    }
}

fn parse_abi(text: &str) -> Option<(u16, u16)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn parse_bits(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    // `from_str_radix` alone would take a sign.
    if digits.len() != 16 || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "hotseat-manifest 1\nabi=1.0\nrequires=0x0000000000000001\n\
        crate=handler_v2\npackage=handler\nversion=2.1.0\nname=\nlabel=\nrustc=rustc 1.95.0\n\
        api=0.1.0\npanic=unwind\nlater=whatever\n\0rubbish";

    #[test]
    fn reads_what_the_export_macro_writes() {
        let manifest = PluginManifest::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.abi, (1, 0));
        assert_eq!(manifest.requires, 1);
        assert_eq!(manifest.crate_name, "handler_v2");
        assert_eq!(manifest.package, "handler");
        assert_eq!(manifest.version, "2.1.0");
        assert_eq!(manifest.name, "");
        assert_eq!(manifest.rustc, "rustc 1.95.0");
        assert_eq!(manifest.panic, "unwind");
    }

    #[test]
    fn says_what_is_wrong() {
        let check = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "the case `{from}` replaces something");
            PluginManifest::parse(GOOD.replacen(from, to, 1).as_bytes()).unwrap_err().to_string()
        };
        assert!(check("manifest 1", "manifest 2").contains("hotseat-manifest 2"));
        assert_eq!(check("abi=1.0\n", ""), "`abi=` is missing");
        assert_eq!(check("abi=1.0", "abi=one"), "`abi=one` cannot be read");
        assert_eq!(check("abi=1.0", "abi=1.65536"), "`abi=1.65536` cannot be read");
        assert_eq!(check("0x0000000000000001", "0x1"), "`requires=0x1` cannot be read");
        assert_eq!(
            check("0x0000000000000001", "0x+000000000000001"),
            "`requires=0x+000000000000001` cannot be read"
        );
        assert_eq!(check("panic=unwind\n", ""), "`panic=` is missing");
        assert_eq!(PluginManifest::parse(b"\xff\xfe"), Err(ManifestTextError::NotText));
        assert_eq!(PluginManifest::parse(b""), Err(ManifestTextError::Format(String::new())));
    }
}
