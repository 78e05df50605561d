//! Starting a program by an open descriptor, also where there is no `/proc`.
//!
//! Owns two ways to one end: the name that `/proc` has for a descriptor, which costs nothing, and
//! execveat(2). A program that was started the second way has its own file open, under the number in
//! its name (`AT_EXECFN`), where there is no `/proc`; so it can start itself again. Where the file may
//! not be run, a copy in memory is. Entry points: [`of_descriptor`] and [`own`], then [`ready`]
//! before the start.
#![expect(unsafe_code, reason = "execveat, getauxval and what is done before it")]

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, OsStr, OsString},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    path::Path,
    process::Command,
    sync::OnceLock,
};

use rustix::fs::{Mode, OFlags, open};

use super::{inherited, start::start};

mod copy;

pub use copy::remedy_of;

/// What `/proc` calls a descriptor.
const NAMED: &str = "/proc/self/fd/";
/// What `/proc` calls this program.
const ITSELF: &str = "/proc/self/exe";
/// What execveat(2) calls a descriptor.
const DESCRIPTOR: &str = "/dev/fd/";

/// The name of the program behind an open descriptor, for a [`Command`] that is made [`ready`].
#[must_use]
pub fn of_descriptor(descriptor: BorrowedFd<'_>) -> String {
    format!("{NAMED}{}", descriptor.as_raw_fd())
}

/// The name of this very program, also if its file has been replaced since.
#[must_use]
pub fn own() -> &'static str {
    ITSELF
}

/// Opens this program, to be started again.
///
/// # Errors
/// There is no `/proc`, and nothing else is known of it.
pub fn open_own() -> io::Result<OwnedFd> {
    if let Ok(itself) = open_place(Path::new(ITSELF)) {
        return Ok(itself);
    }
    static OWN: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        let name = name_of_image()?;
        match name.strip_prefix(DESCRIPTOR.as_bytes()) {
            // Left open for us by whoever has started us.
            Some(number) => inherited::take(std::str::from_utf8(number).ok()?.parse().ok()?).ok(),
            None => open_place(Path::new(OsStr::from_bytes(name))).ok(),
        }
    });
    let own = own.as_ref().ok_or_else(|| {
        io::Error::other("the host cannot find its own binary: `/proc` is not mounted")
    })?;
    own.try_clone()
}

/// Opens the program at `path`: to be read where it may be, which a copy of it needs.
///
/// # Errors
/// It is not there.
pub fn open_place(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let read = open(path, flags, Mode::empty());
    Ok(read.or_else(|_| open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))?)
}

/// Whether this process runs from a copy in memory.
#[must_use]
pub fn is_in_memory() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| open_own().is_ok_and(|own| copy::is_one(&own)))
}

/// What this program was called as it was started.
fn name_of_image() -> Option<&'static [u8]> {
    // SAFETY: asks for a value of the start.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) };
    let name = usize::try_from(name).ok().filter(|it| *it != 0)?;
    // SAFETY: the kernel has put a C string there, which nobody moves.
    let name = unsafe { CStr::from_ptr(std::ptr::with_exposed_provenance(name)) };
    Some(name.to_bytes())
}

/// The name under which this program was started, where it has one.
#[must_use]
pub fn given_name() -> Option<&'static Path> {
    let name = name_of_image()?;
    let named = !name.starts_with(DESCRIPTOR.as_bytes()) && !name.starts_with(NAMED.as_bytes());
    named.then(|| Path::new(OsStr::from_bytes(name)))
}

/// Lets `command`, which has all of its arguments and variables, start the program that it names,
/// whether there is a `/proc` or not, and whether its file may be run or not; true: from a copy in
/// memory. `inherits`: it has the variables of this process besides.
///
/// # Errors
/// There is no `/proc`, and this program is not found otherwise; or no copy can be made.
pub fn ready(command: &mut Command, inherits: bool) -> io::Result<bool> {
    let has_proc = Path::new(ITSELF).exists();
    if has_proc && copy::may_be_run(command.get_program()) {
        return Ok(false);
    }
    let program = command.get_program().as_bytes();
    let file = if program == ITSELF.as_bytes() {
        open_own()?
    } else if let Some(number) = program.strip_prefix(NAMED.as_bytes()) {
        let number = std::str::from_utf8(number).ok().and_then(|it| it.parse().ok());
        same_file(number.ok_or(io::ErrorKind::InvalidInput)?)?
    } else {
        return Ok(false);
    };
    let memory = copy::instead_of(file.as_fd())?;
    let in_memory = memory.is_some();
    let kept = memory.unwrap_or(file);
    let arguments: io::Result<Vec<_>> = std::iter::once(OsStr::new("hotseat"))
        .chain(command.get_args())
        .map(|it| Ok(CString::new(it.as_bytes())?))
        .collect();
    let variables: io::Result<Vec<_>> = variables(command, inherits)
        .into_iter()
        .map(|(name, value)| Ok(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?))
        .collect();
    let image = Image::new(arguments?, variables?, kept, !has_proc);
    // SAFETY: only system calls are made between fork and exec.
    unsafe { command.pre_exec(move || Err(image.become_it())) };
    Ok(in_memory)
}

fn same_file(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: whoever has named it holds it; a number that is not open is an error of the copy.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, 3)?)
}

/// What the program will find, as the standard library would put it together.
fn variables(command: &Command, inherits: bool) -> BTreeMap<OsString, OsString> {
    let before = start().environment().iter().filter(|_| inherits);
    let mut all: BTreeMap<OsString, OsString> = before.cloned().collect();
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => drop(all.insert(name.to_owned(), value.to_owned())),
            None => drop(all.remove(name)),
        }
    }
    all
}

/// Everything that execveat(2) wants, made before the fork.
struct Image {
    _strings: [Vec<CString>; 2],
    /// Addresses of the strings, each list with a null at its end.
    lists: [Vec<usize>; 2],
    program: OwnedFd,
    /// The program gets its own file.
    is_left: bool,
}

impl Image {
    fn new(
        arguments: Vec<CString>,
        variables: Vec<CString>,
        program: OwnedFd,
        is_left: bool,
    ) -> Self {
        let strings = [arguments, variables];
        let list = |strings: &Vec<CString>| -> Vec<usize> {
            strings.iter().map(|it| it.as_ptr().expose_provenance()).chain([0]).collect()
        };
        Self { lists: strings.each_ref().map(list), _strings: strings, program, is_left }
    }

    /// Goes over to the program. Comes back only when that is not possible. Makes system calls alone.
    fn become_it(&self) -> io::Error {
        let [arguments, variables] = &self.lists;
        let number = self.program.as_raw_fd();
        if self.is_left {
            // The program opens itself by this number.
            // SAFETY: a descriptor of ours, in a process that has nothing else to do.
            unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
        }
        // SAFETY: a descriptor, an empty name, and two lists of C strings that live and end with null.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                number,
                c"".as_ptr(),
                arguments.as_ptr(),
                variables.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        io::Error::last_os_error()
    }
}
