//! The unsafe part of the launcher: calls of the C library and raw system calls.
#![allow(
    unsafe_code,
    reason = "system calls without a safe wrapper: mount_setattr, unshare, fork, signals, NSS, execve"
)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::thread::UnshareFlags;

/// One entry of the user database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PasswdRecord {
    /// Login name.
    pub name: Vec<u8>,
    /// Full name and more.
    pub gecos: Vec<u8>,
    /// Home directory.
    pub home: Vec<u8>,
    /// Login shell.
    pub shell: Vec<u8>,
    /// Primary group.
    pub gid: u32,
}

/// Which side of a fork we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old process, with the new one's number.
    Parent(i32),
}

/// A saved signal mask.
#[derive(Clone, Copy)]
pub struct SignalMask(libc::sigset_t);

impl std::fmt::Debug for SignalMask {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SignalMask")
    }
}

/// A signal taken from the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceivedSignal {
    /// Its number.
    pub number: i32,
    /// It came from the kernel (a terminal key) rather than from a process.
    pub from_kernel: bool,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Changes attributes of the mount behind `mount` (`mount_setattr(2)`, Linux 5.12).
///
/// # Errors
/// The kernel's refusal.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    set: u64,
    propagation: u64,
) -> io::Result<()> {
    change_mount(
        mount,
        recursive,
        libc::mount_attr {
            attr_set: set,
            attr_clr: 0,
            propagation,
            userns_fd: 0,
        },
    )
}

/// Takes attributes of the mount behind `mount` away (`mount_setattr(2)`, Linux 5.12).
///
/// # Errors
/// The kernel's refusal.
pub fn mount_clearattr(mount: BorrowedFd<'_>, clear: u64) -> io::Result<()> {
    change_mount(
        mount,
        false,
        libc::mount_attr {
            attr_set: 0,
            attr_clr: clear,
            propagation: 0,
            userns_fd: 0,
        },
    )
}

fn change_mount(
    mount: BorrowedFd<'_>,
    recursive: bool,
    attributes: libc::mount_attr,
) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated string and the structure lives across the call, which
    // only reads it; its size is passed along.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            mem::size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}

/// Leaves namespaces behind.
///
/// # Errors
/// The kernel's refusal.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(
        !flags.contains(UnshareFlags::FILES),
        "descriptors stay shared"
    );
    // SAFETY: the only hazard named is an unshared descriptor table, which is never asked for.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Makes a second process. The caller has one thread, so that the child may go on as usual.
///
/// # Errors
/// The kernel's refusal.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the process is single-threaded, so no lock can be held by a thread that is gone in
    // the child.
    let pid = unsafe { libc::fork() };
    match check(libc::c_long::from(pid))? {
        0 => Ok(Fork::Child),
        _ => Ok(Fork::Parent(pid)),
    }
}

/// Largest answer of the user database that is waited for; far beyond any real entry.
const MAX_RECORD: usize = 1 << 20;

/// Calls `ask` with growing buffers until the answer fits.
fn with_buffer<T>(mut ask: impl FnMut(&mut [c_char]) -> Result<Option<T>, c_int>) -> Option<T> {
    let mut size = 1024;
    loop {
        let mut buffer = vec![0; size];
        match ask(&mut buffer) {
            Ok(answer) => return answer,
            Err(libc::ERANGE) if size < MAX_RECORD => size *= 4,
            Err(libc::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Bytes of a C string that may be null.
fn bytes(pointer: *const c_char) -> Vec<u8> {
    if pointer.is_null() {
        return Vec::new();
    }
    // SAFETY: the C library hands out NUL-terminated strings inside the caller's buffer, which is
    // still alive.
    unsafe { CStr::from_ptr(pointer) }.to_bytes().to_vec()
}

/// Asks the user database with `look_up`, which is getpwuid_r or getpwnam_r without its first
/// argument.
fn passwd_with(
    look_up: impl Fn(*mut libc::passwd, &mut [c_char], *mut *mut libc::passwd) -> c_int,
) -> Option<(u32, PasswdRecord)> {
    with_buffer(|buffer| {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        let result = look_up(entry.as_mut_ptr(), buffer, &raw mut found);
        if result != 0 {
            return Err(result);
        }
        if found.is_null() {
            return Ok(None);
        }
        // SAFETY: a non-null result means that the entry was filled in.
        let entry = unsafe { entry.assume_init() };
        let record = PasswdRecord {
            name: bytes(entry.pw_name),
            gecos: bytes(entry.pw_gecos),
            home: bytes(entry.pw_dir),
            shell: bytes(entry.pw_shell),
            gid: entry.pw_gid,
        };
        Ok(Some((entry.pw_uid, record)))
    })
}

/// The user database's entry for `uid` (NSS: files, LDAP, sssd, ...).
pub fn passwd_record(uid: u32) -> Option<PasswdRecord> {
    passwd_with(|entry, buffer, found| {
        // SAFETY: all pointers are valid for the call and the buffer's length is its own.
        unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr(), buffer.len(), found) }
    })
    .map(|(_, record)| record)
}

/// The user database's number and entry for the user called `name`.
pub fn passwd_entry(name: &str) -> Option<(u32, PasswdRecord)> {
    let name = CString::new(name).ok()?;
    passwd_with(|entry, buffer, found| {
        let (size, buffer) = (buffer.len(), buffer.as_mut_ptr());
        // SAFETY: all pointers are valid for the call and the buffer's length is its own.
        unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, size, found) }
    })
}

/// Asks the group database with `look_up`, which is getgrgid_r or getgrnam_r without its first
/// argument.
fn group_with(
    look_up: impl Fn(*mut libc::group, &mut [c_char], *mut *mut libc::group) -> c_int,
) -> Option<(u32, Vec<u8>)> {
    with_buffer(|buffer| {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        let result = look_up(entry.as_mut_ptr(), buffer, &raw mut found);
        if result != 0 {
            return Err(result);
        }
        if found.is_null() {
            return Ok(None);
        }
        // SAFETY: a non-null result means that the entry was filled in.
        let entry = unsafe { entry.assume_init() };
        Ok(Some((entry.gr_gid, bytes(entry.gr_name))))
    })
}

/// The group database's name for `gid`.
pub fn group_name(gid: u32) -> Option<Vec<u8>> {
    group_with(|entry, buffer, found| {
        // SAFETY: all pointers are valid for the call and the buffer's length is its own.
        unsafe { libc::getgrgid_r(gid, entry, buffer.as_mut_ptr(), buffer.len(), found) }
    })
    .map(|(_, name)| name)
}

/// The group database's number for the group called `name`.
pub fn group_id(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    group_with(|entry, buffer, found| {
        let (size, buffer) = (buffer.len(), buffer.as_mut_ptr());
        // SAFETY: all pointers are valid for the call and the buffer's length is its own.
        unsafe { libc::getgrnam_r(name.as_ptr(), entry, buffer, size, found) }
    })
    .map(|(gid, _)| gid)
}

/// Signals that a supervising process leaves alone: those of its own mistakes, those that cannot
/// be caught, and job control, which must stop it like anything else.
const LEFT_ALONE: [c_int; 11] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// All signals that a supervisor takes.
fn supervised() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is valid; the call fills the set in.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: filled in by the call above, which cannot fail on a valid pointer.
    let mut set = unsafe { set.assume_init() };
    for signal in LEFT_ALONE {
        // SAFETY: the set is initialised and the number is a signal's.
        unsafe { libc::sigdelset(&raw mut set, signal) };
    }
    set
}

/// Blocks the signals that a supervisor takes with [`wait_for_signal`] and makes sure that dead
/// children are kept for `wait`; returns the mask to restore in the payload.
///
/// # Errors
/// The kernel's refusal.
pub fn block_signals() -> io::Result<SignalMask> {
    let set = supervised();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are valid for the call.
    let result = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, old.as_mut_ptr()) };
    check(libc::c_long::from(result))?;
    // SAFETY: the call succeeded and filled the old set in.
    Ok(SignalMask(unsafe { old.assume_init() }))
}

/// Puts a saved mask back.
///
/// # Errors
/// The kernel's refusal.
pub fn restore_signals(mask: &SignalMask) -> io::Result<()> {
    // SAFETY: the set is valid; no old set is asked for.
    let result =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const mask.0, ptr::null_mut()) };
    check(libc::c_long::from(result)).map(drop)
}

/// Sets one signal to its default action.
fn default_action(signal: c_int) -> io::Result<()> {
    // SAFETY: SIG_DFL installs no handler.
    let result = unsafe { libc::signal(signal, libc::SIG_DFL) };
    if result == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Undoes what the Rust runtime did to signals before `main`: it ignores SIGPIPE, which a payload
/// would inherit. With `children`, dead children are kept for `wait` as well.
///
/// # Errors
/// The kernel's refusal.
pub fn reset_signal_dispositions(children: bool) -> io::Result<()> {
    default_action(libc::SIGPIPE)?;
    if children {
        keep_dead_children()?;
    }
    Ok(())
}

/// Makes the kernel keep dead children until they are waited for, whatever the program that became
/// this one had said.
///
/// # Errors
/// The kernel's refusal.
pub fn keep_dead_children() -> io::Result<()> {
    default_action(libc::SIGCHLD)
}

/// Takes the next supervised signal.
///
/// # Errors
/// The kernel's refusal, other than an interruption.
pub fn wait_for_signal() -> io::Result<ReceivedSignal> {
    let set = supervised();
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
        // SAFETY: both pointers are valid for the call.
        let number = unsafe { libc::sigwaitinfo(&raw const set, info.as_mut_ptr()) };
        if number < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        // SAFETY: the call succeeded and filled the information in.
        let info = unsafe { info.assume_init() };
        return Ok(ReceivedSignal {
            number,
            from_kernel: info.si_code == libc::SI_KERNEL,
        });
    }
}

/// Sends a signal; a process that is gone meanwhile is no error.
pub fn send_signal(pid: i32, signal: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, signal) };
}

/// Dies by `signal`, as the payload did; returns if the kernel does not let it, without a core.
pub fn die_by(signal: i32) {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // The payload has left its own core file; one of ours would overwrite it.
    // SAFETY: the structure is valid and only read.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    // A failure means that the signal cannot be set, as with SIGKILL, which needs no setting.
    drop(default_action(signal));
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is valid; the call fills the set in.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: filled in by the call above, which cannot fail on a valid pointer.
    let mut set = unsafe { set.assume_init() };
    // SAFETY: the set is initialised; a wrong number is refused.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    // SAFETY: the set is valid; no old set is asked for.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
    // SAFETY: no memory is involved.
    unsafe { libc::raise(signal) };
}

/// Brings the loopback interface of the current network namespace up.
///
/// # Errors
/// The kernel's refusal.
pub fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero request is a valid one without name.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = c_char::from_ne_bytes([*from]);
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or(0);
    // SAFETY: the request is valid for the call, which only reads it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(libc::c_long::from(result)).map(drop)
}

/// Becomes another program; returns only on failure.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect::<Vec<_>>()
    };
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: both arrays end with a null pointer and, like the strings they point to, outlive
    // the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends a forked child without running what its parent had registered for its own end.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// Closes every descriptor from `first` on. Only at the start of a process, before anything that
/// owns a descriptor exists, or in a forked child that uses none of its parent's and ends by
/// [`exit_now`].
///
/// # Errors
/// The kernel's refusal (before Linux 5.9 there is no such call).
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: no value of this process owns a descriptor that will be used again, so none is
    // pulled from under it.
    let result = unsafe { libc::close_range(first, libc::c_uint::MAX, 0) };
    check(libc::c_long::from(result)).map(drop)
}

/// Closes every descriptor from 3 on but those in `keep`, in a forked child that goes its own way
/// and never drops what it inherited.
///
/// # Errors
/// The kernel's refusal (before Linux 5.9 there is no such call).
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<libc::c_uint> = keep
        .iter()
        .filter_map(|fd| fd.as_raw_fd().try_into().ok())
        .collect();
    numbers.sort_unstable();
    let mut first: libc::c_uint = 3;
    for number in numbers.into_iter().chain([libc::c_uint::MAX]) {
        if number > first {
            // SAFETY: the caller's child leaves through exit_now, so no owner of a descriptor
            // closed here is ever dropped.
            let result = unsafe { libc::close_range(first, number - 1, 0) };
            check(libc::c_long::from(result))?;
        }
        first = first.max(number.saturating_add(1));
    }
    Ok(())
}

/// Locks a part of a file against others who lock it, for as long as the open file lives, through
/// whatever descriptors and processes; false when somebody else has it.
///
/// # Errors
/// The kernel's refusal, such as a file system without locks.
pub fn lock_range(file: BorrowedFd<'_>, write: bool, start: u64, len: u64) -> io::Result<bool> {
    let kind = if write { libc::F_WRLCK } else { libc::F_RDLCK };
    // SAFETY: a structure of numbers, for which zero is a value.
    let mut lock: libc::flock = unsafe { mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).map_err(io::Error::other)?;
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).map_err(io::Error::other)?;
    lock.l_start = libc::off_t::try_from(start).map_err(io::Error::other)?;
    lock.l_len = libc::off_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: the structure is valid for the call, which only reads it.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    match check(libc::c_long::from(result)) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Lets every signal through and gives each its default action, for a program that is to start
/// with nothing of ours.
///
/// # Errors
/// The kernel's refusal.
pub fn unblock_signals() -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is valid; the call fills the set in.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: filled in by the call above, which cannot fail on a valid pointer.
    let set = unsafe { set.assume_init() };
    restore_signals(&SignalMask(set))?;
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        default_action(signal)?;
    }
    reset_signal_dispositions(true)
}
