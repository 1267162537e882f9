//! Those who need nothing from the network do not wait with those who do.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use skiff_tests::require;
use skiff_tests::web::{Fault, When};

use super::{Faulty, patient};

/// More than the server has threads for the kernel's requests, on any machine of the tests.
const WAITING: usize = 40;

/// Forty programs wait for a server that has fallen silent; another lists the whole tree, of which
/// nothing is in the kernel's caches, but all in the node's.
#[test]
fn readers_of_what_is_here_go_on() {
    require!("waiting beside others"; Skiff, Apptainer, Fuse, UserNamespaces);
    let faulty = Faulty::new("beside");
    let script = format!(
        "tail -c 1 /opt/data.txt | head -c 1 >/dev/null; ls -lR /opt | wc -l >/dev/null; \
         seq 1 >/dev/null; sleep 0; echo ready; read word; \
         for n in $(seq {WAITING}); do \
           tail -c +$((n * 60000)) /usr/bin/python3 | head -c 1000 >/dev/null 2>&1 & \
         done; \
         sleep 1; ls -lR /usr | wc -l; echo listed; wait; echo done"
    );
    let mut cmd = patient(faulty.place.skiff(&["exec", &faulty.url]));
    cmd.env("SKIFF_STALL_TIMEOUT", "60")
        .env("SKIFF_NETWORK_TIMEOUT", "60");
    let mut child = cmd.args(["bash", "-c", &script]).stdin_open().start();
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("it goes on").expect("text");
    assert_eq!(next(), "ready");
    let stall = Fault::Stall {
        after: 0,
        pause: Duration::from_secs(15),
    };
    faulty.server.faults().add(stall, When::Always);
    let begin = Instant::now();
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"on\n").expect("it waits");
    let count: u64 = next().trim().parse().expect("a number");
    assert!(count > 100, "{count} lines");
    assert_eq!(next(), "listed");
    let took = begin.elapsed();
    // Once the readers are let go they find what they asked for.
    faulty.server.faults().clear();
    assert_eq!(next(), "done");
    let stalled = faulty.server.log().count(|entry| entry.fault.is_some());
    assert!(stalled > 0, "nobody waited\n{}", faulty.server.log());
    assert!(took < Duration::from_secs(12), "listing took {took:?}");
    child.wait().expect("it was started");
}

/// Reads around the page cache, so that the program waits for the request itself.
const DIRECT: &str = "\
import mmap, os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
file = os.open('/usr/lib/x86_64-linux-gnu/libcrypto.so.3', os.O_RDONLY | os.O_DIRECT)
size = os.fstat(file).st_size
room = mmap.mmap(-1, 65536)
print('ready', flush=True)
sys.stdin.readline()
for place in range(0, size, 65536):
    got = os.preadv(file, [room], place)
    sys.stdout.buffer.write(room[:got])
sys.stdout.buffer.flush()
signal.setitimer(signal.ITIMER_REAL, 0)
";

/// A program that waits for the network can be killed; signals that it catches do it no harm.
#[test]
fn a_program_that_waits_can_be_killed() {
    require!("killing who waits"; Skiff, Apptainer, Fuse, UserNamespaces);
    let faulty = Faulty::new("killed");
    let sif = crate::remote::python_sif();
    let wanted = faulty
        .place
        .exec(
            sif.to_str().expect("plain"),
            &["cat", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"],
        )
        .run()
        .expect_success("the image at home")
        .stdout;
    let stall = |pause| Fault::Stall {
        after: 0,
        pause: Duration::from_secs(pause),
    };
    for killed in [true, false] {
        faulty.place.wait_for_the_end();
        std::fs::remove_dir_all(faulty.place.cache()).ok();
        faulty.server.faults().clear();
        let mut cmd = faulty.place.skiff(&["exec", &faulty.url]);
        cmd.env("SKIFF_STALL_TIMEOUT", "60")
            .env("SKIFF_NETWORK_TIMEOUT", "60");
        let mut child = cmd.args(["python3", "-c", DIRECT]).stdin_open().start();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        assert_eq!(line, "ready\n");
        let pause = if killed { 120 } else { 2 };
        faulty.server.log().clear();
        faulty.server.faults().add(stall(pause), When::Next(40));
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(b"on\n").expect("it waits");
        let begin = Instant::now();
        while faulty.server.log().count(|entry| entry.fault.is_some()) == 0 {
            assert!(begin.elapsed() < Duration::from_secs(30), "it never asked");
            std::thread::sleep(Duration::from_millis(10));
        }
        if killed {
            std::thread::sleep(Duration::from_millis(300));
            let begin = Instant::now();
            child.kill().expect("it runs");
            child.wait().expect("it was started");
            let took = begin.elapsed();
            assert!(took < Duration::from_secs(20), "it ended after {took:?}");
        } else {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut stdout, &mut content).expect("bytes");
            let ended = child.wait().expect("it was started");
            let mut errors = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                std::io::Read::read_to_string(&mut stderr, &mut errors).expect("text");
            }
            assert!(ended.success(), "{ended}: {errors}");
            assert!(content == wanted, "{} bytes", content.len());
        }
    }
    faulty.server.faults().clear();
}
