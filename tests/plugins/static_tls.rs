//! Keeps 2,816 bytes of every thread at a fixed place, as libraries built with the initial-exec model
//! do (jemalloc: 2,824). `/thread` starts a thread with the smallest stack that there is.
#![expect(unsafe_code, reason = "a thread-local whose place the linker fixes is made in assembly")]

use std::arch::global_asm;

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".section .tbss.hotseat_fixed, \"awT\", @nobits",
    ".balign 16",
    "hotseat_fixed: .zero 2816",
    ".text",
    ".globl hotseat_fixed_place",
    "hotseat_fixed_place:",
    "mov rax, qword ptr [rip + hotseat_fixed@GOTTPOFF]",
    "add rax, qword ptr fs:[0]",
    "ret",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".section .tbss.hotseat_fixed, \"awT\", @nobits",
    ".balign 16",
    "hotseat_fixed: .zero 2816",
    ".text",
    ".globl hotseat_fixed_place",
    "hotseat_fixed_place:",
    "adrp x0, :gottprel:hotseat_fixed",
    "ldr x0, [x0, :gottprel_lo12:hotseat_fixed]",
    "mrs x1, tpidr_el0",
    "add x0, x0, x1",
    "ret",
);

unsafe extern "C" {
    /// This thread's 2,816 bytes.
    safe fn hotseat_fixed_place() -> *mut u64;
}

struct StaticTls;

impl Handler for StaticTls {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if request.path() == "/thread" {
            let thread = std::thread::Builder::new().stack_size(16 << 10).spawn(|| 7)?;
            let seven = thread.join().map_err(|_| Error::new("the thread panicked"))?;
            return Ok(Response::text(format!("a small thread said {seven}")));
        }
        let place = hotseat_fixed_place();
        // SAFETY: aligned, and this thread's own.
        let count = unsafe { place.read() } + 1;
        // SAFETY: as above.
        unsafe { place.write(count) };
        Ok(Response::text(format!("static_tls {count}")))
    }
}

export_handler!(StaticTls, allocator = none);
