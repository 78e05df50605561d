//! Values that the host keeps for a plugin, beyond its versions.
//!
//! Owns their author's side. Knows nothing of where they are.
//! Invariant: what the host hands out is read in place, and given back to it.
#![expect(unsafe_code, reason = "calls the host's table of services")]

use std::{fmt, mem::MaybeUninit, str};

use bytes::Bytes;

use super::{Context, Host};
use crate::{
    abi::{
        Str,
        cell::{self, CellValue},
    },
    entry,
    owned::OwnedBytes,
};

/// A value, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// Another number for each value that the key ever had; never 0.
    pub version: u64,
    /// The value.
    pub value: T,
}

/// Why a cell was not read or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CellError {
    /// Another value is there than was expected: this one, or none.
    Conflict {
        /// What is there now.
        now: Option<Versioned<Bytes>>,
    },
    /// The host has no room for it: which bound, in words. The value is as it was.
    Full(String),
    /// The value is longer than the host allows: in words.
    TooLong(String),
    /// A key has 1 to 128 bytes of text without control characters.
    BadKey(String),
    /// Cells cannot be reached: the host is of before there were any (binary interface 1.3), this
    /// process was forked from one of its own, or what the text says.
    Unavailable(String),
    /// What is there is no JSON of the type that was asked for, or the value has none: in words.
    #[cfg(feature = "config")]
    Form(String),
}

impl fmt::Display for CellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { now: Some(now) } => {
                write!(f, "another value is there: version {}", now.version)
            }
            Self::Conflict { now: None } => f.write_str("no value is there any more"),
            Self::Full(text)
            | Self::TooLong(text)
            | Self::BadKey(text)
            | Self::Unavailable(text) => f.write_str(text),
            #[cfg(feature = "config")]
            Self::Form(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for CellError {}

/// One value that the host keeps for this plugin by a name; see [`Context::cell`]. Cheap to clone.
///
/// # Consistency
/// Each cell by itself is linearizable: all versions of the plugin that run, in all workers of the
/// host, see one order of values, and a change is whole and takes place once, at some moment between
/// call and return. So [`set_if`](Self::set_if) and [`update`](Self::update) lose no change of
/// anybody's. Across cells nothing is promised: what belongs together goes into one value.
///
/// | what ends | what is left |
/// |---|---|
/// | the version (a swap, an unload) | everything |
/// | the worker (an upgrade, a crash, `kill -9` at any instant) | everything; of a change that had not returned the value before or the one after |
/// | the host (a stop, or its master killed) | with `cells_on_disk` what was written: all of it after a stop, else all but the last moments |
/// | the machine | as above, and of that what the disk had |
///
/// Each key comes back as it was at some moment; two that changed at one time need not be of the
/// same. A version is never given twice, also not when a value was lost.
///
/// # Cost
/// A call is some system calls (microseconds), and waits for nobody but others of the same plugin
/// that write in the same moment: fit for a handler, if not for each line of a loop. The size of a
/// value counts, since it is copied. At most 2 s are waited for a process that was stopped while
/// it wrote; then it is [`CellError::Unavailable`].
///
/// # Preflight
/// There a copy of what serves is read, and changed: nothing of it is seen by anybody else.
#[derive(Clone)]
pub struct Cell {
    context: Context,
    key: Box<str>,
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Context {
    /// The value that the host keeps for this plugin by the name of `key`: for all its versions, in
    /// all workers, until somebody removes it. It is looked at by the methods of [`Cell`] only.
    ///
    /// A number of the host's own, `cell_bytes` (1 MiB), bounds a value, `cells_count` (1,000) their
    /// number and `cells_bytes` (16 MiB) what a plugin has in all.
    ///
    /// ```
    /// # use hotseat_plugin_api::{CellError, Context};
    /// fn count(context: &Context) -> Result<u64, CellError> {
    ///     let visits = context.cell("visits");
    ///     let now = visits.update(|old| {
    ///         let old = old.and_then(|it| it.try_into().ok()).map_or(0, u64::from_le_bytes);
    ///         (old + 1).to_le_bytes()
    ///     })?;
    ///     Ok(now.value.as_ref().try_into().map_or(0, u64::from_le_bytes))
    /// }
    /// ```
    #[must_use]
    pub fn cell(&self, key: &str) -> Cell {
        Cell { context: self.clone(), key: key.into() }
    }

    /// The keys of all cells of this plugin that have a value, in order.
    ///
    /// # Errors
    /// [`CellError::Unavailable`].
    pub fn cells(&self) -> Result<Vec<String>, CellError> {
        let keys = self.ask_cell(cell::LIST, "", 0, &[])?.unwrap_or_default();
        let keys = str::from_utf8(keys.value.as_ref());
        let keys = keys.map_err(|error| CellError::Unavailable(error.to_string()))?;
        Ok(keys.lines().map(str::to_owned).collect())
    }

    /// One operation. `None`: it has no value to show.
    fn ask_cell(
        &self,
        operation: u32,
        key: &str,
        expected: u64,
        value: &[u8],
    ) -> Result<Option<Answered>, CellError> {
        let Host { data, vt } = self.host();
        let Some(Some(ask)) = entry!(vt => HostVt.cell) else {
            let text = "this host is of before there were cells";
            return Err(CellError::Unavailable(text.to_owned()));
        };
        let (key, value) = (Str::new(key.as_bytes()), Str::new(value));
        let mut out = MaybeUninit::<CellValue>::uninit();
        // SAFETY: `data` belongs to the table, the texts live until the call returns, and there is
        // room for what it says.
        let code = unsafe { ask(data, operation, key, expected, value, out.as_mut_ptr()) };
        // SAFETY: filled, whatever the answer is.
        let CellValue { version, bytes } = unsafe { out.assume_init() };
        // SAFETY: a valid value that is ours now.
        let bytes = unsafe { OwnedBytes::from_abi(bytes) };
        match code {
            cell::DONE if version == 0 && operation != cell::LIST => Ok(None),
            cell::DONE => Ok(Some(Versioned { version, value: bytes })),
            cell::CONFLICT => {
                let there = version != 0;
                let now = there.then(|| Versioned { version, value: Bytes::from_owner(bytes) });
                Err(CellError::Conflict { now })
            }
            cell::FULL => Err(CellError::Full(bytes.to_text())),
            cell::TOO_LONG => Err(CellError::TooLong(bytes.to_text())),
            cell::BAD_KEY => Err(CellError::BadKey(bytes.to_text())),
            _ => Err(CellError::Unavailable(bytes.to_text())),
        }
    }
}

type Answered = Versioned<OwnedBytes>;

impl Default for Answered {
    fn default() -> Self {
        Self { version: 0, value: OwnedBytes::EMPTY }
    }
}

impl Cell {
    /// Its name.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    fn ask(
        &self,
        operation: u32,
        expected: u64,
        value: &[u8],
    ) -> Result<Option<Answered>, CellError> {
        self.context.ask_cell(operation, &self.key, expected, value)
    }

    /// The value; `None`: there is none.
    ///
    /// # Errors
    /// [`CellError::BadKey`], [`CellError::Unavailable`].
    pub fn get(&self) -> Result<Option<Versioned<Bytes>>, CellError> {
        let found = self.ask(cell::GET, 0, &[])?;
        Ok(found.map(|it| Versioned { version: it.version, value: Bytes::from_owner(it.value) }))
    }

    /// Sets the value, whatever is there; its version.
    ///
    /// # Errors
    /// [`CellError`], but for a conflict; the value is as it was then.
    pub fn set(&self, value: impl AsRef<[u8]>) -> Result<u64, CellError> {
        Ok(self.ask(cell::SET, 0, value.as_ref())?.map_or(0, |it| it.version))
    }

    /// Sets the value if the one that is there has this version, 0 for none; its version then.
    ///
    /// # Errors
    /// [`CellError`]; the value is as it was then.
    pub fn set_if(&self, version: u64, value: impl AsRef<[u8]>) -> Result<u64, CellError> {
        Ok(self.ask(cell::SET_IF, version, value.as_ref())?.map_or(0, |it| it.version))
    }

    /// Sets the value to what `change` makes of the one that is there; what it is then. Where
    /// somebody else is sooner, `change` is called once more, with what he has made.
    ///
    /// # Errors
    /// [`CellError`], but for a conflict; the value is as it was then.
    pub fn update<V: AsRef<[u8]>>(
        &self,
        mut change: impl FnMut(Option<&[u8]>) -> V,
    ) -> Result<Versioned<Bytes>, CellError> {
        let mut now = self.get()?;
        loop {
            let old = now.as_ref().map(|it| it.value.as_ref());
            let (new, version) = (change(old), now.as_ref().map_or(0, |it| it.version));
            match self.set_if(version, new.as_ref()) {
                Ok(version) => {
                    return Ok(Versioned { version, value: Bytes::copy_from_slice(new.as_ref()) });
                }
                Err(CellError::Conflict { now: other }) => now = other,
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the value, if there is one.
    ///
    /// # Errors
    /// [`CellError::BadKey`], [`CellError::Unavailable`].
    pub fn remove(&self) -> Result<(), CellError> {
        self.ask(cell::REMOVE, 0, &[]).map(drop)
    }

    /// Removes the value if it has this version.
    ///
    /// # Errors
    /// [`CellError`]; the value is as it was then.
    pub fn remove_if(&self, version: u64) -> Result<(), CellError> {
        self.ask(cell::REMOVE_IF, version, &[]).map(drop)
    }
}

/// Values as JSON.
#[cfg(feature = "config")]
impl Cell {
    /// The value, read as JSON; `None`: there is none.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`CellError::Form`] where it is no JSON of that type: another version of
    /// the plugin may have written it.
    pub fn get_as<T: serde::de::DeserializeOwned>(
        &self,
    ) -> Result<Option<Versioned<T>>, CellError> {
        let Some(Versioned { version, value }) = self.get()? else { return Ok(None) };
        Ok(Some(Versioned { version, value: self.read(&value)? }))
    }

    /// Sets the value to the JSON of `value`; its version.
    ///
    /// # Errors
    /// As [`set`](Self::set), and [`CellError::Form`].
    pub fn set_as<T: serde::Serialize + ?Sized>(&self, value: &T) -> Result<u64, CellError> {
        self.set(self.write(value)?)
    }

    /// As [`set_if`](Self::set_if), with the JSON of `value`.
    ///
    /// # Errors
    /// As [`set_if`](Self::set_if), and [`CellError::Form`].
    pub fn set_if_as<T: serde::Serialize + ?Sized>(
        &self,
        version: u64,
        value: &T,
    ) -> Result<u64, CellError> {
        self.set_if(version, self.write(value)?)
    }

    /// As [`update`](Self::update), with JSON read before and written behind `change`.
    ///
    /// # Errors
    /// As [`update`](Self::update), and [`CellError::Form`].
    pub fn update_as<T: serde::Serialize + serde::de::DeserializeOwned>(
        &self,
        mut change: impl FnMut(Option<T>) -> T,
    ) -> Result<Versioned<T>, CellError> {
        let mut now = self.get()?;
        loop {
            let old = now.as_ref().map(|it| self.read(&it.value)).transpose()?;
            let (new, version) = (change(old), now.as_ref().map_or(0, |it| it.version));
            match self.set_if(version, self.write(&new)?) {
                Ok(version) => return Ok(Versioned { version, value: new }),
                Err(CellError::Conflict { now: other }) => now = other,
                Err(error) => return Err(error),
            }
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CellError> {
        serde_json::from_slice(bytes).map_err(|error| self.form("read", &error))
    }

    fn write<T: serde::Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CellError> {
        serde_json::to_vec(value).map_err(|error| self.form("written", &error))
    }

    fn form(&self, done: &str, error: &serde_json::Error) -> CellError {
        CellError::Form(format!("the cell `{}` cannot be {done} as JSON: {error}", self.key))
    }
}
