use std::os::unix::net::UnixListener;

use proptest::prelude::*;

use super::*;

fn field(out: &mut Encoder, code: u8, kind: &str, put: impl FnOnce(&mut Encoder)) {
    out.align(8);
    out.0.push(code);
    out.signature(kind);
    put(out);
}

/// An answer as a bus writes it.
fn answer(kind: u8, serial: u32, error: Option<(&str, &str)>) -> Vec<u8> {
    let mut body = Encoder::default();
    if let Some((_, text)) = error {
        body.string(text);
    }
    let mut out = Encoder(vec![b'l', kind, 0, 1]);
    out.u32(u32::try_from(body.0.len()).expect("short"));
    out.u32(7);
    out.array(8, |out| {
        field(out, 5, "u", |out| out.u32(serial));
        if let Some((name, _)) = error {
            field(out, 4, "s", |out| out.string(name));
            field(out, 8, "g", |out| out.signature("s"));
        }
    });
    out.align(8);
    out.0.extend(body.0);
    out.0
}

#[test]
fn answers() {
    let good = read_message(&mut answer(METHOD_RETURN, 3, None).as_slice()).expect("sound");
    assert_eq!((good.kind, good.reply_to), (METHOD_RETURN, Some(3)));
    let bad = answer(3, 4, Some(("org.x.Error", "no such thing")));
    let bad = read_message(&mut bad.as_slice()).expect("sound");
    assert_eq!(
        bad,
        Answer {
            kind: 3,
            reply_to: Some(4),
            text: "no such thing".to_owned()
        }
    );
    assert!(read_message(&mut [b'B'; 16].as_slice()).is_err());
    assert!(
        read_message(&mut [b'l'; 16].as_slice()).is_err(),
        "too long"
    );
}

#[test]
fn calls_have_the_documented_form() {
    let hello = message(
        1,
        Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            signature: "",
            body: &[],
        },
    );
    // What every client's first message looks like on the wire.
    assert_eq!(
        &hello[..16],
        b"l\x01\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x6e\x00\x00\x00"
    );
    assert_eq!(&hello[16..24], b"\x01\x01o\x00\x15\x00\x00\x00");
    assert_eq!(&hello[24..45], b"/org/freedesktop/DBus");
    assert_eq!(hello.len(), 128);
}

#[test]
fn addresses() {
    assert_eq!(unescape("/run/a%20b%"), "/run/a b%");
    let path = socket_address("unix:path=/run/bus,guid=1").expect("sound");
    assert_eq!(path.as_pathname(), Some(std::path::Path::new("/run/bus")));
    let name = socket_address("unix:abstract=/x,guid=1").expect("sound");
    assert_eq!(name.as_abstract_name(), Some(b"/x".as_slice()));
    assert!(socket_address("tcp:host=x").is_err());
    assert!(socket_address("unix:guid=1").is_err());
}

#[test]
fn a_conversation() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bus");
    let listener = UnixListener::bind(&path).expect("a socket");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut hello = [0; 25];
        stream.read_exact(&mut hello).expect("a greeting");
        assert_eq!(&hello, b"\0AUTH EXTERNAL 31303030\r\n");
        stream.write_all(b"OK 1234\r\n").expect("sent");
        let mut begin = [0; 7];
        stream.read_exact(&mut begin).expect("begin");
        let mut messages = [0; 128];
        stream.read_exact(&mut messages).expect("a call");
        // Somebody else's answer first.
        stream
            .write_all(&answer(METHOD_RETURN, 99, None))
            .expect("sent");
        stream
            .write_all(&answer(METHOD_RETURN, 1, None))
            .expect("sent");
        let mut rest = [0; 16];
        stream.read_exact(&mut rest).expect("another call");
        stream
            .write_all(&answer(3, 2, Some(("a.b", "not today"))))
            .expect("sent");
    });
    let mut bus = Bus::connect(&format!("unix:path={}", path.display()), 1000).expect("connected");
    let error = bus
        .call(Call {
            destination: "a.b",
            path: "/a",
            interface: "a.b",
            member: "C",
            signature: "s",
            body: &[],
        })
        .unwrap_err();
    assert_eq!(error.to_string(), "not today");
    server.join().expect("the server's checks");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut hostile = vec![b'l', 3, 0, 1];
        hostile.extend(&bytes);
        // Only that it comes back matters.
        drop(read_message(&mut hostile.as_slice()));
        drop(parse(3, &bytes, &bytes));
    }
}
