//! Changes what belongs to the whole process, or to its thread, and not to a plugin: the thing that
//! the path names, on the data thread that answers. Behind `/thread`, on a thread of its own.
#![expect(unsafe_code, reason = "calls the C library")]

use std::{ffi::c_int, mem::MaybeUninit, ptr};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

fn checked(rc: c_int) -> Result<()> {
    if rc < 0 { Err(Error::from(std::io::Error::last_os_error())) } else { Ok(()) }
}

fn set_action(signal: c_int, action: usize) {
    // SAFETY: a rule of the system, and no handler.
    unsafe { libc::signal(signal, action) };
}

/// Lowers the soft limit and leaves the hard one.
fn lower(resource: libc::__rlimit_resource_t, value: libc::rlim_t) -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for the answer.
    checked(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
    limit.rlim_cur = value.min(limit.rlim_max);
    // SAFETY: a filled structure.
    checked(unsafe { libc::setrlimit(resource, &raw const limit) })
}

fn block_all() {
    let mut set = MaybeUninit::uninit();
    // SAFETY: fills the set.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) };
}

fn set_variable(name: &'static std::ffi::CStr, value: &'static std::ffi::CStr) {
    // SAFETY: two strings; the C library copies them.
    unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) };
}

fn change(what: &str) -> Result<()> {
    match what {
        "nothing" => {}
        "folder" => std::env::set_current_dir("/")?,
        "umask" => {
            // SAFETY: takes any mask.
            unsafe { libc::umask(0o777) };
        }
        "mask" => block_all(),
        "pipe" => set_action(libc::SIGPIPE, libc::SIG_DFL),
        "child" => set_action(libc::SIGCHLD, libc::SIG_IGN),
        "reap" => {
            std::thread::spawn(|| {
                // SAFETY: no status is asked for.
                while unsafe { libc::waitpid(-1, ptr::null_mut(), 0) } != 0 {
                    std::thread::yield_now();
                }
            });
        }
        "stop" => [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT]
            .into_iter()
            .for_each(|it| set_action(it, libc::SIG_IGN)),
        "descriptors" => lower(libc::RLIMIT_NOFILE, 16)?,
        "size" => lower(libc::RLIMIT_FSIZE, 64)?,
        "space" => lower(libc::RLIMIT_AS, 1 << 20)?,
        "processes" => lower(libc::RLIMIT_NPROC, 0)?,
        "core" => lower(libc::RLIMIT_CORE, 0)?,
        "nice" => {
            // SAFETY: of this thread.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
        }
        "path" => set_variable(c"PATH", c"/nowhere"),
        // What is started with it lists its libraries, and ends.
        "trace" => set_variable(c"LD_TRACE_LOADED_OBJECTS", c"1"),
        "libraries" => set_variable(c"LD_LIBRARY_PATH", c"/nowhere"),
        "locale" => {
            // SAFETY: a string that lives.
            unsafe { libc::setlocale(libc::LC_ALL, c"".as_ptr()) };
        }
        "input" | "output" | "error" => {
            let number = match what {
                "input" => 0,
                "output" => 1,
                _ => 2,
            };
            // SAFETY: closes a number; that it is somebody's is the point.
            checked(unsafe { libc::close(number) })?;
        }
        "alarm" => {
            let time = libc::timeval { tv_sec: 0, tv_usec: 1000 };
            let timer = libc::itimerval { it_interval: time, it_value: time };
            // SAFETY: a filled structure; nobody wants the one before.
            checked(unsafe {
                libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut())
            })?;
        }
        "affinity" => {
            // SAFETY: all zeros is the empty set.
            let mut set = unsafe { MaybeUninit::<libc::cpu_set_t>::zeroed().assume_init() };
            // SAFETY: a number within the set.
            unsafe { libc::CPU_SET(0, &mut set) };
            // SAFETY: of this thread.
            checked(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })?;
        }
        "death" => {
            // SAFETY: takes any signal.
            checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        }
        other => return Err(Error::new(format!("nothing is called `{other}`"))),
    }
    Ok(())
}

struct Changes;

impl Handler for Changes {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let path = request.path();
        match path.strip_prefix("/thread/") {
            Some(what) => {
                let what = what.to_owned();
                let thread = std::thread::spawn(move || change(&what).map_err(|it| it.to_string()));
                thread.join().map_err(|_| Error::new("it panicked"))?.map_err(Error::new)?;
            }
            None => change(path.trim_start_matches('/'))?,
        }
        Ok(Response::text(path.to_owned()))
    }
}

export_handler!(Changes);
