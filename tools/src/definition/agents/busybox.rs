//! One program that is many.

use std::path::Path;

use super::recipe::{Recipe, Step, words};
use crate::definition::Stage;

pub(super) fn recipe(stage: &Stage, root: &Path) -> Result<Recipe, String> {
    let Some(url) = stage.value("mirrorurl") else {
        return Err("invalid busybox header, no mirrur url specified".to_owned());
    };
    let file = |path: &str, content: &str| Step::File {
        path: path.to_owned(),
        mode: 0o664,
        content: content.to_owned(),
    };
    let directory = |path: &str| Step::Directory {
        path: path.to_owned(),
        mode: 0o755,
    };
    let install = words(["--install", &root.join("bin").to_string_lossy()]);
    Ok(Recipe {
        steps: vec![
            directory("etc"),
            file("etc/passwd", "root:!:0:0:root:/root:/bin/sh\n"),
            file("etc/group", "root:x:0:\n"),
            directory("bin"),
            Step::Download {
                url: url.to_owned(),
                path: "bin/busybox".to_owned(),
                mode: 0o755,
                failure: "while inserting busybox: while performing http request".to_owned(),
            },
            Step::run(
                root.join("bin/busybox"),
                install,
                "while performing busybox install",
            ),
        ],
        ..Recipe::default()
    })
}
