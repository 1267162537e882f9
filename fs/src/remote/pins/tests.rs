use std::sync::Mutex;

use skiff_cache::disk::Limits;

use super::super::observer::Event;
use super::super::server::{Server, Step, answer, file};
use super::*;

/// A cache in a directory that goes with it.
struct Memory(
    Cache,
    #[expect(dead_code, reason = "removes the directory")] tempfile::TempDir,
);

fn new_memory() -> Memory {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        quota: None,
        keep_free: Some(0),
    };
    Memory(
        Cache::open(&directory.path().join("cache"), limits).unwrap(),
        directory,
    )
}

#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Observer for Listener {
    fn event(&self, event: &Event) {
        if let Event::Warning(text) = event {
            self.0.lock().unwrap().push(text.clone());
        }
    }
}

fn options() -> RemoteOptions {
    RemoteOptions {
        give_up_look_up_after: Duration::from_millis(300),
        ..RemoteOptions::default()
    }
}

fn find(
    memory: &Memory,
    name: &str,
    options: &RemoteOptions,
) -> Result<(Resolved, Vec<String>), RemoteError> {
    let listener = Arc::new(Listener::default());
    let observer = Arc::clone(&listener) as Arc<dyn Observer>;
    let found = resolve(Some(&memory.0), &reference(name), options, &observer)?;
    let heard = listener.0.lock().unwrap().clone();
    Ok((found.0, heard))
}

fn reference(name: &str) -> Reference {
    Reference::parse(name).unwrap().unwrap()
}

/// Makes a pin older.
fn age(memory: &Memory, name: &str, seconds: u64) {
    let mut pin = Pin::read(&memory.0, &reference(name)).unwrap();
    pin.at -= seconds;
    pin.tried = pin.tried.map(|at| at - seconds);
    pin.write(Some(&memory.0), &key(&reference(name)));
}

fn server(content: u8) -> Server {
    Server::start(move |request| file(request, &[content; 1000], &[]))
}

#[test]
fn many_processes_ask_once_and_later_ones_again() {
    let (memory, server) = (new_memory(), server(1));
    let name = server.url("/x.sif");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| find(&memory, &name, &options()).unwrap());
        }
    });
    assert_eq!(server.count(), 1);
    age(&memory, &name, 29);
    find(&memory, &name, &options()).unwrap();
    assert_eq!(server.count(), 1);
    age(&memory, &name, 2);
    find(&memory, &name, &options()).unwrap();
    assert_eq!(server.count(), 2);
    forget(&memory.0, &reference(&name));
    find(&memory, &name, &options()).unwrap();
    assert_eq!(server.count(), 3);
}

/// A file with a version is asked after by its headers alone.
#[test]
fn what_has_not_changed_is_not_sent_again() {
    let memory = new_memory();
    let server = Server::start(|request| {
        let etag = if request.number < 2 {
            "ETag: \"a\""
        } else {
            "ETag: \"b\""
        };
        if request.method == "HEAD" {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n{etag}\r\n\r\n");
            return vec![Step::Send(text.into_bytes())];
        }
        file(request, &[1; 1000], &[etag])
    });
    let name = server.url("/x.sif");
    let (first, _) = find(&memory, &name, &options()).unwrap();
    age(&memory, &name, 100);
    assert_eq!(find(&memory, &name, &options()).unwrap().0, first);
    assert_eq!(server.count(), 2, "a HEAD and no more");
    age(&memory, &name, 100);
    let (other, _) = find(&memory, &name, &options()).unwrap();
    assert_ne!(other.key, first.key);
    assert_eq!(server.count(), 4, "a HEAD that says no, and a look-up");
}

#[test]
fn an_old_answer_stands_in_for_a_server_that_is_gone() {
    let memory = new_memory();
    let (name, first) = {
        let server = server(1);
        let name = server.url("/x.sif");
        let (first, _) = find(&memory, &name, &options()).unwrap();
        (name, first)
    };
    age(&memory, &name, 7300);
    let (again, heard) = find(&memory, &name, &options()).unwrap();
    assert_eq!(again, first);
    assert!(
        heard.len() == 1
            && heard[0].contains("cannot be reached")
            && heard[0].contains("2 hours ago"),
        "{heard:?}"
    );
    // The next one does not wait for the same, however long it would.
    let patient = RemoteOptions {
        give_up_look_up_after: Duration::from_secs(60),
        ..options()
    };
    let start = std::time::Instant::now();
    find(&memory, &name, &patient).unwrap();
    assert!(start.elapsed() < patient.give_up_look_up_after);
    age(&memory, &name, 31);
    assert_eq!(find(&memory, &name, &options()).unwrap().1.len(), 1);
    let error = find(&new_memory(), &name, &options()).unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error}");
}

#[test]
fn an_old_answer_does_not_stand_in_for_a_refusal() {
    let memory = new_memory();
    let server = Server::start(|request| {
        if request.number == 0 {
            file(request, &[1; 1000], &[])
        } else {
            answer("404 Not Found", &[], b"")
        }
    });
    let name = server.url("/x.sif");
    find(&memory, &name, &options()).unwrap();
    age(&memory, &name, 100);
    assert!(matches!(
        find(&memory, &name, &options()),
        Err(RemoteError::NotFound { .. })
    ));
}

#[test]
fn offline_takes_what_there_is() {
    let (memory, server) = (new_memory(), server(1));
    let name = server.url("/x.sif");
    let offline = RemoteOptions {
        offline: true,
        ..options()
    };
    assert!(matches!(
        find(&memory, &name, &offline),
        Err(RemoteError::Offline { .. })
    ));
    let (first, _) = find(&memory, &name, &options()).unwrap();
    age(&memory, &name, 1_000_000);
    assert_eq!(find(&memory, &name, &offline).unwrap(), (first, vec![]));
    assert_eq!(server.count(), 1);
}

#[test]
fn freshness() {
    let (memory, server) = (new_memory(), server(1));
    let (resolved, _) = find(&memory, &server.url("/x"), &options()).unwrap();
    let judge = |name: &str, at: u64| {
        let pin = Pin {
            resolved: resolved.clone(),
            at,
            tried: None,
        };
        matches!(
            pin.judge(&reference(name), &options(), 1_000_000),
            Known::Fresh(_)
        )
    };
    assert!(judge("oras://r/a:1", 999_990) && !judge("oras://r/a:1", 999_900));
    assert!(judge("oras://r/a:1", 1_000_030) && !judge("oras://r/a:1", 2_000_000));
    let digest = super::super::digest::Digest::of(b"");
    assert!(judge(&format!("oras://r/a@{digest}"), 0));
}

#[test]
fn a_signed_query_is_not_written_down() {
    let (memory, server) = (new_memory(), server(1));
    let name = server.url("/x.sif?sig=hush");
    let (first, _) = find(&memory, &name, &options()).unwrap();
    let Location::Http { url, .. } = &first.location else {
        panic!("{first:?}")
    };
    assert!(url.ends_with("?sig=hush"), "{url}");
    // From the pin: the whole URL again, for this signature only.
    assert_eq!(find(&memory, &name, &options()).unwrap().0, first);
    assert_eq!(server.count(), 1);
    find(&memory, &server.url("/x.sif?sig=other"), &options()).unwrap();
    assert_eq!(server.count(), 2);
    let mut folders = vec![memory.0.dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let bytes = std::fs::read(entry.path()).unwrap();
            let found = bytes.windows(4).any(|window| window == b"hush");
            assert!(!found, "it lies in {}", entry.path().display());
        }
    }
}
