use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use super::*;
use crate::layers::MemoryLayer;
use crate::pack::{Content, FileData, InodeId, Metadata, Xattr};

/// Keeps contents.
#[derive(Default)]
struct Kept(Vec<Vec<u8>>);

impl Sink for Kept {
    fn file(&mut self, size: u64, content: &mut dyn Read) -> Result<FileData, SinkError> {
        let mut bytes = Vec::new();
        content
            .read_to_end(&mut bytes)
            .map_err(SinkError::Content)?;
        assert_eq!(bytes.len() as u64, size);
        self.0.push(bytes);
        Ok(FileData(self.0.len() as u64 - 1))
    }

    fn finish(self: Box<Self>, _: &InodeTree) -> Result<u64, SinkError> {
        Ok(0)
    }
}

/// Layers written down, the lowest first: `dir/`, `file=content`, `link>target`, `hard=>target`,
/// `-gone`, `!opaque`, `pipe|`; parts are separated by blanks.
fn layer(number: usize, text: &str) -> Box<dyn Layer> {
    let mut layer = MemoryLayer::new(format!("layer {number}"));
    let metadata = Metadata {
        permissions: 0o640,
        mtime: number as i64,
        ..Metadata::default()
    };
    for word in text.split_whitespace() {
        let metadata = metadata.clone();
        if let Some(path) = word.strip_prefix('-') {
            layer.add(path, EntryKind::Whiteout, metadata);
        } else if let Some(path) = word.strip_prefix('!') {
            layer.add(path, EntryKind::Opaque, metadata);
        } else if let Some((path, target)) = word.split_once("=>") {
            let target = target.into();
            layer.add(path, EntryKind::HardLink { target }, metadata);
        } else if let Some((path, target)) = word.split_once('>') {
            layer.symlink(path, target, metadata);
        } else if let Some((path, content)) = word.split_once('=') {
            layer.file(path, content, metadata);
        } else if let Some(path) = word.strip_suffix('|') {
            layer.add(path, EntryKind::Fifo, metadata);
        } else {
            layer.directory(word, metadata);
        }
    }
    Box::new(layer)
}

fn merged(layers: &[&str], options: &MergeOptions) -> Result<(Merged, Kept), LayerError> {
    let layers = layers
        .iter()
        .enumerate()
        .map(|(number, text)| layer(number + 1, text))
        .rev()
        .collect();
    let mut sink = Kept::default();
    let merged = merge(layers, &mut sink, options, &mut |_| {})?;
    Ok((merged, sink))
}

/// The tree as text, with first names for hard links.
fn listing(tree: &InodeTree, sink: &Kept) -> String {
    fn list(
        tree: &InodeTree,
        sink: &Kept,
        at: (InodeId, &str),
        seen: &mut BTreeMap<InodeId, String>,
        out: &mut Vec<String>,
    ) {
        for (name, &id) in tree.names(at.0).unwrap() {
            let name = String::from_utf8_lossy(name);
            let path = if at.1.is_empty() {
                name.into_owned()
            } else {
                format!("{}/{name}", at.1)
            };
            if let Some(first) = seen.get(&id) {
                out.push(format!("{path}=>{first}"));
                continue;
            }
            seen.insert(id, path.clone());
            match &tree.get(id).content {
                Content::Directory(_) => {
                    out.push(format!("{path}/"));
                    list(tree, sink, (id, &path), seen, out);
                }
                Content::File(data, _) => out.push(format!(
                    "{path}={}",
                    String::from_utf8_lossy(&sink.0[usize::try_from(data.0).unwrap()])
                )),
                Content::Symlink(target) => {
                    out.push(format!("{path}>{}", String::from_utf8_lossy(target)));
                }
                Content::Fifo => out.push(format!("{path}|")),
                other => out.push(format!("{path}?{other:?}")),
            }
        }
    }
    let mut out = Vec::new();
    list(
        tree,
        sink,
        (InodeId::ROOT, ""),
        &mut BTreeMap::new(),
        &mut out,
    );
    out.join(" ")
}

#[track_caller]
fn amounts_to(layers: &[&str], expected: &str) {
    let (merged, sink) = merged(layers, &MergeOptions::default()).unwrap();
    assert_eq!(listing(&merged.tree, &sink), expected, "{layers:?}");
}

#[track_caller]
fn refused(layers: &[&str], reason: &str) {
    let error = merged(layers, &MergeOptions::default()).err().unwrap();
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn upper_layers_win() {
    amounts_to(&["a=1 b/ b/x=1", "a=2 b/ b/y=2"], "a=2 b/ b/x=1 b/y=2");
    amounts_to(&["a/ a/x=1", "a=2"], "a=2");
    amounts_to(&["a=1", "a/ a/x=2"], "a/ a/x=2");
    amounts_to(&["a/ a/x=1", "a>b"], "a>b");
    amounts_to(&["a>b b/ b/x=1", "a/ a/y=2"], "a/ a/y=2 b/ b/x=1");
}

#[test]
fn later_entries_of_a_layer_replace_earlier_ones() {
    amounts_to(&["a=1 a=2"], "a=2");
    amounts_to(&["a/ a/x=1 a=2"], "a=2");
    amounts_to(&["a=1 a/ a/x=2 a/ a/y=3"], "a/ a/x=2 a/y=3");
}

#[test]
fn whiteouts_hide_what_lies_below_only() {
    amounts_to(&["a=1 b=1", "-a"], "b=1");
    amounts_to(&["a/ a/x=1", "-a"], "");
    amounts_to(&["a=1", "a=2 -a"], "a=2");
    amounts_to(&["a=1", "-a a=2"], "a=2");
    amounts_to(&["a/ a/x=1 a/d/ a/d/z=1", "a/ a/y=2 -a"], "a/ a/y=2");
    amounts_to(&["a=1", "-b -c/d -a/x"], "a=1");
    amounts_to(&["a=1", "-a", "a=3"], "a=3");
}

#[test]
fn opaque_directories_hide_what_lies_below_only() {
    amounts_to(
        &["a/ a/x=1 a/d/ a/d/z=1 b=1", "a/ !a a/y=2"],
        "a/ a/y=2 b=1",
    );
    amounts_to(
        &["a/ a/x=1 a/d/ a/d/z=1", "a/ a/d/ a/d/y=2 !a"],
        "a/ a/d/ a/d/y=2",
    );
    amounts_to(&["a=1 b/ b/x=1", "! c=2"], "c=2");
    amounts_to(&["a/ a/x=1", "!a"], "a/");
    amounts_to(&["a/ a/x=1 l>a", "!l"], "a/ l>a");
}

#[test]
fn paths_go_through_links_as_they_do_when_unpacked() {
    amounts_to(
        &["usr/ usr/lib/ usr/lib/a=1 lib>usr/lib", "lib/b=2"],
        "lib>usr/lib usr/ usr/lib/ usr/lib/a=1 usr/lib/b=2",
    );
    amounts_to(
        &["usr/ lib>/usr/lib", "lib/b=2"],
        "lib>/usr/lib usr/ usr/lib/ usr/lib/b=2",
    );
    amounts_to(&["up>../../..", "up/etc/x=2"], "etc/ etc/x=2 up>../../..");
    amounts_to(
        &["usr/lib/a=1 lib>usr/lib", "-lib/a"],
        "lib>usr/lib usr/ usr/lib/",
    );
    amounts_to(&["a/x=1 l>a", "l>b", "l/y=3"], "a/ a/x=1 b/ b/y=3 l>b");
    amounts_to(&["d/ l>d l/x=1"], "d/ d/x=1 l>d");
    // The middle layer's file lands where the link led that the upper one has replaced.
    amounts_to(&["a/ l>a", "l/x=2", "l/ l/x=3"], "a/ a/x=2 l/ l/x=3");
    refused(&["a>b b>a", "a/x=2"], "symbolic links");
    refused(&["a=1", "a/x=2"], "no directory");
}

#[test]
fn hard_links_reach_into_lower_layers() {
    amounts_to(&["a=1", "b=>a"], "a=1 b=>a");
    amounts_to(&["a=1", "b=>a -a"], "b=1");
    amounts_to(&["a=1", "b=>a", "a=3"], "a=3 b=1");
    amounts_to(&["a=1 b=>a", "a=2"], "a=2 b=1");
    amounts_to(&["a=1 b=>a c=>b", "-a -b"], "c=1");
    amounts_to(
        &["usr/bin/x=1 bin>usr/bin", "bin/y=>bin/x -usr/bin/x"],
        "bin>usr/bin usr/ usr/bin/ usr/bin/y=1",
    );
    amounts_to(&["l>t", "m=>l"], "l>t m=>l");
    refused(&["a=>b b=1"], "not there");
    refused(&["a=1 a=>a"], "not there");
    refused(&["d/ a=>d"], "directory");
    refused(&["a=>../../etc/passwd"], "not there");
    refused(&["a=>"], "root");
}

#[test]
fn the_root_is_a_directory_and_has_the_uppermost_metadata() {
    let root = |layers: &[&str]| {
        let (merged, _) = merged(layers, &MergeOptions::default()).unwrap();
        merged.tree.get(InodeId::ROOT).metadata.clone()
    };
    assert_eq!(root(&["/ a=1", "/"]).mtime, 2);
    assert_eq!(root(&["/ a=1", "b=2"]).mtime, 1);
    assert_eq!(root(&["a=1"]).permissions, 0o755);
    refused(&["=1"], "root");
}

#[test]
fn options_shape_metadata() {
    let xattrs: Arc<[Xattr]> = Arc::from(vec![
        (Box::from(*b"security.capability"), Box::from(*b"x")),
        (Box::from(*b"system.posix_acl_access"), Box::from(*b"x")),
        (Box::from(*b"user.a"), Box::from(*b"1")),
    ]);
    let made = |options: &MergeOptions| {
        let mut layer = MemoryLayer::new("layer");
        let metadata = Metadata {
            permissions: 0o4000,
            uid: 1000,
            gid: 7,
            mtime: 5,
            xattrs: Arc::clone(&xattrs),
        };
        layer.file("file", *b"1", metadata.clone());
        layer.directory("directory", metadata.clone());
        layer.add("null", EntryKind::CharDevice(0x103), metadata.clone());
        layer.symlink("link", "file", metadata);
        let mut sink = Kept::default();
        let merged = merge(vec![Box::new(layer)], &mut sink, options, &mut |_| {}).unwrap();
        let inodes: Vec<_> = ["file", "directory", "null", "link"]
            .iter()
            .map(|name| {
                let names = merged.tree.names(InodeId::ROOT).unwrap();
                merged.tree.get(names[name.as_bytes()]).clone()
            })
            .collect();
        (merged, inodes)
    };
    let names = |metadata: &Metadata| {
        let name = |(name, _): &Xattr| String::from_utf8(name.to_vec()).unwrap();
        metadata.xattrs.iter().map(name).collect::<Vec<_>>()
    };

    let (result, inodes) = made(&MergeOptions::default());
    assert_eq!((result.devices, result.closed_directories), (1, 1));
    assert_eq!((inodes[0].metadata.uid, inodes[0].metadata.gid), (0, 0));
    assert_eq!(inodes[0].metadata.permissions, 0o4000);
    assert_eq!(names(&inodes[0].metadata), ["user.a"]);
    assert!(names(&inodes[3].metadata).is_empty());
    assert!(matches!(inodes[2].content, Content::File(_, 0)));

    let (result, inodes) = made(&MergeOptions::root());
    assert_eq!((result.devices, result.xattrs), (0, 6));
    assert_eq!((inodes[0].metadata.uid, inodes[0].metadata.gid), (1000, 7));
    assert_eq!(inodes[2].content, Content::CharDevice(0x103));
    assert_eq!(
        names(&inodes[0].metadata),
        ["security.capability", "user.a"]
    );

    let (result, inodes) = made(&MergeOptions {
        owners: Owners::Map(vec![(0, 500, 1), (1000, 100_000, 10)]),
        fix_perms: true,
        ..MergeOptions::default()
    });
    assert_eq!(result.closed_directories, 0);
    assert_eq!(
        (inodes[0].metadata.uid, inodes[0].metadata.gid),
        (100_000, 65_534)
    );
    assert_eq!(inodes[0].metadata.permissions, 0o4600);
    assert_eq!(inodes[1].metadata.permissions, 0o4700);
}

/// Contents that the sink was given.
#[track_caller]
fn gives(layers: &[&str], tree: &str, contents: &[&str]) {
    let (merged, sink) = merged(layers, &MergeOptions::default()).unwrap();
    assert_eq!(listing(&merged.tree, &sink), tree, "{layers:?}");
    let given: Vec<_> = sink
        .0
        .iter()
        .map(|bytes| String::from_utf8_lossy(bytes))
        .collect();
    assert_eq!(given, contents, "{layers:?}");
}

#[test]
fn hidden_content_is_left_out() {
    gives(&["a=1 b=2", "a=3"], "a=3 b=2", &["3", "2"]);
    gives(&["d/ d/a=1 d/b=2 c=3", "-d"], "c=3", &["3"]);
    gives(&["d/a=1 c=3", "-d"], "c=3", &["3"]);
    gives(&["d/ d/a=1", "d/ !d d/b=2"], "d/ d/b=2", &["2"]);
    gives(&["d/ d/a=1", "! d/ d/b=2"], "d/ d/b=2", &["2"]);
    gives(&["d/ d/a=1", "x=1", "d>x"], "d>x x=1", &["1"]);
    gives(&["d/ d/a=1", "d/ d/a=2", "-d/a"], "d/", &[]);
}

#[test]
fn hidden_content_is_kept_where_a_link_leads_elsewhere() {
    // The middle layer does not have the directory itself: a link below leads it away.
    gives(
        &["e/ d>e", "d/a=1", "d/ d/a=2"],
        "d/ d/a=2 e/ e/a=1",
        &["2", "1"],
    );
    // Within one layer.
    gives(
        &["e/ d>e d/a=1 e/b=3", "d/ d/a=2"],
        "d/ d/a=2 e/ e/a=1 e/b=3",
        &["2", "1", "3"],
    );
    gives(
        &["d/ d/s/ x>d x/s>../e e/ d/s/a=1", "-d"],
        "e/ e/a=1 x>d",
        &["1"],
    );
}

#[test]
fn hidden_content_is_kept_for_hard_links() {
    gives(&["a=1 b=>a", "a=2"], "a=2 b=1", &["2", "1"]);
    gives(&["a=1 b=>a c=>b", "-a -b"], "c=1", &["1"]);
    gives(&["a=1 b=>a", "-a -b"], "", &[]);
    gives(&["a=1", "b=>a -a"], "b=1", &["1"]);
    gives(&["a=1 b=>a", "c=>b -a -b"], "c=1", &["1"]);
    gives(&["a=1", "b=>a", "c=>b -a -b"], "c=1", &["1"]);
    gives(&["s>d d/ d/a=1 b=>s/a", "-d/a"], "b=1 d/ s>d", &["1"]);
}

#[test]
fn much_hidden_content_is_kept_as_well() {
    let mut lower = MemoryLayer::new("lower");
    let metadata = Metadata::default;
    // More than is kept in memory, and pieces that are worth compressing.
    for number in 0..20_u32 {
        let content: Vec<u8> = (0..5 << 20_u32)
            .map(|place: u32| (place.wrapping_mul(place ^ number) >> 7) as u8)
            .collect();
        lower.file(&format!("{number}"), content, metadata());
        let target = format!("{number}").into_bytes();
        let link = format!("link{number}");
        if number % 7 == 6 {
            lower.add(&link, EntryKind::HardLink { target }, metadata());
        }
    }
    let mut upper = MemoryLayer::new("upper");
    for number in 0..20 {
        upper.add(&format!("{number}"), EntryKind::Whiteout, metadata());
    }
    let mut sink = Kept::default();
    let layers: Vec<Box<dyn Layer>> = vec![Box::new(upper), Box::new(lower)];
    let merged = merge(layers, &mut sink, &MergeOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(sink.0.len(), 2);
    for (content, number) in sink.0.iter().zip([6_u32, 13]) {
        let expected =
            (0..5 << 20_u32).map(|place: u32| (place.wrapping_mul(place ^ number) >> 7) as u8);
        assert!(content.iter().copied().eq(expected));
    }
    assert_eq!(merged.tree.names(InodeId::ROOT).unwrap().len(), 2);
}
