//! Images built by Apptainer and by skiff from the same input: the same files with the same owners,
//! modes and content, the same answers to `inspect`, and programs that say the same, whichever of
//! the two runs them.
//!
//! What differs, and why:
//! - the text of scripts in `/.singularity.d` and `/scif` that belong to nobody's definition: skiff
//!   writes its own, which do the same (compared by what programs in the images see);
//! - the date of the build, and the version of the program that built;
//! - times of files that the build itself wrote, and of directories, some of which Apptainer writes to;
//! - set-user-id bits, which Apptainer loses where it unpacks a SIF as an ordinary user;
//! - further names of a file of the base that %post writes to: Apptainer has unpacked the base, so
//!   that they change with it; skiff puts an overlay over it, where writing parts them;
//! - how a single quote is quoted in a runscript.

mod agents;
mod definitions;
mod images;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use skiff_tests::command::Outcome;
use skiff_tests::image::{digest, keep};
use skiff_tests::oci::{self, OciImage, Packing};
use skiff_tests::program::{self, Program};
use skiff_tests::user::ordinary;
use skiff_tests::userland::{add_programs, write};

/// One input and what is done with the images that come of it.
struct Case {
    name: &'static str,
    /// A definition, or the name of an image where it has no line end; `$M` is the
    /// shared folder, `$B` the address of busybox.
    input: &'static str,
    /// Further words for `build`.
    flags: &'static [&'static str],
    /// Commands run on either image by either program; `$I` is the image.
    commands: &'static [&'static str],
}

/// A case with this input, run without arguments.
const fn case(name: &'static str, input: &'static str) -> Case {
    Case {
        name,
        input,
        flags: &[],
        commands: &["run $I"],
    }
}

impl Case {
    const fn flags(mut self, flags: &'static [&'static str]) -> Self {
        self.flags = flags;
        self
    }

    const fn commands(mut self, commands: &'static [&'static str]) -> Self {
        self.commands = commands;
        self
    }
}

/// Text that the fixture is made of beside programs, for its name.
const VERSION: &str = "1";

/// The folder that both programs build from.
fn made() -> PathBuf {
    keep(
        &format!(
            "builds-{}",
            digest(&[VERSION, images::VERSION, definitions::VERSION])
        ),
        |folder| {
            // Copying into archives is done by the ordinary user.
            ordinary().own(folder);
            let tree = folder.join("tree");
            for path in ["bin", "etc", "opt/data", "tmp", "usr/share"] {
                std::fs::create_dir_all(tree.join(path)).expect("room");
            }
            let plain = folder.join("programs");
            std::fs::create_dir_all(plain.join("usr/bin")).expect("room");
            add_programs(
                &plain,
                &[
                    "sh", "cat", "echo", "env", "id", "ls", "mkdir", "printf", "sort", "touch",
                    "true",
                ],
            );
            let copy =
                "cp -a programs/. tree/ && rm -rf programs tree/bin && ln -s usr/bin tree/bin";
            shell(folder, copy);
            write(&tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
            write(&tree.join("etc/group"), "root:x:0:\n");
            write(&tree.join("opt/data/file"), "content\n");
            shell(
                folder,
                "cd tree && ln -s data/file opt/link && ln opt/data/file opt/data/hard \
             && chmod 750 opt/data && chmod 4755 usr/bin/true && find . -exec touch -hd 2020-02-03T04:05:00Z {} +",
            );
            oci::archive(&tree, &folder.join("base.tar"));
            images::make(folder);
            definitions::make(folder);
            shell(folder, "chmod -R a+rX .");
            by_apptainer(folder, "oci:layout-both", "base.sif");
            by_apptainer(folder, "oci:layout-full", "full.sif");
            // Files of others would be nobody's where the user is root of a namespace.
            ordinary().own_all(&folder.join("full"));
        },
    )
}

/// Builds `image` in `folder` from what is there.
fn by_apptainer(folder: &Path, source: &str, image: &str) {
    let apptainer = program::real_apptainer().expect("required");
    let outcome = ordinary()
        .command(apptainer.called("apptainer"))
        .args(["-s", "build", image, source])
        .cwd(folder)
        .env("APPTAINER_DISABLE_CACHE", "1")
        .limit(Duration::from_secs(120))
        .run();
    outcome.expect_success("building a base");
}

fn shell(folder: &Path, line: &str) {
    skiff_tests::command::Cmd::new("/bin/sh")
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .cwd(folder)
        .args(["-ec", line])
        .limit(Duration::from_secs(120))
        .run()
        .expect_success(line);
}

/// A layout with these layers over the base, and this configuration.
fn layout(folder: &Path, name: &str, layers: &[&Path], packing: Packing, config: Value) {
    let base = folder.join("base.tar");
    let layers = std::iter::once(base.as_path()).chain(layers.iter().copied());
    let image = OciImage {
        layers: layers.map(|tar| (tar.to_owned(), packing)).collect(),
        config,
    };
    image.layout(&folder.join(format!("layout-{name}")));
}

/// Builds all cases with both programs and fails with what differs.
fn compare(cases: &[Case]) {
    let made = made();
    let next = AtomicUsize::new(0);
    let found = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { return };
                    let differences = compare_one(case, &made);
                    found
                        .lock()
                        .expect("no panic while held")
                        .extend(differences);
                }
            });
        }
    });
    let found = found.into_inner().expect("no panic while held");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("skiff-builds-{}-{number}", std::process::id());
        let path = Path::new("/var/tmp").join(name);
        std::fs::create_dir(&path).expect("fresh");
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("ours");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// An image and who built it.
struct Built {
    image: PathBuf,
    program: &'static Program,
}

fn compare_one(case: &Case, made: &Path) -> Vec<String> {
    let wanted = std::env::var("SKIFF_BUILDS_CASE").unwrap_or_default();
    if !case.name.contains(&wanted) {
        return Vec::new();
    }
    let folder = Folder::new();
    let apptainer = program::real_apptainer().expect("required");
    let skiff = program::skiff().expect("required");
    let mut built = Vec::new();
    for program in [apptainer, skiff] {
        let place = folder.0.as_path().join(program.title.replace(' ', "-"));
        std::fs::create_dir(&place).expect("room");
        ordinary().own(&place);
        let outcome = build(case, program, made, &place);
        if !outcome.success() {
            return vec![format!(
                "* {}: {} cannot build it: {outcome}",
                case.name, program.title
            )];
        }
        built.push(Built {
            image: place.join("x.sif"),
            program,
        });
    }
    let [reference, other] = built.as_slice() else {
        return vec!["two programs".to_owned()];
    };
    let mut differences = Vec::new();
    let mut differ = |what: &str, wanted: &str, seen: &str| {
        if wanted != seen {
            differences.push(format!("* {}: {what}\n{}", case.name, lines(wanted, seen)));
        }
    };
    differ("files", &picture(&reference.image), &picture(&other.image));
    let told = inspected(apptainer, &reference.image);
    for (program, image) in [(apptainer, other), (skiff, reference), (skiff, other)] {
        let what = format!(
            "{} inspects the image of {}",
            program.title, image.program.title
        );
        differ(&what, &told, &inspected(program, &image.image));
    }
    for command in case.commands {
        let wanted = ran(apptainer, &reference.image, command);
        for (program, image) in [(apptainer, other), (skiff, reference), (skiff, other)] {
            let what = format!(
                "{} does {command} with the image of {}",
                program.title, image.program.title
            );
            differ(&what, &wanted, &ran(program, &image.image, command));
        }
    }
    differences
}

fn build(case: &Case, program: &Program, made: &Path, place: &Path) -> Outcome {
    let input = case.input.replace("$M", &made.to_string_lossy());
    let input = input.replace("$B", agents::busybox());
    let mut command = ordinary().command(program.called("apptainer"));
    command
        .cwd(place)
        .env("APPTAINER_CACHEDIR", place.join("cache"))
        .limit(Duration::from_secs(240))
        .args(["-s", "build"]);
    for flag in case.flags {
        command.arg(flag.replace("$M", &made.to_string_lossy()));
    }
    if input.contains('\n') {
        std::fs::write(place.join("x.def"), input).expect("room");
        command.args(["--fakeroot", "x.sif", "x.def"]);
    } else {
        command.args(["x.sif", &input]);
    }
    command.run()
}

/// The lines that only one of two texts has; both where they differ in order.
fn lines(wanted: &str, seen: &str) -> String {
    let only = |mark: char, these: &str, those: &str| -> String {
        let those: std::collections::BTreeSet<&str> = those.lines().collect();
        these
            .lines()
            .filter(|line| !those.contains(line))
            .map(|line| format!("  {mark} {line}\n"))
            .collect()
    };
    let all = only('-', wanted, seen) + &only('+', seen, wanted);
    if all.is_empty() {
        return format!("  wanted {wanted:?}\n  seen {seen:?}\n");
    }
    all
}

/// Names, modes, owners, sizes, targets and content of the files in the image; times of those that
/// were there before.
fn picture(image: &Path) -> String {
    const LOOK: &str = r#"
        at=$("$1" sif list "$2" | awk -F'|' '/FS \(/ {split($4, a, "-"); print a[1] + 0}')
        unsquashfs -lln -o "$at" "$2" | grep squashfs-root | while read -r mode owner size day hour path; do
            case $path in squashfs-root/.singularity.d/*|*/scif/env/01-base.sh) size=own;; esac
            case $mode in d*) size= day=;; esac
            case $path in */usr/bin/true) mode=${mode/s/x};; esac
            case $day in 2020-*) ;; *) day=; hour=;; esac
            printf '%s %s %s %s %s %s\n' "$path" "$mode" "$owner" "$size" "$day" "$hour"
        done
        "$1" sif list "$2" | tail -n +4 | cut -d'|' -f2,3,5
        rm -rf tree
        unsquashfs -q -n -no-xattrs -o "$at" -d tree "$2" >/dev/null 2>&1
        cd tree && find . -type f -readable ! -path './.singularity.d/*' ! -path '*/scif/env/01-base.sh' -exec sha256sum {} +
        cd .. && chmod -R u+rwX tree && rm -rf tree"#;
    let apptainer = program::real_apptainer().expect("required");
    let outcome = ordinary()
        .command("/bin/bash")
        .cwd(image.parent().expect("a file"))
        .args(["-c", LOOK, "sh"])
        .arg(apptainer.called("apptainer"))
        .arg(image)
        .limit(Duration::from_secs(120))
        .run();
    let text = outcome.expect_success("looking at an image").stdout_text();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// What `inspect --all` says but for what is known to differ.
fn inspected(program: &Program, image: &Path) -> String {
    let outcome = ordinary()
        .command(program.called("apptainer"))
        .args(["inspect", "--all"])
        .arg(image)
        .run();
    let text = outcome.expect_success("inspect").stdout_text();
    let mut told: Value = serde_json::from_str(&text).expect("JSON");
    let attributes = &mut told["data"]["attributes"];
    if let Some(labels) = attributes["labels"].as_object_mut() {
        labels.remove("org.label-schema.build-date");
        labels.remove("org.label-schema.usage.apptainer.version");
    }
    if let Some(environment) = attributes["environment"].as_object_mut() {
        environment.remove("/.singularity.d/env/10-docker2singularity.sh");
        for script in environment.values_mut() {
            *script = without_comments(script.as_str().unwrap_or_default()).into();
        }
    }
    for name in ["runscript", "startscript"] {
        let script = attributes[name].as_str().unwrap_or_default().to_owned();
        // Of a generated one, what it is generated from.
        let generated: String = script
            .lines()
            .filter(|line| line.starts_with("OCI_"))
            .collect();
        attributes[name] = if !generated.is_empty() {
            generated.replace(r#"'"'"'"#, r"'\''").into()
        } else {
            without_comments(&script).into()
        };
    }
    serde_json::to_string_pretty(&told).expect("JSON")
}

fn without_comments(script: &str) -> String {
    let lines = script.lines().map(str::trim_end);
    let lines: Vec<&str> = lines
        .filter(|line| !line.is_empty() && (!line.starts_with('#') || line.starts_with("#!")))
        // Of the default script, what Apptainer prints is followed by the two characters `\n`.
        .map(|line| line.strip_suffix("\\n\";").unwrap_or(line))
        .collect();
    lines.join("\n").trim_end_matches('"').to_owned()
}

/// Output and exit code of a command.
fn ran(program: &Program, image: &Path, command: &str) -> String {
    let line = command.replace("$I", "\"$IMAGE\"");
    let outcome = ordinary()
        .command("/bin/bash")
        .env("IMAGE", image)
        .env("PROGRAM", program.called("apptainer"))
        .env("SKIFF_LINGER", "0")
        .args(["-c", &format!("\"$PROGRAM\" -s {line}")])
        .limit(Duration::from_secs(60))
        .run();
    let output = outcome
        .stdout_text()
        .replace(&*image.to_string_lossy(), "IMAGE");
    // What Apptainer's default script ends its line with is for some shells another line end.
    let output = output.replace("container\\n\n", "container\n");
    let output = output.replace("container\n\n", "container\n");
    format!("{output}\nexit code {:?}", outcome.code())
}
