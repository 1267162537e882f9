//! Applications of an image (SCIF): where they lie and what their files say.

use super::labels;
use super::nodes::Nodes;
use crate::definition::App;
use crate::definition::sections::read_labels;

/// Where an application lies, relative to the root.
pub fn root(app: &App) -> String {
    format!("scif/apps/{}", app.name)
}

/// What cannot be the name of an application: it would lie elsewhere.
pub fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// What is written before anything is run in the container: the applications' own files, and the
/// file that tells others where they are.
pub fn files(apps: &[App]) -> Nodes {
    let mut nodes = Nodes::new();
    let mut exports = String::new();
    for app in apps.iter().filter(|app| is_name(&app.name)) {
        for directory in ["scif", "scif/apps", "scif/data"] {
            nodes.directory(directory);
        }
        add(app, &mut nodes);
        exports.push_str(&exported(app));
    }
    nodes.script(".singularity.d/env/94-appsbase.sh", exports);
    nodes
}

fn add(app: &App, nodes: &mut Nodes) {
    let name = &app.name;
    let root = root(app);
    for directory in ["", "/bin", "/lib", "/scif", "/scif/env"] {
        nodes.directory(&format!("{root}{directory}"));
    }
    for directory in ["", "/input", "/output"] {
        nodes.directory(&format!("scif/data/{name}{directory}"));
    }
    let meta = format!("{root}/scif");
    nodes.script(&format!("{meta}/env/01-base.sh"), own_variables(name));
    if !app.env.is_empty() {
        nodes.script(&format!("{meta}/env/90-environment.sh"), &*app.env.body);
    }
    for (file, section) in [
        ("runscript", &app.run),
        ("startscript", &app.start),
        ("test", &app.test),
    ] {
        if !section.is_empty() {
            let script = format!("#!/bin/sh\n\n{}\n", section.body);
            nodes.script(&format!("{meta}/{file}"), script);
        }
    }
    if !app.help.is_empty() {
        nodes.text(&format!("{meta}/runscript.help"), &*app.help.body);
    }
    let mut labels = read_labels(&app.labels.body);
    labels
        .entry("SCIF_APP_NAME".to_owned())
        .or_insert_with(|| name.clone());
    nodes.text(&format!("{meta}/labels.json"), labels::json(&labels));
}

/// What an application knows of itself.
fn own_variables(name: &str) -> String {
    let name = quoted(name);
    format!(
        "#!/bin/sh\n\
         SCIF_APPNAME={name}\n\
         SCIF_APPROOT=/scif/apps/{name}\n\
         SCIF_APPMETA=/scif/apps/{name}/scif\n\
         SCIF_DATA=/scif/data\n\
         SCIF_APPDATA=/scif/data/{name}\n\
         SCIF_APPINPUT=/scif/data/{name}/input\n\
         SCIF_APPOUTPUT=/scif/data/{name}/output\n\
         export SCIF_APPNAME SCIF_APPROOT SCIF_APPMETA SCIF_DATA\n\
         export SCIF_APPDATA SCIF_APPINPUT SCIF_APPOUTPUT\n"
    )
}

/// What all of the image know of an application.
fn exported(app: &App) -> String {
    let suffix: String = app
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let name = quoted(&app.name);
    let root = format!("/scif/apps/{name}");
    let mut variables = vec![
        ("APPDATA", format!("/scif/data/{name}")),
        ("APPMETA", format!("{root}/scif")),
        ("APPROOT", root.clone()),
        ("APPBIN", format!("{root}/bin")),
        ("APPLIB", format!("{root}/lib")),
    ];
    if !app.env.is_empty() {
        variables.push(("APPENV", format!("{root}/scif/env/90-environment.sh")));
    }
    variables.push(("APPLABELS", format!("{root}/scif/labels.json")));
    if !app.run.is_empty() {
        variables.push(("APPRUN", format!("{root}/scif/runscript")));
    }
    if !app.start.is_empty() {
        variables.push(("APPSTART", format!("{root}/scif/startscript")));
    }
    let mut script = format!("# Where the application {} is.\n", app.name.escape_debug());
    for (variable, value) in variables {
        script.push_str(&format!("export SCIF_{variable}_{suffix}={value}\n"));
    }
    script
}

/// The name as a word for a shell.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.+:@".contains(c);
    if name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', "'\\''"))
    }
}
