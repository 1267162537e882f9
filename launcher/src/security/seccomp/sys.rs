//! The seccomp(2) call.
#![allow(unsafe_code, reason = "system call without a safe wrapper: seccomp")]

use std::io;

use super::Instruction;

/// Installs a filter on the calling thread, which is the process's only one.
pub(super) fn install(program: &[Instruction]) -> io::Result<()> {
    let mut code: Vec<libc::sock_filter> = program
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.if_true,
            jf: instruction.if_false,
            k: instruction.value,
        })
        .collect();
    let filter = libc::sock_fprog {
        len: libc::c_ushort::try_from(code.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        filter: code.as_mut_ptr(),
    };
    // SAFETY: the structure and the array it points to outlive the call, which only reads them, and
    // the length is the array's.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const filter,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
