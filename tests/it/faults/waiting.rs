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
