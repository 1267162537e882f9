//! Launches in a sandbox directory: as the ordinary user that runs the tests, or, when root runs
//! them, once as root and once as nobody.
//!
//! Entering a user namespace takes a process with one thread, so this test has its own `main`: it
//! calls itself for every launch. The sandbox holds links and bind points only; programs come from
//! the host's /usr through binds. Without user namespaces the cases for ordinary users are skipped.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test program: it reports on its output and stops at the first surprise"
)]

use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use skiff_launcher::config::Config;
use skiff_launcher::host::{HostFacts, RealPaths};
use skiff_launcher::plan::{PlanInputs, plan};
use skiff_launcher::process::launch;
use skiff_launcher::request::{
    Action, Bind, EnvironmentWish, HomeWish, ImageRequest, LaunchRequest, NamespaceWish, RootKind,
};
use skiff_launcher::{LaunchError, Level, mount};

/// Ordinary user for tests that root runs.
const NOBODY: u32 = 65534;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "launch") {
        return child(arguments);
    }
    let world = World::build();
    let mut users = vec![None];
    if rustix::process::getuid().is_root() {
        users.push(Some(NOBODY));
    }
    for user in users {
        let runner = Runner {
            world: &world,
            user,
        };
        let probe = runner.run(&[], "true");
        if !probe.status.success() && text(&probe.stderr).contains("could not create a user") {
            println!("SKIP no user namespaces for {user:?}");
            continue;
        }
        for (name, case) in CASES {
            println!("sandbox {name} as {user:?}");
            case(&runner);
        }
    }
    ExitCode::SUCCESS
}

type Case = fn(&Runner<'_>);

const CASES: [(&str, Case); 8] = [
    ("programs run", programs_run),
    ("the host is out of reach", the_host_is_out_of_reach),
    ("binds", binds),
    ("contained", contained),
    ("pid namespace", pid_namespace),
    ("exit statuses", exit_statuses),
    ("working directories", working_directories),
    ("scripts without interpreter line", bare_scripts),
];

/// The sandbox and what is bound into it.
struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn build() -> Self {
        let directory = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let base = directory.path();
        let root = base.join("root");
        for name in ["usr", "etc", "tmp", "var/tmp"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            match std::fs::read_link(Path::new("/").join(name)) {
                Ok(target) => symlink(target, root.join(name)).unwrap(),
                Err(_) => std::fs::create_dir(root.join(name)).unwrap(),
            }
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
        std::fs::create_dir(base.join("data")).unwrap();
        std::fs::write(base.join("data/f"), "content\n").unwrap();
        let script = base.join("data/script");
        std::fs::write(&script, "echo bare $0 $1\n").unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        // The test program may lie where nobody cannot go.
        std::fs::copy(std::env::current_exe().unwrap(), base.join("launcher")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

/// Runs launches as one user.
struct Runner<'a> {
    world: &'a World,
    user: Option<u32>,
}

impl Runner<'_> {
    fn command(&self, options: &[&str], script: &str) -> Command {
        let mut command = Command::new(self.world.path("launcher"));
        command
            .arg("launch")
            .arg(self.world.path("root"))
            .args(options)
            .args(["--", "/bin/sh", "-c", script, "sh"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    fn run(&self, options: &[&str], script: &str) -> Output {
        self.command(options, script).output().unwrap()
    }

    #[track_caller]
    fn check(&self, options: &[&str], script: &str, expected: &str) {
        let output = self.run(options, script);
        assert_eq!(
            (text(&output.stdout), output.status.code()),
            (expected.to_owned(), Some(0)),
            "{options:?} {script}: {}",
            text(&output.stderr)
        );
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn programs_run(runner: &Runner<'_>) {
    runner.check(&[], "echo hello", "hello\n");
    let uid = runner
        .user
        .unwrap_or_else(|| rustix::process::getuid().as_raw());
    runner.check(&[], "id -u", &format!("{uid}\n"));
    runner.check(
        &[],
        "grep -c . /etc/passwd; umask",
        if uid == 0 { "1\n0022\n" } else { "2\n0022\n" },
    );
    if uid != 0 {
        runner.check(
            &[],
            "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status | cut -f2",
            "0000000000000000\n0000000000000000\n1\n",
        );
    }
    // Nothing of ours is left open: the program has what any child of this process would have.
    let count = "ls /proc/self/fd | wc -l";
    let outside = Command::new("/bin/sh")
        .args(["-c", count])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    runner.check(&[], count, &text(&outside.stdout));
}

fn the_host_is_out_of_reach(runner: &Runner<'_>) {
    runner.check(
        &[],
        "echo x 2>/dev/null >/new || echo read-only",
        "read-only\n",
    );
    runner.check(&[], "ls -d /work /opt /boot 2>/dev/null | wc -l", "0\n");
}

fn binds(runner: &Runner<'_>) {
    let data = runner.world.path("data");
    let file = runner.world.path("data/f");
    runner.check(
        &["-B", &format!("{data}:/in/deep")],
        "cat /in/deep/f",
        "content\n",
    );
    runner.check(
        &["-B", &format!("{file}:/usr-file")],
        "cat /usr-file",
        "content\n",
    );
    runner.check(
        &["-B", &format!("{data}:/d:ro")],
        "touch /d/new 2>/dev/null || echo no",
        "no\n",
    );
    let output = runner.run(&["-B", "/no/such:/x"], "true");
    assert_eq!(output.status.code(), Some(255));
    assert!(
        text(&output.stderr)
            .ends_with("while mounting /no/such: mount source /no/such doesn't exist\n"),
        "{}",
        text(&output.stderr)
    );
    let output = runner.run(&["-B", &format!("{data}:/etc/passwd")], "true");
    assert!(text(&output.stderr).ends_with(": not a directory\n"));
}

fn contained(runner: &Runner<'_>) {
    runner.check(
        &["-c"],
        "echo /dev/*; ls -A /tmp /var/tmp; stat -c %a /tmp /dev/shm",
        "/dev/fd /dev/null /dev/ptmx /dev/pts /dev/random /dev/shm /dev/stderr /dev/stdin \
         /dev/stdout /dev/tty /dev/urandom /dev/zero\n/tmp:\n\n/var/tmp:\n1777\n1777\n",
    );
    runner.check(&["-c"], "echo x > /tmp/f; cat /tmp/f", "x\n");
    assert!(!Path::new("/tmp/f").exists());
}

fn pid_namespace(runner: &Runner<'_>) {
    runner.check(&["-p"], "echo $$ $PPID; cat /proc/1/comm", "2 1\nappinit\n");
    runner.check(&["-p", "--no-init"], "echo $$ $PPID", "1 0\n");
    // Orphans are collected by process 1: none of them stays as a zombie.
    runner.check(
        &["-p"],
        "(sleep 0.01 &) ; sleep 0.2; grep -l '^State:.Z' /proc/[0-9]*/status | wc -l",
        "0\n",
    );
    let code = |options: &[&str], script| runner.run(options, script).status;
    assert_eq!(code(&["-p"], "exit 3").code(), Some(3));
    assert_eq!(code(&["-p"], "kill -9 $$").code(), Some(137));
    assert_eq!(code(&["-p", "--no-init"], "exit 4").code(), Some(4));
    // A signal for the waiting process reaches the program.
    let mut command = runner.command(
        &["-p"],
        "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.05; done",
    );
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    line.clear();
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(line, "got\n");
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

fn exit_statuses(runner: &Runner<'_>) {
    assert_eq!(runner.run(&[], "exit 42").status.code(), Some(42));
    assert_eq!(runner.run(&[], "kill -9 $$").status.signal(), Some(9));
    // A broken pipe kills as usual.
    assert_eq!(runner.run(&[], "kill -PIPE $$").status.signal(), Some(13));
}

fn working_directories(runner: &Runner<'_>) {
    runner.check(&["--cwd", "/usr"], "pwd", "/usr\n");
    let output = runner.run(&["--cwd", "/none"], "pwd");
    assert_eq!(
        text(&output.stderr),
        "FATAL: failed to set working directory: chdir /none: no such file or directory\n"
    );
    let data = runner.world.path("data");
    runner.check(
        &["--from", &data],
        "pwd; cat f",
        &format!("{data}\ncontent\n"),
    );
    runner.check(
        &["--from", &data, "--no-mount", "tmp"],
        "pwd; cat f",
        &format!("{data}\ncontent\n"),
    );
    let output = runner.run(&["--from", "/mnt", "--no-mount", "home"], "pwd");
    assert_eq!(text(&output.stdout), "/\n");
    assert!(text(&output.stderr).contains("Error changing the container working directory"));
}

fn bare_scripts(runner: &Runner<'_>) {
    let data = runner.world.path("data");
    runner.check(
        &["-B", &format!("{data}:/d")],
        "exec /d/script one",
        "bare /d/script one\n",
    );
}

/// The launching side: `launch ROOT [options] -- PROGRAM [arguments]`.
fn child(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut report = |level: Level, text: &str| {
        if level >= Level::Info {
            eprintln!("{level:?}: {text}");
        }
    };
    match child_launch(arguments, &mut report) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("FATAL: {error}");
            ExitCode::from(255)
        }
    }
}

fn child_launch(
    mut arguments: impl Iterator<Item = OsString>,
    report: &mut skiff_launcher::Report<'_>,
) -> Result<u8, LaunchError> {
    let root = PathBuf::from(arguments.next().unwrap());
    let mut request = LaunchRequest {
        action: Action::Exec(Vec::new()),
        image: ImageRequest {
            name: root.file_name().unwrap().to_owned(),
            path: root,
            kind: RootKind::Sandbox,
        },
        prompt: "skiff> ".to_owned(),
        binds: host_directories(),
        home: HomeWish::Default,
        contain: false,
        no_mount: Vec::new(),
        workdir: None,
        scratch: Vec::new(),
        cwd: None,
        host_cwd: "/".into(),
        namespaces: NamespaceWish::default(),
        hostname: None,
        dns: Vec::new(),
        environment: EnvironmentWish {
            host: std::env::vars_os().collect(),
            ..EnvironmentWish::default()
        },
        no_umask: false,
        shell: None,
        app: None,
        instance: None,
        writing: Default::default(),
        identity: Default::default(),
        gpu: Default::default(),
        limits: Default::default(),
    };
    while let Some(option) = arguments.next().filter(|option| option != "--") {
        let mut value = || arguments.next().unwrap();
        match option.to_str().unwrap() {
            "-B" => request
                .binds
                .extend(mount::bind::parse_binds(value().to_str().unwrap()).unwrap()),
            "-c" => request.contain = true,
            "-p" => request.namespaces.pid = true,
            "--no-init" => request.namespaces.no_init = true,
            "--cwd" => request.cwd = Some(value().into()),
            "--from" => request.host_cwd = value().into(),
            "--no-mount" => request.no_mount.push(value().into_string().unwrap()),
            other => panic!("unknown option {other}"),
        }
    }
    request.action = Action::Exec(arguments.collect());
    let config = Config::default();
    let facts = HostFacts::probe(&config);
    let inputs = PlanInputs {
        request: &request,
        config: &config,
        facts: &facts,
        paths: &RealPaths,
        environment_files: &[],
    };
    let plan = plan(&inputs, report)?;
    launch(&plan, None, report)
}

/// What the sandbox's links lead to.
fn host_directories() -> Vec<Bind> {
    ["/usr", "/bin", "/sbin", "/lib", "/lib64"]
        .into_iter()
        .map(Path::new)
        .filter(|path| path.is_dir() && !path.is_symlink())
        .map(|path| Bind {
            source: path.to_owned(),
            destination: path.to_owned(),
            read_only: true,
            image: None,
        })
        .collect()
}
