//! Damage to the files of the cache: flipped bits, zeroed pages, holes, cut ends.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use skiff_tests::reading::Random;
use skiff_tests::require;
use skiff_tests::web::Place;

use super::{read_all, rounds, serve, wanted};

/// Does something bad to a file. Returns what.
fn damage(path: &Path, random: &mut Random) -> String {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let size = file.metadata().expect("open").len();
    let place = random.below(size);
    let what = match random.below(5) {
        0 => {
            for _ in 0..200 {
                let place = random.below(size);
                let mut byte = [0];
                file.read_exact_at(&mut byte, place).expect("within");
                byte[0] ^= 1 << random.below(8);
                file.write_all_at(&byte, place).expect("room");
            }
            "200 bits flipped".to_owned()
        }
        1 => {
            let start = place & !4095;
            let len = usize::try_from((size - start).min(64 << 10)).expect("small");
            file.write_all_at(&vec![0; len], start).expect("room");
            format!("{len} zeros at {start}")
        }
        2 => {
            let start = place & !4095;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&file, flags, start, 256 << 10).expect("a file system with holes");
            format!("a hole at {start}")
        }
        3 => {
            file.set_len(place).expect("room");
            format!("cut at {place} of {size}")
        }
        _ => {
            let start = place & !4095;
            let len = usize::try_from((size - start).min(16 << 10)).expect("small");
            file.write_all_at(&random.bytes(len), start).expect("room");
            format!("{len} random bytes at {start}")
        }
    };
    format!("{}: {what}", path.display())
}

fn victims(place: &Place) -> Vec<std::path::PathBuf> {
    place
        .cache_files()
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "blobs"))
        .filter(|path| path.metadata().is_ok_and(|meta| meta.len() > 0))
        .collect()
}

#[test]
fn damaged_files_are_not_believed() {
    require!("damaged cache"; Skiff, Apptainer, Fuse, UserNamespaces);
    let (_server, url) = serve();
    let place = Place::new("damage");
    let wanted = wanted();
    let mut random = Random::new(5);
    read_all(&place, &url)
        .run()
        .expect_success("the first time");
    for round in 0..rounds("SKIFF_TEST_DAMAGE", 12) {
        place.wait_for_the_end();
        let files = victims(&place);
        assert!(!files.is_empty(), "nothing is cached");
        let done: Vec<String> = (0..1 + random.below(3))
            .map(|_| {
                let pick = usize::try_from(random.below(files.len() as u64)).unwrap_or(0);
                damage(&files[pick], &mut random)
            })
            .collect();
        let mut cmd = read_all(&place, &url);
        cmd.env("SKIFF_LINGER", "0");
        let outcome = cmd.run();
        assert!(
            outcome.success() && outcome.stdout_text() == wanted,
            "round {round}, {done:?}: {outcome}"
        );
    }
}

/// The same while the server runs and reads from those files.
#[test]
fn damage_while_running() {
    require!("damage while running"; Skiff, Apptainer, Fuse, UserNamespaces);
    let (_server, url) = serve();
    let place = Place::new("damage-running");
    let sums = place.folder.join("sums");
    std::fs::write(&sums, wanted()).expect("room");
    let program = ["/mnt/probe", "soak", "read", "/", "/mnt/sums", "/mnt/stop"];
    let child = crate::remote::probing(&place, &url, &program).start();
    let mut random = Random::new(6);
    let count = rounds("SKIFF_TEST_DAMAGE", 12) * 3;
    let mut done = Vec::new();
    std::thread::sleep(std::time::Duration::from_millis(800));
    for _ in 0..count {
        std::thread::sleep(std::time::Duration::from_millis(60));
        let files = victims(&place);
        if files.is_empty() {
            continue;
        }
        let pick = usize::try_from(random.below(files.len() as u64)).unwrap_or(0);
        done.push(damage(&files[pick], &mut random));
    }
    std::fs::write(place.folder.join("stop"), "").expect("room");
    let output = child.wait_with_output().expect("it was started");
    assert!(
        output.status.success(),
        "{} {} after {done:#?}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!done.is_empty(), "nothing was damaged");
}
