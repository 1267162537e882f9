//! Tar archives that no well-meaning program writes.

/// An archive, header by header. Numbers are binary, so that they may be of any size.
#[derive(Clone, Default, Debug)]
pub struct Archive(Vec<u8>);

impl Archive {
    /// A header: kind, name (cut after 100 bytes), size, link target (cut too), and what is changed
    /// of it before its sum is made.
    pub fn header(
        &mut self,
        kind: u8,
        name: &[u8],
        size: u64,
        link: &[u8],
        change: fn(&mut [u8; 512]),
    ) {
        let mut block = [0; 512];
        let name = &name[..name.len().min(100)];
        let link = &link[..link.len().min(100)];
        block[..name.len()].copy_from_slice(name);
        block[100..107].copy_from_slice(b"0000755");
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
        block[136..147].copy_from_slice(b"00000000012");
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        change(&mut block);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend(block);
    }

    /// Content, and zeros up to the next block.
    pub fn content(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    /// An extended header with these records.
    pub fn pax(&mut self, records: &[(&str, &[u8])]) -> &mut Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            bytes.extend(format!("{length} {key}=").as_bytes());
            bytes.extend(*value);
            bytes.push(b'\n');
        }
        self.header(b'x', b"x", bytes.len() as u64, b"", |_| {});
        self.content(&bytes);
        self
    }

    /// A member whose name and link may be anything.
    pub fn add(&mut self, kind: u8, name: &[u8], link: &[u8]) -> &mut Self {
        if name.len() > 100 || link.len() > 100 || name.contains(&0) {
            self.pax(&[("path", name), ("linkpath", link)]);
        }
        let content: &[u8] = if kind == b'0' { b"written" } else { b"" };
        self.header(kind, name, content.len() as u64, link, |_| {});
        self.content(content);
        self
    }

    /// One that begins with `bytes`.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Adds the members of another.
    pub fn append(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// The bytes so far.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// The bytes, with the two blocks of zeros that end an archive.
    pub fn end(&self) -> Vec<u8> {
        [&*self.0, &[0; 1024]].concat()
    }
}

/// An archive of these members: kind, name, link target. Files have seven bytes.
pub fn archive(members: &[(u8, &[u8], &[u8])]) -> Vec<u8> {
    let mut archive = Archive::default();
    for (kind, name, link) in members {
        archive.add(*kind, name, link);
    }
    archive.end()
}

/// Names that lead out of a root or are no names, and whether a file can have them where what leads
/// out of the root stays in it.
pub fn hostile_names() -> Vec<(Vec<u8>, bool)> {
    let parts = [b"p".repeat(250), b"p".repeat(250)].join(&b'/');
    let (deep, deeper) = (b"d/".repeat(2040), b"d/".repeat(2600));
    let names: [(&[u8], bool); 26] = [
        (b"../x", true),
        (b"../../../../../../tmp/skiff-hostile", true),
        (b"/skiff-hostile", true),
        (b"/../../etc/skiff-hostile", true),
        (b"a/../../x", true),
        (b"a/../../../canary/file", true),
        (b"./../canary/inner/x", true),
        (b"a/./b//c", true),
        (b"...", true),
        (b"..x/x..", true),
        (b"proc/self/root/tmp/skiff-hostile", true),
        (b"proc/self/fd/3/x", true),
        (b"new\nline\x1b[31m", true),
        (b"\xff\xfe", true),
        (b"-rf", true),
        (&parts, true),
        (&[b'n'; 256], false),
        (&deep, true),
        (&deeper, false),
        (b"nul\0../../x", false),
        (b"a/.wh.", false),
        (b"a/.wh..", false),
        (b"a/.wh...", false),
        (b"../.wh.canary", true),
        (b"../.wh..wh..opq", true),
        (b"../canary/.wh.file", true),
    ];
    let owned = |(name, fine): (&[u8], bool)| (name.to_vec(), fine);
    names.map(owned).into()
}

/// Archives whose members say sizes that they do not have, holes included, and what each is.
pub fn untrue_sizes() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for size in [4096, 1 << 20, 1 << 40, 1 << 60, u64::MAX >> 1, u64::MAX] {
        let mut archive = Archive::default();
        archive.header(b'0', b"large", size, b"", |_| {});
        archive.content(b"short");
        all.push((format!("size {size}"), archive.end()));
    }
    let exbi: &[u8] = b"1152921504606846976";
    let sparse: [&[(&str, &[u8])]; 5] = [
        &[("GNU.sparse.size", exbi), ("GNU.sparse.map", b"0,7")],
        &[
            ("GNU.sparse.realsize", exbi),
            ("GNU.sparse.map", b"1152921504606846900,7"),
        ],
        &[
            ("GNU.sparse.size", exbi),
            ("GNU.sparse.offset", b"0"),
            ("GNU.sparse.numbytes", b"7"),
        ],
        &[
            ("GNU.sparse.size", b"20"),
            ("GNU.sparse.map", b"18446744073709551615,7"),
        ],
        &[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", exbi),
        ],
    ];
    for (number, records) in sparse.into_iter().enumerate() {
        let mut archive = Archive::default();
        archive.pax(records).add(b'0', b"sparse", b"");
        all.push((format!("holes {number}"), archive.end()));
    }
    all
}
