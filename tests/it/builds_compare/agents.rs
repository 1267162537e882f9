//! Images made by agents that fetch programs.

use std::path::Path;
use std::sync::OnceLock;

use skiff_tests::require;
use skiff_tests::web::{Content, Server, Site};

use super::{Case, case, compare};

/// The lines of Apptainer's passwd and group have no end and a space before them, and its hosts one
/// line that nobody sees: the definition writes its own.
const BUSYBOX: &[Case] = &[case(
    "busybox",
    "Bootstrap: busybox\nMirrorURL: $B\n%setup\n: >\"$APPTAINER_ROOTFS/etc/hosts\"\n%post\necho 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd\n\
     echo 'root:x:0:' >/etc/group\n%runscript\nls /bin | head -n 3\n",
)
.commands(&["run $I", "exec $I sort /etc/group", "exec $I busybox true"])];

/// Where busybox can be fetched; the server stays.
pub(super) fn busybox() -> &'static str {
    static SERVER: OnceLock<(Server, String)> = OnceLock::new();
    let (_, url) = SERVER.get_or_init(|| {
        // Where there is none, nothing is there to be fetched.
        let program = Content::file(Path::new("/bin/busybox"));
        let program = program.unwrap_or_else(|_| Content::memory(Vec::new()));
        let server = Server::start(Site::with("/busybox", program));
        let url = server.url("/busybox");
        (server, url)
    });
    url
}

#[test]
fn busybox_is_all_there_is() {
    require!("builds of busybox"; Skiff, Apptainer, Fuse, UserNamespaces, Busybox);
    compare(BUSYBOX);
}
