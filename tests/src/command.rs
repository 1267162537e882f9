//! Running a program from a clean environment with a time limit.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here should take, shorter than anybody's patience.
const LIMIT: Duration = Duration::from_secs(120);

/// A program to run; environment empty, standard input `/dev/null`, unless told.
#[derive(Debug)]
pub struct Cmd {
    command: Command,
    stdin: Option<Vec<u8>>,
    stdin_open: bool,
    limit: Duration,
    owner: Option<(u32, u32)>,
}

/// How a program ended and what it wrote.
#[derive(Debug)]
pub struct Outcome {
    /// As wait(2) has it; `None` when the time limit ended it.
    pub status: Option<ExitStatus>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Wall-clock time.
    pub took: Duration,
}

impl Cmd {
    /// Runs `program`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.env_clear();
        Self {
            command,
            stdin: None,
            stdin_open: false,
            limit: LIMIT,
            owner: None,
        }
    }

    /// Adds one argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub fn cwd(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.command.env("PWD", path.as_ref());
        self.command.current_dir(path);
        self
    }

    /// The same, run by `leader`, which starts the program that it finds at the end of its arguments.
    #[must_use]
    pub fn behind(self, leader: &[&OsStr]) -> Self {
        let mut all = Cmd::new(leader[0]);
        all.args(&leader[1..])
            .arg(self.command.get_program())
            .args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                all.env(name, value);
            }
        }
        if let Some(folder) = self.command.get_current_dir() {
            all.command.current_dir(folder);
        }
        Self {
            command: all.command,
            ..self
        }
    }

    /// Gives standard input.
    pub fn stdin(&mut self, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Leaves standard input to whoever calls [`Cmd::start`], as a pipe.
    pub fn stdin_open(&mut self) -> &mut Self {
        self.stdin_open = true;
        self
    }

    /// Changes the time limit.
    pub fn limit(&mut self, limit: Duration) -> &mut Self {
        self.limit = limit;
        self
    }

    /// Makes the pipes belong to this user and group, as they do when the user made them: else what
    /// the program starts cannot open them by name (`/proc/PID/fd/2`).
    pub fn owner(&mut self, uid: u32, gid: u32) -> &mut Self {
        self.owner = Some((uid, gid));
        self
    }

    /// Starts it in a process group of its own, all three streams being pipes.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&mut self) -> Child {
        self.command
            .process_group(0)
            .stdin(if self.stdin.is_some() || self.stdin_open {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        match self.command.spawn() {
            Ok(child) => {
                self.give_away(&child);
                child
            }
            Err(error) => panic!("cannot start {:?}: {error}", self.command.get_program()),
        }
    }

    fn give_away(&self, child: &Child) {
        use std::os::fd::AsFd;
        let Some((uid, gid)) = self.owner else { return };
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(uid),
            rustix::fs::Gid::from_raw(gid),
        );
        let stdout = child.stdout.as_ref().map(AsFd::as_fd);
        let stderr = child.stderr.as_ref().map(AsFd::as_fd);
        for pipe in [stdout, stderr].into_iter().flatten() {
            rustix::fs::fchown(pipe, Some(uid), Some(gid)).expect("root may");
        }
    }

    /// Starts it with its three streams from `stream`, as the leader of a new session that takes
    /// the terminal among them for its own; setsid(1) does that part.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_on(
        &mut self,
        stream: impl Fn() -> std::io::Result<Stdio>,
    ) -> std::io::Result<Child> {
        let mut leader = Command::new("/usr/bin/setsid");
        leader
            .args(["--ctty", "--wait"])
            .arg(self.command.get_program());
        leader.args(self.command.get_args()).env_clear();
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                leader.env(name, value);
            }
        }
        if let Some(folder) = self.command.get_current_dir() {
            leader.current_dir(folder);
        }
        leader
            .stdin(stream()?)
            .stdout(stream()?)
            .stderr(stream()?)
            .spawn()
    }

    /// Runs it to its end, killing its process group at the time limit.
    ///
    /// The end is the program's own: output that processes it left behind write later is not waited
    /// for longer than a moment.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&mut self) -> Outcome {
        let begin = Instant::now();
        let mut child = self.start();
        if let (Some(bytes), Some(mut pipe)) = (self.stdin.take(), child.stdin.take()) {
            // A program that does not read its input is not at fault.
            std::thread::spawn(move || pipe.write_all(&bytes).ok());
        }
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = wait(&mut child, begin + self.limit);
        if status.is_none() {
            kill_group(&child);
            child.wait().ok();
        }
        let took = begin.elapsed();
        let grace = Duration::from_secs(2);
        Outcome {
            status,
            stdout: stdout
                .recv_timeout(grace)
                .unwrap_or_else(|_| b"(still held open)".to_vec()),
            stderr: stderr
                .recv_timeout(grace)
                .unwrap_or_else(|_| b"(still held open)".to_vec()),
            took,
        }
    }
}

/// Waits until `deadline`.
pub fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    let mut pause = Duration::from_micros(200);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(5));
            }
            _ => return None,
        }
    }
}

/// Kills the process group that [`Cmd::start`] made for `child`.
pub fn kill_group(child: &Child) {
    if let Some(pid) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        // It may have ended just now.
        rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).ok();
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).ok();
        }
        sender.send(bytes).ok();
    });
    receiver
}

impl Outcome {
    /// Whether it ended with exit code 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Exit code as a shell shows it: 128 + n for signal n; `None` after the time limit.
    pub fn code(&self) -> Option<i32> {
        let status = self.status?;
        status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
    }

    /// Standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fails the test unless it succeeded.
    ///
    /// # Panics
    /// Then.
    pub fn expect_success(self, what: &str) -> Self {
        assert!(self.success(), "{what}: {self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None => write!(f, "ended by the time limit")?,
        }
        write!(
            f,
            "\n-- stdout\n{}\n-- stderr\n{}",
            self.stdout_text(),
            self.stderr_text()
        )
    }
}

/// Arguments from anything printable.
pub fn strings<const N: usize>(args: [&str; N]) -> Vec<OsString> {
    args.iter().map(OsString::from).collect()
}
