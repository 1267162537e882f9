//! A host with a GPU driver that does nothing.

use std::path::{Path, PathBuf};

use skiff_tests::command::Cmd;
use skiff_tests::image::{digest, keep};
use skiff_tests::user::ordinary;
use skiff_tests::userland::write;

/// Libraries of the driver, without `lib` and `.so.1`; all of them are in the default list.
pub(crate) const DRIVER_LIBRARIES: [&str; 6] = [
    "cuda",
    "nvidia-ml",
    "nvidia-ptxjitcompiler",
    "nvidia-nvvm",
    "nvcuvid",
    "OpenCL",
];

/// Device nodes, as `mknod` wants them.
const NODES: &str = "null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229 \
                     nvidia0:195:0 nvidia1:195:1 nvidiactl:195:255 nvidia-uvm:511:0 \
                     kfd:235:0 dri/card0:226:0 dri/renderD128:226:128";

/// What the host looks like inside the test's own mount namespace.
#[derive(Clone, Debug)]
pub(crate) struct Driver {
    /// Holds the driver, readable by everybody.
    pub(crate) folder: PathBuf,
    /// Loader's cache to lay over the machine's.
    cache: PathBuf,
    /// The administrator's `nvliblist.conf`.
    list: Option<String>,
    /// The kernel says that the driver is loaded.
    loaded: bool,
}

impl Driver {
    /// A driver with [`DRIVER_LIBRARIES`], a program and a file.
    pub(crate) fn made_up() -> Self {
        Self::kept("cache")
    }

    /// The same, but for a `libcuda.so.1` that needs GLIBC 2.99.
    pub(crate) fn too_new() -> Self {
        Self::kept("cache-new")
    }

    /// A host whose loader knows no library.
    pub(crate) fn none() -> Self {
        Self::kept("cache-none")
    }

    /// The same with this `nvliblist.conf`.
    pub(crate) fn with_list(mut self, list: &str) -> Self {
        self.list = Some(list.to_owned());
        self
    }

    /// The same on a host whose kernel has the driver and two GPUs.
    pub(crate) fn loaded(mut self) -> Self {
        self.loaded = true;
        self
    }

    fn kept(cache: &str) -> Self {
        let name = format!("gpu-driver-{}", digest(&[include_str!("driver.rs")]));
        let folder = keep(&name, build);
        Self {
            cache: folder.join(cache),
            folder,
            list: None,
            loaded: false,
        }
    }

    /// `program` on that host, as the ordinary user.
    pub(crate) fn command(&self, program: &Path, words: &[&str]) -> Cmd {
        let user = ordinary();
        let mut script = format!(
            "set -e\nmount --bind {cache} /etc/ld.so.cache\n\
             mount -t tmpfs -o mode=755,dev none /dev\nmkdir /dev/dri /dev/shm /dev/pts\n\
             chmod 1777 /dev/shm\n\
             for node in {NODES}; do\n\
             mknod -m 666 /dev/${{node%%:*}} c $(echo ${{node#*:}} | tr : ' ')\ndone\n",
            cache = self.cache.display(),
        );
        if let Some(list) = &self.list {
            // Over /etc/apptainer or /etc/skiff, made in a layer of this namespace.
            script.push_str(
                "layer=$(mktemp -d)\nmount -t tmpfs none $layer\nmkdir -p $layer/u/skiff $layer/w\n",
            );
            script.push_str(&format!(
                "printf '%s' '{list}' >$layer/u/skiff/nvliblist.conf\nchmod -R a+rX $layer\n\
                 mount -t overlay -o lowerdir=/etc,upperdir=$layer/u,workdir=$layer/w none /etc\n\
                 mount --bind {cache} /etc/ld.so.cache\n\
                 umount -l $layer\nrmdir $layer\n",
                cache = self.cache.display(),
            ));
        }
        if self.loaded {
            // Nothing can be made in /proc, but something can be laid over a directory of it.
            script.push_str(&format!(
                "mount --bind {}/proc-driver /proc/driver\n",
                self.folder.display()
            ));
        }
        script.push_str(&format!(
            "cd /\nexec setpriv --reuid={} --regid={} --init-groups -- \"$@\"\n",
            user.uid, user.gid
        ));
        let mut cmd = Cmd::new("/usr/bin/unshare");
        cmd.args(["-m", "/bin/sh", "-c", &script, "sh"])
            .arg(program)
            .args(words)
            .owner(user.uid, user.gid)
            .env("HOME", &user.home)
            .env("USER", &user.name)
            .env(
                "PATH",
                format!(
                    "{}:/usr/sbin:/usr/bin:/bin",
                    self.folder.join("bin").display()
                ),
            );
        cmd
    }
}

fn build(folder: &Path) {
    let compile = |output: &Path, words: &[&str], source: &str| {
        std::fs::create_dir_all(output.parent().expect("below")).expect("ours");
        let file = output.with_extension("c");
        write(&file, source);
        Cmd::new("/usr/bin/cc")
            .env("PATH", "/usr/bin:/bin")
            .args(words)
            .arg("-o")
            .arg(output)
            .arg(&file)
            .run()
            .expect_success("cc");
        std::fs::remove_file(&file).expect("just made");
    };
    let library = |directory: &str, name: &str, words: &[&str], source: &str| {
        let soname = format!("-Wl,-soname,lib{name}.so.1");
        let mut all = vec!["-shared", "-fPIC", &*soname];
        all.extend(words);
        let output = folder.join(directory).join(format!("lib{name}.so.550.1"));
        compile(&output, &all, source);
    };
    for name in DRIVER_LIBRARIES.iter().chain(&["unrelated"]) {
        library(
            "lib",
            name,
            &[],
            "int driver_version(void) { return 550; }\n",
        );
    }
    compile(
        &folder.join("load"),
        &["-ldl"],
        "#include <dlfcn.h>\n#include <stdio.h>\n\
         int main(int count, char **words) {\n\
         void *library = dlopen(words[1], RTLD_NOW);\n\
         if (!library) { fprintf(stderr, \"%s\\n\", dlerror()); return 1; }\n\
         int (*version)(void) = (int (*)(void))dlsym(library, \"driver_version\");\n\
         printf(\"driver says %d\\n\", version());\nreturn 0;\n}\n",
    );
    // A C library of the future, and a driver that was linked with it.
    let versions = folder.join("new/versions");
    write(&versions, "GLIBC_2.99 { global: new_call; local: *; };\n");
    let map = format!("-Wl,--version-script={}", versions.display());
    compile(
        &folder.join("new/libc.so.6"),
        &[
            "-shared",
            "-nostdlib",
            "-fPIC",
            "-Wl,-soname,libc.so.6",
            &map,
        ],
        "int new_call(void) { return 1; }\n",
    );
    let libc = folder.join("new/libc.so.6").display().to_string();
    let source = "int new_call(void);\nint driver_version(void) { return new_call(); }\n";
    // The library's name has to stand behind the source, which `compile` puts last: by reference.
    let by_name = format!("-Wl,--no-as-needed,{libc}");
    library("lib-new", "cuda", &["-nostdlib", &by_name], source);
    write(
        &folder.join("bin/nvidia-smi"),
        "#!/bin/sh\necho made-up smi\n",
    );
    Cmd::new("/bin/chmod")
        .arg("755")
        .arg(folder.join("bin/nvidia-smi"))
        .run()
        .expect_success("chmod");
    let kernel = folder.join("proc-driver/nvidia");
    write(
        &kernel.join("version"),
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n",
    );
    for (bus, minor) in [("0000:17:00.0", 0), ("0000:65:00.0", 1)] {
        write(
            &kernel.join("gpus").join(bus).join("information"),
            format!(
                "Model: \t\t Made up\nGPU UUID: \t GPU-{minor}{minor}{minor}\nDevice Minor: \t {minor}\n"
            ),
        );
    }
    let cuda = folder.join("lib/libcuda.so.550.1");
    write(
        &folder.join("cdi/made-up.yaml"),
        format!(
            "cdiVersion: 0.5.0\nkind: example.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    \
             deviceNodes:\n    - path: /dev/nvidia0\ncontainerEdits:\n  env: [MADE_UP=yes]\n  \
             deviceNodes:\n  - path: /dev/nvidiactl\n  mounts:\n  - hostPath: {cuda}\n    \
             containerPath: /opt/driver/libcuda.so.550.1\n    options: [ro, bind]\n  - hostPath: {smi}\n    \
             containerPath: /usr/bin/made-up-smi\n    options: [ro, bind]\n  hooks:\n  \
             - hookName: createContainer\n    path: /usr/bin/nvidia-cdi-hook\n    \
             args: [nvidia-cdi-hook, create-symlinks, --link, 'libcuda.so.550.1::/usr/lib/libcuda.so']\n  \
             - hookName: createContainer\n    path: {touch}\n    args: [touch, {mark}]\n",
            cuda = cuda.display(),
            smi = folder.join("bin/nvidia-smi").display(),
            touch = "/usr/bin/touch",
            mark = folder.join("hook-ran").display(),
        ),
    );
    write(&folder.join("victim"), "not to be touched\n");
    // ldconfig would add the machine's own directories.
    write(&folder.join("cache-none"), "");
    write(&folder.join("always.conf"), "always use nv = yes\n");
    for (cache, directory) in [("cache", "lib"), ("cache-new", "lib-new")] {
        let directory = folder.join(directory);
        std::fs::create_dir_all(&directory).expect("ours");
        let list = folder.join(format!("{cache}.conf"));
        write(&list, format!("{}\n", directory.display()));
        Cmd::new("/usr/sbin/ldconfig")
            .arg("-n")
            .arg(&directory)
            .run()
            .expect_success("ldconfig -n");
        Cmd::new("/usr/sbin/ldconfig")
            .arg("-X")
            .arg("-C")
            .arg(folder.join(cache))
            .arg("-f")
            .arg(&list)
            .run()
            .expect_success("ldconfig -C");
    }
    Cmd::new("/bin/chmod")
        .args(["-R", "a+rX"])
        .arg(folder)
        .run()
        .expect_success("chmod");
}
