//! Servers that cannot start again, or die as often as they are started: whoever asks gets an error
//! and a line in bounded time, and the image again when it is back.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use skiff_tests::command::Cmd;
use skiff_tests::processes::Process;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::web::Place;
use skiff_tests::web::place::copied;

use crate::faults::Faulty;
use crate::remote::python_sif;

/// Longer than anything here takes on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);

/// Files of the image that nobody has read yet.
const FRESH: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/libsqlite3.so.0",
    "/usr/lib/x86_64-linux-gnu/libgcrypt.so.20",
    "/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
    "/usr/bin/find",
];

/// A program in the image that reads what it is told to.
struct Asker {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Asker {
    fn start(cmd: Cmd) -> Self {
        Self::start_by(cmd, &[])
    }

    /// Started by the program `words` in the image.
    fn start_by(mut cmd: Cmd, words: &[&str]) -> Self {
        let script = "import sys\n\
            print('ready', flush=True)\n\
            for line in sys.stdin:\n    \
                try:\n        \
                    with open(line.strip(), 'rb') as file: file.read(5000)\n        \
                    print('good', flush=True)\n    \
                except OSError as error: print('bad', error.errno, flush=True)\n";
        cmd.args(words).args(["python3", "-c", script]);
        let mut child = cmd.stdin_open().start();
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut asker = Self { child, answers };
        let ready = asker.line();
        assert_eq!(ready, "ready", "{}", asker.complaints());
        asker
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("text");
        line.trim().to_owned()
    }

    fn ask(&mut self, file: &str) -> String {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{file}").expect("it listens");
        self.line()
    }

    /// Asks until it is good, which must be soon.
    fn ask_until_good(&mut self, file: &str) {
        let begin = Instant::now();
        loop {
            let answer = self.ask(file);
            if answer == "good" {
                return;
            }
            assert_eq!(answer, "bad 5");
            assert!(begin.elapsed() < LIMIT, "it never came back");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends it; what was said on its standard error.
    fn complaints(&mut self) -> String {
        use std::io::Read;
        drop(self.child.stdin.take());
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text).ok();
        }
        self.child.wait().expect("it was started");
        text
    }
}

/// The server of the image in use there.
pub(crate) fn server(place: &Place) -> Process {
    let begin = Instant::now();
    loop {
        if let Some(server) = place.server() {
            return server;
        }
        assert!(begin.elapsed() < LIMIT, "no server");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills it.
pub(crate) fn kill(process: &Process) {
    let pid = Pid::from_raw(process.pid).expect("a process");
    kill_process(pid, Signal::KILL).expect("it runs");
}

/// The lines of skiff's own.
fn errors(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| line.starts_with("ERROR:"))
        .collect()
}

fn write_in_place(path: &Path, content: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(path);
    let mut file = file.expect("there");
    file.set_len(0).expect("a file");
    file.write_all(content).expect("room");
}

/// The image file is cut and its server dies: no new one can start. Later the content is back.
#[test]
fn a_file_that_was_cut_and_mended() {
    require!("an image that is gone"; Skiff, Apptainer, Fuse, UserNamespaces, Resend);
    let place = Place::new("cut");
    let content = std::fs::read(python_sif()).expect("there");
    let image = copied(&python_sif(), &place, "own.sif");
    let mut asker = Asker::start(place.exec(image.to_str().expect("plain"), &[]));
    write_in_place(&image, &[]);
    kill(&server(&place));
    let begin = Instant::now();
    assert_eq!(asker.ask(FRESH[0]), "bad 5");
    assert_eq!(asker.ask(FRESH[1]), "bad 5");
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
    // The servers do not come and go.
    let one = server(&place);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(server(&place), one);
    write_in_place(&image, &content);
    asker.ask_until_good(FRESH[0]);
    assert_eq!(asker.ask(FRESH[2]), "good");
    let said = asker.complaints();
    let lines = errors(&said);
    assert!(!lines.is_empty(), "{said}");
    assert!(lines.iter().all(|line| line.contains("own.sif")), "{said}");
    place.wait_for_the_end();
}

/// The network, the cache and the server go at once. Who waits gets an error when the time is up,
/// who comes later gets it at once, and who asks when the network is back gets the bytes.
#[test]
fn a_network_that_is_gone_and_back() {
    require!("an image that is out of reach"; Skiff, Apptainer, Fuse, UserNamespaces, Resend);
    let faulty = Faulty::new("reach");
    let bind = format!("{}:/mnt", faulty.place.folder.display());
    let launch = || {
        let mut cmd = faulty.place.skiff(&["exec", "-B", &bind, &faulty.url]);
        cmd.env("SKIFF_NETWORK_TIMEOUT", "2")
            .env("SKIFF_STALL_TIMEOUT", "1");
        cmd
    };
    let mut asker = Asker::start(launch());
    // A daemon that has a file of its own where standard error was.
    let words = ["sh", "-c", "exec 2>/mnt/data; exec \"$@\"", "sh"];
    let mut daemon = Asker::start_by(launch(), &words);
    faulty.server.go();
    std::fs::remove_dir_all(faulty.place.cache()).expect("there");
    kill(&server(&faulty.place));
    let begin = Instant::now();
    assert_eq!(asker.ask(FRESH[0]), "bad 5");
    let begin_again = Instant::now();
    assert_eq!(asker.ask(FRESH[1]), "bad 5");
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
    let took = begin_again.elapsed();
    assert!(took < Duration::from_secs(10), "the second waited {took:?}");
    assert_eq!(daemon.ask(FRESH[2]), "bad 5");
    let data = std::fs::read(faulty.place.folder.join("data")).expect("its file");
    assert_eq!(String::from_utf8_lossy(&data), "", "not meant for us");
    faulty.server.come_back();
    asker.ask_until_good(FRESH[0]);
    daemon.complaints();
    let said = asker.complaints();
    assert!(!errors(&said).is_empty(), "{said}");
    faulty.place.wait_for_the_end();
}

/// Servers that die of themselves as soon as they start, here for want of memory, are not started
/// for ever; when they can live again they do.
#[test]
fn servers_that_keep_dying() {
    require!("servers that keep dying"; Skiff, Apptainer, Fuse, UserNamespaces, Resend);
    let place = Place::new("dying");
    let image = copied(&python_sif(), &place, "own.sif");
    let mut asker = Asker::start(place.exec(image.to_str().expect("plain"), &[]));
    let first = server(&place);
    // Enough for the holder itself, and for no thread's stack.
    let status = std::fs::read_to_string(format!("/proc/{}/status", first.parent));
    let status = status.expect("it runs");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let size = size.and_then(|size| size.split_whitespace().next()?.parse::<u64>().ok());
    let room = size.expect("a number") * 1024 + (1 << 20);
    let limit = |soft: &str| {
        // By the holder's own user: even root may not be allowed to.
        let mut cmd = ordinary().command("/usr/bin/prlimit");
        cmd.arg(format!("--pid={}", first.parent));
        cmd.arg(format!("--as={soft}:"))
            .run()
            .expect_success("prlimit");
    };
    limit(&room.to_string());
    kill(&first);
    let begin = Instant::now();
    assert_eq!(asker.ask(FRESH[0]), "bad 5");
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
    limit("unlimited");
    asker.ask_until_good(FRESH[0]);
    assert_eq!(asker.ask(FRESH[1]), "good");
    let said = asker.complaints();
    let lines = errors(&said);
    assert!(
        lines.iter().any(|line| line.contains("keeps dying")),
        "{said}"
    );
    place.wait_for_the_end();
}
