//! A program with a console that loads, calls and unloads one library at a time.
//!
//! ```text
//! $ cargo run -p hotseat-unload --example console
//! load target/debug/examples/libgreeter.so
//! loaded
//! greet world
//! Hello, world! You are number 1.
//! unload
//! unloaded
//! ```
//! `load` while one is there swaps them: the new one is opened first, then the old one closed.
#![expect(unsafe_code, reason = "loads a library and calls it")]

use std::{
    env, fs,
    io::{self, BufRead as _, Write as _},
    mem::transmute,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use hotseat_unload::{Library, complaint, enter, self_test};

/// How long the library's threads may take to end, and a thread of ours to answer.
const TIME: Duration = Duration::from_secs(2);

/// Writes a greeting of the `len` bytes at `name` to `out`, which has `room`; how long it is.
type Greet = unsafe extern "C" fn(name: *const u8, len: usize, out: *mut u8, room: usize) -> usize;

/// A library and its one function, which is used as long as the library is there.
struct Greeter {
    library: Library,
    greet: Greet,
    /// Of its own, because a path is never to be used again.
    file: PathBuf,
}

impl Greeter {
    fn load(path: &Path, number: u32) -> Result<Self, String> {
        let file = env::temp_dir().join(format!("greeter-{}-{number}.so", std::process::id()));
        fs::copy(path, &file).map_err(|error| format!("{}: {error}", path.display()))?;
        // SAFETY: whoever types its name vouches for it.
        let opened = unsafe { Library::open(&file, number.into()) };
        let library = opened.map_err(|error| {
            let _ = fs::remove_file(&file);
            error.to_string()
        })?;
        let Some(greet) = library.symbol(c"greet") else {
            Self::end(library, &file)?;
            return Err("it has no function `greet`".to_owned());
        };
        // SAFETY: a function of this name has this type.
        let greet = unsafe { transmute::<*const (), Greet>(greet) };
        Ok(Self { library, greet, file })
    }

    fn greet(&self, name: &str) -> String {
        let mut text = vec![0; 200];
        let entered = enter(self.library.id());
        // SAFETY: both slices are as long as is said.
        let len = unsafe { (self.greet)(name.as_ptr(), name.len(), text.as_mut_ptr(), text.len()) };
        drop(entered);
        text.truncate(len);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn unload(self) -> Result<(), String> {
        Self::end(self.library, &self.file)
    }

    fn end(library: Library, file: &Path) -> Result<(), String> {
        library.close_soon(TIME, TIME).map_err(|reason| format!("it stays: {reason}"))?;
        fs::remove_file(file).map_err(|error| format!("{}: {error}", file.display()))
    }
}

fn main() -> ExitCode {
    if let Some(problem) = self_test().err().or(complaint().map(str::to_owned)) {
        eprintln!("libraries cannot be unloaded here: {problem}");
        return ExitCode::FAILURE;
    }
    let mut here = None::<Greeter>;
    let mut number = 0;
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match (command, &here) {
            ("load", _) => {
                number += 1;
                Greeter::load(Path::new(rest), number).and_then(|new| {
                    let old = here.replace(new);
                    old.map_or(Ok(()), Greeter::unload).map(|()| "loaded".to_owned())
                })
            }
            ("greet", Some(greeter)) => Ok(greeter.greet(rest)),
            ("unload", Some(_)) => {
                here.take().map_or(Ok(()), Greeter::unload).map(|()| "unloaded".to_owned())
            }
            ("greet" | "unload", None) => Err("nothing is loaded".to_owned()),
            _ => Err("load PATH, greet NAME or unload".to_owned()),
        };
        let answer = answer.unwrap_or_else(|problem| format!("error: {problem}"));
        if writeln!(io::stdout(), "{answer}").is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}
