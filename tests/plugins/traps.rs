//! Survives its own faults, as runtimes of WebAssembly do: a handler of SIGSEGV on a second stack of
//! its own for each thread jumps out of the fault. The stack is unmapped by a thread-local's
//! destructor, and nobody tells the kernel.
//!
//! Answers `trapped` once it has read what cannot be read.
#![expect(unsafe_code, reason = "signal handlers, jumps and stacks are the purpose")]

use std::{
    arch::global_asm,
    cell::Cell,
    ffi::{c_int, c_void},
    mem::MaybeUninit,
    ptr,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

/// Of glibc's `sigjmp_buf` on every machine, with room to spare. Units: bytes.
const BUFFER_BYTES: usize = 512;
/// Units: bytes.
const STACK_BYTES: usize = 64 << 10;

#[repr(C, align(16))]
struct Buffer(MaybeUninit<[u8; BUFFER_BYTES]>);

unsafe extern "C" {
    /// 0: `address` was read; 1: that was a fault, left by a jump to `buffer`.
    fn try_read(buffer: *mut Buffer, address: *const u8) -> c_int;
    fn siglongjmp(buffer: *mut Buffer, value: c_int) -> !;
}

// A function that returns twice cannot be called from Rust.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl try_read",
    ".hidden try_read",
    "try_read:",
    "push rbp",
    "mov rbp, rsp",
    "push rsi",
    "sub rsp, 8",
    "mov esi, 1",
    "call __sigsetjmp@PLT",
    "test eax, eax",
    "jne 2f",
    "mov rsi, [rbp - 8]",
    "movzx ecx, byte ptr [rsi]",
    "2:",
    "leave",
    "ret",
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl try_read",
    ".hidden try_read",
    "try_read:",
    "stp x29, x30, [sp, #-32]!",
    "mov x29, sp",
    "str x1, [sp, #16]",
    "mov w1, #1",
    "bl __sigsetjmp",
    "cbnz w0, 2f",
    "ldr x1, [sp, #16]",
    "ldrb w1, [x1]",
    "2:",
    "ldp x29, x30, [sp], #32",
    "ret",
);

/// Its memory is gone with the thread, or with the library's purge.
struct Stack(*mut c_void);

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped in `stack`; that the kernel still has it is the point.
        unsafe { libc::munmap(self.0, STACK_BYTES) };
    }
}

thread_local! {
    static JUMP: Cell<*mut Buffer> = const { Cell::new(ptr::null_mut()) };
    static STACK: Stack = stack();
}

fn stack() -> Stack {
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
    // SAFETY: a new mapping, and a second stack in it.
    unsafe {
        let mapped = libc::mmap(ptr::null_mut(), STACK_BYTES, access, flags, -1, 0);
        let stack = libc::stack_t { ss_sp: mapped, ss_flags: 0, ss_size: STACK_BYTES };
        assert_eq!(libc::sigaltstack(&raw const stack, ptr::null_mut()), 0);
        Stack(mapped)
    }
}

extern "C" fn on_fault(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    let jump = JUMP.replace(ptr::null_mut());
    if !jump.is_null() {
        // SAFETY: the frame that has filled it is the one that has faulted.
        unsafe { siglongjmp(jump, 1) }
    }
    // SAFETY: the default, so that the fault ends the process.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
}

struct Traps;

impl Handler for Traps {
    fn new(_: &Context) -> Result<Self> {
        // SAFETY: all zeros is an action without flags and mask.
        let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: a whole action.
        if unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut()) } != 0 {
            return Err(Error::from(std::io::Error::last_os_error()));
        }
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        STACK.with(|_| ());
        let mut buffer = Buffer(MaybeUninit::uninit());
        JUMP.set(&raw mut buffer);
        // SAFETY: the handler knows the buffer, which stays until this returns.
        let trapped = unsafe { try_read(&raw mut buffer, ptr::without_provenance(8)) } == 1;
        Ok(Response::text(if trapped { "trapped" } else { "read" }))
    }
}

export_handler!(Traps);
