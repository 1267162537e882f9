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
