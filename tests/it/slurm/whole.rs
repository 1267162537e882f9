//! Prologue, job and epilogue with the real program and a web server: what the prologue fetched, the
//! job does not ask for.

use std::os::unix::fs::chown;

use skiff_tests::command::Cmd;
use skiff_tests::program;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::web::{Content, Fault, Place, Server, Site, When};

use super::{folder, install, script, service};
use crate::remote::python_sif;

/// A node with the scripts, and a server with two images.
struct Cluster {
    place: Place,
    server: Server,
}

impl Cluster {
    /// With a shared cache or without; settings besides those of a test.
    fn new(shared: bool, more: &str) -> Self {
        let place = Place::new("prologue");
        folder::open_to_all(&place.folder);
        let at = |name: &str| place.folder.join(name);
        for name in ["prolog.sh", "epilog.sh", "common.sh"] {
            install(&script(name), &at(name));
        }
        let content = Content::file(&python_sif()).expect("there");
        let site = Site::with("/site.sif", content.clone().with_etag(Some("site")));
        site.put("/job.sif", content.with_etag(Some("job")));
        let server = Server::start(site);
        std::fs::write(at("list"), format!("{}\n", server.url("/site.sif"))).expect("room");
        if shared {
            std::fs::create_dir(at("shared")).expect("fresh");
            folder::open_to_all(&at("shared"));
            chown(at("shared"), Some(service()), None).expect("root");
        }
        let here = place.folder.display();
        let settings = format!(
            "SKIFF={}\nWARM_LIST={here}/list\nWARM_DEADLINE=20\nSHARED_CACHE={here}/shared\n\
             USER_CACHE={here}/cache\nSTATE={here}/state\nLOG={here}/log\n{more}\n",
            program::skiff()
                .expect("required")
                .called("skiff")
                .display()
        );
        std::fs::write(at("conf"), settings).expect("room");
        Self { place, server }
    }

    /// Runs a script as slurmd does, for a job of the ordinary user.
    fn slurmd(&self, name: &str, comment: &str) -> std::time::Duration {
        let mut cmd = Cmd::new(self.place.folder.join(name));
        cmd.env("SLURM_JOB_USER", &ordinary().name)
            .env("SLURM_JOB_UID", ordinary().uid.to_string())
            .env("SLURM_JOB_GID", ordinary().gid.to_string())
            .env("SLURM_JOB_COMMENT", comment);
        self.script(&mut cmd)
    }

    fn script(&self, cmd: &mut Cmd) -> std::time::Duration {
        cmd.env("SKIFF_SLURM_CONF", self.place.folder.join("conf"))
            .env("SLURM_JOB_ID", "77")
            .env("SLURM_CLUSTER_NAME", "test")
            .env("SLURMD_NODENAME", "node1");
        let outcome = cmd.run().expect_success("a script of Slurm's");
        assert!(outcome.stdout.is_empty(), "{outcome}");
        outcome.took
    }

    /// The job: a program in the image, which must not ask for data.
    fn job(&self, image: &str, program: &[&str]) {
        self.server.log().clear();
        self.place
            .exec(&self.server.url(image), program)
            .env("SKIFF_SHARED_CACHE", self.place.folder.join("shared"))
            .env("SKIFF_TAG_TTL", "600")
            .run()
            .expect_success("the job");
        let log = self.server.log();
        assert_eq!(log.data_requests(), 0, "{image}:\n{log}");
        self.place.wait_for_the_end();
    }

    fn pinned(&self) -> usize {
        let files = self.place.cache_files();
        let is_pin = |path: &&std::path::PathBuf| path.extension().is_some_and(|it| it == "pin");
        files.iter().filter(is_pin).count()
    }
}

const PYTHON: &[&str] = &["python3", "-c", "import json"];

#[test]
fn a_job_finds_its_image_in_its_cache() {
    require!("prologue and job"; Skiff, Apptainer, Fuse, UserNamespaces, Root);
    let site = Cluster::new(false, "WARM_FLAGS=--full");
    site.slurmd(
        "prolog.sh",
        &format!("warm:{}", site.server.url("/job.sif")),
    );
    assert_eq!(site.pinned(), 2, "{:?}", site.place.cache_files());
    site.job("/job.sif", PYTHON);
    // The site's list went to the user too.
    site.job("/site.sif", PYTHON);
    site.slurmd("epilog.sh", "");
    assert_eq!(site.pinned(), 0);
    // It stays cached for the next job.
    site.job("/job.sif", PYTHON);
}

#[test]
fn what_a_shell_needs_is_there_by_default() {
    require!("prologue and shell"; Skiff, Apptainer, Fuse, UserNamespaces, Root);
    let site = Cluster::new(false, "");
    site.slurmd(
        "prolog.sh",
        &format!("warm:{}", site.server.url("/job.sif")),
    );
    let fetched = site.server.log().data_bytes();
    let size = python_sif().metadata().expect("there").len();
    assert!(fetched < size, "{fetched} bytes for two starts of {size}");
    site.job("/job.sif", &["sh", "-c", "echo started"]);
    site.job("/job.sif", &["bash", "-c", "echo started"]);
}

#[test]
fn a_job_finds_the_sites_images_in_the_shared_cache() {
    require!("shared cache filled by the prologue"; Skiff, Apptainer, Fuse, UserNamespaces, Root);
    let site = Cluster::new(true, "WARM_FLAGS=--full");
    site.slurmd("prolog.sh", "");
    assert!(site.place.cache_files().is_empty(), "it is nobody's own");
    site.job("/site.sif", PYTHON);
    site.slurmd("epilog.sh", "");
    site.job("/site.sif", PYTHON);
}

/// As slurmstepd runs it.
#[test]
fn a_prologue_of_the_user_himself() {
    require!("prologue of a task"; Skiff, Apptainer, Fuse, UserNamespaces);
    let site = Cluster::new(false, "WARM_FLAGS=--full");
    let mut cmd = ordinary().command(site.place.folder.join("prolog.sh"));
    cmd.env("SKIFF_WARM", site.server.url("/job.sif"))
        .env("SKIFF_CACHE_DIR", site.place.cache());
    site.script(&mut cmd);
    assert_eq!(site.pinned(), 0, "nobody would unpin it");
    site.job("/job.sif", PYTHON);
}

/// A server that says nothing holds up the job for no longer than it may.
#[test]
fn a_silent_server_holds_up_nobody() {
    require!("prologue and a silent server"; Skiff, Apptainer, Root);
    let site = Cluster::new(true, "WARM_DEADLINE=1");
    let stall = Fault::Stall {
        after: 0,
        pause: std::time::Duration::from_secs(30),
    };
    site.server.faults().add(stall, When::Always);
    let comment = format!("warm:{}", site.server.url("/job.sif"));
    let took = site.slurmd("prolog.sh", &comment);
    assert!(took < std::time::Duration::from_secs(25), "{took:?}");
}
