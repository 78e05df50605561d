//! Sets a signal handler by the kernel's own call, which nobody sees, and leaves it.
#![expect(unsafe_code, reason = "calls the kernel")]

use std::{arch::naked_asm, ffi::c_int, ptr};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

/// The kernel's `struct sigaction`. Source: rt_sigaction(2), `<asm/signal.h>`.
#[repr(C)]
struct Action {
    handler: extern "C" fn(c_int),
    flags: u64,
    restorer: unsafe extern "C" fn(),
    mask: u64,
}

/// `SA_RESTORER`.
const RESTORER: u64 = 0x0400_0000;

extern "C" fn on_signal(_: c_int) {}

/// Where the handler returns to.
#[unsafe(naked)]
unsafe extern "C" fn restore() {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("mov eax, 15", "syscall");
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x8, #139", "svc #0");
}

struct Raw;

impl Handler for Raw {
    fn new(_: &Context) -> Result<Self> {
        let flags = RESTORER | u64::from(libc::SA_RESTART.cast_unsigned());
        let action = Action { handler: on_signal, flags, restorer: restore, mask: 0 };
        let nothing = ptr::null_mut::<Action>();
        // SAFETY: a whole action of the kernel's own layout; nobody wants the one before.
        let rc = unsafe {
            libc::syscall(libc::SYS_rt_sigaction, libc::SIGWINCH, &raw const action, nothing, 8)
        };
        if rc == 0 { Ok(Self) } else { Err(Error::from(std::io::Error::last_os_error())) }
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("raw_handler"))
    }
}

export_handler!(Raw);
