//! What is written, as a whole.

use super::overlaid::{NoFiles, Overlaid};
use super::*;
use crate::definition::{BuildArguments, Definition, parse};
use crate::metadata::files::Files as _;
use crate::metadata::json;

fn text(nodes: &Nodes, path: &str) -> String {
    match nodes.get(path).map(|node| &node.content) {
        Some(Content::File(content)) => String::from_utf8(content.clone()).unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

fn definition(text: &str) -> Definition {
    parse(text, &BuildArguments::default()).unwrap().0
}

fn facts<'a>(definition: &'a Definition, sections: &'a SectionChoice) -> Facts<'a> {
    Facts {
        stage: definition.stages.last().unwrap(),
        text: &definition.text,
        sections,
        force: false,
        update: false,
        date: BuildDate(0),
        arch: "amd64",
        version: "1.4.5",
    }
}

const EXAMPLE: &str = "\
Bootstrap: scratch
Stage: one
%help
  help
%labels
  Kept new
  Other new
%environment
  export X=1
%runscript -e
  run
%startscript
  #!/bin/x
  start
%test
  test
";

#[test]
fn own_files_are_on_top_but_for_images() {
    for (begun, own_on_top) in [
        (Begun::Oci(&ImageConfig::default()), true),
        (Begun::Agent, true),
        (Begun::Image, false),
    ] {
        let base = base(begun);
        let (with, without) = if own_on_top {
            (&base.top, &base.bottom)
        } else {
            (&base.bottom, &base.top)
        };
        for path in [".singularity.d/runscript", ".singularity.d/env/99-base.sh"] {
            assert_eq!(with.get(path).map(|node| node.mode), Some(0o755));
            assert_eq!(without.get(path), None);
        }
        assert_eq!(with.get("etc/hosts").map(|node| node.mode), Some(0o644));
        assert!(base.bottom.get("proc").is_some() && base.bottom.get(".run").is_some());
        let paths: Vec<_> = base.bottom.iter().map(|(path, _)| path).collect();
        assert!(paths.is_sorted());
    }
}

#[test]
fn a_stage_is_finished() {
    let definition = definition(EXAMPLE);
    let all = SectionChoice::All;
    let done = finish(&facts(&definition, &all), &NoFiles).unwrap();
    let text = |path: &str| text(&done.nodes, &format!(".singularity.d/{path}"));
    assert_eq!(text("Singularity"), EXAMPLE);
    assert_eq!(text("runscript.help"), "  help\n\n");
    assert_eq!(text("runscript"), "#!/bin/sh -e\n\n  run\n\n");
    assert_eq!(text("startscript"), "#!/bin/x\n\n  start\n\n");
    assert_eq!(text("test"), "#!/bin/sh\n\n  test\n\n");
    assert!(text("env/90-environment.sh").ends_with("\n  export X=1\n\n"));
    assert_eq!(
        text("labels.json"),
        "{\n\t\"Kept\": \"new\",\n\t\"Other\": \"new\",\n\
         \t\"org.label-schema.build-arch\": \"amd64\",\n\
         \t\"org.label-schema.build-date\": \"Thursday_1_January_1970_0:0:0_UTC\",\n\
         \t\"org.label-schema.schema-version\": \"1.0\",\n\
         \t\"org.label-schema.usage\": \"/.singularity.d/runscript.help\",\n\
         \t\"org.label-schema.usage.apptainer.runscript.help\": \"/.singularity.d/runscript.help\",\n\
         \t\"org.label-schema.usage.apptainer.version\": \"1.4.5\",\n\
         \t\"org.label-schema.usage.singularity.deffile.bootstrap\": \"scratch\",\n\
         \t\"org.label-schema.usage.singularity.deffile.stage\": \"one\"\n}"
    );
    assert_eq!(done.nodes.get(".singularity.d/bootstrap_history"), None);
}

#[test]
fn what_is_there_is_kept_unless_forced() {
    let mut there = Nodes::new();
    there.directory(".singularity.d");
    there.text(".singularity.d/Singularity", "former");
    there.directory(".singularity.d/bootstrap_history");
    there.text(".singularity.d/bootstrap_history/Apptainer0", "older");
    there.text(
        ".singularity.d/labels.json",
        r#"{"Kept": "<old>", "A": "0"}"#,
    );
    there.text(".singularity.d/runscript.help", "old help");
    there.text(".build.labels", "A 1\nB 2 3\n");
    let none = Nodes::new();
    let files = Overlaid {
        top: &none,
        files: &NoFiles,
        bottom: &there,
    };
    let definition = definition(EXAMPLE);
    let all = SectionChoice::All;
    let mut facts = facts(&definition, &all);
    let done = finish(&facts, &files).unwrap();
    let labels = text(&done.nodes, ".singularity.d/labels.json");
    for line in [
        "\"Kept\": \"\\u003cold\\u003e\"",
        "\"A\": \"1\"",
        "\"B\": \"2 3\"",
    ] {
        assert!(labels.contains(line), "{labels}");
    }
    assert!(done.remove_labels);
    assert_eq!(done.nodes.get(".singularity.d/runscript.help"), None);
    let history = ".singularity.d/bootstrap_history/Apptainer1";
    assert_eq!(text(&done.nodes, history), "former");
    let warnings: Vec<_> = done
        .messages
        .iter()
        .filter(|message| matches!(message, Message::Warning(_)))
        .collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");

    facts.force = true;
    let done = finish(&facts, &files).unwrap();
    assert!(text(&done.nodes, ".singularity.d/labels.json").contains("\"Kept\": \"new\""));
    assert!(done.nodes.get(".singularity.d/runscript.help").is_some());
}

#[test]
fn chosen_sections() {
    let choice = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        SectionChoice::new(&names)
    };
    assert!(choice(&["all", "test"]).is_err() && choice(&["help", "none"]).is_err());
    assert!(choice(&[]).unwrap().has("help") && choice(&["all"]).unwrap().has("help"));
    let definition = definition(EXAMPLE);
    let none = choice(&["none"]).unwrap();
    let done = finish(&facts(&definition, &none), &NoFiles).unwrap();
    let paths: Vec<_> = done.nodes.iter().map(|(path, _)| path).collect();
    assert_eq!(
        paths,
        [".singularity.d/Singularity", ".singularity.d/labels.json"]
    );
}

#[test]
fn the_object_says_what_inspect_says() {
    let definition = definition(
        "Bootstrap: scratch\n%apprun one\n exec one\n%applabels one\n k v\n%appenv one\n A=1\n",
    );
    let mut top = base(Begun::Agent).top;
    top.cover(apps::files(&definition.stages[0].apps));
    let bottom = Nodes::new();
    let before = Overlaid {
        top: &top,
        files: &NoFiles,
        bottom: &bottom,
    };
    let all = SectionChoice::All;
    let done = finish(&facts(&definition, &all), &before).unwrap();
    top.cover(done.nodes);
    let after = Overlaid {
        top: &top,
        files: &NoFiles,
        bottom: &bottom,
    };
    assert!(after.is_directory("/scif/apps/one/bin"));
    let object = inspection(&after).unwrap();
    let metadata = json::parse(&object).unwrap();
    assert_eq!(metadata.deffile, definition.text.trim());
    let app = &metadata.apps["one"];
    assert_eq!(app.runscript, "#!/bin/sh\n\n exec one");
    assert_eq!(app.labels["SCIF_APP_NAME"], "one");
    assert_eq!(app.environment.len(), 1);
    assert!(metadata.labels.len() > 4 && !metadata.startscript.is_empty());
}

#[test]
fn applications_are_known_to_others() {
    let definition = definition("Bootstrap: scratch\n%apprun a-b\n x\n%appstart c\n y\n");
    let nodes = apps::files(&definition.stages[0].apps);
    assert_eq!(
        text(&nodes, ".singularity.d/env/94-appsbase.sh"),
        "# Where the application a-b is.\n\
         export SCIF_APPDATA_a_b=/scif/data/a-b\n\
         export SCIF_APPMETA_a_b=/scif/apps/a-b/scif\n\
         export SCIF_APPROOT_a_b=/scif/apps/a-b\n\
         export SCIF_APPBIN_a_b=/scif/apps/a-b/bin\n\
         export SCIF_APPLIB_a_b=/scif/apps/a-b/lib\n\
         export SCIF_APPLABELS_a_b=/scif/apps/a-b/scif/labels.json\n\
         export SCIF_APPRUN_a_b=/scif/apps/a-b/scif/runscript\n\
         # Where the application c is.\n\
         export SCIF_APPDATA_c=/scif/data/c\n\
         export SCIF_APPMETA_c=/scif/apps/c/scif\n\
         export SCIF_APPROOT_c=/scif/apps/c\n\
         export SCIF_APPBIN_c=/scif/apps/c/bin\n\
         export SCIF_APPLIB_c=/scif/apps/c/lib\n\
         export SCIF_APPLABELS_c=/scif/apps/c/scif/labels.json\n\
         export SCIF_APPSTART_c=/scif/apps/c/scif/startscript\n"
    );
    let none = apps::files(&[]);
    assert_eq!(text(&none, ".singularity.d/env/94-appsbase.sh"), "");
}
