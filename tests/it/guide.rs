//! What the guide of a cluster teaches its users, typed as it stands there, with skiff called
//! `apptainer`. What the guide has on the site or in the image is made up here.

mod images;

use std::path::{Path, PathBuf};

use skiff_tests::command::Cmd;
use skiff_tests::image::{digest, images, keep};
use skiff_tests::program;
use skiff_tests::pty::Terminal;
use skiff_tests::require;
use skiff_tests::user::ordinary;

use crate::gpu::driver::Driver;
use crate::identity::packages::debian;

/// A folder of a user of the cluster, where the images and scripts of the guide are.
struct Desk {
    folder: PathBuf,
}

impl Desk {
    /// With the images that the guide has made by then.
    fn new(name: &str) -> Self {
        let desk = Self::empty(name);
        for image in ["pytorch_2.0.1.sif", "apptainer_image.sif"] {
            std::os::unix::fs::symlink(image_of_the_guide(), desk.folder.join(image))
                .expect("fresh");
        }
        desk
    }

    fn empty(name: &str) -> Self {
        let folder = PathBuf::from(format!(
            "/var/tmp/skiff-guide-{name}-{}",
            std::process::id()
        ));
        std::fs::create_dir(&folder).expect("fresh");
        ordinary().own(&folder);
        Self { folder }
    }

    /// A file of the user's.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        let parent = path.parent().expect("below the desk");
        std::fs::create_dir_all(parent).expect("room");
        std::fs::write(&path, text).expect("room");
        Cmd::new("/bin/chown")
            .args(["-R", "-h"])
            .arg(format!("{}:{}", ordinary().uid, ordinary().gid))
            .arg(&self.folder)
            .run();
    }

    /// `line` as the user types it into a shell, or has it in a batch script.
    fn line(&self, line: &str) -> Cmd {
        let mut cmd = ordinary().command("/bin/bash");
        let skiff = program::skiff().expect("required");
        cmd.args(["-c", line])
            .cwd(&self.folder)
            .env("LC_ALL", "C")
            .env("SKIFF_LINGER", "1")
            .env(
                "PATH",
                format!("{}:/usr/local/bin:/usr/bin:/bin", skiff.folder.display()),
            );
        cmd
    }

    fn terminal(&self, line: &str) -> Terminal {
        Terminal::start(&mut self.line(line)).expect("a terminal")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Left over, it only takes room.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// A module that finds the GPU as PyTorch does: through the driver's library.
const TORCH: &str = r#"
import ctypes
class cuda:
    @staticmethod
    def get_device_name(number):
        return "Made-up %d" % ctypes.CDLL("libcuda.so.1").driver_version()
"#;

/// An image with a `python` and that module, built by real Apptainer.
fn image_of_the_guide() -> PathBuf {
    let apptainer = program::real_apptainer().expect("required");
    let base = images(apptainer).sandbox;
    let recipe = digest(&[TORCH, &base.display().to_string()]);
    keep(&format!("guide-{recipe}"), |folder| {
        let root = folder.join("root");
        Cmd::new("/bin/cp")
            .arg("-a")
            .arg(&base)
            .arg(&root)
            .run()
            .expect_success("a copy of the sandbox");
        std::os::unix::fs::symlink("python3", root.join("usr/bin/python")).expect("fresh");
        let modules = Cmd::new("/usr/bin/python3")
            .args([
                "-c",
                "import sysconfig; print(sysconfig.get_path('stdlib'))",
            ])
            .run()
            .expect_success("python3")
            .stdout_text();
        let modules = Path::new(modules.trim())
            .strip_prefix("/")
            .expect("absolute");
        std::fs::write(root.join(modules).join("torch.py"), TORCH).expect("room");
        for path in [folder, root.as_path()] {
            Cmd::new("/bin/chown")
                .args(["-R", "-h"])
                .arg(format!("{}:{}", ordinary().uid, ordinary().gid))
                .arg(path)
                .run();
        }
        ordinary()
            .command(apptainer.called("apptainer"))
            .cwd(folder)
            .args(["build", "pytorch.sif", "root"])
            .run()
            .expect_success("apptainer build");
        std::fs::remove_dir_all(&root).expect("just made");
    })
    .join("pytorch.sif")
}

#[test]
fn version_and_help() {
    require!("rows 1 and 2 of the guide"; Skiff, Apptainer);
    let desk = Desk::new("version");
    let text = desk
        .line("apptainer --version")
        .run()
        .expect_success("version");
    let text = text.stdout_text();
    let number = text.strip_prefix("apptainer version ").expect(&text);
    let (major, rest) = number.split_once('.').expect(&text);
    assert!(major.parse::<u32>().is_ok(), "{text}");
    assert!(
        rest.starts_with(|first: char| first.is_ascii_digit()),
        "{text}"
    );
    let help = desk.line("apptainer --help").run().expect_success("help");
    let help = help.stdout_text();
    for word in [
        "exec",
        "run",
        "shell",
        "instance",
        "inspect",
        "cache",
        "overlay",
        "capability",
        "config",
        "--debug",
        "--quiet",
        "--version",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn a_shell_with_a_bound_project_folder() {
    require!("row 10 of the guide"; Skiff, Apptainer, Fuse, UserNamespaces);
    let desk = Desk::new("binds");
    desk.write("proj/lab/users/me/data/table.csv", "1,2,3\n");
    desk.write("notes.txt", "my notes\n");
    let mut shell =
        desk.terminal("apptainer shell -B $PWD/proj/lab/users/me/data:/data pytorch_2.0.1.sif");
    shell.until("Apptainer> ").expect("a prompt");
    // By default the working directory, home and /tmp are there, too.
    shell
        .send(
            "cat /data/table.csv notes.txt; test -w $HOME && test -w /tmp && echo both $((2+3))\n",
        )
        .expect("typed");
    shell
        .until("\n1,2,3\r\nmy notes\r\nboth 5\r\n")
        .expect("answers");
    shell.until("Apptainer> ").expect("a prompt");
    shell
        .send("echo 4,5 >>/data/table.csv; exit\n")
        .expect("typed");
    assert_eq!(shell.end().expect("an end"), 0);
    let table = desk.folder.join("proj/lab/users/me/data/table.csv");
    assert_eq!(
        std::fs::read_to_string(table).expect("there"),
        "1,2,3\n4,5\n"
    );
}

#[test]
fn a_shell_with_a_gpu_ends_with_all_it_started() {
    require!("row 11 of the guide"; Skiff, Apptainer, Fuse, UserNamespaces);
    let desk = Desk::new("shell");
    for end in ["exit\n", "\x04"] {
        let mut shell = desk.terminal("apptainer shell --nv pytorch_2.0.1.sif");
        shell.until("Apptainer> ").expect("a prompt");
        shell
            .send("touch /usr/here || echo not saved $((6*7))\n")
            .expect("typed");
        shell.until("not saved 42\r\n").expect("a read-only image");
        shell.until("Apptainer> ").expect("a prompt");
        // The prompt shows a moment before the shell takes the terminal over.
        std::thread::sleep(std::time::Duration::from_millis(500));
        shell.send(end).expect("typed");
        shell.end().expect("an end");
    }
}

#[test]
fn python_finds_the_gpu() {
    require!("row 12 of the guide"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let desk = Desk::new("gpu");
    let skiff = program::skiff().expect("required").called("apptainer");
    let line = "import torch; print('GPU Name: ' + torch.cuda.get_device_name(0))";
    let image = desk.folder.join("pytorch_2.0.1.sif").display().to_string();
    let words = ["exec", "--nv", &image, "python", "-c", line];
    let outcome = Driver::made_up().command(&skiff, &words).run();
    let outcome = outcome.expect_success("exec --nv");
    assert_eq!(outcome.stdout_text(), "GPU Name: Made-up 550\n");
}

/// A folder that is written to: what is installed is there when one comes back.
#[test]
fn packages_are_installed_in_a_sandbox() {
    require!("row 8 of the guide"; Root, Skiff, Apptainer, Fuse, UserNamespaces, Subuids, Apt);
    let desk = Desk::new("sandbox");
    let debian = debian();
    for (from, to) in [("root", "pytorch_2.0.1"), ("given.deb", "given.deb")] {
        Cmd::new("/bin/cp")
            .arg("-a")
            .args([debian.join(from), desk.folder.join(to)])
            .run()
            .expect_success("a copy");
    }
    let mut shell = desk.terminal("apptainer shell --fakeroot --writable pytorch_2.0.1/");
    shell.until("Apptainer> ").expect("a prompt");
    shell
        .send("id -u; apt-get install -y $PWD/given.deb && echo done $((6*7))\n")
        .expect("typed");
    shell.until("\r\n0\r\n").expect("root");
    shell.until("done 42\r\n").expect("installed");
    shell.until("Apptainer> ").expect("a prompt");
    shell.send("given; exit\n").expect("typed");
    shell.until("\ngiven\r\n").expect("the new program");
    assert_eq!(shell.end().expect("an end"), 0);

    let mut shell = desk.terminal("apptainer shell --fakeroot --writable pytorch_2.0.1/");
    shell.until("Apptainer> ").expect("a prompt");
    shell
        .send(
            "given; stat -c %u:%g /usr/share/given/text; rm -rf /var/lib/given /usr/share/given\n",
        )
        .expect("typed");
    shell.until("\ngiven\r\n33:34\r\n").expect("still there");
    shell.until("Apptainer> ").expect("a prompt");
    shell.send("exit\n").expect("typed");
    assert_eq!(shell.end().expect("an end"), 0);
}

#[test]
fn a_batch_job_and_the_cheat_sheet() {
    require!("rows 13 and 14 of the guide"; Skiff, Apptainer, Fuse, UserNamespaces);
    let desk = Desk::new("batch");
    desk.write("local_data_dir/input", "42\n");
    desk.write(
        "some_script.py",
        "import sys\nprint('answer', open('/data/input').read().strip())\n\
         open('/data/output', 'w').write('done\\n')\n",
    );
    desk.write(
        "job.sh",
        "#!/bin/bash\n#SBATCH --gpus=1\n#SBATCH -t 00:05:00\n\
         apptainer exec --nv -B $PWD/local_data_dir:/data apptainer_image.sif python some_script.py\n",
    );
    let job = desk.line("bash job.sh").run().expect_success("the job");
    assert_eq!(job.stdout_text(), "answer 42\n", "{job}");
    assert!(desk.folder.join("local_data_dir/output").is_file());
    let sheet = desk
        .line(
            "apptainer exec --nv -B $PWD/local_data_dir:/data apptainer_image.sif \
             bash -c \"python some_script.py\"",
        )
        .run()
        .expect_success("the cheat sheet");
    assert_eq!(sheet.stdout_text(), "answer 42\n", "{sheet}");
}

/// Nothing of all that fills the home directory.
#[test]
fn home_stays_as_it_was() {
    require!("the home directory"; Skiff, Apptainer, Fuse, UserNamespaces);
    let desk = Desk::new("home");
    let home = desk.folder.join("home");
    desk.write("home/.profile", "\n");
    let mut cmd = desk.line("apptainer exec --nv --home $HOME pytorch_2.0.1.sif true");
    cmd.env("HOME", &home).run().expect_success("exec");
    let names: Vec<_> = std::fs::read_dir(&home)
        .expect("there")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert_eq!(names, [".profile"]);
}
