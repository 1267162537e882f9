//! Drivers of the host in containers, shown with a made-up one: shared libraries built here, found
//! through a loader's cache that is laid over the machine's in a mount namespace of the test's own.
//! A real GPU is used by tests/gpu.

pub(crate) mod driver;

use std::path::Path;

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::image::{digest, images, keep, mksquashfs};
use skiff_tests::program;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::userland::{add_programs, lay_out};

use driver::{DRIVER_LIBRARIES, Driver};

/// `words` with skiff on the host with a driver, as the ordinary user.
fn skiff(driver: &Driver, words: &[&str]) -> Outcome {
    let program = program::skiff().expect("required").called("skiff");
    driver.command(&program, words).run()
}

fn image() -> String {
    let images = images(program::real_apptainer().expect("required"));
    images.sif.display().to_string()
}

#[test]
fn libraries_programs_and_files_are_there() {
    require!("a driver in a container"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let driver = Driver::made_up();
    let script = "ls /.singularity.d/libs; nvidia-smi; echo $LD_LIBRARY_PATH; \
                  touch /.singularity.d/libs/x 2>/dev/null || echo read-only";
    let seen = skiff(&driver, &["exec", "--nv", &image(), "sh", "-c", script]);
    let seen = seen.expect_success("exec --nv");
    let text = seen.stdout_text();
    for name in DRIVER_LIBRARIES {
        assert!(
            text.contains(&format!("lib{name}.so.1\n")),
            "{name}: {text}"
        );
    }
    assert!(!text.contains("libunrelated"), "{text}");
    assert!(text.contains("made-up smi\n"), "{text}");
    assert!(
        text.ends_with("/.singularity.d/libs\nread-only\n"),
        "{text}"
    );
    assert_eq!(seen.stderr_text(), "");
}

#[test]
fn programs_of_the_image_load_the_hosts_library() {
    require!("loading a driver's library"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let driver = Driver::made_up();
    let loader = driver.folder.join("load").display().to_string();
    let image = image();
    let seen = skiff(&driver, &["exec", "--nv", &image, &loader, "libcuda.so.1"]);
    assert_eq!(
        seen.expect_success("with --nv").stdout_text(),
        "driver says 550\n"
    );
    let seen = skiff(&driver, &["exec", &image, &loader, "libcuda.so.1"]);
    assert!(!seen.success(), "without --nv there is no such library");
}

#[test]
fn contained_runs_have_the_devices() {
    require!("devices of a GPU"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let driver = Driver::made_up();
    let list = |words: &[&str]| {
        let mut all = words.to_vec();
        let image = image();
        all.extend([
            &*image,
            "sh",
            "-c",
            "cd /dev; ls -d nvidia* dri/* kfd 2>/dev/null",
        ]);
        skiff(&driver, &all).stdout_text()
    };
    assert_eq!(list(&["exec", "--contain"]), "");
    assert_eq!(
        list(&["exec", "--contain", "--nv"]),
        "nvidia-uvm\nnvidia0\nnvidia1\nnvidiactl\n"
    );
    assert_eq!(
        list(&["exec", "--contain", "--rocm"]),
        "dri/card0\ndri/renderD128\nkfd\n"
    );
    // Without --contain all of /dev is there.
    assert!(list(&["exec"]).contains("nvidia0\n"));
}

#[test]
fn the_configuration_asks_and_the_command_line_refuses() {
    require!("always use nv"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let driver = Driver::made_up();
    let config = driver.folder.join("always.conf").display().to_string();
    let image = image();
    let smi = |words: &[&str]| {
        let mut all = vec!["--config", &*config, "exec"];
        all.extend(words);
        all.extend([&*image, "sh", "-c", "nvidia-smi 2>/dev/null || echo none"]);
        skiff(&driver, &all).stdout_text()
    };
    assert_eq!(smi(&[]), "made-up smi\n");
    assert_eq!(smi(&["--no-nv"]), "none\n");
    assert_eq!(smi(&["--no-nv", "--nv"]), "made-up smi\n");
}

#[test]
fn a_list_of_the_administrator_counts() {
    require!("nvliblist.conf"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let driver = Driver::made_up().with_list("libunrelated.so\n");
    let image = image();
    let seen = skiff(
        &driver,
        &["exec", "--nv", &image, "ls", "/.singularity.d/libs"],
    );
    assert_eq!(
        seen.expect_success("exec --nv").stdout_text(),
        "libunrelated.so.1\n"
    );
}

/// Links and files of an image where drivers go.
#[test]
fn an_image_cannot_lead_the_driver_astray() {
    require!("hostile images with a driver"; Root, Skiff, Fuse, UserNamespaces, Mksquashfs);
    let driver = Driver::made_up();
    let image = hostile();
    let victim = driver.folder.join("victim");
    let before = std::fs::read(&victim).expect("just made");
    let script = "nvidia-smi; cat /etc/marker; ls -A /mnt; \
                  cat /usr/share/nvidia/nvoptix.bin 2>/dev/null";
    let image = image.display().to_string();
    let seen = skiff(&driver, &["exec", "--nv", &image, "sh", "-c", script]);
    let text = seen.stdout_text();
    // The program is where it belongs although the image has a link there; what the link names is
    // untouched, and so is the directory that the libraries' directory is a link to.
    assert!(
        text.starts_with("made-up smi\nof the image\n"),
        "{text}\n{}",
        seen.stderr_text()
    );
    let said = seen.stderr_text();
    assert!(
        said.contains("/.singularity.d/libs: the image has a link or a file there"),
        "{said}"
    );
    assert_eq!(std::fs::read(&victim).expect("still there"), before);
    assert!(std::fs::symlink_metadata(driver.folder.join("nvoptix.bin")).is_err());
}

fn hostile() -> std::path::PathBuf {
    let victims = Driver::made_up().folder;
    let folder = keep(
        &format!(
            "gpu-hostile-{}",
            digest(&[include_str!("gpu.rs"), include_str!("gpu/driver.rs")])
        ),
        |folder| {
            let source = folder.join("source");
            lay_out(&source);
            add_programs(&source, &["sh", "cat", "ls"]);
            let link = |target: &Path, at: &str| {
                let at = source.join(at);
                std::fs::create_dir_all(at.parent().expect("below")).expect("fresh");
                if at.is_dir() && !at.is_symlink() {
                    std::fs::remove_dir_all(&at).expect("ours");
                }
                std::fs::remove_file(&at).ok();
                std::os::unix::fs::symlink(target, at).expect("fresh");
            };
            std::fs::write(source.join("etc/marker"), "of the image\n").expect("fresh");
            std::fs::create_dir_all(source.join("mnt")).expect("fresh");
            link(Path::new("/etc"), ".singularity.d/libs");
            link(&victims.join("victim"), "usr/bin/nvidia-smi");
            link(&victims, "usr/share/nvidia");
            mksquashfs(&source, &folder.join("image.sqfs"), &["-all-root"]);
            std::fs::remove_dir_all(&source).expect("just made");
        },
    );
    folder.join("image.sqfs")
}

/// A library that needs a newer C library than the image has is named, with both versions.
#[test]
fn too_new_libraries_are_named() {
    require!("GLIBC versions"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let driver = Driver::too_new();
    let image = image();
    let seen = skiff(&driver, &["exec", "--nv", &image, "true"]);
    let said = seen.expect_success("exec --nv").stderr_text();
    assert!(
        said.contains("libcuda.so.1 of this host needs GLIBC_2.99, but the image has GLIBC_2."),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// Devices, libraries and conditions by variables.
#[test]
fn variables_choose_with_nvccli() {
    require!("--nvccli"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let driver = Driver::made_up().loaded();
    let image = image();
    let run = |variables: &[(&str, &str)], words: &[&str]| {
        let program = program::skiff().expect("required").called("skiff");
        let script = "ls -d /dev/nvidia[0-9]* 2>/dev/null; ls /.singularity.d/libs; \
                      echo $NVIDIA_VISIBLE_DEVICES";
        let mut all = vec!["exec", "--nvccli"];
        all.extend(words);
        all.extend([&*image, "sh", "-c", script]);
        let mut cmd = driver.command(&program, &all);
        for (name, value) in variables {
            cmd.env(name, value);
        }
        cmd.run()
    };
    let seen = run(&[("NVIDIA_VISIBLE_DEVICES", "1")], &["--contain"]);
    let text = seen.expect_success("one GPU").stdout_text();
    assert!(text.starts_with("/dev/nvidia1\n"), "{text}");
    assert!(
        text.contains("libcuda.so.1\n") && text.contains("libnvidia-ml.so.1\n"),
        "{text}"
    );
    assert!(!text.contains("libnvcuvid"), "{text}");
    assert!(text.ends_with("\n1\n"), "{text}");

    let seen = run(
        &[
            ("NVIDIA_VISIBLE_DEVICES", "GPU-000"),
            ("NVIDIA_DRIVER_CAPABILITIES", "utility"),
        ],
        &["-c"],
    );
    let text = seen.expect_success("utilities").stdout_text();
    assert!(
        text.starts_with("/dev/nvidia0\n") && !text.contains("libcuda"),
        "{text}"
    );

    let seen = run(&[], &[]).expect_success("all GPUs");
    assert!(seen.stdout_text().ends_with("\nall\n"));
    assert!(
        seen.stderr_text()
            .contains("Setting 'NVIDIA_VISIBLE_DEVICES=all'")
    );

    for (name, value, said) in [
        (
            "NVIDIA_VISIBLE_DEVICES",
            "9",
            "device error: 9: unknown device",
        ),
        (
            "NVIDIA_DRIVER_CAPABILITIES",
            "magic",
            "unknown NVIDIA_DRIVER_CAPABILITIES value: magic",
        ),
        (
            "NVIDIA_REQUIRE_CUDA",
            "cuda>=13.0",
            "unsatisfied condition: cuda>=13.0",
        ),
    ] {
        let seen = run(&[(name, value)], &["--contain"]);
        assert_eq!(seen.code(), Some(255));
        assert!(seen.stderr_text().contains(said), "{}", seen.stderr_text());
    }
    let seen = run(
        &[
            ("NVIDIA_REQUIRE_CUDA", "cuda>=13.0"),
            ("NVIDIA_DISABLE_REQUIRE", "1"),
        ],
        &[],
    );
    assert!(seen.success());
}

/// Devices by the names that their vendors gave them.
#[test]
fn devices_by_cdi_names() {
    require!("--device"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let driver = Driver::made_up();
    let image = image();
    let directory = driver.folder.join("cdi").display().to_string();
    let loader = driver.folder.join("load").display().to_string();
    let script = format!(
        "ls -d /dev/nvidia*; echo $MADE_UP; made-up-smi; ls /opt/driver; {loader} libcuda.so.1; \
         {loader} libcuda.so"
    );
    let words = [
        "exec",
        "--contain",
        "-B",
        "/var/tmp",
        "--cdi-dirs",
        &directory,
        "--device",
        "example.com/gpu=0",
        &image,
        "sh",
        "-c",
        &script,
    ];
    let seen = skiff(&driver, &words).expect_success("exec --device");
    assert_eq!(
        seen.stdout_text(),
        "/dev/nvidia0\n/dev/nvidiactl\nyes\nmade-up smi\nlibcuda.so.550.1\ndriver says 550\n\
         driver says 550\n"
    );
    let said = seen.stderr_text();
    assert!(
        said.contains("/usr/bin/touch") && said.contains("is not run"),
        "{said}"
    );
    assert!(!driver.folder.join("hook-ran").exists());

    let seen = skiff(
        &driver,
        &["exec", "--device", "example.com/gpu=0", &image, "true"],
    );
    assert_eq!(seen.code(), Some(255));
    assert!(
        seen.stderr_text()
            .contains("unresolvable CDI devices example.com/gpu=0 in /etc/cdi, /var/run/cdi"),
        "{}",
        seen.stderr_text()
    );
}

/// A bind of the user among the driver's libraries.
#[test]
fn binds_may_add_libraries() {
    require!("a bind beside a driver"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let driver = Driver::made_up();
    let image = image();
    let bind = format!(
        "{}:/.singularity.d/libs/libmine.so",
        driver.folder.join("victim").display()
    );
    let script = "cat /.singularity.d/libs/libmine.so; ls /.singularity.d/libs/libcuda.so.1";
    let seen = skiff(
        &driver,
        &["exec", "--nv", "-B", &bind, &image, "sh", "-c", script],
    );
    assert_eq!(
        seen.expect_success("exec --nv -B").stdout_text(),
        "not to be touched\n/.singularity.d/libs/libcuda.so.1\n"
    );
}

/// Nothing of a driver that does not exist is missed.
#[test]
fn without_a_driver_nothing_is_said() {
    require!("--nv without a driver"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let driver = Driver::none();
    let image = image();
    let seen = skiff(
        &driver,
        &[
            "exec",
            "--nv",
            "--rocm",
            &image,
            "ls",
            "/.singularity.d/libs",
        ],
    );
    let seen = seen.expect_success("exec --nv");
    assert_eq!(
        (seen.stdout_text(), seen.stderr_text()),
        (String::new(), String::new())
    );
}

/// The tests' own tool.
#[test]
fn the_made_up_driver_is_whole() {
    require!("a made-up driver"; Root);
    let driver = Driver::made_up();
    let seen = driver
        .command(
            Path::new("/bin/sh"),
            &["-c", "id -u; ls /dev/nvidia0; wc -c </etc/ld.so.cache"],
        )
        .run()
        .expect_success("a look at the made-up host");
    assert!(
        seen.stdout_text()
            .starts_with(&format!("{}\n/dev/nvidia0\n", ordinary().uid))
    );
    let outside = Cmd::new("/bin/ls").arg("/dev").run().stdout_text();
    assert!(!outside.contains("nvidia-uvm\nnvidia0"), "{outside}");
}
