use std::io::{ErrorKind, Write};
use std::sync::Arc;

use super::{FileSource, MemorySource, Source, Window};

fn read(source: &dyn Source, offset: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0xAA; len];
    let count = source.read_at(&mut buf, offset).unwrap();
    buf.truncate(count);
    buf
}

#[test]
fn memory_and_file_agree() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"0123456789").unwrap();
    let file = FileSource::new(file).unwrap();
    let memory = MemorySource::new(*b"0123456789");
    for source in [&file as &dyn Source, &memory] {
        assert_eq!(source.size(), 10);
        for (offset, len, expected) in [
            (0, 4, &b"0123"[..]),
            (8, 4, b"89"),
            (10, 4, b""),
            (u64::MAX >> 1, 4, b""),
            (3, 0, b""),
        ] {
            assert_eq!(read(source, offset, len), expected);
        }
        let short = source.read_exact_at(&mut [0; 4], 8).unwrap_err();
        assert_eq!(short.kind(), ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_window_ends_where_it_ends() {
    let inner: Arc<dyn Source> = Arc::new(MemorySource::new(*b"0123456789"));
    let window = Window::new(Arc::clone(&inner), 2, 5).unwrap();
    assert_eq!(window.size(), 5);
    assert_eq!(read(&window, 0, 100), b"23456");
    assert_eq!(read(&window, 4, 2), b"6");
    assert_eq!(read(&window, 5, 2), b"");
    assert_eq!(read(&window, u64::MAX, 2), b"");
    assert!(Window::new(Arc::clone(&inner), 2, 8).is_some());
    assert!(Window::new(Arc::clone(&inner), 2, 9).is_none());
    assert!(Window::new(inner, u64::MAX, 2).is_none());
}
