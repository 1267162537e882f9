//! A large Python package to import: the machine's numpy, or something of that kind.

use std::path::Path;

use crate::command::Cmd;
use crate::program::hex;
use crate::userland::{libraries_of, write};

/// Adds numpy to an image root that has Python: the real one where the machine has it, else generated
/// modules that import each other as its do.
///
/// # Panics
/// When there is no room.
pub fn add_numpy(root: &Path) {
    let packages = root.join("usr/lib/python3/dist-packages");
    std::fs::create_dir_all(&packages).expect("a fresh root");
    if !copy_numpy(root, &packages) {
        make_up_numpy(&packages);
    }
}

fn copy_numpy(root: &Path, packages: &Path) -> bool {
    let installed = Path::new("/usr/lib/python3/dist-packages/numpy");
    if !installed.join("__init__.py").exists() {
        return false;
    }
    Cmd::new("/bin/cp")
        .arg("-rL")
        .arg(installed)
        .arg(packages)
        .run()
        .expect_success("cp");
    let found = Cmd::new("/usr/bin/find")
        .arg(installed)
        .args(["-name", "*.so"])
        .run()
        .stdout_text();
    for module in found.lines() {
        for library in libraries_of(Path::new(module)) {
            let name = library.file_name().expect("a library has a name");
            let folder = root.join("usr/lib/x86_64-linux-gnu");
            std::fs::create_dir_all(&folder).expect("ours");
            let target = folder.join(name);
            if !target.exists() {
                std::fs::copy(library.canonicalize().expect("ldd named it"), target).expect("room");
            }
        }
    }
    true
}

fn make_up_numpy(packages: &Path) {
    let mut random = crate::reading::Random::new(11);
    let mut all = String::new();
    for number in 0..200 {
        let filler = hex(&random.bytes(20_000));
        write(
            &packages.join(format!("numpy/part{number}.py")),
            format!("FILLER = '{filler}'\n"),
        );
        if number < 60 {
            all.push_str(&format!("from . import part{number}\n"));
        }
    }
    write(&packages.join("numpy/__init__.py"), all);
}
